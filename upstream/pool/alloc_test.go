package pool

import (
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"millrace/codec"
	"millrace/upstream"
)

// Sizes are promises: an idle connection costs a conn, a request an Exchange.
var (
	_ [256 - unsafe.Sizeof(conn{})]byte
	_ [152 - unsafe.Sizeof(Exchange{})]byte
	_ [296 - unsafe.Sizeof(mux{})]byte
	_ [256 - unsafe.Sizeof(stream{})]byte
)

// quietOwner runs exchanges without recording anything.
type quietOwner struct {
	x    Exchange
	head codec.ResponseHead
	done bool
}

func (o *quietOwner) OnReady()                           {}
func (o *quietOwner) ResponseHead() *codec.ResponseHead  { return &o.head }
func (o *quietOwner) OnResponseHead(end bool)            { o.done = end }
func (o *quietOwner) OnResponseData(_ []byte, end bool)  { o.done = end }
func (o *quietOwner) OnResponseTrailers(t *codec.Fields) { o.done = true }
func (o *quietOwner) OnWriteLow()                        {}
func (o *quietOwner) OnReset(ResetReason, string)        { panic("reset") }

// cycle is a warm pool, and what one exchange on it needs.
type cycle struct {
	w      *world
	c      *Cluster
	o      quietOwner
	fd     int // the host's end
	buf    [4096]byte
	pick   upstream.Pick
	head   *codec.RequestHead
	body   []byte
	answer []byte
}

func newCycle(t testing.TB, edit func(*upstream.Config), head *codec.RequestHead, body, answer string) *cycle {
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(edit, o.addr), nil)
	p := w.exchange(c, o, nil)
	file, err := p.c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	y := &cycle{w: w, c: c, head: head, body: []byte(body), answer: []byte(answer)}
	if err := file.Control(func(fd uintptr) { y.fd = int(fd) }); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(y.fd, false); err != nil {
		t.Fatal(err)
	}
	y.o.x.Owner = &y.o
	return y
}

// run runs one exchange. The loop is the test's, so it is called without Post.
func (y *cycle) run() {
	y.o.done = false
	if y.c.Lease(y.c.Pick(&y.pick), upstream.Default, &y.o.x, false) != LeaseReady {
		panic("not ready")
	}
	y.o.x.SendHead(y.head, len(y.body) == 0)
	if len(y.body) > 0 {
		y.o.x.SendData(y.body, true)
	}
	_ = y.w.loop.Turn(0)
	if _, err := unix.Read(y.fd, y.buf[:]); err != nil {
		panic(err)
	}
	if _, err := unix.Write(y.fd, y.answer); err != nil {
		panic(err)
	}
	for !y.o.done {
		_ = y.w.loop.Turn(time.Millisecond)
	}
}

// cycles are the shapes of traffic that must not allocate.
var cycles = []struct {
	name   string
	head   func() *codec.RequestHead
	body   string
	answer string
}{
	{"get", func() *codec.RequestHead { return get("/") }, "", ok},
	{"post", func() *codec.RequestHead { return request(codec.MethodPOST, "/", 5) }, "hello", ok},
	{"chunked", func() *codec.RequestHead { return request(codec.MethodPOST, "/", -1) }, "hello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: v\r\n\r\n"},
}

func TestExchangeAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tt := range cycles {
		y := newCycle(t, nil, tt.head(), tt.body, tt.answer)
		for range 100 {
			y.run()
		}
		if n := testing.AllocsPerRun(500, y.run); n != 0 {
			t.Errorf("%s: an exchange on a warm pool allocates %v times, want 0", tt.name, n)
		}
		y.w.wantIdle(y.c, 1)
	}
}

// TestLimitsAllocs: limits of a host and connections that are opened ahead cost a request nothing on the heap.
func TestLimitsAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	y := newCycle(t, preconnects(3, 3, thresholds(func(b *upstream.CircuitBreakers) {
		b.MaxConnections, b.PerHostThresholds.MaxConnections, b.MaxPendingDuration = 1, 1, time.Minute
	})), get("/"), "", ok)
	for range 100 {
		y.run()
	}
	if n := testing.AllocsPerRun(500, y.run); n != 0 {
		t.Errorf("an exchange under limits allocates %v times, want 0", n)
	}
}

// TestPendingAllocs: waiting for a connection with a deadline costs nothing on the heap.
func TestPendingAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	y := newCycle(t, thresholds(func(b *upstream.CircuitBreakers) {
		b.PerHostThresholds.MaxConnections, b.MaxPendingDuration = 1, time.Minute
	}), get("/"), "", ok)
	var second quietOwner
	second.x.Owner = &second
	h := y.c.Shared().Hosts()[0]
	wait := func() {
		y.c.Lease(h, upstream.Default, &y.o.x, false)
		if y.c.Lease(h, upstream.Default, &second.x, false) != LeasePending {
			panic("not pending")
		}
		y.o.x.Cancel() // the second gets the connection
		second.x.Cancel()
	}
	for range 100 {
		wait()
	}
	if n := testing.AllocsPerRun(500, wait); n != 0 {
		t.Errorf("a wait allocates %v times, want 0", n)
	}
}

// BenchmarkExchange includes the system calls of both ends.
func BenchmarkExchange(b *testing.B) {
	for _, tt := range cycles {
		b.Run(tt.name, func(b *testing.B) {
			y := newCycle(b, nil, tt.head(), tt.body, tt.answer)
			y.run()
			b.ReportAllocs()
			for b.Loop() {
				y.run()
			}
		})
	}
}

// BenchmarkLease is the pool's own share: lease, give back, without a system call.
func BenchmarkLease(b *testing.B) { newCycle(b, nil, get("/"), "", ok).lease(b) }

func (y *cycle) lease(b *testing.B) {
	h := y.c.Shared().Hosts()[0]
	b.ReportAllocs()
	for b.Loop() {
		if y.c.Lease(h, upstream.Default, &y.o.x, false) != LeaseReady {
			b.Fatal("not ready")
		}
		y.o.x.Cancel()
	}
}
