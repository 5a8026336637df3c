package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// isolationTime is how long TestIsolation runs.
var isolationTime = flag.Duration("isolation", 0, "how long TestIsolation runs; default 20s, 5s with -short or under the race detector")

// body returns n bytes that only this seed gives.
func body(seed uint64, n int) []byte {
	var key [32]byte
	_ = strconv.AppendUint(key[:0], seed, 36)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// isolationOrigin answers request "/<seed>?n=<bytes>&how=<how>" with a body made of the seed, and says what the
// request's body was.
func isolationOrigin(t *testing.T, bad *atomic.Int64) func(c *rawConn) {
	return func(c *rawConn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Minute))
		for {
			req, err := http.ReadRequest(c.r)
			if err != nil {
				if err != io.EOF && !strings.Contains(err.Error(), "reset") && err != io.ErrUnexpectedEOF && !strings.Contains(err.Error(), "closed") {
					bad.Add(1)
					t.Errorf("the origin got garbage: %v", err)
				}
				return
			}
			seed, _ := strconv.ParseUint(req.URL.Path[1:], 10, 64)
			q := req.URL.Query()
			n, _ := strconv.Atoi(q.Get("n"))
			how := q.Get("how")
			if how == "early" {
				c.send(fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nX-Seed: %d\r\nContent-Length: 5\r\n\r\nearly", seed))
				return
			}
			got, err := io.ReadAll(req.Body)
			if err != nil {
				return // the client went away
			}
			if want := q.Get("m"); want != strconv.Itoa(len(got)) || !bytes.Equal(got, body(seed+1, len(got))) {
				bad.Add(1)
				t.Errorf("request %d brought %d bytes that are not its own", seed, len(got))
			}
			if !answer(c, seed, n, how, req.Method) {
				return
			}
		}
	}
}

// answer sends the response of a seed and reports whether the connection lives on.
func answer(c *rawConn, seed uint64, n int, how, method string) bool {
	b := body(seed, n)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Seed: %d\r\n", seed)
	switch how {
	case "chunked":
		c.send(head + "Transfer-Encoding: chunked\r\n\r\n")
		if method == http.MethodHead {
			return true
		}
		for len(b) > 0 {
			k := min(len(b), 1+int(seed%5000))
			c.send(fmt.Sprintf("%x\r\n%s\r\n", k, b[:k]))
			b = b[k:]
		}
		c.send(fmt.Sprintf("0\r\nX-Trailer: %d\r\n\r\n", seed))
		return true
	case "close":
		c.send(head + "\r\n")
		if method != http.MethodHead {
			c.send(string(b))
		}
		return false
	case "cut":
		c.send(head + fmt.Sprintf("Content-Length: %d\r\n\r\n", n+1) + string(b))
		return false
	case "204":
		c.send("HTTP/1.1 204 No Content\r\nX-Seed: " + strconv.FormatUint(seed, 10) + "\r\n\r\n")
		return true
	}
	c.send(head + fmt.Sprintf("Content-Length: %d\r\n\r\n", n))
	if method != http.MethodHead {
		c.send(string(b))
	}
	return how != "bye" // ends the connection without saying so
}

// isolationClient sends requests until the time is over, and checks that each response is its own.
type isolationClient struct {
	t    *testing.T
	rng  *rand.Rand
	addr string
	c    *rawConn
	done *atomic.Int64
}

// request is one that was sent and not answered yet.
type sentRequest struct {
	seed   uint64
	n, m   int // bytes of the response's and the request's body
	how    string
	method string
}

func (ic *isolationClient) connect() {
	if ic.c != nil {
		_ = ic.c.Close()
	}
	c, err := net.Dial("tcp", ic.addr)
	if err != nil {
		ic.t.Fatal(err)
	}
	ic.c = newRawConn(ic.t, c)
}

// make appends a request to text.
func (ic *isolationClient) make(text *bytes.Buffer) sentRequest {
	r := ic.rng
	hows := []string{"", "", "", "", "chunked", "chunked", "close", "bye", "204"}
	if r.IntN(20) == 0 {
		hows = []string{"cut", "early"}
	}
	rq := sentRequest{seed: r.Uint64() >> 2, how: hows[r.IntN(len(hows))], method: []string{"GET", "GET", "POST", "PUT", "HEAD", "DELETE"}[r.IntN(6)]}
	sizes := []int{0, 1, 10, 1000, 5000, 70000}
	if r.IntN(30) == 0 {
		sizes = []int{500000, 2000000}
	}
	rq.n = sizes[r.IntN(len(sizes))]
	m := 0
	if rq.method == "POST" || rq.method == "PUT" {
		m = sizes[r.IntN(len(sizes))]
	}
	rq.m = m
	b := body(rq.seed+1, m)
	fmt.Fprintf(text, "%s /%d?n=%d&m=%d&how=%s HTTP/1.1\r\nHost: a\r\n", rq.method, rq.seed, rq.n, m, rq.how)
	switch {
	case m == 0 && rq.method != "POST":
		text.WriteString("\r\n")
	case r.IntN(2) == 0:
		fmt.Fprintf(text, "Content-Length: %d\r\n\r\n%s", m, b)
	default:
		text.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for len(b) > 0 {
			k := min(len(b), 1+r.IntN(20000))
			fmt.Fprintf(text, "%x;x=y\r\n%s\r\n", k, b[:k])
			b = b[k:]
		}
		text.WriteString("0\r\n\r\n")
	}
	return rq
}

// round sends one or more requests and reads their answers, or leaves in the middle.
func (ic *isolationClient) round() {
	if ic.c == nil {
		ic.connect()
	}
	var text bytes.Buffer
	var sent []sentRequest
	for range []int{1, 1, 1, 2, 5}[ic.rng.IntN(5)] {
		sent = append(sent, ic.make(&text))
	}
	if ic.rng.IntN(25) == 0 { // leave inside the request, or before the answer
		ic.c.send(text.String()[:ic.rng.IntN(text.Len())])
		if ic.rng.IntN(2) == 0 {
			ic.c.abortive()
		}
		ic.connect()
		return
	}
	written := make(chan struct{})
	go func(c *rawConn, b []byte, cut int) {
		defer close(written)
		if cut > 0 && cut < len(b) {
			c.send(string(b[:cut]))
			runtime.Gosched()
			b = b[cut:]
		}
		c.send(string(b))
	}(ic.c, text.Bytes(), ic.rng.IntN(2*text.Len()))
	for _, rq := range sent {
		if !ic.read(rq) {
			ic.connect()
			return
		}
		ic.done.Add(1)
	}
	<-written
	if ic.rng.IntN(50) == 0 {
		ic.connect()
	}
}

// read reads an answer and reports whether the connection lives on.
func (ic *isolationClient) read(rq sentRequest) bool {
	resp, err := http.ReadResponse(ic.c.r, &http.Request{Method: rq.method})
	if err != nil {
		if rq.how != "cut" && rq.how != "early" {
			ic.t.Errorf("request %+v: %v", rq, err)
		}
		return false
	}
	got, err := io.ReadAll(resp.Body)
	seed := resp.Header.Get("X-Seed")
	switch {
	case resp.StatusCode == 503 && (rq.method == "POST" || rq.m > 0) && seed == "":
		// The origin ended the connection just then: a request with a body is not sent again.
		return !resp.Close && err == nil
	case seed != strconv.FormatUint(rq.seed, 10):
		if rq.how != "early" { // its connection may be reset before the answer is read
			ic.t.Errorf("request %+v: the answer %d is that of %q", rq, resp.StatusCode, seed)
		}
		return false
	case rq.how == "early":
		return false
	case rq.how == "cut" && rq.method != "HEAD":
		if err == nil {
			ic.t.Errorf("request %+v: a short response looks whole", rq)
		}
		return false
	case err != nil:
		ic.t.Errorf("request %+v: body: %v", rq, err)
		return false
	}
	want := body(rq.seed, rq.n)
	if rq.method == "HEAD" || rq.how == "204" {
		want = nil
	}
	if !bytes.Equal(got, want) {
		ic.t.Errorf("request %+v: %d bytes of body that are not its own", rq, len(got))
		return false
	}
	if tr := resp.Trailer.Get("X-Trailer"); rq.how == "chunked" && rq.method != "HEAD" && tr != seed {
		ic.t.Errorf("request %+v: trailer %q", rq, tr)
	}
	return !resp.Close
}

// TestIsolation: whatever clients and origins do, each response belongs to its request, byte for byte.
func TestIsolation(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d loops", loops), func(t *testing.T) {
			t.Parallel()
			long := *isolationTime
			if long == 0 {
				if long = 20 * time.Second; testing.Short() || raceEnabled {
					long = 5 * time.Second
				}
			}
			var bad, done atomic.Int64
			config := oneRoute(rawOrigin(t, isolationOrigin(t, &bad)), "", `"timeout": "60s"`, `"circuit_breakers": {"max_connections": 6}`)
			p := startProxy(t, strings.Replace(config, `"concurrency": 1`, fmt.Sprintf(`"concurrency": %d`, loops), 1))
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			end := time.Now().Add(long)
			var wg sync.WaitGroup
			for i := range 12 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					ic := &isolationClient{t: t, rng: rand.New(rand.NewPCG(seed, uint64(i))), addr: p.addr(""), done: &done}
					for time.Now().Before(end) && !t.Failed() {
						ic.round()
					}
					_ = ic.c.Close()
				}()
			}
			wg.Wait()
			t.Logf("%d answers checked", done.Load())
			p.wantStat("http.e2e.downstream_cx_active", 0)
			p.wantStat("http.e2e.downstream_rq_active", 0)
			p.wantStat("cluster.web.upstream_rq_active", 0)
			p.wantStat("cluster.web.upstream_rq_pending_active", 0)
		})
	}
}

// cpu returns the time the process has used.
func (p *proxy) cpu() time.Duration {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	sys, _ := strconv.Atoi(f[12])
	return time.Duration(user+sys) * 10 * time.Millisecond // ticks of 100 Hz
}

// slowestOf returns the longest of n requests.
func slowestOf(t *testing.T, p *proxy, n int) time.Duration {
	t.Helper()
	var most time.Duration
	for range n {
		start := time.Now()
		if status, _ := get(t, p.url("/")); status != 200 {
			t.Fatalf("status %d", status)
		}
		most = max(most, time.Since(start))
	}
	return most
}

// crowdEnv tells a process of TestCrowd the address of the proxy.
const crowdEnv = "MILLRACE_CROWD"

// TestCrowdHelper is not a test: TestCrowd runs it in processes of its own, to have descriptors for its connections.
func TestCrowdHelper(t *testing.T) {
	addr := os.Getenv(crowdEnv)
	if addr == "" {
		t.Skip("only of use to TestCrowd")
	}
	n, _ := strconv.Atoi(os.Getenv("MILLRACE_CROWD_SIZE"))
	var conns []net.Conn
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			fmt.Println("dial:", err)
			os.Exit(1)
		}
		conns = append(conns, c)
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin) // each line is a byte from each client
	for lines.Scan() {
		for i, c := range conns {
			if i%2 == 0 {
				_, _ = c.Write(lines.Bytes()[:1])
			}
		}
		fmt.Println("sent")
	}
	os.Exit(0)
}

// TestCrowd: 10,000 clients, half silent and half sending a head byte by byte, cost little and harm nobody.
func TestCrowd(t *testing.T) {
	t.Parallel()
	size := 5000
	if testing.Short() || raceEnabled {
		size = 500
	}
	p := startProxy(t, oneRoute(origin(t, func(http.ResponseWriter, *http.Request) {}), `"request_headers_timeout": "20s"`, "", ""))
	slowestOf(t, p, 20)
	before := p.rss()
	type crowd struct {
		in  io.WriteCloser
		out *bufio.Scanner
	}
	var crowds []crowd
	for range 2 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrowdHelper$")
		cmd.Env = append(os.Environ(), crowdEnv+"="+p.addr(""), fmt.Sprintf("MILLRACE_CROWD_SIZE=%d", size))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
		crowds = append(crowds, crowd{in, bufio.NewScanner(out)})
	}
	await := func(what string) {
		t.Helper()
		for _, c := range crowds {
			if !c.out.Scan() || c.out.Text() != what {
				t.Fatalf("a crowd says %q, want %q", c.out.Text(), what)
			}
		}
	}
	await("ready")
	p.wantStat("http.e2e.downstream_cx_active", int64(2*size))
	for _, b := range "GET / HTTP" {
		for _, c := range crowds {
			if _, err := io.WriteString(c.in, string(b)+"\n"); err != nil {
				t.Fatal(err)
			}
		}
		await("sent")
		if d := slowestOf(t, p, 3); d > 2*time.Second {
			t.Errorf("a request beside the crowd took %s", d)
		}
	}
	each := (p.rss() - before) / int64(2*size)
	t.Logf("%d bytes for each of %d clients", each, 2*size)
	if each > 4<<10 && !raceEnabled {
		t.Errorf("%d bytes for each client", each)
	}
	used := p.cpu()
	pause(500 * time.Millisecond)
	if d := p.cpu() - used; d > 300*time.Millisecond {
		t.Errorf("%s of CPU time for doing nothing", d)
	}
	// In the end the slow and the silent ones are sent away.
	p.wantStat("http.e2e.downstream_cx_active", 0)
	p.wantStat("http.e2e.downstream_rq_active", 0)
	if n := p.stat("http.e2e.downstream_rq_header_timeout"); n != int64(2*size) {
		t.Errorf("downstream_rq_header_timeout = %d, want %d", n, 2*size)
	}
}

// TestDescriptorsRunOut: without descriptors accepting pauses, nothing spins, and all goes on afterwards.
func TestDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), "", "", ""))
	get(t, p.url("/"))
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	limit := uint64(len(open) + 20)
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit + 1000}, nil); err != nil {
		t.Fatal(err)
	}
	var conns []*rawConn
	for range 60 {
		conns = append(conns, dial(t, p.addr("")))
	}
	used, start := p.cpu(), time.Now()
	pause(700 * time.Millisecond)
	if d := p.cpu() - used; d > time.Since(start)/3 {
		t.Errorf("%s of CPU time in %s without descriptors", d, time.Since(start))
	}
	conns[0].send(getRoot) // may have no descriptor for the origin but is answered
	if h := conns[0].head(); !strings.HasPrefix(h, "HTTP/1.1 ") {
		t.Errorf("the first client got %q", h)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if status, _ := get(t, p.url("/")); status != 200 {
		t.Errorf("status %d afterwards", status)
	}
	if status, _ := get(t, p.url("/")); status != 200 {
		t.Errorf("status %d afterwards", status)
	}
	p.wantStat("http.e2e.downstream_cx_active", 0)
}

// TestPipelinedFlood: a client that sends requests without end and reads nothing costs a bounded amount.
func TestPipelinedFlood(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2000)) }), "", "", ""))
	slowestOf(t, p, 5)
	before := p.rss()
	flood := strings.Repeat(getRoot, 1000)
	var sent atomic.Int64
	for range 20 {
		c := dial(t, p.addr(""))
		go func() {
			for {
				n, err := io.WriteString(c.Conn, flood)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
	}
	last := int64(-1)
	still := eventually(func() bool { // until the proxy takes no more
		n := p.stat("http.e2e.downstream_rq_total")
		same := n == last && n > 20
		last = n
		return same
	})
	if !still {
		t.Error("the proxy never stopped taking requests")
	}
	if grown := p.rss() - before; grown > 64<<20 && !raceEnabled {
		t.Errorf("20 floods cost %d KiB", grown>>10)
	}
	if d := slowestOf(t, p, 5); d > 2*time.Second {
		t.Errorf("a request beside the flood took %s", d)
	}
}

// TestEmptyLineFlood: lines that begin no request are no way to keep a connection, nor to use the loop up.
func TestEmptyLineFlood(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), "", "", ""))
	c := dial(t, p.addr(""))
	c.send(strings.Repeat("\r\n", 100000))
	c.wantHead("HTTP/1.1 400 Bad Request\r\n", "connection: close\r\n")
	c.rest()
	p.wantStat("http.e2e.downstream_cx_protocol_error", 1)
	p.wantStat("http.e2e.downstream_cx_protocol_error.http1.too_many_empty_lines", 1)
	p.wantStat("http.e2e.downstream_cx_active", 0)
}

// TestResetInEveryPhase: a client that goes away anywhere leaves nothing behind.
func TestResetInEveryPhase(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		for c.head() != "" {
			c.bytes(4)
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 100000))
			c.send(strings.Repeat("x", 100000))
		}
	}), "", "", ""))
	const request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
	for n := range len(request) + 1 {
		for _, abortive := range []bool{false, true} {
			c := dial(t, p.addr(""))
			c.send(request[:n])
			if n == len(request) { // in the middle of the response
				c.wantHead("200 OK")
				c.bytes(1000)
			}
			if abortive {
				c.abortive()
			}
			_ = c.Close()
		}
	}
	p.wantStat("http.e2e.downstream_cx_active", 0)
	p.wantStat("http.e2e.downstream_rq_active", 0)
	p.wantStat("cluster.web.upstream_rq_active", 0)
	p.wantStat("cluster.web.upstream_rq_pending_active", 0)
	if p.stat("http.e2e.downstream_cx_destroy_local")+p.stat("http.e2e.downstream_cx_destroy_remote") != p.stat("http.e2e.downstream_cx_destroy") {
		t.Errorf("connections ended here (%d) and there (%d) are not all that ended (%d)", p.stat("http.e2e.downstream_cx_destroy_local"),
			p.stat("http.e2e.downstream_cx_destroy_remote"), p.stat("http.e2e.downstream_cx_destroy"))
	}
	c := dial(t, p.addr(""))
	c.send(request)
	c.wantHead("200 OK")
	if sum := sha256.Sum256([]byte(c.bytes(200000))); sum != sha256.Sum256(bytes.Repeat([]byte("x"), 200000)) {
		t.Error("a whole response afterwards is not what was sent")
	}
}

// TestRefusalsAreLogged: what cannot be read has a line that says why, and never the client of another request.
func TestRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	p := startProxy(t, oneRoute(origin(t, echo), fmt.Sprintf(`"xff_num_trusted_hops": 0, "access_log": [{"path": %q, "flush_interval": "5ms",
	 "format": "%%RESPONSE_CODE%% %%RESPONSE_FLAGS%% %%RESPONSE_CODE_DETAILS%% %%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%%"}]`, path), "", ""))
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	bodyOf(t, resp)
	c.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
	c.wantHead("400 Bad Request")
	want := "200 - via_upstream 198.51.100.7\n400 DPE "
	var text []byte
	if !eventually(func() bool { text, _ = os.ReadFile(path); return bytes.Count(text, []byte("\n")) == 2 }) ||
		!strings.HasPrefix(string(text), want) || !strings.HasSuffix(string(text), " 127.0.0.1\n") {
		t.Errorf("log %q, want %q and an end with 127.0.0.1", text, want)
	}
}
