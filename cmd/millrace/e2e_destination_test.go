package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// destinationCluster is a cluster of type "original_dst" that lets go of hosts quickly. extra goes into it.
func destinationCluster(extra string) string {
	return fmt.Sprintf(`{"name": "dst", "type": "original_dst", "lb_policy": "cluster_provided", "cleanup_interval": "50ms"%s}`, leadingComma(extra))
}

// byDestination is a configuration that forwards requests to where a field of theirs says. extra goes into original_dst_lb_config.
func byDestination(extra string) string {
	return fmt.Sprintf(`{"concurrency": 2, "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
 "stat_prefix": "e2e", "use_remote_address": true, "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "dst"}}]}}}]}], "clusters": [%s]}`,
		destinationCluster(fmt.Sprintf(`"original_dst_lb_config": {"use_http_header": true%s}`, leadingComma(extra))))
}

// askFor asks the only listener for a destination, with more fields.
func (p *proxy) askFor(client *http.Client, to string, fields ...string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequest("GET", p.url("/"), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if to != "" {
		req.Header.Set("x-envoy-original-dst-host", to)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, bodyOf(p.t, resp)
}

// Requests go where their field says, if they come from inside; the hosts go when nobody uses them any more, and with them
// their connections.
func TestDestinationByHeader(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	names := map[string]string{}
	for _, name := range []string{"one", "two"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }),
			ConnState: func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateNew:
					open.Add(1)
				case http.StateClosed:
					open.Add(-1)
				}
			},
		}
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { _ = srv.Close() })
		names[name] = ln.Addr().String()
	}
	p := startProxy(t, byDestination(""))
	client := &http.Client{}
	for range 3 {
		for name, at := range names {
			if status, body := p.askFor(client, at); status != 200 || body != name {
				t.Errorf("a request for %s got %d %q, want %q", at, status, body, name)
			}
		}
	}
	for _, tt := range []struct {
		name, to string
		fields   []string
	}{
		{name: "no field, and no destination of the connection"},
		{name: "from outside", to: names["one"], fields: []string{"x-forwarded-for", "203.0.113.7"}},
		{name: "no address", to: "localhost:80"},
	} {
		if status, body := p.askFor(client, tt.to, tt.fields...); status != 503 || body != "no healthy upstream" {
			t.Errorf("%s: %d %q", tt.name, status, body)
		}
	}
	p.wantStat("cluster.dst.original_dst_host_invalid", 1)
	p.wantStat("cluster.dst.upstream_cx_none_healthy", 3)
	p.wantStat("cluster.dst.membership_total", 0)
	if !eventually(func() bool { return open.Load() == 0 }) {
		t.Errorf("%d connections are open to hosts that are gone", open.Load())
	}
	if status, body := p.askFor(client, names["two"]); status != 200 || body != "two" {
		t.Errorf("a host that was gone: %d %q", status, body)
	}
}

// Ten thousand destinations in a row: there are never more than max_hosts, the others are told so, and all go again.
func TestDestinationsBounded(t *testing.T) {
	t.Parallel()
	const most = 500
	p := startProxy(t, strings.Replace(byDestination(fmt.Sprintf(`"max_hosts": %d`, most)), `"50ms"`, `"500ms"`, 1))
	before := p.rss()
	var clients sync.WaitGroup
	var refused, failed, other atomic.Int64
	for k := range 8 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := k; i < 10_000; i += 8 {
				// Nobody listens there.
				switch status, body := p.askFor(client, fmt.Sprintf("127.9.%d.%d:1", i>>8, i&255)); {
				case status == 503 && body == "too many original destinations":
					refused.Add(1)
				case status == 503:
					failed.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	largest := int64(0)
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for ended := false; !ended; {
		largest = max(largest, p.stat("cluster.dst.membership_total"))
		select {
		case <-done:
			ended = true
		default:
		}
	}
	if largest > most || failed.Load() < most || refused.Load() == 0 || other.Load() > 0 {
		t.Errorf("%d hosts at most, %d requests failed there, %d were refused, %d got something else", largest, failed.Load(), refused.Load(), other.Load())
	}
	p.wantStat("cluster.dst.original_dst_host_overflow", refused.Load())
	p.wantStat("cluster.dst.membership_total", 0)
	if grown := p.rss() - before; grown > 64<<20 {
		t.Errorf("the process has grown by %d bytes", grown)
	}
}

// A proxy in front tells by a PROXY header where its client wanted to go: TCP and HTTP go there.
func TestDestinationByProxyHeader(t *testing.T) {
	t.Parallel()
	web := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "web") })
	raw := nameServer(t, "raw")
	listener := func(name, filter, config string) string {
		return fmt.Sprintf(`{"name": %q, "address": "127.0.0.1:0", "listener_filters": [{"name": "proxy_protocol"}], "filters": [{"name": %q, "config": {"stat_prefix": "t", %s}}]}`,
			name, filter, config)
	}
	log := filepath.Join(t.TempDir(), "access.log")
	p := startProxy(t, fmt.Sprintf(`{"listeners": [%s, %s], "clusters": [%s]}`,
		listener("http", "http_connection_manager", `"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "dst"}}]}`),
		listener("tcp", "tcp_proxy", fmt.Sprintf(`"cluster": "dst", "access_log": [{"path": %q, "format": "%%RESPONSE_FLAGS%% %%UPSTREAM_HOST%%", "flush_interval": "10ms"}]`, log)),
		destinationCluster("")))
	ask := func(listener, to, text string) string {
		t.Helper()
		c, err := net.DialTimeout("tcp", p.addr(listener), waitMax)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		host, port, _ := net.SplitHostPort(to)
		fmt.Fprintf(c, "PROXY TCP4 203.0.113.7 %s 4711 %s\r\n%s", host, port, text)
		if text == "" {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		b, _ := io.ReadAll(c)
		return string(b)
	}
	const get = "GET / HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n"
	if got := ask("http", web, get); !strings.HasSuffix(got, "\r\n\r\nweb") {
		t.Errorf("HTTP: %q", got)
	}
	if got := ask("tcp", raw, ""); !strings.HasPrefix(got, "raw") {
		t.Errorf("TCP: %q", got)
	}
	// Not redirected: the destination is the listener itself.
	if got := ask("http", p.addr("http"), get); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("HTTP without a destination: %q", got)
	}
	if got := ask("tcp", p.addr("tcp"), ""); got != "" {
		t.Errorf("TCP without a destination: %q", got)
	}
	want := []string{fmt.Sprintf("- %s\n", raw), "UH -\n"}
	logged := func() []string { // each loop writes its own, so in any order
		b, _ := os.ReadFile(log)
		return slices.Sorted(strings.Lines(string(b)))
	}
	if !eventually(func() bool { return slices.Equal(logged(), want) }) {
		t.Errorf("the access log has %q, want %q", logged(), want)
	}
	p.wantStat("cluster.dst.membership_total", 0)
}

// A connection that lasts keeps its host: it is not swept under it.
func TestDestinationKept(t *testing.T) {
	t.Parallel()
	at := echoServer(t)
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "listener_filters": [{"name": "proxy_protocol"}],
 "filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "t", "cluster": "dst"}}]}], "clusters": [%s]}`, destinationCluster("")))
	c, err := net.DialTimeout("tcp", p.addr(""), waitMax)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	host, port, _ := net.SplitHostPort(at)
	fmt.Fprintf(c, "PROXY TCP4 203.0.113.7 %s 4711 %s\r\n", host, port)
	echoes := func() {
		t.Helper()
		fmt.Fprint(c, "hello")
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
			t.Fatalf("got %q, %v", b, err)
		}
	}
	echoes()
	p.wantStat("cluster.dst.membership_total", 1)
	before := p.stat("cluster.dst.membership_change")
	second, err := net.DialTimeout("tcp", p.addr(""), waitMax) // to another host, which comes and goes
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(second, "PROXY TCP4 203.0.113.7 127.0.0.1 4711 1\r\n")
	_, _ = io.ReadAll(second)
	second.Close()
	p.wantStat("cluster.dst.membership_change", before+2)
	if n := p.stat("cluster.dst.membership_total"); n != 1 {
		t.Errorf("%d hosts, want the one in use", n)
	}
	echoes()
}
