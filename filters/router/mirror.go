package router

import (
	"time"

	"millrace/codec"
	"millrace/engine/timer"
	"millrace/filters"
	"millrace/filters/route"
	"millrace/upstream"
	"millrace/upstream/pool"
)

const (
	// mirrorsMax is how many copies of requests may be under way on a loop, for one chain. More are not made.
	mirrorsMax = 1024
	// mirrorTimeout is how long a copy may take, counted from the end of the request, where the route has no timeout.
	mirrorTimeout = 15 * time.Second
	// mirrorResponseBytesMax is how much of the answer to a copy is read. What sends more is reset.
	mirrorResponseBytesMax = 1 << 20
	// mirrorSuffix tells hosts that the request is a copy.
	mirrorSuffix = "-shadow"
)

// mirror is the copy of a request, on its way to another cluster. The request knows it until it is complete; nobody waits for it,
// and nobody sees its response. It implements pool.Owner and timer.Firer.
type mirror struct {
	router *Router
	next   *mirror // of the same request, or of the free ones
	timer  timer.Timer

	// Of one copy.
	cluster  *pool.Cluster
	host     *upstream.Host
	x        pool.Exchange
	head     codec.RequestHead
	response codec.ResponseHead
	body     filters.Body // what the connection has not taken yet
	room     int          // for body
	trailers codec.Fields
	timeout  int64 // ns, from the end of the request
	sentAt   int64
	received int // bytes of the body of the response
	attached bool
	ended    bool // the request is complete
	trailing bool // with trailers
	internal bool
}

// mirror begins the copies of a request, which is about to be sent itself.
func (rq *request) mirror() {
	s := rq.stream
	if s.Request.Upgrade || s.Request.Method() == codec.MethodCONNECT || s.Route.Terminates(&s.Request) {
		return
	}
	list := s.Route.Mirrors()
	for i := range list {
		m := &list[i]
		if c := rq.router.mirrorCluster(rq, m); c != nil && m.Wants(rq.router.loop.Rand().Uint64()) {
			rq.copyTo(c, m.KeepHost)
		}
	}
}

// mirrorCluster returns where a copy goes, nil if there is no such cluster. A cluster whose hosts are those that clients ask for
// gets none: a copy goes elsewhere, or it is none.
func (r *Router) mirrorCluster(rq *request, m *route.Mirror) *pool.Cluster {
	var c *pool.Cluster
	if m.Cluster == route.ClusterByHeader {
		c = r.clusterNamed(m.ClusterHeaderValue(&rq.stream.Request))
	} else {
		c = r.clusterWithID(m.Cluster)
	}
	if c == nil || c.ByDestination() {
		return nil
	}
	return c
}

// copyTo begins one copy.
func (rq *request) copyTo(c *pool.Cluster, keepHost bool) {
	r, s := rq.router, rq.stream
	if r.mirrors >= mirrorsMax {
		r.stats.MirrorOverflow.Inc()
		return
	}
	p := &r.pick
	*p = upstream.Pick{Random: s.Random, Hash: rq.hash, HashSet: rq.hashSet}
	host := c.Pick(p)
	if host == nil {
		return // counted by the cluster
	}
	m := r.newMirror()
	m.cluster, m.host, m.room, m.internal = c, host, s.BufferLimit[filters.Request], s.Info.Internal
	m.timeout = int64(rq.limits.timeout)
	if m.timeout == 0 {
		m.timeout = int64(mirrorTimeout)
	}
	m.head.CopyFrom(&s.Request)
	if !keepHost {
		m.head.SetAuthority(r.mirrorHost(s.Request.Authority()))
	}
	m.ended = s.Ended(filters.Request)
	switch c.LeaseNamed(r.serverName(c, s.Request.Authority()), host, upstream.Priority(s.Route.Priority), &m.x, false) {
	case pool.LeaseReady:
		m.send()
	case pool.LeaseOverflow: // counted by the cluster
		m.end()
		return
	}
	r.stats.Mirrored.Inc()
	if m.ended {
		m.arm()
		return
	}
	m.attached = true
	m.next, rq.mirrors = rq.mirrors, m
}

// mirrorHost returns the host of a copy: "-shadow" goes before the port. It is valid until the next call.
func (r *Router) mirrorHost(authority []byte) []byte {
	host := withoutPort(authority)
	b := append(r.scratch[:0], host...)
	b = append(append(b, mirrorSuffix...), authority[len(host):]...)
	r.scratch = b[:0]
	return b
}

// mirrorData gives the copies a piece of the body.
func (rq *request) mirrorData(b []byte, end bool) {
	for m := rq.mirrors; m != nil; m = m.next {
		m.data(b, end)
	}
	if end {
		rq.detachMirrors()
	}
}

// mirrorTrailers gives the copies the trailers.
func (rq *request) mirrorTrailers(t *codec.Fields) {
	for m := rq.mirrors; m != nil; m = m.next {
		m.trail(t)
	}
	rq.detachMirrors()
}

// detachMirrors lets the copies go on alone. Those of a request that is not complete end.
func (rq *request) detachMirrors() {
	for m := rq.mirrors; m != nil; {
		next := m.next
		m.attached, m.next = false, nil
		switch {
		case m.over():
			m.end()
		case m.ended:
			m.arm()
		default:
			m.abandon()
		}
		m = next
	}
	rq.mirrors = nil
}

// over reports whether nothing happens to the copy any more.
func (m *mirror) over() bool { return !m.x.Active() && !m.x.Pending() }

// arm gives the copy its time.
func (m *mirror) arm() { m.router.loop.Wheel().Set(&m.timer, m.router.loop.Now()+m.timeout) }

// send sends the head, and what came of the request meanwhile.
func (m *mirror) send() {
	m.sentAt = m.router.loop.Now()
	m.cluster.Shared().Outlier.Connected(m.host, false)
	m.x.SendHead(&m.head, m.ended && m.body.Len() == 0 && !m.trailing)
	m.flush()
}

// flush sends what is kept of the request.
func (m *mirror) flush() {
	if n := m.body.Pieces(); n > 0 {
		for i := range n {
			m.x.SendData(m.body.Piece(i), m.ended && !m.trailing && i == n-1)
		}
		m.router.loop.FlushStage() // the pieces are freed now
		m.body.Free(m.router.loop.Arena())
	}
	if m.trailing {
		m.trailing = false
		m.x.SendTrailers(&m.trailers)
	}
}

// data takes a piece of the body. What the connection does not take is kept, as much of it as of the request itself.
func (m *mirror) data(b []byte, end bool) {
	m.ended = end
	switch {
	case m.over():
	case m.x.Active() && m.body.Len() == 0 && !m.x.Full():
		m.x.SendData(b, end)
	case m.body.Len()+len(b) > m.room || !m.body.Append(m.router.loop.Arena(), b):
		m.cluster.Stats.RetryAbandoned.Inc()
		m.x.Cancel()
		m.body.Free(m.router.loop.Arena())
	case m.x.Active() && end && m.body.Len() == 0: // nothing is kept, and the end fits
		m.x.SendData(nil, true)
	}
}

// trail takes the trailers.
func (m *mirror) trail(t *codec.Fields) {
	m.ended = true
	switch {
	case m.over():
	case m.x.Active() && m.body.Len() == 0:
		m.x.SendTrailers(t)
	default:
		m.trailers, m.trailing = *t.Clone(), true
	}
}

// abandon gives the copy up.
func (m *mirror) abandon() {
	m.x.Cancel()
	m.end()
}

// done is called when the exchange is over.
func (m *mirror) done() {
	if !m.attached {
		m.end()
	}
}

// end takes the copy back.
func (m *mirror) end() {
	r := m.router
	m.timer.Stop()
	m.body.Free(r.loop.Arena())
	m.head.Reset()
	m.response.Reset()
	*m = mirror{router: r, timer: m.timer, x: m.x, head: m.head, response: m.response, body: m.body}
	r.mirrors--
	if r.freeMirrorsLen < freeMirrorsMax {
		m.next, r.freeMirrors = r.freeMirrors, m
		r.freeMirrorsLen++
	}
}

// freeMirrorsMax is how many ended copies a router keeps for reuse.
const freeMirrorsMax = 64

// newMirror returns a copy that has not begun.
func (r *Router) newMirror() *mirror {
	m := r.freeMirrors
	if m == nil {
		m = &mirror{router: r}
		m.x.Owner = m
		m.timer.Init(m)
	} else {
		r.freeMirrors, m.next = m.next, nil
		r.freeMirrorsLen--
	}
	m.response.Reset()
	r.mirrors++
	return m
}

// OnTimer implements timer.Firer: the copy took too long.
func (m *mirror) OnTimer(int64) {
	if m.cluster == nil {
		return
	}
	m.cluster.Stats.RqTimeout.Inc()
	m.host.RqTimeout.Add(1)
	if m.response.Status < 200 {
		m.cluster.Shared().Outlier.TimedOut(m.host, 504)
	}
	m.abandon()
}

// OnReady implements pool.Owner.
func (m *mirror) OnReady() { m.send() }

// OnWriteLow implements pool.Owner.
func (m *mirror) OnWriteLow() { m.flush() }

// ResponseHead implements pool.Owner.
func (m *mirror) ResponseHead() *codec.ResponseHead { return &m.response }

// OnResponseHead implements pool.Owner: the answer counts as any other of the cluster.
func (m *mirror) OnResponseHead(end bool) {
	status := m.response.Status
	if status < 200 && status != 101 {
		m.response.Reset()
		return
	}
	m.cluster.Stats.CountCode(status, m.internal)
	m.cluster.Shared().Outlier.Status(m.host, status)
	if status < 500 {
		m.host.RqSuccess.Add(1)
	} else {
		m.host.RqError.Add(1)
	}
	if end {
		m.complete()
	}
}

// OnResponseData implements pool.Owner.
func (m *mirror) OnResponseData(b []byte, end bool) {
	switch m.received += len(b); {
	case end:
		m.complete()
	case m.received > mirrorResponseBytesMax:
		m.router.stats.MirrorTooLong.Inc()
		m.x.Cancel()
		m.done()
	}
}

// OnResponseTrailers implements pool.Owner.
func (m *mirror) OnResponseTrailers(*codec.Fields) { m.complete() }

// complete counts an answer that is whole.
func (m *mirror) complete() {
	m.cluster.Stats.CountTime(uint64(m.router.loop.Now()-m.sentAt)/1000, m.internal)
	m.done()
}

// OnReset implements pool.Owner.
func (m *mirror) OnReset(why pool.ResetReason, _ string) {
	judgeReset(m.cluster, m.host, why)
	m.host.RqError.Add(1)
	if m.response.Status < 200 {
		m.cluster.Stats.CountCode(resetStatus(why), m.internal)
	}
	m.done()
}
