package pool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/engine"
	"millrace/engine/certs"
	"millrace/upstream"
)

// patience bounds what a test waits for; nothing waits for it to pass.
const patience = 10 * time.Second

// world is a loop stepped by the test, with its own clock, and one cluster of real sockets.
type world struct {
	t     testing.TB
	loop  *engine.Loop
	table *Table
	now   *int64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, nil)
}

// newWorldWith is newWorld with an edited loop config. A panic on the loop fails the test unless edit
// says otherwise.
func newWorldWith(t testing.TB, edit func(*engine.LoopConfig)) *world {
	t.Helper()
	now := int64(time.Hour)
	cfg := engine.DefaultLoopConfig()
	cfg.BlocksMax = 16 << 20
	cfg.Clock = func() int64 { return now }
	cfg.OnPanic = func(v any, stack []byte) { t.Errorf("panic on the loop: %v\n%s", v, stack) }
	if edit != nil {
		edit(&cfg)
	}
	l, err := engine.NewLoop(0, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return &world{t: t, loop: l, now: &now, table: NewTable(l, func(*upstream.Cluster) upstream.Balancer {
		return &inTurn{rng: l.Rand()}
	})}
}

// inTurn is a balancer for tests: the policies are tested where they live.
type inTurn struct {
	rng *rand.Rand
	n   int
}

func (b *inTurn) Pick(set *upstream.Bucket, _ *upstream.Pick) *upstream.Host {
	hosts := set.Hosts
	if len(hosts) == 0 {
		return nil
	}
	b.n++
	return hosts[b.n%len(hosts)]
}

// config returns a config with these hosts.
func config(edit func(*upstream.Config), addrs ...string) *upstream.Config {
	cfg := upstream.DefaultConfig("c")
	for _, a := range addrs {
		cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: a, Weight: 1})
	}
	if edit != nil {
		edit(&cfg)
	}
	return &cfg
}

// set puts a cluster into the table, with the ID 0. The TLS of prev is taken over if it is the same.
func (w *world) set(cfg *upstream.Config, prev *upstream.Cluster) *Cluster {
	w.t.Helper()
	shared, err := upstream.New(0, cfg, prev)
	if err != nil {
		w.t.Fatal(err)
	}
	switch {
	case cfg.TLS == nil:
	case prev != nil && cfg.SameTLS(prev.Config):
		shared.TLS = prev.TLS
	default:
		if shared.TLS, err = certs.NewStore(certs.StoreOptions{}).Client(cfg.TLS); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(shared.TLS.Close)
	}
	w.do(func() { w.table.Set(shared) })
	return w.table.Cluster(0)
}

// do runs fn on the loop, as other goroutines would.
func (w *world) do(fn func()) {
	w.t.Helper()
	done := false
	w.loop.Post(func() { fn(); done = true })
	w.until("posted function", func() bool { return done })
}

// turn steps the loop once.
func (w *world) turn(wait time.Duration) {
	w.t.Helper()
	if err := w.loop.Turn(wait); err != nil {
		w.t.Fatal(err)
	}
}

// until steps the loop until cond holds.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	for start := time.Now(); !cond(); w.turn(5 * time.Millisecond) {
		if time.Since(start) > patience {
			w.t.Fatalf("%s: still not after %s", what, patience)
		}
	}
}

// settle steps the loop until there is nothing to do.
func (w *world) settle() {
	w.t.Helper()
	for quiet := 0; quiet < 3; {
		before := w.loop.Stats().Events.Load()
		w.turn(2 * time.Millisecond)
		if quiet++; w.loop.Stats().Events.Load() != before {
			quiet = 0
		}
	}
}

// advance moves the loop's clock.
func (w *world) advance(d time.Duration) {
	w.t.Helper()
	*w.now += int64(d)
	w.turn(0)
	w.turn(0)
}

// owner records what becomes of an exchange.
type owner struct {
	x    Exchange
	head codec.ResponseHead
	log  []string
	body []byte
	done bool // the exchange is over

	onReady, onHead, onEnd, onReset func() // called from inside, may be nil
	onData                          func(b []byte)
}

func (o *owner) note(format string, args ...any) { o.log = append(o.log, fmt.Sprintf(format, args...)) }

func call(f func()) {
	if f != nil {
		f()
	}
}

func (o *owner) end(end bool) {
	if end {
		o.done = true
		o.note("end")
		call(o.onEnd)
	}
}

func (o *owner) OnReady() { o.note("ready"); call(o.onReady) }

func (o *owner) ResponseHead() *codec.ResponseHead { return &o.head }

func (o *owner) OnResponseHead(end bool) {
	o.note("head %d", o.head.Status)
	call(o.onHead)
	o.end(end)
}

func (o *owner) OnResponseData(b []byte, end bool) {
	o.body = append(o.body, b...)
	if o.onData != nil {
		o.onData(b)
	}
	o.end(end)
}

func (o *owner) OnResponseTrailers(t *codec.Fields) {
	for i := range t.Len() {
		_, name, value := t.At(i)
		o.note("trailer %s: %s", name, value)
	}
	o.end(true)
}

func (o *owner) OnWriteLow() { o.note("low") }

func (o *owner) OnReset(why ResetReason, text string) {
	o.done = true
	o.note("reset %s", why)
	if text != "" {
		o.note("%s", text)
	}
	call(o.onReset)
}

// wantLog checks what an owner was told.
func (w *world) wantLog(o *owner, want ...string) {
	w.t.Helper()
	if !slices.Equal(o.log, want) {
		w.t.Fatalf("the owner was told %q, want %q", o.log, want)
	}
}

// newOwner returns an owner whose exchange is free.
func newOwner() *owner {
	o := &owner{}
	o.x.Owner = o
	return o
}

// lease leases an exchange for o on the first host, sends a GET when ready, and returns the answer.
func (w *world) lease(c *Cluster, o *owner) LeaseResult {
	w.t.Helper()
	return w.leaseTo(c, c.Shared().Hosts()[0], o, false)
}

func (w *world) leaseTo(c *Cluster, h *upstream.Host, o *owner, fresh bool) (r LeaseResult) {
	w.t.Helper()
	w.do(func() { r = leaseNow(c, h, o, fresh) })
	return r
}

// leaseNow is leaseTo for code that is on the loop.
func leaseNow(c *Cluster, h *upstream.Host, o *owner, fresh bool) LeaseResult {
	o.done = false
	if o.onReady == nil {
		o.onReady = func() { o.x.SendHead(get("/"), true) }
	}
	r := c.Lease(h, upstream.Default, &o.x, fresh)
	if r == LeaseReady {
		o.onReady()
	}
	return r
}

// get builds a GET request.
func get(path string) *codec.RequestHead { return request(codec.MethodGET, path, -1) }

func request(m codec.Method, path string, length int64) *codec.RequestHead {
	h := &codec.RequestHead{}
	h.Reset()
	h.SetMethod(m)
	h.SetPath([]byte(path))
	h.SetAuthority([]byte("example.com"))
	h.ContentLength = length
	return h
}

// origin is a listening socket that the test serves by hand.
type origin struct {
	t    testing.TB
	w    *world
	ln   net.Listener
	addr string // as in the config
}

func newOrigin(w *world) *origin { return listen(w, "tcp", "127.0.0.1:0") }

func listen(w *world, network, address string) *origin {
	w.t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ln.Close() })
	o := &origin{t: w.t, w: w, ln: ln, addr: ln.Addr().String()}
	if network == "unix" {
		o.addr = "unix:" + o.addr
	}
	return o
}

// accept takes the next connection. It steps no loop: the kernel accepts for us.
func (o *origin) accept() *peer {
	o.t.Helper()
	type deadliner interface{ SetDeadline(time.Time) error }
	_ = o.ln.(deadliner).SetDeadline(time.Now().Add(patience))
	c, err := o.ln.Accept()
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &peer{t: o.t, w: o.w, c: c, r: bufio.NewReader(c)}
}

// wantNone checks that no connection is waiting.
func (o *origin) wantNone() {
	o.t.Helper()
	type deadliner interface{ SetDeadline(time.Time) error }
	_ = o.ln.(deadliner).SetDeadline(time.Now().Add(time.Millisecond))
	if c, err := o.ln.Accept(); err == nil {
		c.Close()
		o.t.Fatal("another connection was opened")
	}
}

// peer is the host's end of a connection.
type peer struct {
	t testing.TB
	w *world
	c net.Conn
	r *bufio.Reader
}

// wantHead reads the head of a request and checks its first line.
func (p *peer) wantHead(line string) {
	p.t.Helper()
	p.w.settle()
	for first := true; ; first = false {
		s, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("reading a request: %v", err)
		}
		s = strings.TrimRight(s, "\r\n")
		if first && s != line {
			p.t.Fatalf("request line %q, want %q", s, line)
		}
		if s == "" {
			return
		}
	}
}

// wantBytes reads exactly want.
func (p *peer) wantBytes(want string) {
	p.t.Helper()
	p.w.settle()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(p.r, got); err != nil || string(got) != want {
		p.t.Fatalf("the host got %q, %v; want %q", got, err, want)
	}
}

// wantClosed checks that we have closed our end.
func (p *peer) wantClosed() {
	p.t.Helper()
	p.w.settle()
	if b, err := p.r.ReadByte(); err == nil {
		p.t.Fatalf("the connection is open and brought byte %q", b)
	} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		p.t.Fatal("the connection is still open")
	}
}

// wantOpen checks that nothing came and our end is open.
func (p *peer) wantOpen() {
	p.t.Helper()
	p.w.settle()
	_ = p.c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := p.r.ReadByte()
	_ = p.c.SetReadDeadline(time.Now().Add(patience))
	if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() {
		p.t.Fatalf("reading from an idle connection = %v, want nothing yet", err)
	}
}

// send writes to the connection and lets the loop see it.
func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.c, s); err != nil {
		p.t.Fatal(err)
	}
	p.w.settle()
}

// close closes the host's end and lets the loop see it.
func (p *peer) close() {
	p.t.Helper()
	p.c.Close()
	p.w.settle()
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// exchange runs one complete GET on a warm or cold pool and returns the peer that served it.
func (w *world) exchange(c *Cluster, o *origin, p *peer) *peer {
	w.t.Helper()
	a := newOwner()
	w.lease(c, a)
	if p == nil {
		p = o.accept()
	}
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	w.until("response", func() bool { return a.done })
	if string(a.body) != "ok" {
		w.t.Fatalf("body %q after %q, want %q", a.body, a.log, "ok")
	}
	return p
}

// wantIdle checks that everything counted has been given back, but for idle connections.
func (w *world) wantIdle(c *Cluster, idle int64) {
	w.t.Helper()
	b, h := c.Shared().Budgets[upstream.Default], c.Shared().Hosts()
	for r, want := range map[upstream.Resource]int64{upstream.Connections: idle, upstream.Pending: 0, upstream.Requests: 0} {
		if got := b.Active(r); got != want {
			w.t.Errorf("budget %s = %d, want %d", r, got, want)
		}
	}
	if c.Stats.RqActive.Load() != 0 || c.Stats.RqPendingActive.Load() != 0 || c.Stats.CxActive.Load() != idle {
		w.t.Errorf("rq_active %d, rq_pending_active %d, cx_active %d; want 0, 0, %d",
			c.Stats.RqActive.Load(), c.Stats.RqPendingActive.Load(), c.Stats.CxActive.Load(), idle)
	}
	active := int64(0)
	for _, h := range h {
		if h.RqActive.Load() != 0 {
			w.t.Errorf("host %s has %d active requests, want 0", h.Name, h.RqActive.Load())
		}
		active += h.CxActive.Load()
	}
	if active > idle {
		w.t.Errorf("hosts have %d connections, want at most %d", active, idle)
	}
	if b := c.breakers[upstream.Default]; b != nil && b.member.Idle.Load() > idle {
		w.t.Errorf("%d idle connections, want at most %d", b.member.Idle.Load(), idle)
	}
}
