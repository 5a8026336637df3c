package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// failureLog is an access log with the status, the flags, the details and the number of tries of each request.
type failureLog struct {
	t    *testing.T
	path string
}

func newFailureLog(t *testing.T) *failureLog {
	return &failureLog{t, filepath.Join(t.TempDir(), "access.log")}
}

// config goes into the connection manager's.
func (l *failureLog) config() string {
	return fmt.Sprintf(`"access_log": [{"path": %q, "flush_interval": "5ms",
	 "format": "%%RESPONSE_CODE%% %%RESPONSE_FLAGS%% %%RESPONSE_CODE_DETAILS%% %%UPSTREAM_REQUEST_ATTEMPT_COUNT%%"}]`, l.path)
}

func (l *failureLog) text() string {
	b, _ := os.ReadFile(l.path)
	return string(b)
}

// want waits until the log has just these lines.
func (l *failureLog) want(lines ...string) {
	l.t.Helper()
	want := strings.Join(lines, "\n") + "\n"
	if !eventually(func() bool { return len(l.text()) >= len(want) }) || l.text() != want {
		l.t.Errorf("the access log has %q, want %q", l.text(), want)
	}
}

// manyHosts is oneRoute with several hosts: JSON of a list.
func manyHosts(hosts, extra, route, cluster string) string {
	return strings.Replace(oneRoute("HOST", extra, route, cluster), `["HOST"]`, hosts, 1)
}

// closedPort returns an address that refuses connections: bound, so that nobody else gets it, but not listening.
func closedPort(t *testing.T) string {
	t.Helper()
	_, addr := boundSocket(t)
	return addr
}

// boundSocket returns a socket that does not listen yet, and its address.
func boundSocket(t *testing.T) (fd int, addr string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
}

// once is an origin that takes a request's head and answers with text, then ends the connection.
func once(answer string) func(c *rawConn) {
	return func(c *rawConn) {
		if c.head() != "" {
			c.send(answer)
		}
	}
}

// abortive makes the end of a connection a reset.
func (c *rawConn) abortive() { _ = c.Conn.(*net.TCPConn).SetLinger(0) }

const getRoot = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// resetPrefix is how the details of a failure before the response begin.
const resetPrefix = "upstream_reset_before_response_started"

func TestUpstreamFailures(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("X-Field: v\r\n", 101)
	for _, tt := range []struct {
		name   string
		hosts  func(t *testing.T) string // JSON list
		serve  func(c *rawConn)          // if hosts is nil
		route  string
		status string
		body   string // beginning
		log    string
		stats  map[string]int64
	}{
		{name: "refused", hosts: func(t *testing.T) string { return fmt.Sprintf(`[%q]`, closedPort(t)) }, status: "503 Service Unavailable",
			body: "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
			log:  "503 UF " + resetPrefix + "{remote_connection_failure} 1",
			stats: map[string]int64{"upstream_cx_connect_fail": 1, "upstream_rq_pending_failure_eject": 1, "upstream_rq_503": 1,
				"upstream_rq_5xx": 1, "upstream_rq_total": 0, "upstream_cx_active": 0, "upstream_rq_pending_active": 0}},
		{name: "no such unix socket", hosts: func(t *testing.T) string { return fmt.Sprintf(`["unix:%s/none"]`, t.TempDir()) },
			status: "503 ", log: "503 UF " + resetPrefix + "{remote_connection_failure} 1",
			stats: map[string]int64{"upstream_cx_connect_fail": 1}},
		{name: "no hosts", hosts: func(*testing.T) string { return "[]" }, status: "503 ", body: "no healthy upstream",
			log: "503 UH no_healthy_upstream 0", stats: map[string]int64{"upstream_cx_none_healthy": 1}},
		{name: "closes", serve: once(""), status: "503 ", body: "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
			log:   "503 UC " + resetPrefix + "{connection_termination} 1",
			stats: map[string]int64{"upstream_cx_destroy_remote_with_active_rq": 1, "upstream_rq_503": 1, "upstream_rq_retry": 0}},
		{name: "resets", serve: func(c *rawConn) { c.head(); c.abortive() }, status: "503 ", log: "503 UC " + resetPrefix + "{connection_termination} 1",
			stats: map[string]int64{"upstream_cx_destroy_remote_with_active_rq": 1}},
		{name: "ends inside the head", serve: once("HTTP/1.1 200 OK\r\nContent-Le"), status: "503 ",
			log: "503 UC " + resetPrefix + "{connection_termination} 1"},
		{name: "garbage", serve: once("SSH-2.0-OpenSSH_9.6\r\n\r\n"), status: "502 Bad Gateway",
			body:  "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
			log:   "502 UPE " + resetPrefix + "{protocol_error} 1",
			stats: map[string]int64{"upstream_cx_protocol_error": 1, "upstream_cx_protocol_error.http1.invalid_status_line": 1, "upstream_rq_502": 1}},
		{name: "bad status", serve: once("HTTP/1.1 20x OK\r\n\r\n"), status: "502 ", log: "502 UPE " + resetPrefix + "{protocol_error} 1"},
		{name: "two lengths", serve: once("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), status: "502 ",
			log: "502 UPE " + resetPrefix + "{protocol_error} 1"},
		{name: "length and chunked", serve: once("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), status: "502 ",
			log: "502 UPE " + resetPrefix + "{protocol_error} 1"},
		{name: "injected line", serve: once("HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"), status: "502 ",
			log: "502 UPE " + resetPrefix + "{protocol_error} 1"},
		{name: "101 unasked", serve: once("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw"), status: "502 ",
			log: "502 UPE " + resetPrefix + "{protocol_error} 1"},
		{name: "huge head", serve: once("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 61<<10) + "\r\nContent-Length: 0\r\n\r\n"), status: "502 ",
			log: "502 UPE " + resetPrefix + "{protocol_error} 1"},
		{name: "too many fields", serve: once("HTTP/1.1 200 OK\r\n" + many + "Content-Length: 0\r\n\r\n"), status: "502 ",
			log: "502 UPE " + resetPrefix + "{protocol_error} 1"},
		{name: "route timeout", serve: func(c *rawConn) { c.head(); c.rest() }, route: `"timeout": "100ms"`, status: "504 Gateway Timeout",
			body: "upstream request timeout", log: "504 UT upstream_response_timeout 1",
			stats: map[string]int64{"upstream_rq_timeout": 1, "upstream_rq_504": 1, "upstream_rq_tx_reset": 1, "upstream_cx_destroy_local_with_active_rq": 1}},
		{name: "per-try timeout", serve: func(c *rawConn) { c.head(); c.rest() }, route: `"retry_policy": {"retry_on": "5xx", "num_retries": 0, "per_try_timeout": "100ms"}`,
			status: "504 ", body: "upstream request timeout", stats: map[string]int64{"upstream_rq_per_try_timeout": 1, "upstream_rq_timeout": 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hosts := tt.hosts
			if hosts == nil {
				hosts = func(t *testing.T) string { return fmt.Sprintf(`[%q]`, rawOrigin(t, tt.serve)) }
			}
			log := newFailureLog(t)
			p := startProxy(t, manyHosts(hosts(t), log.config(), tt.route, ""))
			c := dial(t, p.addr(""))
			for range 2 { // the connection lives on
				c.send(getRoot)
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(resp.Status, tt.status) {
					t.Errorf("status %q, want %q", resp.Status, tt.status)
				}
				if body := bodyOf(t, resp); !strings.HasPrefix(body, tt.body) {
					t.Errorf("body %q, want %q", body, tt.body)
				}
			}
			if tt.log != "" {
				log.want(tt.log, tt.log)
			}
			for name, want := range tt.stats {
				if name == "upstream_cx_active" || name == "upstream_rq_pending_active" {
					want /= 2
				}
				p.wantStat("cluster.web."+name, 2*want)
			}
			p.wantStat("cluster.web.upstream_rq_active", 0)
			p.wantStat("http.e2e.downstream_cx_active", 1)
		})
	}
}

// TestConnectTimeout: a host whose backlog is full neither accepts nor refuses.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	fd, addr := boundSocket(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for full := false; !full; { // fill the backlog
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if full = err != nil; !full {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	log := newFailureLog(t)
	p := startProxy(t, oneRoute(addr, log.config(), "", `"connect_timeout": "150ms"`))
	if status, body := get(t, p.url("/")); status != 503 || !strings.HasSuffix(body, "connection timeout") {
		t.Errorf("got %d %q, want 503", status, body)
	}
	log.want("503 UF " + resetPrefix + "{connection_timeout} 1")
	p.wantStat("cluster.web.upstream_cx_connect_timeout", 1)
	p.wantStat("cluster.web.upstream_cx_connect_fail", 1)
}

// TestBrokenResponses: what an origin did not complete must not look complete to the client.
func TestBrokenResponses(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"short":          "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
		"no body at all": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
		"chunk cut":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
		"no last chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
		"bad chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\nzz\r\n",
		"trailers cut":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
	} {
		for _, version := range []string{"1.1", "1.0"} {
			t.Run(name+" "+version, func(t *testing.T) {
				t.Parallel()
				log := newFailureLog(t)
				p := startProxy(t, oneRoute(rawOrigin(t, once(answer)), log.config(), "", ""))
				c := dial(t, p.addr(""))
				c.send("GET / HTTP/" + version + "\r\nHost: a\r\n\r\n")
				resp, err := http.ReadResponse(c.r, nil)
				if err == nil { // the reset may overtake the head
					if _, err = io.ReadAll(resp.Body); err == nil {
						t.Errorf("the client took %q for complete", answer)
					}
				}
				if !eventually(func() bool { return strings.HasPrefix(log.text(), "200 U") }) {
					t.Errorf("log %q", log.text())
				}
				p.wantStat("http.e2e.downstream_rq_tx_reset", 1)
				p.wantStat("http.e2e.rq_reset_after_downstream_response_started", 1)
				p.wantStat("http.e2e.downstream_cx_active", 0)
			})
		}
	}
}

// TestLongResponse: bytes behind the end of a response reach nobody.
func TestLongResponse(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		n := conns.Add(1)
		for c.head() != "" {
			c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%dHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", n))
		}
	}), "", "", ""))
	c := dial(t, p.addr(""))
	for i := 1; i <= 5; i++ {
		c.send(getRoot)
		c.wantHead("200 OK", "Content-Length: 1\r\n")
		if got := c.bytes(1); got != strconv.Itoa(i) {
			t.Fatalf("answer %d is %q", i, got)
		}
	}
	p.wantStat("cluster.web.upstream_cx_protocol_error", 5)
	p.wantStat("cluster.web.upstream_cx_total", 5)
}

// TestUnaskedBytes: an origin that speaks on an idle connection loses it.
func TestUnaskedBytes(t *testing.T) {
	t.Parallel()
	speak, spoken := make(chan struct{}), make(chan struct{})
	var conns atomic.Int64
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		first := conns.Add(1) == 1
		for c.head() != "" {
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			if first {
				<-speak
				c.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				close(spoken)
			}
		}
	}), "", "", ""))
	for range 2 {
		if _, body := get(t, p.url("/")); body != "ok" {
			t.Errorf("body %q", body)
		}
		if conns.Load() == 1 {
			p.wantStat("cluster.web.upstream_rq_active", 0)
			close(speak)
			<-spoken
			p.wantStat("cluster.web.upstream_cx_active", 0)
		}
	}
	p.wantStat("cluster.web.upstream_cx_protocol_error", 1)
}

// TestOddResponses: unusual but right.
func TestOddResponses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, request, answer string
		want                  []string // in the head
		not                   string
		body                  string
		end                   bool // the connection ends after it
	}{
		{name: "until close", answer: "HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello", want: []string{"200 OK", "X: y\r\n", "ransfer-"}, body: "5\r\nhello\r\n0\r\n\r\n"},
		{name: "until close, empty", answer: "HTTP/1.1 200 OK\r\n\r\n", want: []string{"200 OK"}, body: "0\r\n\r\n"},
		{name: "HTTP/1.0 origin", answer: "HTTP/1.0 200 OK\r\n\r\nhello", want: []string{"HTTP/1.1 200 OK"}, body: "5\r\nhello\r\n0\r\n\r\n"},
		{name: "HTTP/1.0 origin with length", answer: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", want: []string{"HTTP/1.1 200 OK", "Content-Length: 5\r\n"}, not: "hunked", body: "hello"},
		{name: "HTTP/1.0 client", request: "GET / HTTP/1.0\r\nHost: a\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
			want: []string{"HTTP/1.1 200 OK", "onnection: close\r\n"}, not: "hunked", body: "hello", end: true},
		{name: "HTTP/1.0 client, keep-alive", request: "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
			want: []string{"200 OK", "onnection: keep-alive\r\n"}, body: "hello"},
		{name: "204", answer: "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", want: []string{"204 No Content", "X: y\r\n"}, not: "ontent-"},
		{name: "304", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: x\r\n\r\n", want: []string{"304 Not Modified", "Content-Length: 100\r\n", "ETag: x\r\n"}},
		{name: "HEAD", request: "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", want: []string{"200 OK", "Content-Length: 100\r\n"}},
		{name: "HEAD, chunked", request: "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", want: []string{"200 OK"}},
		{name: "trailers", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n",
			want: []string{"200 OK", "Trailer: X-Sum\r\n"}, body: "2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"},
		{name: "no reason", answer: "HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n", want: []string{"HTTP/1.1 299 "}},
		{name: "hop-by-hop", answer: "HTTP/1.1 200 OK\r\nConnection: x-a, close\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: a\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
			want: []string{"200 OK"}, not: "X-A"},
		{name: "head of 59 KiB", answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 59<<10) + "\r\nContent-Length: 0\r\n\r\n", want: []string{"200 OK", strings.Repeat("x", 59<<10)}},
		{name: "many 1xx", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", 3) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			want: []string{"103 Early Hints"}, body: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", 2) + "HTTP/1.1 200 OK\r\n"},
		{name: "no 1xx to 1.0", request: "GET / HTTP/1.0\r\nHost: a\r\n\r\n", answer: "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			want: []string{"200 OK"}, not: "Link", end: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(rawOrigin(t, once(tt.answer)), "", "", ""))
			c := dial(t, p.addr(""))
			request := tt.request
			if request == "" {
				request = getRoot
			}
			c.send(request)
			head := c.wantHead(tt.want...)
			if tt.not != "" && strings.Contains(head, tt.not) {
				t.Errorf("head %q has %q", head, tt.not)
			}
			if got := c.bytes(len(tt.body)); got != tt.body {
				t.Errorf("body %q, want %q", got, tt.body)
			}
			if tt.end {
				c.wantEnd()
			} else if tt.name != "many 1xx" {
				p.wantStat("http.e2e.downstream_rq_active", 0)
				p.wantStat("http.e2e.downstream_cx_active", 1)
			}
		})
	}
}

// TestRequestTrailers: trailers of a chunked request reach the origin.
func TestRequestTrailers(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body) + r.Trailer.Get("X-Sum")
	}), "", "", ""))
	c := dial(t, p.addr(""))
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 7\r\n\r\n")
	c.wantHead("200 OK")
	if s := <-got; s != "ab7" {
		t.Errorf("the origin got %q, want ab7", s)
	}
}

// failing is an origin that fails the first requests and then answers with what it was sent.
type failing struct {
	mu    sync.Mutex
	fails int
	seen  []string // method and body
	times []time.Time
}

func (f *failing) serve(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.seen = append(f.seen, r.Method+" "+string(body))
		f.times = append(f.times, time.Now())
		fail := len(f.seen) <= f.fails
		f.mu.Unlock()
		w.Header().Set("X-Attempt", r.Header.Get("X-Envoy-Attempt-Count"))
		if fail {
			w.WriteHeader(status)
		}
		_, _ = w.Write(body)
	}
}

func (f *failing) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

func TestRetryOnStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		policy string
		status int
		fails  int
		want   int // status
		tries  int
		log    string
	}{
		{"5xx", `"retry_on": "5xx", "num_retries": 2`, 500, 2, 200, 3, "200 - via_upstream 3"},
		{"5xx used up", `"retry_on": "5xx", "num_retries": 2`, 503, 9, 503, 3, "503 URX via_upstream 3"},
		{"default number", `"retry_on": "5xx"`, 500, 9, 500, 2, "500 URX via_upstream 2"},
		{"gateway-error", `"retry_on": "gateway-error"`, 502, 1, 200, 2, "200 - via_upstream 2"},
		{"gateway-error not 500", `"retry_on": "gateway-error"`, 500, 1, 500, 1, "500 - via_upstream 1"},
		{"status codes", `"retry_on": "retriable-status-codes", "retriable_status_codes": [404, 429]`, 429, 1, 200, 2, "200 - via_upstream 2"},
		{"other status code", `"retry_on": "retriable-status-codes", "retriable_status_codes": [404, 429]`, 418, 1, 418, 1, "418 - via_upstream 1"},
		{"retriable-4xx", `"retry_on": "retriable-4xx"`, 409, 1, 200, 2, "200 - via_upstream 2"},
		{"connect-failure is no status", `"retry_on": "connect-failure,reset"`, 503, 1, 503, 1, "503 - via_upstream 1"},
	} {
		for _, body := range []string{"", "kept body"} {
			t.Run(tt.name+" "+body, func(t *testing.T) {
				t.Parallel()
				f := &failing{fails: tt.fails}
				log := newFailureLog(t)
				p := startProxy(t, oneRoute(origin(t, f.serve(tt.status)), log.config(), `"retry_policy": {`+tt.policy+`, "retry_back_off": {"base_interval": "1ms", "max_interval": "5ms"}}`, ""))
				method := http.MethodGet
				if body != "" {
					method = http.MethodPost
				}
				req, _ := http.NewRequest(method, p.url("/"), io.MultiReader(strings.NewReader(body)))
				if body == "" {
					req.Body = nil
				}
				resp, err := noFollow.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if got := bodyOf(t, resp); resp.StatusCode != tt.want || got != body {
					t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, tt.want, body)
				}
				if n := f.count(); n != tt.tries {
					t.Errorf("%d tries, want %d", n, tt.tries)
				}
				for _, s := range f.seen {
					if s != method+" "+body {
						t.Errorf("the origin got %q", s)
					}
				}
				log.want(tt.log)
				p.wantStat("cluster.web.upstream_rq_retry", int64(tt.tries-1))
				if tt.tries > 1 {
					p.wantStat(fmt.Sprintf("cluster.web.retry.upstream_rq_%d", tt.status), int64(tt.tries-1))
					p.wantStat(fmt.Sprintf("cluster.web.upstream_rq_%d", tt.want), 1)
				}
				if tt.tries > 1 && tt.want == 200 {
					p.wantStat("cluster.web.upstream_rq_retry_success", 1)
				}
			})
		}
	}
}

// TestRetryOnReset covers the failures that are no responses.
func TestRetryOnReset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, policy string
		bad          func(c *rawConn, head string)
		log          string
	}{
		{"reset", `"retry_on": "reset"`, func(c *rawConn, _ string) { c.abortive() }, "200 - via_upstream 2"},
		{"5xx covers a close", `"retry_on": "5xx"`, func(*rawConn, string) {}, "200 - via_upstream 2"},
		{"5xx covers garbage", `"retry_on": "5xx"`, func(c *rawConn, _ string) { c.send("nonsense\r\n\r\n") }, "200 - via_upstream 2"},
		{"per-try timeout", `"retry_on": "5xx", "per_try_timeout": "100ms"`, func(c *rawConn, _ string) { c.rest() }, "200 - via_upstream 2"},
		{"half a head", `"retry_on": "reset"`, func(c *rawConn, _ string) { c.send("HTTP/1.1 200 OK\r\nX: ") }, "200 - via_upstream 2"},
		{"connect-failure is no reset", `"retry_on": "connect-failure"`, func(*rawConn, string) {}, "503 UC " + resetPrefix + "{connection_termination} 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			log := newFailureLog(t)
			p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
				head := c.head()
				if n.Add(1) == 1 {
					tt.bad(c, head)
					return
				}
				c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + c.bytes(2))
				c.rest()
			}), log.config(), `"retry_policy": {`+tt.policy+`}`, ""))
			c := dial(t, p.addr(""))
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
			if strings.HasPrefix(tt.log, "200") {
				c.wantHead("200 OK")
				if got := c.bytes(2); got != "hi" {
					t.Errorf("the second try brought %q", got)
				}
			} else {
				c.wantHead("503 ")
			}
			log.want(tt.log)
		})
	}
}

// TestRetryOnConnectFailure: one of two hosts refuses connections, and no client notices.
func TestRetryOnConnectFailure(t *testing.T) {
	t.Parallel()
	p := startProxy(t, manyHosts(fmt.Sprintf(`[%q, %q]`, closedPort(t), origin(t, echo)), "", `"retry_policy": {"retry_on": "connect-failure", "num_retries": 3}`, ""))
	for range 20 {
		if status, body := get(t, p.url("/")); status != 200 {
			t.Fatalf("got %d %q", status, body)
		}
	}
	if n := p.stat("cluster.web.upstream_rq_retry"); n < 5 {
		t.Errorf("upstream_rq_retry = %d, want some", n)
	}
}

// TestBodyTooLargeToKeep: a body beyond the buffer limit is streamed on, and not sent again.
func TestBodyTooLargeToKeep(t *testing.T) {
	t.Parallel()
	f := &failing{fails: 1}
	log := newFailureLog(t)
	p := startProxy(t, oneRoute(origin(t, f.serve(503)), log.config(), `"retry_policy": {"retry_on": "5xx"}`, ""))
	big := strings.Repeat("0123456789", 300<<10)
	resp, err := http.Post(p.url("/"), "", strings.NewReader(big))
	if err != nil {
		t.Fatal(err)
	}
	if body := bodyOf(t, resp); resp.StatusCode != 503 || body != big {
		t.Errorf("got %d and %d bytes, want 503 and %d", resp.StatusCode, len(body), len(big))
	}
	p.wantStat("cluster.web.retry_or_shadow_abandoned", 1)
	p.wantStat("cluster.web.upstream_rq_retry", 0)
	if f.count() != 1 {
		t.Errorf("%d tries, want 1", f.count())
	}
}

// TestBodyOverflowsDuringRetry: a retry waits for its turn while the body outgrows what can be kept. The origin must never get
// the rest of a body for the whole.
func TestBodyOverflowsDuringRetry(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	var got atomic.Int64
	log := newFailureLog(t)
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		if n.Add(1) == 1 {
			c.head()
			c.bytes(10)
			c.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
			c.rest()
			return
		}
		if c.head() != "" {
			got.Add(1)
		}
		c.rest()
	}), log.config(), `"retry_policy": {"retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "60s", "max_interval": "60s"}}, "timeout": "30s"`, ""))
	c := dial(t, p.addr(""))
	const size = 4 << 20
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n")
	p.wantStat("cluster.web.upstream_rq_retry", 1)
	go c.send(strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", 1024, strings.Repeat("x", 1024)), size/1024))
	c.wantHead("HTTP/1.1 507 Insufficient Storage\r\n", "onnection: close\r\n")
	log.want("507 - request_payload_exceeded_retry_buffer_limit 1")
	if got.Load() != 0 {
		t.Error("the origin got a second request without its beginning")
	}
}

// TestRetryWhileReadingIsPaused: the first try is given up while the client is held back, because the host did not take the
// body. The second must not wait for ever.
func TestRetryWhileReadingIsPaused(t *testing.T) {
	t.Parallel()
	const size = 24 << 20 // more than socket buffers take
	var n atomic.Int64
	give := make(chan struct{})
	config := oneRoute(rawOrigin(t, func(c *rawConn) {
		if n.Add(1) == 1 {
			<-give
			c.abortive()
			return
		}
		c.wantHead("POST ")
		got, _ := io.CopyN(io.Discard, c.r, size)
		c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08d", got))
		c.rest()
	}), "", `"retry_policy": {"retry_on": "reset"}`, `"per_connection_buffer_limit_bytes": "64KiB"`)
	p := startProxy(t, strings.Replace(config, `"filters"`, `"per_connection_buffer_limit_bytes": "32MiB", "filters"`, 1))
	c := dial(t, p.addr(""))
	go c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
	held := func() bool {
		return p.stat("http.e2e.downstream_flow_control_paused_reading_total") > p.stat("http.e2e.downstream_flow_control_resumed_reading_total")
	}
	if !eventually(func() bool { return p.stat("cluster.web.upstream_rq_active") == 1 && held() }) {
		t.Fatal("the client was never held back")
	}
	close(give)
	c.wantHead("200 OK")
	if got, want := c.bytes(8), fmt.Sprintf("%08d", size); got != want {
		t.Errorf("the origin got %s bytes, want %s", got, want)
	}
}

// TestRetryBudget: no more retries at a time than max_retries.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	hold := make(chan struct{})
	log := newFailureLog(t)
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 2 {
			<-hold // the first retry
			return
		}
		w.WriteHeader(503)
	}), log.config(), `"retry_policy": {"retry_on": "5xx"}`, `"circuit_breakers": {"max_retries": 1}`))
	first := make(chan int, 1)
	go func() {
		status, _ := get(t, p.url("/"))
		first <- status
	}()
	p.wantStat("cluster.web.upstream_rq_retry", 1)
	if !eventually(func() bool { return n.Load() == 2 }) {
		t.Fatal("no retry")
	}
	if status, _ := get(t, p.url("/")); status != 503 {
		t.Errorf("status %d, want 503", status)
	}
	log.want("503 UO via_upstream 1")
	p.wantStat("cluster.web.upstream_rq_retry_overflow", 1)
	close(hold)
	if status := <-first; status != 200 {
		t.Errorf("the retry brought %d", status)
	}
	if status, _ := get(t, p.url("/")); status != 503 {
		t.Errorf("status %d, want 503", status)
	}
	p.wantStat("cluster.web.upstream_rq_retry", 2) // the budget is free again
	p.wantStat("cluster.web.upstream_rq_retry_overflow", 1)
}

func TestAttemptCount(t *testing.T) {
	t.Parallel()
	f := &failing{fails: 1}
	config := fmt.Sprintf(`{"concurrency": 1,
 "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e",
   "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "include_request_attempt_count": true, "include_attempt_count_in_response": true,
     "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web", "retry_policy": {"retry_on": "5xx"}}}]}]}}}]}],
 "clusters": [{"name": "web", "hosts": [%q]}]}`, origin(t, f.serve(500)))
	p := startProxy(t, config)
	resp, err := http.Get(p.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	bodyOf(t, resp)
	if a, b := resp.Header.Get("X-Attempt"), resp.Header.Get("X-Envoy-Attempt-Count"); a != "2" || b != "2" {
		t.Errorf("attempt counts %q to the origin, %q to the client; want 2", a, b)
	}
}

// TestRetryHeaders: a request from inside may ask for retries itself.
func TestRetryHeaders(t *testing.T) {
	t.Parallel()
	f := &failing{fails: 2}
	p := startProxy(t, oneRoute(origin(t, f.serve(503)), `"use_remote_address": true`, "", ""))
	req, _ := http.NewRequest(http.MethodGet, p.url("/"), nil)
	req.Header.Set("X-Envoy-Retry-On", "5xx")
	req.Header.Set("X-Envoy-Max-Retries", "2")
	resp, err := noFollow.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if bodyOf(t, resp); resp.StatusCode != 200 || f.count() != 3 {
		t.Errorf("status %d after %d tries, want 200 after 3", resp.StatusCode, f.count())
	}
	f.fails = 9
	req.Header.Set("X-Forwarded-For", "203.0.113.9") // now from outside
	if resp, err = noFollow.Do(req); err != nil {
		t.Fatal(err)
	}
	if bodyOf(t, resp); resp.StatusCode != 503 || f.count() != 4 {
		t.Errorf("from outside: status %d after %d tries in all, want 503 after 4", resp.StatusCode, f.count())
	}
}

// TestStaleConnection: the origin ends a kept connection just when it is used again.
func TestStaleConnection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, request string
		how           func(c *rawConn)
		ok            bool
		log           string
	}{
		{"GET, closed", getRoot, func(*rawConn) {}, true, "200 - via_upstream 1"},
		{"GET, reset", getRoot, func(c *rawConn) { c.abortive() }, true, "200 - via_upstream 1"},
		{"PUT without a body, closed", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", func(*rawConn) {}, true, "200 - via_upstream 1"},
		{"POST, closed", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", func(*rawConn) {}, false, "503 UC " + resetPrefix + "{connection_termination} 1"},
		{"POST without a body, closed", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", func(*rawConn) {}, false, "503 UC " + resetPrefix + "{connection_termination} 1"},
		{"GET, part of an answer", getRoot, func(c *rawConn) { c.send("HTTP/1.1 2") }, false, "503 UC " + resetPrefix + "{connection_termination} 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			log := newFailureLog(t)
			p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
				first := n.Add(1) == 1
				for i := 0; c.head() != ""; i++ {
					if first && i == 1 {
						tt.how(c)
						return
					}
					c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}), log.config(), "", ""))
			c := dial(t, p.addr(""))
			c.send(getRoot)
			c.wantHead("200 OK")
			c.bytes(2)
			c.send(tt.request)
			if tt.ok {
				c.wantHead("200 OK")
			} else {
				c.wantHead("503 Service Unavailable")
			}
			log.want("200 - via_upstream 1", tt.log)
			p.wantStat("cluster.web.upstream_rq_retry", 0)
			stale := int64(0)
			if tt.ok {
				stale = 1
			}
			p.wantStat("cluster.web.upstream_rq_retry_stale", stale)
		})
	}
}

// TestStaleConnectionStorm: an origin that ends each connection after each answer without saying so. No GET may fail.
func TestStaleConnectionStorm(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		if c.head() != "" {
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}), "", "", ""))
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := net.Dial("tcp", p.addr(""))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			rc := newRawConn(t, c)
			for i := range 300 {
				rc.send(getRoot)
				if h := rc.head(); !strings.HasPrefix(h, "HTTP/1.1 200") || rc.bytes(2) != "ok" {
					t.Errorf("request %d: %q", i, h)
					return
				}
			}
		}()
	}
	wg.Wait()
	p.wantStat("http.e2e.downstream_rq_2xx", 8*300)
}

// TestCircuitBreakers: what is over a limit is refused at once, counted and marked.
func TestCircuitBreakers(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	slow := func(w http.ResponseWriter, _ *http.Request) { <-hold }
	for _, tt := range []struct {
		name, limits string
		before       int // requests that wait
		stats        map[string]int64
	}{
		{"pending", `"max_connections": 1, "max_pending_requests": 2`, 3, map[string]int64{
			"upstream_rq_active": 1, "upstream_rq_pending_active": 2, "upstream_cx_active": 1}},
		{"requests", `"max_requests": 2`, 2, map[string]int64{"upstream_rq_active": 2}},
		{"no pending", `"max_connections": 1, "max_pending_requests": 1`, 2, map[string]int64{"upstream_rq_active": 1, "upstream_rq_pending_active": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := newFailureLog(t)
			p := startProxy(t, oneRoute(origin(t, slow), log.config(), "", `"circuit_breakers": {`+tt.limits+`}`))
			for i := range tt.before {
				c := dial(t, p.addr(""))
				c.send(getRoot)
				if i == 0 { // while it connects it is pending, too
					p.wantStat("cluster.web.upstream_rq_active", 1)
				}
			}
			for name, want := range tt.stats {
				p.wantStat("cluster.web."+name, want)
			}
			c := dial(t, p.addr(""))
			c.send(getRoot)
			c.wantHead("503 Service Unavailable", "x-envoy-overloaded: true\r\n")
			log.want("503 UO " + resetPrefix + "{overflow} 1")
			p.wantStat("cluster.web.upstream_rq_pending_overflow", 1)
			p.wantStat("cluster.web.upstream_rq_503", 1)
		})
	}
	t.Cleanup(func() { close(hold) })
}

// TestMaxConnectionsQueues: requests over max_connections wait and are all served.
func TestMaxConnectionsQueues(t *testing.T) {
	t.Parallel()
	var open, most atomic.Int64
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, _ *http.Request) {
		n := open.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		_, _ = io.WriteString(w, "x")
		open.Add(-1)
	}), "", "", `"circuit_breakers": {"max_connections": 2}`))
	var wg sync.WaitGroup
	for range 40 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 10 {
				if status, _ := get(t, p.url("/")); status != 200 {
					t.Errorf("status %d", status)
				}
			}
		}()
	}
	wg.Wait()
	if most.Load() > 2 || p.stat("cluster.web.upstream_cx_total") > 2 {
		t.Errorf("%d requests at a time over %d connections, want at most 2", most.Load(), p.stat("cluster.web.upstream_cx_total"))
	}
	if p.stat("cluster.web.upstream_cx_overflow") == 0 {
		t.Error("upstream_cx_overflow = 0")
	}
}

// TestEarlyResponse: the origin answers before it has the whole request.
func TestEarlyResponse(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		n.Add(1)
		c.head()
		c.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		c.rest()
	}), "", "", ""))
	c := dial(t, p.addr(""))
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc")
	c.wantHead("413 ")
	if got := c.bytes(3); got != "big" {
		t.Errorf("body %q", got)
	}
	c.wantEnd()
	p.wantStat("http.e2e.downstream_rq_response_before_rq_complete", 1)
	p.wantStat("cluster.web.upstream_cx_active", 0) // it cannot be used again
}

// TestEarlyResponseKeepsConnection: a client whose request ends shortly after its answer, which did not say "close", finds
// its connection open: to close it would break the next request.
func TestEarlyResponseKeepsConnection(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		for strings.HasPrefix(c.head(), "GET") {
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nget")
		}
		c.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		c.rest()
	}), "", "", ""))
	const chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
	for _, tt := range []struct {
		name, begin, rest string
		ends              bool
	}{
		{"chunks", chunked, "3\r\nabc\r\n0\r\n\r\n", false},
		{"trailers", chunked, "0\r\na: b\r\n\r\n", false},
		{"length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", "abc", false},
		{"too many chunks", chunked, strings.Repeat("4000\r\n"+strings.Repeat("x", 0x4000)+"\r\n", 80), true},
		{"broken chunks", chunked, "x\r\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, p.addr(""))
			c.send(tt.begin)
			c.wantHead("413 ")
			if got := c.bytes(3); got != "big" {
				t.Errorf("body %q", got)
			}
			if tt.ends {
				_, _ = io.WriteString(c.Conn, tt.rest) // the end may come before all of it is sent
				if b, err := io.ReadAll(c.r); len(b) > 0 {
					t.Errorf("%q follows the answer, %v", b, err)
				}
				return
			}
			c.send(tt.rest + "GET / HTTP/1.1\r\nHost: a\r\n\r\n") // the next one may be in the same packet
			c.wantHead("200 OK")
			if got := c.bytes(3); got != "get" {
				t.Errorf("body %q", got)
			}
		})
	}
}

// TestSlowClient: a client that does not read a large body costs a watermark, not the body.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		b := make([]byte, 64<<10)
		for range size / len(b) {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}), "", `"timeout": "0s"`, ""))
	get(t, p.url("/warm")) // the first of everything
	before := p.rss()
	c := dial(t, p.addr(""))
	c.send(getRoot)
	c.wantHead("200 OK")
	var last int64 // until nothing moves any more
	if !eventually(func() bool {
		n := p.stat("cluster.web.upstream_cx_rx_bytes_total") + p.stat("http.e2e.downstream_cx_tx_bytes_total")
		still := n == last && p.stat("cluster.web.upstream_rq_active") == 1
		last = n
		return still
	}) {
		t.Fatal("the body never stopped moving")
	}
	if grown := p.rss() - before; grown > 8<<20 && !raceEnabled {
		t.Errorf("a client that does not read costs %d KiB", grown>>10)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(c.r, size)); n != size {
		t.Errorf("the client got %d bytes, %v", n, err)
	}
	p.wantStat("cluster.web.upstream_rq_active", 0)
}

// TestSlowOrigin: an origin that does not read a large request costs a watermark, too.
func TestSlowOrigin(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	begin := make(chan struct{})
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		<-begin
		c.wantHead("POST ")
		n, _ := io.CopyN(io.Discard, c.r, size)
		c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08d", n))
		c.rest()
	}), "", `"timeout": "0s"`, ""))
	before := p.rss()
	c := dial(t, p.addr(""))
	var sent atomic.Int64
	go func() {
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
		b := make([]byte, 64<<10)
		for range size / len(b) {
			n, err := c.Write(b)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	last := int64(-1)
	eventually(func() bool {
		n := sent.Load()
		still := n == last && n > 0 && p.stat("cluster.web.upstream_rq_active") == 1
		last = n
		return still
	})
	if grown := p.rss() - before; grown > 8<<20 && !raceEnabled {
		t.Errorf("an origin that does not read costs %d KiB", grown>>10)
	}
	close(begin)
	c.wantHead("200 OK")
	if got, want := c.bytes(8), fmt.Sprintf("%08d", size); got != want {
		t.Errorf("the origin got %s bytes, want %s", got, want)
	}
}

// TestSlowLastBytes: a connection that ends with its response waits for a client that reads slowly, also longer than
// delayed_close_timeout.
func TestSlowLastBytes(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		b := make([]byte, 64<<10)
		for range size / len(b) {
			_, _ = w.Write(b)
		}
	}), `"delayed_close_timeout": "200ms"`, "", ""))
	c := dial(t, p.addr(""))
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	c.wantHead("200 OK")
	got := 0
	for buf := make([]byte, 256<<10); got < size; {
		n, err := c.r.Read(buf[:min(len(buf), size-got)])
		if got += n; err != nil {
			t.Fatalf("after %d of %d bytes: %v", got, size, err)
		}
		pause(5 * time.Millisecond)
	}
	c.wantEnd()
}

// pause is for clients that are slow on purpose.
func pause(d time.Duration) { <-time.After(d) }

func TestUnixSocketUpstream(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "mr") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(echo)}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	p := startProxy(t, oneRoute("unix:"+path, "", "", ""))
	for range 3 {
		if status, body := get(t, p.url("/x")); status != 200 || !strings.HasPrefix(body, "GET /x "+p.addr("")) {
			t.Errorf("got %d %q", status, body)
		}
	}
	p.wantStat("cluster.web.upstream_cx_total", 1)
}

// TestBalancing: weights are kept exactly by round robin, and a busy host is avoided by least request.
func TestBalancing(t *testing.T) {
	t.Parallel()
	var n [3]atomic.Int64
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	host := func(i int) string {
		return origin(t, func(w http.ResponseWriter, r *http.Request) {
			n[i].Add(1)
			if r.URL.Path == "/hold" {
				<-hold
			}
			fmt.Fprint(w, i)
		})
	}
	a, b, c := host(0), host(1), host(2)
	p := startProxy(t, manyHosts(fmt.Sprintf(`[{"address": %q, "weight": 1}, {"address": %q, "weight": 2}, {"address": %q, "weight": 3}]`, a, b, c), "", "", ""))
	for range 60 {
		get(t, p.url("/"))
	}
	if n[0].Load() != 10 || n[1].Load() != 20 || n[2].Load() != 30 {
		t.Errorf("60 requests went %d, %d, %d; want 10, 20, 30", n[0].Load(), n[1].Load(), n[2].Load())
	}
	p = startProxy(t, manyHosts(fmt.Sprintf(`[%q, %q, %q]`, a, b, c), "", "", `"lb_policy": "least_request", "least_request_lb_config": {"choice_count": 20}`))
	busy := dial(t, p.addr(""))
	busy.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
	p.wantStat("cluster.web.upstream_rq_active", 1)
	eventually(func() bool { return n[0].Load()+n[1].Load()+n[2].Load() == 61 })
	before := [3]int64{n[0].Load(), n[1].Load(), n[2].Load()}
	for range 30 {
		get(t, p.url("/"))
	}
	idle := 0
	for i := range n {
		if n[i].Load() > before[i] {
			idle++
		}
	}
	if idle != 2 {
		t.Errorf("%d hosts got requests beside one that is busy, want 2", idle)
	}
}

// TestClientGone: a request whose client has left is given up upstream as well.
func TestClientGone(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 1)
	log := newFailureLog(t)
	p := startProxy(t, oneRoute(origin(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		gone <- struct{}{}
	}), log.config(), "", ""))
	c := dial(t, p.addr(""))
	c.send(getRoot)
	p.wantStat("cluster.web.upstream_rq_active", 1)
	c.abortive()
	_ = c.Close()
	select {
	case <-gone:
	case <-time.After(waitMax):
		t.Error("the origin was not told")
	}
	log.want("0 DC downstream_remote_disconnect 1")
	p.wantStat("cluster.web.upstream_rq_tx_reset", 1)
	p.wantStat("cluster.web.upstream_rq_active", 0)
	p.wantStat("http.e2e.downstream_cx_destroy_remote_active_rq", 1)
	p.wantStat("http.e2e.downstream_rq_rx_reset", 1)
}
