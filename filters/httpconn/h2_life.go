package httpconn

import (
	"time"

	"millrace/codec/h2"
)

// life is when a connection of HTTP/2 has to do something by itself. All times are of the loop's clock, 0 for none.
//
//	open ── drain ──▶ warned ── the peer has heard, or drain_timeout ──▶ last ── no streams ──▶ closed
//
// "A server that is attempting to gracefully shut down a connection SHOULD send an initial GOAWAY frame with the last
// stream identifier set to 2^31-1 and a NO_ERROR code."
// RFC 9113 section 6.8
type life struct {
	armed      int64 // the deadline that is set
	idleSince  int64 // only valid without streams
	flushAt    int64 // when to look whether the peer takes what it was sent, without streams
	settingsBy int64 // SETTINGS must be acknowledged
	frameBy    int64 // what has begun, the preface, a frame or a header block, must be complete
	pingAt     int64
	pongBy     int64
	lastBy     int64  // the last GOAWAY is due
	pings      uint32 // sent
	heard      uint32 // the PING whose answer says that the peer has heard of the end
	state      lifeState
	trimmed    bool // memory was given back since there are no streams
}

// trimAfter is how long a connection without streams keeps the memory of its next ones.
const trimAfter = time.Second

type lifeState uint8

const (
	lifeOpen   lifeState = iota
	lifeWarned           // GOAWAY with the highest stream number was sent
	lifeLast             // GOAWAY with the last stream that is served was sent
)

// over reports whether the connection ends as soon as there are no streams.
func (l *life) over() bool { return l.state == lifeLast }

// begin arms the deadlines of a new connection.
func (l *life) begin(c *conn2) {
	m := c.m
	now := m.loop.Now()
	l.settingsBy = after(now, m.cfg2.SettingsTimeout)
	l.frameBy = after(now, m.cfg.RequestHeadersTimeout)
	l.schedulePing(c)
	l.idle(c)
	l.rearm(c)
}

// after returns now + d, or 0 for none.
func after(now int64, d time.Duration) int64 {
	if d == 0 {
		return 0
	}
	return now + int64(d)
}

// schedulePing sets when the next PING is due.
func (l *life) schedulePing(c *conn2) {
	k := c.m.cfg2.ConnectionKeepalive
	if k == nil {
		return
	}
	jitter := int64(float64(k.Interval) * k.IntervalJitter / 100)
	l.pingAt = c.m.loop.Now() + int64(k.Interval)
	if jitter > 0 {
		l.pingAt += c.m.loop.Rand().Int64N(jitter + 1)
	}
}

// ping sends a PING.
func (l *life) ping(c *conn2) {
	l.pings++
	c.codec.Ping(uint64(l.pings))
}

// idle notes that there are no streams.
func (l *life) idle(c *conn2) {
	m := c.m
	l.idleSince, l.trimmed = m.loop.Now(), false
	c.flushed = uint32(c.io.BytesOut())
	l.flushAt = after(l.idleSince, m.cfg.StreamIdleTimeout)
	l.soon(c, l.nextIdle(m))
}

// nextIdle returns when something is due without streams.
func (l *life) nextIdle(m *Manager) int64 {
	at := earlier(l.flushAt, after(l.idleSince, m.cfg.IdleTimeout))
	if !l.trimmed {
		at = earlier(at, l.idleSince+int64(trimAfter))
	}
	return at
}

// soon makes sure that the deadline of the connection is not later than at.
func (l *life) soon(c *conn2, at int64) {
	if at != 0 && (l.armed == 0 || at < l.armed) && !c.closed {
		l.armed = at
		c.io.SetDeadline(at)
	}
}

// rearm sets the deadline to the earliest of what is due.
func (l *life) rearm(c *conn2) {
	m := c.m
	at := earlier(earlier(l.settingsBy, l.frameBy), earlier(earlier(l.pingAt, l.pongBy), l.lastBy))
	if c.active == 0 {
		at = earlier(at, l.nextIdle(m))
	}
	if m.cfg.MaxConnectionDuration > 0 && l.state == lifeOpen {
		at = earlier(at, m.loop.Now()+int64(c.withinLife(0)))
	}
	l.armed = 0
	l.soon(c, at)
}

// afterRead looks at what a read has brought. cut says that it ended inside a frame.
func (l *life) afterRead(c *conn2, cut bool) {
	if l.settingsBy != 0 && c.codec.Acknowledged() {
		l.settingsBy = 0
	}
	if cut || c.codec.InBlock() {
		if l.frameBy == 0 {
			l.frameBy = after(c.m.loop.Now(), c.m.cfg.RequestHeadersTimeout)
			l.soon(c, l.frameBy)
		}
	} else {
		l.frameBy = 0
	}
	if l.pings == 0 {
		return
	}
	if c.codec.Heard() == uint64(l.pings) {
		l.pongBy = 0
	}
	if l.state == lifeWarned && c.codec.Heard() >= uint64(l.heard) {
		l.sayLast(c)
	}
}

// drain begins the end of the connection: no new streams, and those under way are completed. It reports whether it had not
// begun before.
func (l *life) drain(c *conn2) bool {
	if l.state != lifeOpen || c.closed {
		return false
	}
	l.state = lifeWarned
	c.m.stats2.GoAwaySent.Inc()
	c.codec.SendGoAway(h2.GoAwayLater, h2.NoError)
	l.ping(c)
	l.heard = l.pings
	if l.lastBy = after(c.m.loop.Now(), c.m.cfg.DrainTimeout); l.lastBy == 0 {
		l.sayLast(c)
	}
	l.soon(c, l.lastBy)
	return true
}

// sayLast tells the peer which streams are served.
func (l *life) sayLast(c *conn2) {
	l.state, l.lastBy = lifeLast, 0
	c.m.stats2.GoAwaySent.Inc()
	c.codec.SendGoAway(c.codec.LastStream(), h2.NoError)
}

// OnTimeout implements engine.Handler.
func (c *conn2) OnTimeout() {
	c.life.onTimeout(c)
	c.settle()
	if !c.closed {
		c.life.rearm(c)
	}
}

// onTimeout does what is due.
func (l *life) onTimeout(c *conn2) {
	m := c.m
	now := m.loop.Now()
	due := func(at int64) bool { return at != 0 && at <= now }
	switch {
	case due(l.settingsBy):
		c.fail(c.codec.SettingsTimeout())
		return
	case due(l.frameBy):
		m.stats.RqHeaderTimeout.Inc()
		c.end("request_header_timeout")
		return
	case due(l.pongBy):
		m.stats2.KeepaliveMissed.Inc()
		c.end("http2.ping_timeout")
		return
	}
	if due(l.pingAt) {
		l.ping(c)
		if l.pongBy == 0 {
			l.pongBy = now + int64(m.cfg2.ConnectionKeepalive.Timeout)
		}
		l.schedulePing(c)
	}
	if due(l.lastBy) {
		l.sayLast(c)
	}
	if c.isOld() && l.drain(c) {
		m.stats.CxMaxDuration.Inc()
	}
	if c.active == 0 {
		l.onIdle(c, now)
	}
}

// onIdle looks at a connection without streams: whether the peer takes what it was sent, and how long there is nothing to do.
func (l *life) onIdle(c *conn2, now int64) {
	m := c.m
	if !l.trimmed && now-l.idleSince >= int64(trimAfter) {
		l.trimmed = true
		c.codec.Trim()
		c.streams, c.fresh = nil, nil
	}
	if l.flushAt != 0 && l.flushAt <= now {
		l.flushAt = 0
		if c.io.Buffered() > 0 {
			if sent := uint32(c.io.BytesOut()); sent == c.flushed {
				m.stats.TxFlushTimeout.Inc()
				m.stats.CxDestroyLocal.Inc()
				c.closeAbruptly()
				return
			}
			l.idle(c)
			return
		}
	}
	if idle := m.cfg.IdleTimeout; idle > 0 && now-l.idleSince >= int64(idle) && l.drain(c) {
		m.stats.CxIdleTimeout.Inc()
		l.idleSince = now // until the end is said
	}
}

// end ends the connection for a reason of ours, with all streams.
func (c *conn2) end(details string) {
	c.m.stats2.GoAwaySent.Inc()
	c.codec.SendGoAway(c.codec.LastStream(), h2.NoError)
	busy := c.busy
	c.busy = true
	for _, s := range c.streams {
		if s != nil {
			s.abort(details)
		}
	}
	c.busy = busy
	c.close()
}
