package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// curl runs curl and returns what it prints.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, lookPeer(t, "curl"), append([]string{"-sS"}, args...)...)
	cmd.Env = []string{"HOME=" + t.TempDir()} // no curlrc, no proxies
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("curl %q: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

// TestCurl: a client and an origin that everybody has, and the proxy between them.
func TestCurl(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // nginx's workers may be somebody else
		t.Fatal(err)
	}
	body := make([]byte, 3<<20)
	for i := range body {
		body[i] = byte(rand.Uint32())
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, body, 0o644); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Skipf("nginx could not read %s: %v", d, err)
		}
	}
	addr := startNginx(t, fmt.Sprintf(`client_max_body_size 8m;
		location / { root %s; }
		location /sum { client_body_buffer_size 8m; return 200 "$request_method $content_length $http_transfer_encoding $http_x_forwarded_proto $http_via"; }
		location /hint { add_header Link "</a>; rel=preload"; return 204; }`, dir))
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"stat_prefix": "e2e", "use_remote_address": true, "via": "edge",
		"route_config": {"routes": [
			{"match": {"path": "/moved"}, "redirect": {"path_redirect": "/sum"}},
			{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}}}]}],
		"clusters": [{"name": "web", "hosts": [%q]}]}`, addr))
	url := p.url("")
	if got := curl(t, url+"/file"); got != string(body) {
		t.Errorf("GET of a file of %d bytes brought %d", len(body), len(got))
	}
	if got := curl(t, "-r", "100-199", url+"/file"); got != string(body[100:200]) {
		t.Errorf("a range brought %d bytes", len(got))
	}
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"HEAD", []string{"-I", url + "/file"}, []string{"HTTP/1.1 200 OK", "content-length: 3145728", "server: millrace", "via: 1.1 edge"}},
		{"HTTP/1.0", []string{"--http1.0", "-i", url + "/sum"}, []string{"HTTP/1.1 200 OK", "connection: close", "\r\n\r\nGET   http 1.0 edge"}},
		{"POST with 100-continue", []string{"-H", "Expect: 100-continue", "--data-binary", "@" + file, url + "/sum"}, []string{"POST 3145728  http 1.1 edge"}},
		{"chunked POST", []string{"-H", "Transfer-Encoding: chunked", "--data-binary", "@" + file, url + "/sum"}, []string{" chunked http 1.1 edge"}},
		{"a redirect, followed", []string{"-L", url + "/moved"}, []string{"GET   http 1.1 edge"}},
		{"204", []string{"-i", url + "/hint"}, []string{"HTTP/1.1 204 No Content", "link: </a>; rel=preload"}},
		{"404", []string{"-o", "/dev/null", "-w", "%{http_code}", url + "/none"}, []string{"404"}},
		{"a head that is too large", []string{"-o", "/dev/null", "-w", "%{http_code}", "-H", "X: " + strings.Repeat("x", 64<<10), url + "/sum"}, []string{"431"}},
		{"one connection for two requests", []string{"-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} ", url + "/sum", url + "/hint"}, []string{"1 0 "}},
	} {
		got := strings.ToLower(curl(t, tt.args...))
		for _, want := range tt.want {
			if !strings.Contains(got, strings.ToLower(want)) {
				t.Errorf("%s: %q, want %q", tt.name, got, want)
			}
		}
	}
	p.wantStat("http.e2e.downstream_cx_active", 0)
	p.wantStat("http.e2e.downstream_rq_active", 0)
	for _, name := range []string{"completed", "2xx", "3xx", "4xx"} {
		p.wantStat("listener.127.0.0.1_0.http.e2e.downstream_rq_"+name, p.stat("http.e2e.downstream_rq_"+name))
	}
	p.wantStat("listener.127.0.0.1_0.http.e2e.downstream_rq_3xx", 1)
}

// TestWrk: load from a tool that is not ours, through the proxy to nginx, and no request fails.
func TestWrk(t *testing.T) {
	t.Parallel()
	lookPeer(t, "wrk")
	p := startProxy(t, oneRoute(startNginx(t, `location / { return 200 "0123456789"; }`), "", "", ""))
	startWrk(t, p.url("/"), 2)()
	p.wantStat("http.e2e.downstream_cx_active", 0)
	if n, m := p.stat("http.e2e.downstream_rq_2xx"), p.stat("cluster.web.upstream_rq_2xx"); n < 1000 || n > m || n+8 < m { // wrk leaves in the middle
		t.Errorf("%d requests answered, %d by nginx", n, m)
	}
	p.wantStat("http.e2e.downstream_rq_5xx", 0)
	p.wantStat("cluster.web.upstream_rq_active", 0)
}

// TestConnect: CONNECT becomes a tunnel with the origin's 2xx, and with nothing else.
func TestConnect(t *testing.T) {
	t.Parallel()
	allow := make(chan bool, 2)
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"stat_prefix": "e2e", "route_config": {"routes": [
			{"match": {"connect_matcher": {}}, "route": {"cluster": "web", "upgrades": ["connect"]}},
			{"match": {"prefix": "/"}, "direct_response": {"status": 404}}]}}}]}],
		"clusters": [{"name": "web", "hosts": [%q]}]}`, rawOrigin(t, func(c *rawConn) {
		c.wantHead("CONNECT db.internal:5432 HTTP/1.1\r\n", "ost: db.internal:5432\r\n")
		if !<-allow {
			c.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			c.rest()
			return
		}
		c.send("HTTP/1.1 200 OK\r\n\r\nready")
		if got := c.bytes(5); got != "query" {
			t.Errorf("the origin got %q through the tunnel", got)
		}
		c.send("answer")
		c.rest()
	})))
	const connect = "CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n"
	c := dial(t, p.addr(""))
	c.send(connect)
	allow <- true
	if head := c.wantHead("HTTP/1.1 200 OK\r\n"); strings.Contains(strings.ToLower(head), "content-length") {
		t.Errorf("head %q of a tunnel has a length", head)
	}
	if got := c.bytes(5); got != "ready" {
		t.Errorf("got %q", got)
	}
	p.wantStat("http.e2e.downstream_cx_upgrades_active", 1)
	c.send("query")
	if got := c.bytes(6); got != "answer" {
		t.Errorf("got %q", got)
	}
	_ = c.Close()
	p.wantStat("http.e2e.downstream_cx_upgrades_active", 0)

	c = dial(t, p.addr(""))
	c.send(connect)
	allow <- false
	c.wantHead("HTTP/1.1 403 Forbidden\r\n", "Content-Length: 2\r\n")
	if got := c.bytes(2); got != "no" {
		t.Errorf("got %q with the refusal", got)
	}
	_ = c.Close()
	p.wantStat("http.e2e.downstream_cx_upgrades_total", 1)
	p.wantStat("http.e2e.downstream_cx_active", 0)
}

// TestServerField: what becomes of the origin's server field, in each mode, and in local replies.
func TestServerField(t *testing.T) {
	t.Parallel()
	host := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/named" {
			w.Header().Set("Server", "origin/1")
		}
	})
	for _, tt := range []struct{ config, named, unnamed, local string }{
		{"", "millrace", "millrace", "millrace"},
		{`"server_name": "edge"`, "edge", "edge", "edge"},
		{`"server_header_transformation": "append_if_absent"`, "origin/1", "millrace", "millrace"},
		{`"server_header_transformation": "pass_through"`, "origin/1", "", ""},
	} {
		p := startProxy(t, oneRoute(host, tt.config, "", ""))
		for _, q := range []struct{ path, want string }{{"/named", tt.named}, {"/", tt.unnamed}} {
			resp, err := http.Get(p.url(q.path))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			var want []string
			if q.want != "" {
				want = []string{q.want}
			}
			if got := resp.Header.Values("Server"); !slices.Equal(got, want) {
				t.Errorf("%s: %s: server %q, want %q", tt.config, q.path, got, want)
			}
		}
		c := dial(t, p.addr(""))
		c.send("GET / HTTP/1.1\r\n\r\n")
		head := c.wantHead("400 Bad Request")
		if got := strings.Contains(head, "server: "+tt.local+"\r\n"); got != (tt.local != "") || tt.local == "" && strings.Contains(head, "server:") {
			t.Errorf("%s: head %q of a local reply, want server %q", tt.config, head, tt.local)
		}
		_ = c.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}
