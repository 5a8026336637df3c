package httpconn

import "time"

// What a client of HTTP/2 can make the proxy hold: the heads of its requests, which HPACK lets it swell to hundreds of times
// their bytes on the wire, and of the responses what it does not take.

const (
	// heldShare is the part of a loop's blocks, one in so many, that connections of HTTP/2 may hold before each has to
	// be content with heldTight. Who holds on to memory is not to take it from others.
	heldShare = 4
	heldTight = 256 << 10
	// hurryShare is the part from which on a response that waits may stand still for hurryMax only.
	hurryShare = 16
	hurryMax   = 10 * time.Second
)

// hurries reports whether so much is held that nobody may stand still for long.
func (m *Manager) hurries() bool { return m.stats2.Held.Load() > m.loop.Arena().Budget()/hurryShare }

// hurry brings the deadline of a response that waits forward if memory is short.
func (c *conn2) hurry(s *stream) {
	if at := s.active + int64(hurryMax); c.m.hurries() && (s.timer.At() == 0 || at < s.timer.At()) {
		c.m.loop.Wheel().Set(&s.timer, at)
	}
}

// mayHold reports whether the connection may hold n bytes more.
func (c *conn2) mayHold(n int) bool {
	m := c.m
	held := c.held + n
	if held <= min(heldTight, m.cfg2.MaxHeldBytes) {
		return true
	}
	return held <= m.cfg2.MaxHeldBytes && m.stats2.Held.Load()+int64(n) <= m.loop.Arena().Budget()/heldShare
}

// holds counts n bytes more, or less, that the connection holds.
func (c *conn2) holds(n int) {
	c.held += n
	c.m.stats2.Held.Add(int64(n))
}

const (
	// swollenShare is the part of a loop's blocks, one in so many, that swollen heads may use before each connection has
	// to be content with swollenTight.
	swollenShare = 256
	swollenTight = 64 << 10
)

// swell returns how much more than a head of the usual size one of n bytes takes, in whole pages: more of its block is not
// touched.
func swell(n int) int {
	const page = 4 << 10
	return (n+headSpareBytes+page-1)/page*page - headBlockBytes
}

// maySwell reports whether the connection may have another head that takes n bytes more than the usual.
func (c *conn2) maySwell(n int) bool {
	if n == 0 || c.swollen == 0 {
		return true
	}
	m := c.m
	most := m.cfg2.MaxSwollenHeadBytes
	if m.stats2.Swollen.Load() > m.loop.Arena().Budget()/swollenShare {
		most = min(most, swollenTight)
	}
	return c.swollen+n <= most
}

// swells counts n bytes more, or less, of swollen heads.
func (c *conn2) swells(n int) {
	if n != 0 {
		c.swollen += n
		c.m.stats2.Swollen.Add(int64(n))
	}
}

// freeHead counts the head of a request as given back.
func (c *conn2) freeHead(s *stream) {
	c.holds(-s.headBlock)
	c.swells(-s.swollen)
	s.headBlock, s.swollen = 0, 0
}

// forgetHeads gives the heads of a stream back whose response waits for its client, if nobody will look at them: there is no
// access log, and no filter that hears of the stream again. The head of the response is out, so there is no other try.
func (c *conn2) forgetHeads(s *stream) {
	m := c.m
	if s.headBlock == 0 || !s.outgoing || m.log.Enabled() || m.chain.LooksBack() {
		return
	}
	c.freeHead(s)
	s.Request.Forget()
	s.Response.Forget()
	m.release(&s.requestBlock)
	m.release(&s.responseBlock)
}
