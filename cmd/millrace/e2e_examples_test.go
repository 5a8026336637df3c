package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// exampleDir has a configuration for each thing a newcomer wants to see.
const exampleDir = "../../docs/examples"

// exampleRequest is a request to an example and what has to come of it.
type exampleRequest struct {
	url     string // http://HOST/PATH; the connection goes to the example's listener
	header  string // one field, "name: value", or ""
	status  int
	from    string // the origins that may answer
	path    string // what the origin has to see
	has     string // in the response's head or body
	upgrade bool
}

// examples tells how to drive each file of exampleDir. Every route of every file is asked for.
var examples = map[string]struct {
	listener string            // as the file has it
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
	// As it stands it has to be right, which the command itself says.
	if code, _, problems := runMain("", "check", "-c", file); code != exitFine || problems != "" {
		t.Fatalf("check: exit code %d, %s", code, problems)
	}
	if ok {
		driveL4Example(t, file, string(raw), l4)
		return
	}
	text, network, address := string(raw), "tcp", "127.0.0.1:0"
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
	replace(fmt.Sprintf("%q", ex.listener), fmt.Sprintf("%q", address))
	for at, name := range ex.origins {
		replace(fmt.Sprintf("%q", at), fmt.Sprintf("%q", exampleOrigin(t, name, at)))
	}
	text = strings.ReplaceAll(text, "/var/log/millrace/", dir+"/")
	p := startProxy(t, text)
	to := strings.TrimPrefix(p.addr(""), "unix:")
	for _, rq := range ex.requests {
		rq.drive(t, network, to)
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
func (rq *exampleRequest) drive(t *testing.T, network, to string) {
	t.Helper()
	host, path, _ := strings.Cut(strings.TrimPrefix(rq.url, "http://"), "/")
	conn, err := (&net.Dialer{}).DialContext(context.Background(), network, to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
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
	rest, err := io.ReadAll(c.r)
	if err != nil {
		t.Errorf("%s: %v", rq.url, err)
	}
	if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", rq.status)) || !strings.Contains(head+string(rest), rq.has) {
		t.Errorf("%s %s gives %q, want status %d with %q", rq.url, rq.header, head+string(rest), rq.status, rq.has)
	}
	if rq.from == "" {
		return
	}
	from, seen, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
	if !slices.Contains(strings.Fields(rq.from), from) || seen != rq.path {
		t.Errorf("%s %s was answered by %q, which saw %q; want %q, %q", rq.url, rq.header, from, seen, rq.from, rq.path)
	}
}
