package httpconn

import (
	"time"

	"millrace/engine"
	"millrace/filters"
)

const (
	// weighedMax is how many connections are looked at to find out how many requests come in a second.
	weighedMax = 4096
	// movesPerTurn is how many connections leave in one turn.
	movesPerTurn = 64
)

// A Moving is a connection of HTTP/1.1 between two requests that has left its loop, for the same filter chain on another one.
//
//	HandOut ── idle ──▶ Moving ──▶ Manager.Adopt ──▶ Manager.HandedOver, on the first loop
//	                      └────▶ Manager.TakeBack, on the first loop
type Moving struct {
	// Conn is the connection.
	Conn *engine.Detached
	// Net is what filters know of it, or nil.
	Net *filters.Connection
	// Slot is, or was, that of its engine.Conn.
	Slot uint32

	conn *conn
}

// handOut is what a manager gives away.
type handOut struct {
	m     *Manager
	rate  float64 // requests a second that are still to go
	until int64
	may   func(*filters.Connection) bool
	to    func(*Moving)
	list  []leaver
	due   bool // RunTask is on its way
}

// leaver is a connection that has just become idle.
type leaver struct {
	c     *conn
	io    *engine.Conn
	token engine.Token
}

// HandOut makes connections of HTTP/1.1 leave between two requests, those that have come to rest just now, until a share of
// the requests of the manager goes with them, or the time is over. One that brings more than is left of the share stays. to gets
// each, unless may speaks against it.
//
// The share is measured by how many requests a connection has brought in its life.
func (m *Manager) HandOut(share float64, until int64, may func(*filters.Connection) bool, to func(*Moving)) {
	sum, n := 0.0, 0
	for c := m.conns; c != nil && n < weighedMax; c, n = c.next, n+1 {
		sum += c.rate()
	}
	if n > 0 {
		sum *= float64(m.open) / float64(n)
	}
	m.handOut = &handOut{m: m, rate: share * sum, until: until, may: may, to: to}
}

// rate returns how many requests a second the connection brings. One that lives for less than a second counts as if it did for one.
func (c *link) rate() float64 {
	return float64(c.requests) / max(1, c.age().Seconds())
}

// offer notes that c may leave at the end of the turn, when its response has.
func (o *handOut) offer(c *conn) {
	if o.m.loop.Now() >= o.until {
		o.m.handOut = nil
		return
	}
	if len(o.list) == movesPerTurn || !o.takes(c) {
		return
	}
	o.list = append(o.list, leaver{c, c.io, c.io.Token()})
	if !o.due {
		o.due = true
		o.m.loop.Later(o)
	}
}

// takes reports whether c is one that goes. Its rate may exceed what is left by as much as rates are wrong.
func (o *handOut) takes(c *conn) bool {
	return c.rate() <= o.rate*1.05 && (c.net == nil || o.may(c.net))
}

// RunTask implements engine.Task.
func (o *handOut) RunTask() {
	o.due = false
	list := o.list
	o.list = o.list[:0]
	for _, x := range list {
		c := x.c
		if o.m.handOut != o || c.io != x.io || x.io.Token() != x.token || c.closed || c.stream != nil || c.piped || o.m.drains() ||
			!o.takes(c) || !c.io.Quiet() {
			continue
		}
		o.rate -= c.rate()
		o.m.send(c, o.to)
	}
	clear(list)
}

// send makes c leave.
func (m *Manager) send(c *conn, to func(*Moving)) {
	m.unlink(c)
	m.open--
	m.away++
	m.countMoved(c, false)
	x := &Moving{Slot: c.io.Token().Slot, Net: c.net, conn: c}
	x.Conn = c.io.Detach()
	c.io = nil
	to(x)
}

// countMoved counts the connections now open.
func (m *Manager) countMoved(c *conn, arrives bool) {
	active, http1 := &m.stats.CxActive, &m.stats.CxHTTP1Active
	if arrives {
		active.Inc()
		http1.Inc()
	} else {
		active.Dec()
		http1.Dec()
	}
}

// HandedOver tells that a connection that has left is another manager's.
func (m *Manager) HandedOver() { m.away-- }

// TakeBack takes up a connection that has left and that nobody wanted. It reports false if the loop is full by now: then the connection is
// still x's.
func (m *Manager) TakeBack(x *Moving) bool {
	m.away--
	return m.Adopt(x)
}

// Adopt takes up a connection of the same filter chain on another loop. On false it is still x's.
func (m *Manager) Adopt(x *Moving) bool {
	c := x.conn
	io, err := m.loop.Join(x.Conn, c)
	if err != nil {
		return false
	}
	c.m, c.io, x.Slot = m, io, io.Token().Slot
	c.codec.Reset(&m.limits)
	if c.net != nil {
		c.net.IO = io
	}
	m.link(c)
	m.open++
	m.countMoved(c, true)
	if m.drains() { // as awaitLast, but the caller is not done with it
		c.wait(max(m.cfg.DrainTimeout, time.Millisecond))
	}
	return true
}

// Lost counts the end of a connection that neither loop could take.
func (m *Manager) Lost(x *Moving) {
	c := x.conn
	m.stats.CxDestroy.Inc()
	m.stats.CxDestroyLocal.Inc()
	m.stats.CxRxBytes.Add(x.Conn.BytesIn())
	m.stats.CxTxBytes.Add(x.Conn.BytesOut())
	c.m = m
	m.stats.CxLengthMs.Record(uint64(c.age() / time.Microsecond))
	c.closed = true
}
