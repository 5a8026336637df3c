package pool

import "millrace/codec"

// leaseStream gives x a stream on the connection that was used last, or queues it.
func (p *Pool) leaseStream(x *Exchange, fresh bool) LeaseResult {
	m := p.ready
	for fresh && m != nil && m.rested {
		m = m.older
	}
	if m == nil {
		return p.enqueue(x, fresh)
	}
	if !p.breaker.budget.TryRequest() {
		p.cluster.Stats.RqPendingOverflow.Inc()
		return LeaseOverflow
	}
	p.host.RqActive.Add(1)
	m.attach(x)
	if p.settings.perHostRatio > 0 {
		p.preconnect()
	}
	return LeaseReady
}

// speaksHTTP1 reports whether connections are of HTTP/1.1, as far as that is known.
func (p *Pool) speaksHTTP1() bool {
	return p.settings.h2 == nil || p.settings.auto && p.host.Spoke() == codec.Version11
}

// wantsMore reports whether more waits than the connections that are opening have room for.
func (p *Pool) wantsMore() bool {
	if p.speaksHTTP1() {
		return p.connecting+p.asked() < p.pending.count
	}
	if p.streamsMax == 0 && p.conns > 0 {
		return false // the host allows no streams for the moment, and would not on another connection
	}
	return p.connecting*p.perConn() < p.pending.count
}

// perConn is how many exchanges a connection that is opening will take at once. Of protocol "auto", before a host has spoken,
// that is hoped for: then one connection finds it out for all that wait.
func (p *Pool) perConn() int {
	if p.speaksHTTP1() {
		return 1
	}
	n := p.settings.perConn()
	if p.streamsMax > 0 {
		n = min(n, p.streamsMax)
	}
	return n
}

// perConn is how many exchanges a connection takes at once, as long as its host does not say otherwise.
func (s *settings) perConn() int {
	if s.h2 == nil {
		return 1
	}
	n := int(s.h2.ConcurrentStreams)
	if limit := int(s.maxRequests); limit > 0 {
		n = min(n, limit)
	}
	return n
}

// dialMux opens an admitted HTTP/2 connection.
func (p *Pool) dialMux() {
	m := newMux(p)
	ec, err := p.cluster.loop.DialAny(p.host.Target(), p.host.Others(), p.settings.dial, m)
	if err != nil { // no descriptor left, or the kernel knows no way
		m.forget()
		p.dialFailed(err)
		return
	}
	m.open(ec)
}

// serveMux gives streams of m to the requests that wait longest, while there is room.
func (p *Pool) serveMux(m *mux) {
	for m.room() {
		x := p.next(m.rested)
		if x == nil {
			return
		}
		if p.admitNext(x) {
			m.attach(x)
			x.Owner.OnReady()
		}
	}
}

// list puts m on top of the connections with room.
func (p *Pool) list(m *mux) {
	if m.listed {
		return
	}
	m.listed = true
	m.older, m.newer = p.ready, nil
	if p.ready != nil {
		p.ready.newer = m
	} else {
		p.last = m
	}
	p.ready = m
}

// unlist takes m out of them.
func (p *Pool) unlist(m *mux) {
	if !m.listed {
		return
	}
	m.listed = false
	if m.newer != nil {
		m.newer.older = m.older
	} else {
		p.ready = m.older
	}
	if m.older != nil {
		m.older.newer = m.newer
	} else {
		p.last = m.newer
	}
	m.older, m.newer = nil, nil
}
