package load

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

func TestParseWrk(t *testing.T) {
	t.Parallel()
	const head = "Running 3s test @ http://127.0.0.1:9101/128\n  1 threads and 64 connections\n"
	for _, tt := range []struct {
		name, in string
		want     Result
		ok       bool
	}{
		{"clean", head + "  198644 requests in 3.00s, 68.20MB read\nRequests/sec:  66165.90\n", Result{198644, 0, 3 * time.Second}, true},
		{
			"errors", head + "  100 requests in 1.50m, 68.20MB read\n  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n",
			Result{95, 15, 90 * time.Second}, true,
		},
		{"unable to connect", "unable to connect to 127.0.0.1:1 Connection refused\n", Result{}, false},
		{"empty", "", Result{}, false},
	} {
		got, err := ParseWrk(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: ParseWrk = %+v, %v; want %+v, ok %v", tt.name, got, err, tt.want, tt.ok)
		}
	}
}

func TestParseH2load(t *testing.T) {
	t.Parallel()
	in := "finished in 2.01s, 33400.50 req/s, 5.10MB/s\n" +
		"requests: 67000 total, 67016 started, 67000 done, 66990 succeeded, 10 failed, 2 errored, 1 timeout\n"
	want := Result{66990, 13, 2010 * time.Millisecond}
	if got, err := ParseH2load(in); got != want || err != nil {
		t.Errorf("ParseH2load = %+v, %v; want %+v", got, err, want)
	}
	if _, err := ParseH2load("finished in 2.01s, x"); err == nil {
		t.Error("ParseH2load without a line of requests: no error")
	}
}

func TestParseBytes(t *testing.T) {
	t.Parallel()
	want := Result{33801, 2, 1500 * time.Millisecond}
	if got, err := ParseBytes("{\"requests\":33801,\"errors\":2,\"seconds\":1.500000}"); got != want || err != nil {
		t.Errorf("ParseBytes = %+v, %v; want %+v", got, err, want)
	}
	if _, err := ParseBytes("bytes: connect: Connection refused"); err == nil {
		t.Error("ParseBytes of an error: no error")
	}
}

func TestBytesArgs(t *testing.T) {
	t.Parallel()
	b := Bytes{Program: "bytes", Port: 7, Connections: 64, Answer: 10 << 30, Duration: 1500 * time.Millisecond}
	for role, want := range map[string]string{
		BytesKept: "bytes load 7 64 10737418240 1.500", BytesChurn: "bytes churn 7 64 10737418240 1.500", BytesUDP: "bytes udp 7 64 10737418240 1.500",
		BytesBulk: "bytes bulk 7 10737418240", BytesIdle: "bytes idle 7 64",
	} {
		b.Role = role
		if got := strings.Join(b.Args(), " "); got != want {
			t.Errorf("%s: Args = %q, want %q", role, got, want)
		}
	}
}

func TestToolArgs(t *testing.T) {
	t.Parallel()
	s := Shape{URL: "http://127.0.0.1:1/128", Connections: 64, Streams: 32, Headers: []string{"Connection: close"}, Duration: 1500 * time.Millisecond}
	want := "wrk -t1 -c64 -d2s -H Connection: close http://127.0.0.1:1/128"
	if got := strings.Join(WrkArgs(s), " "); got != want {
		t.Errorf("WrkArgs = %q, want %q", got, want)
	}
	want = "h2load -t1 -c64 -m32 -D2 -H Connection: close http://127.0.0.1:1/128"
	if got := strings.Join(H2loadArgs(s), " "); got != want {
		t.Errorf("H2loadArgs = %q, want %q", got, want)
	}
}

func TestResponseFeed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		done bool
		err  error
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true, nil},
		{"HTTP/1.1 200 OK\r\nCONTENT-LENGTH:0\r\n\r\n", true, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", false, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", false, errExcess},
		{"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", false, errStatus},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, errHead},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", false, errHead},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1234567890123456\r\n\r\n", false, errHead},
		{"ICY 200 OK\r\n\r\n", false, errHead},
		{strings.Repeat("x", headBytesMax+1), false, errHead},
	} {
		var r response
		if done, err := r.feed([]byte(tt.in)); done != tt.done || !errors.Is(err, tt.err) {
			t.Errorf("feed(%.60q) = %v, %v; want %v, %v", tt.in, done, err, tt.done, tt.err)
		}
	}
}

// TestResponseFeedCut: the outcome must not depend on where the reads were cut.
func TestResponseFeedCut(t *testing.T) {
	t.Parallel()
	in := []byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
	for cut := 1; cut < len(in); cut++ {
		var r response
		if done, err := r.feed(in[:cut]); done || err != nil {
			t.Fatalf("feed of the first %d bytes = %v, %v; want false, nil", cut, done, err)
		}
		if !r.started() {
			t.Errorf("started after %d bytes = false", cut)
		}
		if done, err := r.feed(in[cut:]); !done || err != nil || !r.mustClose {
			t.Errorf("feed cut at %d = %v, %v, close %v; want true, nil, true", cut, done, err, r.mustClose)
		}
	}
}

// startServer answers with the given handler and returns its port.
func startServer(t *testing.T, h http.HandlerFunc) int {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().(*net.TCPAddr).Port
}

func runOpen(t *testing.T, cfg OpenConfig) OpenResult {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	res, err := Open(cfg)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	return res
}

func TestOpenCountsEveryRequest(t *testing.T) {
	t.Parallel()
	var served, closing atomic.Int64
	port := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1)%50 == 0 {
			closing.Add(1)
			w.Header().Set("Connection", "close")
		}
		fmt.Fprint(w, "hello")
	})
	res := runOpen(t, OpenConfig{Port: port, Path: "/", Rate: 1000, Conns: 4, Warmup: 100 * time.Millisecond, Duration: 200 * time.Millisecond})
	if res.Count+res.SetAside != 200 || res.Errors != 0 || served.Load() != 300 {
		t.Errorf("Open = %+v, served %d; want 200 measured of 300 served and no errors", res, served.Load())
	}
	if res.Reconnects != closing.Load() {
		t.Errorf("Open reconnected %d times, want %d", res.Reconnects, closing.Load())
	}
	if res.Count > 0 && res.P50 <= 0 || res.P99 < res.P50 || res.P999 < res.P99 || res.Max < res.P999 {
		t.Errorf("percentiles out of order: %+v", res)
	}
}

// TestOpenCountsTheStall: requests that a stall keeps from leaving are measured from the time they were due.
func TestOpenCountsTheStall(t *testing.T) {
	t.Parallel()
	const stall = 100 * time.Millisecond
	var served atomic.Int64
	port := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == 20 {
			<-time.After(stall)
		}
		fmt.Fprint(w, "hello")
	})
	res := runOpen(t, OpenConfig{Port: port, Path: "/", Rate: 500, Conns: 1, Duration: 200 * time.Millisecond})
	// 50 requests were due during the stall, half of them for more than half of it. On a busy machine the test itself may
	// lose its core, and then there is little left to look at.
	if res.Count+res.SetAside != 100 {
		t.Errorf("Open = %+v; want 100 answers", res)
	}
	if res.SetAside > 10 {
		t.Skipf("%d of 100 requests set aside", res.SetAside)
	}
	if res.P90 < float64((stall / 4).Microseconds()) {
		t.Errorf("Open = %+v; want a 90th percentile that shows the stall of %v", res, stall)
	}
	if res.LateP99 >= float64((stall / 2).Microseconds()) {
		t.Errorf("Open = %+v; takes the blame for the stall of %v", res, stall)
	}
}

func TestAbsenceSetsAside(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o := &opener{cfg: OpenConfig{Rate: 1000}, start: time.Now()}
	o.noticeAbsence(o.start.Add(time.Second)) // the first check only sets the clocks
	if !o.counts(0) {
		t.Error("the first check set requests aside")
	}
	// Two seconds pass on the clock, next to none of them on the processor: what was due until two seconds later is out.
	o.noticeAbsence(o.start.Add(3 * time.Second))
	if o.counts(2999) || o.counts(4900) || !o.counts(5100) {
		t.Errorf("absence set aside the requests below %d, want about 5000", o.absent.until)
	}
}

func TestOpenCountsErrors(t *testing.T) {
	t.Parallel()
	port := startServer(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
	res := runOpen(t, OpenConfig{Port: port, Path: "/", Rate: 500, Conns: 2, Duration: 100 * time.Millisecond})
	if res.Errors != 50 || res.Count != 0 {
		t.Errorf("Open = %+v; want 50 errors", res)
	}
}

func TestOpenRefusesNonsense(t *testing.T) {
	t.Parallel()
	if _, err := Open(OpenConfig{Port: 1, Conns: 1, Duration: time.Second}); err == nil {
		t.Error("Open without a rate: no error")
	}
}

func TestHoldIdle(t *testing.T) {
	t.Parallel()
	var addrs []string
	port := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		addrs = append(addrs, r.RemoteAddr) // requests come one after the other
		fmt.Fprint(w, "hello")
	})
	conns, err := HoldIdle(fmt.Sprintf("127.0.0.1:%d", port), "/", 10)
	if err != nil || len(conns) != 10 {
		t.Fatalf("HoldIdle = %d connections, %v; want 10", len(conns), err)
	}
	slices.Sort(addrs)
	if n := len(slices.Compact(addrs)); n != 10 {
		t.Errorf("%d connections were used, want 10", n)
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// TestOpenIsItsOwnOrigin: without a proxy between, the load and the origin of one thread find each other.
func TestOpenIsItsOwnOrigin(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	res := runOpen(t, OpenConfig{Port: port, Path: "/128", Rate: 2000, Conns: 8, Duration: 100 * time.Millisecond, Origin: port, Body: 128})
	if res.Count+res.SetAside != 200 || res.Errors != 0 || res.Reconnects != 0 {
		t.Errorf("Open = %+v; want 200 answers and nothing else", res)
	}
}

func TestAnswererTakesHeadsInPieces(t *testing.T) {
	t.Parallel()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	a := &answerer{conns: map[int32][]byte{int32(fds[1]): nil}, listener: -1, answer: []byte("!")}
	buf := make([]byte, 4096)
	for _, step := range []struct {
		in    string
		heads int64
	}{{"GET / HTTP/1.1\r\n\r", 0}, {"\nGET / HT", 1}, {"TP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n", 3}} {
		if _, err := unix.Write(fds[0], []byte(step.in)); err != nil {
			t.Fatal(err)
		}
		if err := a.onReadable(int32(fds[1]), buf); err != nil || a.heads != step.heads {
			t.Errorf("after %q: %d heads, %v; want %d", step.in, a.heads, err, step.heads)
		}
	}
	if err := unix.Shutdown(fds[0], unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if err := a.onReadable(int32(fds[1]), buf); err != nil || len(a.conns) != 0 {
		t.Errorf("after the end: %d connections, %v; want none", len(a.conns), err)
	}
	if _, err := newAnswerer(-1, 0, answerBytesMax+1); err == nil {
		t.Error("newAnswerer of too large a body: no error")
	}
}

// TestFilledBlock: the table of a receiver holds exactly what FilledTable says.
func TestFilledBlock(t *testing.T) {
	t.Parallel()
	d := hpack.NewDecoder(4096, nil)
	fields, err := d.DecodeFull(filledBlock("a", "/128"))
	size := 0
	for _, f := range fields {
		if strings.HasPrefix(f.Name, "x-fill") {
			size += int(f.Size())
		}
	}
	if err != nil || size != FilledTable || size > 4096 {
		t.Errorf("%d bytes in the table, %v; want %d", size, err, FilledTable)
	}
}

// TestHoldIdleH2 opens connections to the standard library's server.
func TestHoldIdleH2(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/128" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(make([]byte, 128))
	})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	conns, err := HoldIdleH2(ln.Addr().String(), "/128", 3)
	if err != nil || len(conns) != 3 {
		t.Errorf("HoldIdleH2 = %d connections, %v; want 3", len(conns), err)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if _, err := HoldIdleH2(ln.Addr().String(), "/none", 1); err == nil {
		t.Error("HoldIdleH2 of what is not there: no error")
	}
}

// TestGRPC: calls go both ways, and a proxy that is not there is an error.
func TestGRPC(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	s := newGRPC()
	defer s.Stop()
	go func() { _ = s.Serve(ln) }()
	if err := AskGRPC(port, 100); err != nil {
		t.Fatal(err)
	}
	r, err := GRPC(GRPCConfig{Through: port, Direct: port, Bytes: 100, Duration: time.Millisecond})
	if err != nil || r.Count < grpcBlock || r.P50 <= 0 || r.DirectP50 <= 0 || r.P99 < r.P50 || r.Elapsed <= 0 {
		t.Errorf("GRPC = %+v, %v", r, err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := GRPC(GRPCConfig{Through: port, Direct: port, Bytes: 100, Duration: time.Millisecond}); err == nil {
		t.Error("calls to nobody are no error")
	}
}
