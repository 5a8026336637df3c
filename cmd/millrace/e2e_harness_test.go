package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The end-to-end tests drive the real binary, which TestMain builds once.

// binary is the path of the millrace under test.
var binary string

// waitMax bounds everything a test waits for.
const waitMax = 20 * time.Second

// binaryEnv names a millrace that is built already, for machines without the go command.
const binaryEnv = "MILLRACE_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(crowdEnv) != "" {
		os.Exit(m.Run()) // a process of TestCrowd, which needs no binary
	}
	if binary = os.Getenv(binaryEnv); binary != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "millrace-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "millrace")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// proxy is a running millrace.
type proxy struct {
	t      *testing.T
	cmd    *exec.Cmd
	config string // path of the file
	admin  string // address
	exited chan struct{}

	authority *authority // of the certificates in the configuration, if the test has told
	over      *overTLS   // nil unless the tests come by TLS

	mu        sync.Mutex
	log       bytes.Buffer
	listeners map[string]string // bound address by name
}

var (
	listeningLine = regexp.MustCompile(`msg=listening listener=(\S+) address=(\S+)`)
	adminLine     = regexp.MustCompile(`msg="admin port" address=(\S+)`)
)

// startProxy runs millrace with a configuration and waits until it serves. Listeners take
// address "127.0.0.1:0"; see proxy.addr.
func startProxy(t *testing.T, config string, args ...string) *proxy {
	t.Helper()
	p := &proxy{t: t, config: filepath.Join(t.TempDir(), "millrace.json"), listeners: map[string]string{}, over: newOverTLS(t)}
	p.write(config)
	p.cmd = exec.Command(binary, append([]string{"run", "-c", p.config, "--admin", "127.0.0.1:0"}, args...)...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	p.exited = make(chan struct{})
	go p.readLog(stderr, started)
	t.Cleanup(p.kill)
	select {
	case <-started:
	case <-p.exited:
		t.Fatalf("millrace ended at the start:\n%s", p.logText())
	case <-time.After(waitMax):
		t.Fatalf("millrace did not start:\n%s", p.logText())
	}
	return p
}

// readLog follows the log of the process until it ends.
func (p *proxy) readLog(r io.Reader, started chan struct{}) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		p.mu.Lock()
		p.log.WriteString(line + "\n")
		if m := listeningLine.FindStringSubmatch(line); m != nil {
			p.listeners[m[1]] = p.over.relay(m[1], m[2])
		}
		if m := adminLine.FindStringSubmatch(line); m != nil {
			p.admin = m[1]
		}
		p.mu.Unlock()
		if strings.Contains(line, "msg=started") {
			close(started)
		}
	}
	_ = p.cmd.Wait()
	close(p.exited)
}

func (p *proxy) logText() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// kill ends the process and, if the test failed, shows its log.
func (p *proxy) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	if strings.Contains(p.logText(), "panic") || strings.Contains(p.logText(), "DATA RACE") {
		p.t.Errorf("the proxy panicked:\n%s", p.logText())
	} else if p.t.Failed() {
		p.t.Logf("log of the proxy:\n%s", p.logText())
	}
}

// signal sends a signal to the process.
func (p *proxy) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wantExit waits for the process to end and checks its exit code.
func (p *proxy) wantExit(code int) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(waitMax):
		p.t.Fatal("the proxy did not end")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d\n%s", got, code, p.logText())
	}
}

// write replaces the configuration file.
func (p *proxy) write(config string) {
	p.t.Helper()
	if err := os.WriteFile(p.config, []byte(p.over.secure(config)), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// addr returns the bound address of the listener of that name; "" is the only one.
func (p *proxy) addr(name string) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.listeners[name]; ok {
		return a
	}
	if name == "" && len(p.listeners) == 1 {
		for _, a := range p.listeners {
			return a
		}
	}
	p.t.Fatalf("no listener %q in %v", name, p.listeners)
	return ""
}

// url returns the URL of a path on the only listener.
func (p *proxy) url(path string) string { return "http://" + p.addr("") + path }

// adminGet returns what the admin port answers.
func (p *proxy) adminGet(path string) string {
	p.t.Helper()
	resp, err := http.Get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	return bodyOf(p.t, resp)
}

// adminPost returns the status and body of a POST to the admin port.
func (p *proxy) adminPost(path string) (int, string) {
	p.t.Helper()
	resp, err := http.Post("http://"+p.admin+path, "", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, bodyOf(p.t, resp)
}

// stat returns a counter or gauge.
func (p *proxy) stat(name string) int64 {
	p.t.Helper()
	for _, line := range strings.Split(p.adminGet("/stats?filter=^"+regexp.QuoteMeta(name)+"$"), "\n") {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				p.t.Fatalf("stat %s is %q", name, v)
			}
			return n
		}
	}
	return 0
}

// wantStat waits until a counter or gauge has a value.
func (p *proxy) wantStat(name string, want int64) {
	p.t.Helper()
	var got int64
	if !eventually(func() bool { got = p.stat(name); return got == want }) {
		p.t.Errorf("%s = %d, want %d", name, got, want)
	}
}

// rss returns the resident memory of the process in bytes.
func (p *proxy) rss() int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// eventually asks until ok, or until waitMax is over.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(waitMax); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the body: %v", err)
	}
	return string(b)
}

// oneRoute is a configuration with one listener that forwards everything to cluster "web". extra goes
// into the connection manager's config, route into the route, cluster into the cluster.
func oneRoute(host, extra, route, cluster string) string {
	return fmt.Sprintf(`{"concurrency": 1,
 "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", %s
   "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"%s}}]}}}]}],
 "clusters": [{"name": "web", "hosts": [%q]%s}]}`, trailingComma(extra), leadingComma(route), host, leadingComma(cluster))
}

func trailingComma(s string) string {
	if s == "" {
		return ""
	}
	return s + ","
}

func leadingComma(s string) string {
	if s == "" {
		return ""
	}
	return ", " + s
}

// origin starts a net/http server and returns its address.
func origin(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

// rawOrigin starts a server that hands each connection to serve, and returns its address.
func rawOrigin(t *testing.T, serve func(c *rawConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(newRawConn(t, c))
			}()
		}
	}()
	return ln.Addr().String()
}

// rawConn is a connection spoken to in bytes.
type rawConn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func newRawConn(t *testing.T, c net.Conn) *rawConn {
	_ = c.SetDeadline(time.Now().Add(waitMax))
	return &rawConn{Conn: c, t: t, r: bufio.NewReader(c)}
}

// dial opens a connection to addr.
func dial(t *testing.T, addr string) *rawConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return newRawConn(t, c)
}

// send writes text; errors show in what is read.
func (c *rawConn) send(text string) { _, _ = io.WriteString(c.Conn, text) }

// head reads a message's head, with the empty line.
func (c *rawConn) head() string {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// bytes reads n bytes.
func (c *rawConn) bytes(n int) string {
	b := make([]byte, n)
	k, _ := io.ReadFull(c.r, b)
	return string(b[:k])
}

// rest reads until the peer ends.
func (c *rawConn) rest() string {
	b, _ := io.ReadAll(c.r)
	return string(b)
}

// closeWrite ends our direction.
func (c *rawConn) closeWrite() { _ = c.Conn.(*net.TCPConn).CloseWrite() }

// wantHead reads a head and checks that it has all of the wanted lines.
func (c *rawConn) wantHead(want ...string) string {
	c.t.Helper()
	h := c.head()
	for _, w := range want {
		if !strings.Contains(h, w) {
			c.t.Errorf("head %q lacks %q", h, w)
		}
	}
	return h
}

// wantEnd checks that the peer ends the connection, orderly, with nothing more to read.
func (c *rawConn) wantEnd() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		c.t.Errorf("connection ended with %q, %v; want an orderly end", b, err)
	}
}

// peer runs a program that is only there on some machines, such as nginx, until the test ends.
// It skips the test if the program is not installed.
func peer(t *testing.T, name string, args ...string) {
	t.Helper()
	path := lookPeer(t, name)
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A group of its own: the workers of a peer that is killed must not outlive it, and hold its output.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(3 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-done
		}
		if t.Failed() {
			t.Logf("%s: %s", name, out.String())
		}
	})
}

// lookPeer returns the path of a program, or skips the test.
func lookPeer(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if p, err := exec.LookPath(path); err == nil {
			return p
		}
	}
	t.Skipf("%s is not installed: make peers installs it as root", name)
	return ""
}

// lastPort is the port that freePort has given out last. It begins anywhere, for tests of several trees may run at once.
var lastPort atomic.Uint32

func init() { lastPort.Store(rand.Uint32()) }

// freePort returns a port nobody listens on now, for peers that cannot take port 0 and those that come back to theirs. It is
// below the ports that the kernel gives out by itself, which anybody may have the next moment, and given out once.
func freePort(t *testing.T) int {
	t.Helper()
	const first, count = 10_000, 22_000
	for range count {
		port := first + int(lastPort.Add(1)%count)
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// startNginx runs nginx with a server block's content and returns its address.
func startNginx(t *testing.T, server string) string {
	t.Helper()
	path := lookPeer(t, "nginx")
	dir := t.TempDir()
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	conf := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p;
fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen %[2]s; %[3]s } }`, dir, addr, server)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	peer(t, path, "-c", file, "-p", dir)
	waitListening(t, addr)
	return addr
}

// waitListening waits until somebody accepts connections on addr.
func waitListening(t *testing.T, addr string) {
	t.Helper()
	if !eventually(func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}) {
		t.Fatalf("nobody listens on %s", addr)
	}
}

// get makes a request of its own connection and returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := noFollow.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, bodyOf(t, resp)
}

// noFollow is a client that shows redirects and decompresses nothing.
var noFollow = &http.Client{
	Transport:     &http.Transport{DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}
