package engine_test

import (
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// wantNoAllocs runs f often and checks that it does not allocate.
func wantNoAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for range 100 {
		f()
	}
	if n := testing.AllocsPerRun(500, f); n != 0 {
		t.Errorf("%s: %v allocations, want 0", what, n)
	}
}

func mustWrite(t *testing.T, p *enginetest.Peer, b []byte) {
	if n := p.TryWrite(b); n != len(b) {
		t.Fatalf("peer wrote %d of %d bytes", n, len(b))
	}
}

// proxyEnd hands what it reads to the other end.
type proxyEnd struct {
	c, to *engine.Conn
	tasks int
}

func (p *proxyEnd) OnConnect() {}
func (p *proxyEnd) OnData(b []byte) int {
	l := p.c.Loop()
	p.c.SetDeadline(l.Now() + int64(time.Minute))
	p.to.Staged(append(p.to.Stage(), "head\r\n"...))
	p.to.WriteRef(b)
	l.Later(p)
	return len(b)
}
func (p *proxyEnd) OnEOF()                     {}
func (p *proxyEnd) OnWriteLow()                {}
func (p *proxyEnd) OnSplice(int64, bool, bool) {}
func (p *proxyEnd) OnTimeout()                 {}
func (p *proxyEnd) OnClose(engine.CloseReason) {}
func (p *proxyEnd) RunTask()                   { p.tasks++ }

func proxyPair(t *testing.T, tl *enginetest.Loop) (a, b *proxyEnd, pa, pb *enginetest.Peer) {
	a, b = &proxyEnd{}, &proxyEnd{}
	a.c, pa = tl.Pair(a)
	b.c, pb = tl.Pair(b)
	a.to, b.to = b.c, a.c
	tl.Settle()
	return a, b, pa, pb
}

// Not parallel, any of these: AllocsPerRun counts the whole process.

func TestAllocsRequest(t *testing.T) {
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.Faults = nil })
	_, _, pa, pb := proxyPair(t, tl)
	buf := make([]byte, 64<<10)
	for _, size := range []int{100, 20_000} {
		msg := []byte(strings.Repeat("x", size))
		wantNoAllocs(t, "request and answer", func() {
			mustWrite(t, pa, msg)
			tl.Step()
			if n := pb.ReadSome(buf); n != size+6 {
				t.Fatalf("upstream got %d bytes", n)
			}
			mustWrite(t, pb, msg)
			tl.Step()
			if n := pa.ReadSome(buf); n != size+6 {
				t.Fatalf("downstream got %d bytes", n)
			}
		})
	}
}

func TestAllocsKept(t *testing.T) {
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.Faults = nil })
	rec := &consumer{}
	_, peer := tl.Pair(rec)
	first, rest := []byte(strings.Repeat("h", 5000)), []byte("ead\n")
	wantNoAllocs(t, "a head in two parts", func() {
		rec.take = false
		mustWrite(t, peer, first)
		tl.Step()
		rec.take = true
		mustWrite(t, peer, rest)
		tl.Step()
	})
}

type consumer struct {
	proxyEnd
	take bool
}

func (c *consumer) OnData(b []byte) int {
	if c.take {
		return len(b)
	}
	return 0
}

func TestAllocsQueue(t *testing.T) {
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.Faults = nil })
	c, peer := tl.Pair(&proxyEnd{})
	piece := []byte(strings.Repeat("x", 8000))
	buf := make([]byte, 64<<10)
	fill := func() {
		for c.Buffered() < 100_000 {
			c.Write(piece)
			tl.Step()
		}
	}
	fill()
	// Kept busy: the pools below LinkBuffer are emptied by collections.
	wantNoAllocs(t, "a queue that never drains", func() {
		for c.Buffered() > 60_000 {
			peer.ReadSome(buf)
			tl.Step()
		}
		fill()
	})
}

func TestAllocsTimersAndPause(t *testing.T) {
	tl := enginetest.NewLoop(t)
	c, peer := tl.Pair(&consumer{take: true})
	b := []byte("x")
	wantNoAllocs(t, "deadlines, pauses and batches", func() {
		c.SetDeadline(tl.Now() + int64(time.Second))
		c.PauseRead()
		mustWrite(t, peer, b)
		tl.Step()
		c.ResumeRead()
		tl.Advance(2 * time.Second)
	})
}

func TestAllocsSplice(t *testing.T) {
	tl := enginetest.NewLoop(t)
	c, ps := tl.Pair(&proxyEnd{})
	d, pd := tl.Pair(&proxyEnd{})
	msg, buf := []byte(strings.Repeat("x", 10_000)), make([]byte, 64<<10)
	wantNoAllocs(t, "a span spliced", func() {
		if !c.Splice(d, int64(len(msg))) {
			t.Fatal("Splice = false")
		}
		mustWrite(t, ps, msg)
		tl.Settle()
		if n := pd.ReadSome(buf); n != len(msg) {
			t.Fatalf("got %d bytes", n)
		}
	})
}

// A tunnel, both ways: a message in either direction, of a size that is copied and one that is spliced.
func TestAllocsTunnel(t *testing.T) {
	for _, size := range []int{100, 10_000, 100_000} {
		tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.Faults = nil })
		a, b, pa, pb := proxyPair(t, tl)
		if !a.c.Splice(b.c, -1) || !b.c.Splice(a.c, -1) {
			t.Fatal("Splice = false")
		}
		msg, buf := make([]byte, size), make([]byte, 256<<10)
		pass := func(from, to *enginetest.Peer) {
			mustWrite(t, from, msg)
			for got := 0; got < size; {
				tl.Step()
				got += max(to.ReadSome(buf), 0)
			}
		}
		wantNoAllocs(t, "a message each way", func() {
			pass(pa, pb)
			pass(pb, pa)
			tl.Settle()
		})
		if spliced := tl.Stats().SplicedBytes.Load() > 0; spliced != (size == 100_000) {
			t.Errorf("messages of %d bytes: spliced %v", size, spliced)
		}
	}
}

// A conn that is looked at first, then handed over, as listener filters do.
func TestAllocsHandover(t *testing.T) {
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.Faults = nil })
	looks, takes := &consumer{}, &consumer{take: true}
	c, peer := tl.Pair(looks)
	addrs := []engine.Addr{mustAddr(t, "192.0.2.1:1"), mustAddr(t, "192.0.2.2:2")}
	head := []byte("a few bytes")
	wantNoAllocs(t, "a handover", func() {
		c.SetHandler(looks)
		mustWrite(t, peer, head)
		tl.Step()
		c.SetRemoteAddr(addrs[0])
		c.SetLocalAddr(addrs[1])
		c.SetHandler(takes)
		tl.Step()
	})
}

func TestAllocsAcceptAndDial(t *testing.T) {
	tl := enginetest.NewLoop(t)
	a := &acceptOne{}
	ls := listen(t, tl, abstract("allocs"), a)
	addr := ls.Addr()
	h := &proxyEnd{}
	options := &engine.DialOptions{KeepAlive: &engine.KeepAlive{Idle: time.Minute}}
	wantNoAllocs(t, "a connection", func() {
		c, err := tl.DialFrom(&addr, options, h)
		if err != nil {
			t.Fatal(err)
		}
		a.c = nil
		for a.c == nil {
			tl.Step()
		}
		a.c.CloseLinger(0)
		c.Close()
		tl.Step()
	})
}

type acceptOne struct {
	proxyEnd
	c *engine.Conn
}

func (a *acceptOne) OnAccept(c *engine.Conn) engine.Handler {
	a.c = c
	return a
}
