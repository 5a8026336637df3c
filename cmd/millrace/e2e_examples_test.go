package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// exampleDir has a configuration for each thing a newcomer wants to see.
const exampleDir = "../../docs/examples"

// exampleRequest is a request to an example and what has to come of it.
type exampleRequest struct {
	url     string // http://HOST/PATH or https://HOST/PATH; the connection goes to the example's listener, or to the one named by the scheme
	header  string // one field, "name: value", or ""
	status  int    // 0 if the handshake is refused
	from    string // the origins that may answer
	path    string // what the origin has to see
	has     string // in the response's head or body
	client  string // the name that the client's certificate is for, "" for no certificate
	upgrade bool
}

// examples tells how to drive each file of exampleDir. Every route of every file is asked for.
var examples = map[string]struct {
	listener string            // as the file has it; several are separated by spaces
	origins  map[string]string // their names by the addresses in the file
	requests []exampleRequest
	also     func(t *testing.T, p *proxy) // what cannot be asked in that form, or nil
	logged   int                          // how many requests that are, where there is an access log
}{
	"smallest.json": {
		":8080", map[string]string{"127.0.0.1:9000": "web"},
		[]exampleRequest{{url: "http://any.example/a?b=c", status: 200, from: "web", path: "/a?b=c"}}, nil, 0,
	},
	"edge.json": {
		":8080",
		map[string]string{
			"127.0.0.1:9001": "web1", "127.0.0.1:9002": "web2", "127.0.0.1:9003": "next", "127.0.0.1:9004": "api",
			"127.0.0.1:9005": "api-next", "127.0.0.1:9006": "chat",
		},
		[]exampleRequest{
			{url: "http://shop.example.com/index.php", status: 301, has: "location: http://shop.example.com/\r\n"},
			{url: "http://shop.example.com/old/a?b", status: 301, has: "location: http://shop.example.com/archive/a?b\r\n"},
			{url: "http://shop.example.com/chat", header: "Upgrade: websocket", status: 101, from: "chat", path: "/chat", upgrade: true},
			{url: "http://shop.example.com/api/x", header: "x-canary: 1", status: 200, from: "api-next", path: "/x"},
			{url: "http://shop.example.com/api/x?y=1", status: 200, from: "api", path: "/x?y=1"},
			{url: "http://shop.example.com/a//b/../c", status: 200, from: "web1 web2 next", path: "/a/c"},
			{url: "http://de.shop.example.com/", status: 200, from: "web1 web2 next", path: "/"},
			{url: "http://shop.example.com/a%2fb", status: 400},
			{url: "http://example.com/x", status: 301, has: "location: http://shop.example.com/x\r\n"},
			{url: "http://other.example/", status: 404, has: "no such site\n"},
			{url: "http://other.example/healthz", status: 200},
		}, nil, 0,
	},
	"grpc-json.json": {
		":8080",
		map[string]string{"127.0.0.1:50051": "shop"},
		[]exampleRequest{
			{url: "http://shop.example.com/v1/orders/7", status: 200, from: "shop", path: "/shop.Orders/Get"},
			{url: "http://shop.example.com/v1/orders/7:watch?count=2", status: 200, from: "shop", path: "/shop.Orders/Watch"},
			{url: "http://shop.example.com/v1/orders/7?count=x", status: 400, has: "shop.Order.count"},
			{url: "http://shop.example.com/x", status: 200, from: "shop", path: "/x"},
		}, nil, 0,
	},
	"http2.json": {
		":8080",
		map[string]string{"127.0.0.1:9001": "api1", "127.0.0.1:9002": "api2", "127.0.0.1:9003": "site"},
		[]exampleRequest{
			{url: "http://shop.example.com/api/x?y", status: 200, from: "api1 api2", path: "/api/x?y"},
			{url: "http://shop.example.com/shop.Orders/Get", header: "Content-Type: application/grpc", status: 200, from: "api1 api2", path: "/shop.Orders/Get"},
			{url: "http://shop.example.com/", status: 200, from: "site", path: "/"},
		}, driveHTTP2Example, 0,
	},
	"adaptive-concurrency.json": {
		":8080", map[string]string{"127.0.0.1:9001": "shop1", "127.0.0.1:9002": "shop2"},
		[]exampleRequest{{url: "http://shop.example.com/a", status: 200, from: "shop1 shop2", path: "/a"}}, driveAdaptiveConcurrencyExample, 0,
	},
	"connection-pools.json": {
		":8080", map[string]string{"127.0.0.1:9001": "shop1", "127.0.0.1:9002": "shop2"},
		[]exampleRequest{{url: "http://shop.example.com/a", status: 200, from: "shop1 shop2", path: "/a"}}, driveConnectionPoolsExample, 0,
	},
	"subsets.json": {
		":8080", map[string]string{"127.0.0.1:9001": "one", "127.0.0.1:9002": "another", "127.0.0.1:9003": "next"},
		[]exampleRequest{
			{url: "http://shop.example.com/a", header: "x-canary: 1", status: 200, from: "next", path: "/a"},
			{url: "http://shop.example.com/a", status: 200, from: "one another next", path: "/a"},
		}, nil, 0,
	},
	"mirroring.json": {
		":8080", map[string]string{"127.0.0.1:9001": "shop1", "127.0.0.1:9002": "shop2", "127.0.0.1:9003": "next"},
		[]exampleRequest{
			{url: "http://shop.example.com/checkout", status: 200, from: "shop1 shop2", path: "/checkout"},
			{url: "http://shop.example.com/a", status: 200, from: "shop1 shop2", path: "/a"},
		}, driveMirrorExample, 0,
	},
	"autoscaling.json": {
		":8080", map[string]string{"127.0.0.1:9001": "shop1", "127.0.0.1:9002": "shop2"},
		[]exampleRequest{{url: "http://shop.example.com/a", status: 200, from: "shop1 shop2", path: "/a"}}, driveAutoscalingExample, 0,
	},
	"health-checks.json": {
		":8080", map[string]string{"127.0.0.1:9001": "shop1", "127.0.0.1:9002": "shop2", "127.0.0.1:9003": "orders"},
		[]exampleRequest{
			{url: "http://shop.example.com/a", status: 200, from: "shop1 shop2", path: "/a"},
			{url: "http://shop.example.com/orders/7", status: 200, from: "orders", path: "/orders/7"},
			{url: "http://shop.example.com/healthz", status: 200, has: "x-envoy-upstream-healthchecked-cluster: shop-edge\r\n"},
		}, driveHealthExample, 0,
	},
	"dns.json": {
		":8080", map[string]string{"app.localhost:9001": "app", "10.0.0.1:9002": "api"},
		[]exampleRequest{
			{url: "http://any.example/", status: 200, from: "app", path: "/"},
			{url: "http://any.example/api/x", status: 200, from: "api", path: "/x"},
			{url: "http://any.example/partner/x", status: 503},
		}, nil, 0,
	},
	"outlier-detection.json": {
		":8080", map[string]string{"127.0.0.1:9001": "shop1", "127.0.0.1:9002": "shop2", "127.0.0.1:9003": brokenOrigin},
		[]exampleRequest{{url: "http://shop.example.com/a", status: 200, from: "shop1 shop2", path: "/a"}}, driveOutlierExample, 0,
	},
	"retries.json": {
		":8080", map[string]string{"127.0.0.1:9001": "shop", "127.0.0.1:9002": slowOrigin, "127.0.0.1:9003": brokenOrigin},
		[]exampleRequest{
			{url: "http://shop.example.com/catalog/a", status: 200, from: "shop", path: "/catalog/a"},
			{url: "http://shop.example.com/order", status: 200, from: "shop", path: "/order"},
		}, driveRetriesExample, 0,
	},
	"websocket.json": {
		":8080",
		map[string]string{"127.0.0.1:9001": "chat", "127.0.0.1:9002": "next", "127.0.0.1:9003": websocketOrigin, "127.0.0.1:9004": "site"},
		[]exampleRequest{
			{url: "http://shop.example.com/chat/a", header: "Upgrade: websocket", status: 101, from: "chat next", path: "/a", upgrade: true},
			{url: "http://shop.example.com/other", header: "Upgrade: websocket", status: 403, upgrade: true},
			{url: "http://shop.example.com/", status: 200, from: "site", path: "/"},
		}, driveWebSocketExample, 0,
	},
	"connect.json": {
		":8080", map[string]string{"127.0.0.1:9001": proxyHeaderOrigin, "127.0.0.1:9002": echoOrigin, "127.0.0.1:9003": "next"},
		[]exampleRequest{{url: "http://any.example/", status: 404}}, driveConnectExample, 3,
	},
	"balancing.json": {
		":8080", map[string]string{"127.0.0.1:9001": "cache1", "127.0.0.1:9002": "cache2", "127.0.0.1:9003": "web", "127.0.0.1:9004": "far"},
		[]exampleRequest{
			{url: "http://any.example/cache/x", header: "x-user: ann", status: 200, from: "cache1 cache2", path: "/cache/x"},
			{url: "http://any.example/cache/y", status: 200, has: "set-cookie: cache-host="},
			{url: "http://any.example/", status: 200, from: "web", path: "/"},
		}, nil, 0,
	},
	"zone-aware.json": {
		":8080", map[string]string{"127.0.0.1:9001": "near1", "127.0.0.1:9002": "near2", "127.0.0.1:9003": "far1", "127.0.0.1:9004": "far2"},
		[]exampleRequest{
			{url: "http://any.example/", status: 200, from: "near1 near2", path: "/"},
			{url: "http://any.example/a", status: 200, from: "near1 near2", path: "/a"},
			{url: "http://any.example/b", status: 200, from: "near1 near2", path: "/b"},
		}, func(_ *testing.T, p *proxy) { p.wantStat("cluster.web.lb_zone_routing_all_directly", 3) }, 0,
	},
	"tls-edge.json": {
		":8443 :8080", map[string]string{"127.0.0.1:9001": "shop", "127.0.0.1:9002": "blog"},
		[]exampleRequest{
			{url: "https://shop.example.com/a?b", status: 200, from: "shop", path: "/a?b"},
			{url: "https://shop.example.com/", status: 200, has: "strict-transport-security: max-age=31536000\r\n"},
			{url: "https://shop.example.com/live", header: "Upgrade: websocket", status: 101, from: "shop", path: "/live", upgrade: true},
			{url: "https://blog.example.org/x", status: 200, from: "blog", path: "/x"},
			{url: "https://de.blog.example.org/x", status: 200, from: "blog", path: "/x"},
			{url: "http://shop.example.com/a?b", status: 301, has: "location: https://shop.example.com:8443/a?b\r\n"},
		}, driveTLSExample, 0,
	},
	"tls-client-certificates.json": {
		":8443", map[string]string{"127.0.0.1:9001": "api"},
		[]exampleRequest{
			{url: "https://api.example.com/x", client: "billing.example.com", header: "x-forwarded-client-cert: DNS=root", status: 200, from: "api", path: "/x", has: ";DNS=billing.example.com\r\n"},
			{url: "https://api.example.com/x", client: "spiffe://example.com/batch/7", status: 200, from: "api", path: "/x", has: ";URI=spiffe://example.com/batch/7\r\n"},
			{url: "https://api.example.com/x", client: "web.example.com"},
			{url: "https://api.example.com/x"},
		}, nil, 0,
	},
	"tls-upstream.json": {
		":8080", map[string]string{
			"127.0.0.1:9441": "tls api.internal h2", "127.0.0.1:9442": "tls api.internal http/1.1", "127.0.0.1:9443": "tls *.shops.example",
		},
		[]exampleRequest{
			{url: "http://shop.example.com/api/x", status: 200, from: "HTTP/1.1 HTTP/2.0", path: "api.internal /api/x"},
			{url: "http://shop.example.com/api/x", status: 200, from: "HTTP/1.1 HTTP/2.0", path: "api.internal /api/x"},
			{url: "http://books.shops.example/y", status: 200, from: "HTTP/1.1", path: "books.shops.example /y"},
			{url: "http://shoes.shops.example:80/y", status: 200, from: "HTTP/1.1", path: "shoes.shops.example /y"},
			{url: "http://elsewhere.example/y", status: 503},
		}, nil, 0,
	},
	"unix-socket.json": {
		"unix:/run/millrace/front.sock",
		map[string]string{"unix:/run/app/app.sock": "app", "127.0.0.1:9000": "files"},
		[]exampleRequest{
			{url: "http://localhost/static/x.css", status: 200, from: "files", path: "/static/x.css"},
			{url: "http://localhost/", status: 200, from: "app", path: "/"},
		}, nil, 0,
	},
}

// websocketOrigin is the name of an origin that is a WebSocket server over both versions.
const websocketOrigin = "websocket"

// driveHTTP2Example asks over HTTP/2 what the others ask over HTTP/1.1.
func driveHTTP2Example(t *testing.T, p *proxy) {
	client := &http.Client{Transport: h2Transport(t)}
	for path, want := range map[string]string{"/api/x": "api", "/": "site"} {
		resp, err := client.Get(p.url(path))
		if err != nil {
			t.Fatal(err)
		}
		if got := bodyOf(t, resp); resp.ProtoMajor != 2 || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s %q, want HTTP/2 and an answer of %s", path, resp.Proto, got, want)
		}
	}
	if n := p.stat("cluster.api.upstream_cx_http2_total"); n == 0 {
		t.Error("the API was not asked over HTTP/2")
	}
}

// driveWebSocketExample talks to the server of HTTP/2, from either version.
func driveWebSocketExample(t *testing.T, p *proxy) {
	for _, version := range []int{1, 2} {
		c, head := wsOpen(t, version, p.addr(""), "/live/a")
		if got := head.Get("X-Path"); got != "/live/a" {
			t.Errorf("the server saw %q", got)
		}
		c.exchange(t, wsFrame{wsText, true, []byte("hello")}, wsFrame{wsPing, true, []byte("?")})
		c.close()
	}
}

// exampleOrigin starts an origin that answers with its name and what it was asked, at a place of
// the kind that the example has.
func exampleOrigin(t *testing.T, name, address string) string {
	t.Helper()
	switch name {
	case websocketOrigin:
		return startWSOrigin(t)
	case slowOrigin:
		return origin(t, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(waitMax):
			case <-r.Context().Done():
			}
		})
	case brokenOrigin:
		return origin(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	case proxyHeaderOrigin:
		return startTCPOrigin(t, answerBehindHeader)
	case echoOrigin:
		return startTCPOrigin(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	}
	network, at := "tcp", "127.0.0.1:0"
	if strings.HasPrefix(address, "unix:") {
		network, at = "unix", filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n%s %s\n", name, r.RequestURI)
			return
		}
		if client := r.Header.Get("X-Forwarded-Client-Cert"); client != "" {
			w.Header().Set("X-Client", client)
		}
		fmt.Fprintf(w, "%s %s\n", name, r.RequestURI)
	})}
	srv.Protocols = new(http.Protocols) // whatever the example's cluster speaks
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	if network == "unix" {
		return "unix:" + at
	}
	return ln.Addr().String()
}

// exampleOrigin starts an origin with TLS for a name, and ALPN, that answers with its protocol, the name asked for and the path.
func (a *authority) exampleOrigin(about string) string {
	a.t.Helper()
	name, protocol, _ := strings.Cut(about, " ")
	pair := a.issue("origin "+strings.ReplaceAll(about, "/", "-"), name)
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}}
	if protocol != "" { // that of the cluster that shows a certificate
		cfg.NextProtos, cfg.ClientAuth, cfg.ClientCAs = []string{protocol}, tls.RequireAndVerifyClientCert, a.pool
	}
	return serveHTTPS(a.t, cfg, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s\n", r.Proto, r.TLS.ServerName, r.URL.Path)
	})
}

// TestExamples loads and drives every file of exampleDir.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(exampleDir, "*.json"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			driveExample(t, file)
		})
	}
}

func driveExample(t *testing.T, file string) {
	ex, http := examples[filepath.Base(file)]
	l4, ok := l4Examples[filepath.Base(file)]
	if ok == http {
		t.Fatal("nobody drives this example: add it to the table examples, or l4Examples")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(raw), "//") {
		t.Error("the example does not say what it shows")
	}
	// As it stands it has to be right, which the command itself says; where there are certificates, once they are there.
	text, a := exampleFiles(t, string(raw))
	if a != nil {
		if code, _, problems := runMain(text, "check", "-c", "-"); code != exitFine || problems != "" {
			t.Fatalf("check: exit code %d, %s", code, problems)
		}
	} else if code, _, problems := runMain("", "check", "-c", file); code != exitFine || problems != "" {
		t.Fatalf("check: exit code %d, %s", code, problems)
	}
	if ok {
		driveL4Example(t, file, text, a, l4)
		return
	}
	network, address := "tcp", "127.0.0.1:0"
	dir := t.TempDir()
	if strings.HasPrefix(ex.listener, "unix:") {
		network, address = "unix", "unix:"+filepath.Join(dir, "front")
	}
	replace := func(from, to string) {
		t.Helper()
		if !strings.Contains(text, from) {
			t.Errorf("the example has no %s any more", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	for at := range strings.FieldsSeq(ex.listener) {
		replace(fmt.Sprintf("%q", at), fmt.Sprintf("%q", address))
	}
	for at, name := range ex.origins {
		if secure, ok := strings.CutPrefix(name, "tls "); ok {
			replace(fmt.Sprintf("%q", at), fmt.Sprintf("%q", a.exampleOrigin(secure)))
			continue
		}
		replace(fmt.Sprintf("%q", at), fmt.Sprintf("%q", exampleOrigin(t, name, at)))
	}
	text = strings.ReplaceAll(text, "/var/log/millrace/", dir+"/")
	p := startProxy(t, text)
	p.authority = a
	for _, rq := range ex.requests {
		scheme, _, _ := strings.Cut(rq.url, ":")
		if len(p.listeners) == 1 {
			scheme = ""
		}
		rq.drive(t, network, strings.TrimPrefix(p.addr(scheme), "unix:"), a)
	}
	if ex.also != nil {
		ex.also(t, p)
	}
	p.signal(os.Interrupt)
	p.wantExit(exitFine)
	if log, err := os.ReadFile(filepath.Join(dir, "access.log")); strings.Contains(text, "access.log") {
		if err != nil || strings.Count(string(log), "\n") != len(ex.requests)+ex.logged {
			t.Errorf("the access log has %q, %v; want %d lines", log, err, len(ex.requests)+ex.logged)
		}
	}
}

// drive makes the request and checks what comes of it.
func (rq *exampleRequest) drive(t *testing.T, network, to string, a *authority) {
	t.Helper()
	scheme, rest, _ := strings.Cut(rq.url, "://")
	host, path, _ := strings.Cut(rest, "/")
	conn, err := (&net.Dialer{}).DialContext(context.Background(), network, to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if scheme == "https" {
		conn = rq.secure(conn, host, a)
	}
	c := &rawConn{Conn: conn, t: t, r: bufio.NewReader(conn)}
	connection := "close"
	if rq.upgrade {
		connection = "Upgrade"
	}
	fields := ""
	if rq.header != "" {
		fields = rq.header + "\r\n"
	}
	c.send(fmt.Sprintf("GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n%s\r\n", path, host, connection, fields))
	head := c.head()
	body, err := io.ReadAll(c.r)
	if rq.status == 0 {
		if head != "" || err == nil || !strings.Contains(err.Error(), "remote error: tls:") {
			t.Errorf("%s by %q gives %q, %v; want an alert", rq.url, rq.client, head, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", rq.url, err)
	}
	if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", rq.status)) || !strings.Contains(head+string(body), rq.has) {
		t.Errorf("%s %s gives %q, want status %d with %q", rq.url, rq.header, head+string(body), rq.status, rq.has)
	}
	if rq.from == "" {
		return
	}
	from, seen, _ := strings.Cut(strings.TrimSpace(string(body)), " ")
	if !slices.Contains(strings.Fields(rq.from), from) || seen != rq.path {
		t.Errorf("%s %s was answered by %q, which saw %q; want %q, %q", rq.url, rq.header, from, seen, rq.from, rq.path)
	}
}

// secure puts TLS over a connection, with the certificate that the request has.
func (rq *exampleRequest) secure(conn net.Conn, host string, a *authority) net.Conn {
	cfg := &tls.Config{RootCAs: a.pool, ServerName: host}
	if rq.client != "" {
		cfg.Certificates = []tls.Certificate{a.issue("client", rq.client)}
	}
	return tls.Client(conn, cfg)
}

// exampleCerts is where examples have their certificates. A file is named by the name that it is for.
const exampleCerts = "/etc/millrace/tls/"

var (
	exampleCert   = regexp.MustCompile(exampleCerts + `(\S+)\.crt", "key_file": "` + exampleCerts + `(\S+)\.key"`)
	exampleTicket = regexp.MustCompile(exampleCerts + `(tickets-\d+\.key)"`)
)

// exampleFiles makes the certificates of an example, and returns its text with their directory. Without any the
// authority is nil.
func exampleFiles(t *testing.T, text string) (string, *authority) {
	t.Helper()
	if !strings.Contains(text, exampleCerts) {
		return text, nil
	}
	a := newAuthority(t)
	for _, m := range exampleCert.FindAllStringSubmatch(text, -1) {
		if m[1] != m[2] {
			t.Errorf("the key of %s is called %s", m[1], m[2])
		}
		a.issue(m[1], strings.Replace(m[1], "wildcard.", "*.", 1))
	}
	for _, m := range exampleTicket.FindAllStringSubmatch(text, -1) {
		a.put(m[1], body(uint64(len(m[1])), 80))
	}
	return strings.ReplaceAll(text, exampleCerts, a.dir+"/"), a
}

// driveTLSExample asks over HTTP/2 too, and resumes a session.
func driveTLSExample(t *testing.T, p *proxy) {
	a := p.authority
	resp, err := a.tlsClient(p.addr("https"), "blog.example.org", nil, "h2").Get("https://blog.example.org/")
	if err != nil {
		t.Fatal(err)
	}
	if got := bodyOf(t, resp); resp.ProtoMajor != 2 || got != "blog /\n" || resp.TLS.Version != tls.VersionTLS13 {
		t.Errorf("%s %q over %x, want HTTP/2 over TLS 1.3", resp.Proto, got, resp.TLS.Version)
	}
	if n := resumes(t, a, p.addr("https"), "shop.example.com", 2, tls.NewLRUClientSessionCache(1), tls.VersionTLS13); n != 1 {
		t.Error("a session was not resumed")
	}
}
