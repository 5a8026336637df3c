package httpconn

import (
	"net/http"
	"testing"
	"time"

	"millrace/filters"
)

// mover gathers what a manager hands out.
type mover struct{ list []*Moving }

func (m *mover) take(x *Moving) { m.list = append(m.list, x) }

func anybody(*filters.Connection) bool { return true }

const ask11 = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// ok asks and wants a 200.
func (c *client) ok() *http.Response {
	c.w.t.Helper()
	resp := c.ask(ask11)
	if resp.StatusCode != 200 {
		c.w.t.Fatalf("status %d, want 200", resp.StatusCode)
	}
	return resp
}

// counted returns the gauges of open connections.
func (w *world) counted() [3]int64 {
	return [3]int64{int64(w.m.Conns()), w.m.stats.CxActive.Load(), w.m.stats.CxHTTP1Active.Load()}
}

func (w *world) wantConns(n int64) {
	w.t.Helper()
	if got := w.counted(); got != [3]int64{n, n, n} {
		w.t.Errorf("Conns, cx_active, cx_http1_active = %d, want %d", got, n)
	}
}

// handedOut makes a client's connection leave its manager, behind two more requests.
func handedOut(t *testing.T, a *world, c *client) *Moving {
	t.Helper()
	var m mover
	c.ok()
	a.m.HandOut(2, a.tl.Now()+int64(time.Second), anybody, m.take)
	c.ok()
	a.tl.Settle()
	a.m.handOut = nil
	if len(m.list) != 1 {
		t.Fatalf("%d connections left, want 1", len(m.list))
	}
	if a.m.Conns() != 1 || a.m.open != 0 {
		t.Errorf("Conns = %d, %d open; want 1, 0: it is on its way", a.m.Conns(), a.m.open)
	}
	return m.list[0]
}

// A connection goes on under the manager of another loop: with its number, its age and its count of requests.
func TestHandOut(t *testing.T) {
	t.Parallel()
	edit := func(c *Config) { c.MaxRequestsPerConnection = 5; c.IdleTimeout = time.Minute; c.StreamIdleTimeout = 0 }
	a, b := newWorld(t, edit), newWorld(t, edit)
	c := a.dial("127.0.0.1")
	c.ok()
	id := a.m.conns.id
	x := handedOut(t, a, c)
	if _, err := c.Write([]byte(ask11)); err != nil { // while it is on no loop
		t.Fatal(err)
	}
	if !b.m.Adopt(x) {
		t.Fatal("Adopt = false")
	}
	a.m.HandedOver()
	a.wantConns(0)
	b.wantConns(1)
	c.w = b
	b.tl.Until(func() bool { return len(b.term.ended) == 1 })
	if resp := c.answerTo("GET", false); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if moved := b.m.conns; moved.id != id || moved.requests != 4 || moved.m != b.m {
		t.Errorf("id %d, %d requests; want %d, 4", moved.id, moved.requests, id)
	}
	if resp := c.ok(); !resp.Close {
		t.Error("the fifth request of the connection is not its last")
	}
	b.tl.Until(func() bool { return b.m.Conns() == 0 })
	b.wantConns(0)
	if n := a.m.stats.CxTotal.Load() + b.m.stats.CxTotal.Load(); n != 1 {
		t.Errorf("cx_total %d, want 1", n)
	}
	if n := a.m.stats.CxDestroy.Load() + b.m.stats.CxDestroy.Load(); n != 1 {
		t.Errorf("cx_destroy %d, want 1", n)
	}
}

// The idle time goes on while a connection moves.
func TestMovedIdleTimeout(t *testing.T) {
	t.Parallel()
	edit := func(c *Config) { c.IdleTimeout = time.Minute; c.StreamIdleTimeout = 0 }
	a, b := newWorld(t, edit), newWorld(t, edit)
	c := a.dial("127.0.0.1")
	x := handedOut(t, a, c)
	b.m.Adopt(x)
	a.m.HandedOver()
	b.tl.Advance(50 * time.Second)
	b.wantConns(1)
	b.tl.Advance(20 * time.Second)
	b.wantConns(0)
	if n := b.m.stats.CxIdleTimeout.Load(); n != 1 {
		t.Errorf("%d idle timeouts, want 1", n)
	}
}

// A connection that nobody wants comes back; one that comes to a manager that drains ends soon.
func TestTakeBack(t *testing.T) {
	t.Parallel()
	edit := func(c *Config) { c.DrainTimeout = time.Second }
	a, b := newWorld(t, edit), newWorld(t, edit)
	c := a.dial("127.0.0.1")
	x := handedOut(t, a, c)
	if !a.m.TakeBack(x) {
		t.Fatal("TakeBack = false")
	}
	a.wantConns(1)
	c.ok()
	x = handedOut(t, a, c)
	b.m.Drain()
	if !b.m.Adopt(x) {
		t.Fatal("Adopt = false")
	}
	a.m.HandedOver()
	c.w = b
	if resp := c.ok(); !resp.Close {
		t.Error("the response does not say that the connection ends")
	}
	b.tl.Until(func() bool { return b.m.Conns() == 0 })
	b.wantConns(0)
	c = a.dial("127.0.0.1")
	x = handedOut(t, a, c)
	b.m.Adopt(x)
	a.m.HandedOver()
	b.tl.Advance(2 * time.Second)
	b.wantConns(0)
}

// Neither loop has room: the connection is closed and counted.
func TestMovedLost(t *testing.T) {
	t.Parallel()
	a := newWorld(t, nil)
	c := a.dial("127.0.0.1")
	x := handedOut(t, a, c)
	x.Conn.Close()
	if a.m.TakeBack(x) {
		t.Fatal("TakeBack = true without a socket")
	}
	a.m.Lost(x)
	a.wantConns(0)
	if n := a.m.stats.CxDestroy.Load(); n != 1 {
		t.Errorf("cx_destroy %d, want 1", n)
	}
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("the client reads on")
	}
}

// What stays: connections with a request under way or a next one waiting, those that bring more than the share, those that filters hold, and
// all when the time is over.
func TestNotHandedOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		share float64
		may   bool
		run   func(w *world, c *client)
		left  int
	}{
		{"all fits", 1.2, true, func(_ *world, c *client) { c.ok() }, 1},
		{"too busy", 0.2, true, func(_ *world, c *client) { c.ok() }, 0},
		{"filters", 1.2, false, func(_ *world, c *client) { c.net(); c.ok() }, 0},
		{"too late", 1.2, true, func(w *world, c *client) { w.tl.Advance(2 * time.Second); c.ok() }, 0},
		{"drains", 1.2, true, func(w *world, c *client) { w.m.Drain(); c.ask(ask11) }, 0},
		{"pipelined", 2, true, func(w *world, c *client) {
			n := len(w.term.ended)
			if _, err := c.Write([]byte(ask11 + ask11 + "GET / HT")); err != nil {
				w.t.Fatal(err)
			}
			w.tl.Until(func() bool { return len(w.term.ended) == n+2 })
		}, 0},
		{"last request", 1.2, true, func(_ *world, c *client) { c.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.DrainTimeout = time.Second })
			c := w.dial("127.0.0.1")
			for range 5 {
				c.ok()
			}
			w.tl.Settle()
			var m mover
			w.m.HandOut(tt.share, w.tl.Now()+int64(time.Second), func(*filters.Connection) bool { return tt.may }, m.take)
			tt.run(w, c)
			w.tl.Settle()
			if len(m.list) != tt.left {
				t.Errorf("%d left, want %d", len(m.list), tt.left)
			}
			for _, x := range m.list {
				w.m.TakeBack(x)
			}
		})
	}
}

// net makes the connection one that something is known of.
func (c *client) net() { c.w.m.conns.net = &filters.Connection{IO: c.w.m.conns.io} }

// Half of the requests leave with half of the connections.
func TestHandOutShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var clients []*client
	for range 8 {
		c := w.dial("127.0.0.1")
		clients = append(clients, c)
		for range 3 {
			c.ok()
		}
	}
	var m mover
	w.m.HandOut(0.5, w.tl.Now()+int64(time.Second), anybody, m.take)
	for _, c := range clients {
		c.ok()
	}
	w.tl.Settle()
	if n := len(m.list); n < 2 || n > 4 {
		t.Errorf("%d of 8 left, want about half", n)
	}
	slots := map[uint32]bool{}
	for _, x := range m.list {
		slots[x.Slot] = true
		w.m.TakeBack(x)
	}
	if len(slots) != len(m.list) {
		t.Errorf("slots %v of %d connections", slots, len(m.list))
	}
	w.wantConns(8)
	for _, c := range clients {
		c.ok()
	}
}
