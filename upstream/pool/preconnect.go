package pool

import (
	"millrace/upstream"
)

// preconnectsMax bounds the connections that one request has opened ahead.
const preconnectsMax = 3

// shouldConnect reports whether capacity for a number of exchanges, ratio times those there are and are expected, asks for
// another connection. spare is how many more the connections open and opening take.
//
// Source: Envoy, ConnPoolImplBase::shouldConnect.
func shouldConnect(pending, active, anticipated, spare int, ratio float64) bool {
	return float64(pending+active+anticipated)*ratio > float64(spare+active)
}

// preconnect opens connections to the host ahead of requests. It is called after each lease.
func (p *Pool) preconnect() {
	for range preconnectsMax {
		if !p.connectAhead(p.settings.perHostRatio, 0) {
			return
		}
	}
}

// connectAhead opens one connection if ratio asks for it and nothing speaks against it. It reports whether it did.
func (p *Pool) connectAhead(ratio float64, anticipated int) bool {
	t := p.cluster.table
	if p.draining || p.failing || t.draining || t.ended || p.host.Health().Class() != upstream.Healthy {
		return false
	}
	if p.settings.h2 != nil && p.streamsMax == 0 && p.conns > 0 { // the host allows no streams for the moment
		return false
	}
	if !shouldConnect(p.pending.count, p.active, anticipated, p.capacity(), ratio) || !p.admitAhead() {
		return false
	}
	p.cluster.Stats.CxPreconnect.Inc()
	p.dial()
	return true
}

// capacity is how many more exchanges the connections open and opening take.
func (p *Pool) capacity() int {
	n := p.idleCount + p.asked() + p.connecting*p.perConn()
	for m := p.ready; m != nil; m = m.older {
		n += m.capacity()
	}
	return n
}

// admitAhead reports whether a connection that no request waits for yet may be opened, and counts it. Those that wait
// come first, and nobody is asked again.
func (p *Pool) admitAhead() bool {
	b := p.breaker.budget
	if b.Waiting() || p.host.Room.Waiting() || !p.host.TryConnection(p.settings.hostConnsMax) {
		return false
	}
	if !b.TryConnection() {
		p.host.ReleaseConnection()
		return false
	}
	return true
}

// capacity is how many more exchanges m takes.
func (m *mux) capacity() int {
	if !m.room() {
		return 0
	}
	return m.client.StreamsMax() - m.client.Streams() - m.reserved
}

// noteRoom keeps the part of m in Cluster.muxSpare up to date, if somebody wants to know.
func (m *mux) noteRoom() {
	if m.pool.settings.predictiveRatio == 0 {
		return
	}
	n := m.capacity()
	m.pool.cluster.muxSpare += n - m.noted
	m.noted = n
}

// picks are hosts picked before there were requests for them, oldest first.
type picks struct {
	bucket *upstream.Bucket // where they were picked
	hosts  [picksMax]*upstream.Host
	count  int
	pick   upstream.Pick // scratch
}

// picksMax bounds the hosts picked ahead. There are never more than hosts in the bucket either.
const picksMax = 8

// take returns the host that was picked first, if it is one for a request that goes to b; else nil.
func (a *picks) take(b *upstream.Bucket) *upstream.Host {
	if a.count == 0 || a.bucket != b {
		return nil
	}
	h := a.hosts[0]
	a.count--
	copy(a.hosts[:a.count], a.hosts[1:])
	a.hosts[a.count] = nil
	return h
}

// predict opens connections to the hosts that requests will come to after this one. It is called before each lease.
func (c *Cluster) predict(name []byte, prio upstream.Priority) {
	for range preconnectsMax {
		if c.removed {
			return
		}
		spare := c.idle + c.connecting*c.settings.perConn() + c.muxSpare
		if !shouldConnect(int(c.Stats.RqPendingActive.Load()), int(c.Stats.RqActive.Load()), 1, spare, c.settings.predictiveRatio) {
			return
		}
		h := c.peek()
		if h == nil {
			return
		}
		if p := c.namedPool(name, h, prio); p == nil || !p.connectAhead(c.settings.predictiveRatio, 1) {
			return
		}
	}
}

// peek picks the host of a request that is still to come, which will get it. It returns nil if enough were picked.
func (c *Cluster) peek() *upstream.Host {
	a := &c.ahead
	a.pick.Now = c.loop.Now()
	bucket, _ := c.hosts.Choose(c.loop.Rand().Uint64(), &a.pick)
	if a.bucket != bucket { // another share, zone or subset, or other hosts
		clear(a.hosts[:])
		a.bucket, a.count = bucket, 0
	}
	if a.count == min(picksMax, len(bucket.Hosts)) {
		return nil
	}
	h := c.balancer.Pick(bucket, &a.pick)
	a.hosts[a.count] = h
	a.count++
	return h
}

// opened counts a connection that opens no more.
func (p *Pool) opened() {
	p.connecting--
	p.cluster.connecting--
}
