package l4

import (
	"millrace/engine"
	"millrace/engine/timer"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// udpSession is the datagrams between one client and one host.
type udpSession struct {
	proxy *udpProxy
	key   udpKey
	route int
	down  *engine.PacketSocket // the listener's, through which the client hears
	up    pool.UDP
	timer timer.Timer

	next, prev *udpSession // of udpProxy.first

	start, active int64 // loop clock: when it began, when a datagram passed last
	counts        udpCounts
	id            uint64
}

// udpCounts is what has passed; rx is from the client, tx to it.
type udpCounts struct {
	rxDatagrams, rxBytes uint64
	txDatagrams, txBytes uint64
}

func (c *udpCounts) add(o *udpCounts) {
	c.rxDatagrams += o.rxDatagrams
	c.rxBytes += o.rxBytes
	c.txDatagrams += o.txDatagrams
	c.txBytes += o.txBytes
}

// begin makes a session, or returns nil. h may be picked already.
func (p *udpProxy) begin(s *engine.PacketSocket, key *udpKey, h *upstream.Host) *udpSession {
	if p.draining || !p.admit() {
		return nil
	}
	se := p.connect(key, h)
	if se == nil {
		p.shared.sessions.Add(-1)
		return nil
	}
	se.down = s
	se.start, se.active = p.loop.Now(), p.loop.Now()
	se.counts = udpCounts{}
	p.totals.sessions++
	se.id = p.totals.sessions
	p.sessions[*key] = se
	if se.next = p.first; se.next != nil {
		se.next.prev = se
	}
	p.first = se
	p.open++
	p.stat.SessTotal.Inc()
	p.stat.SessActive.Inc()
	p.loop.Wheel().Set(&se.timer, se.active+p.idle)
	return se
}

// admit reports whether the limits allow another session, and counts it.
func (p *udpProxy) admit() bool {
	if p.shared.sessions.Add(1) > int64(p.cfg.MaxSessions) {
		p.shared.sessions.Add(-1)
		p.stat.SessOverflow.Inc()
		return false
	}
	if p.shared.rate != nil && !p.shared.rate.take(p.loop.Now()) {
		p.shared.sessions.Add(-1)
		p.stat.SessRateLimited.Inc()
		return false
	}
	return true
}

// connect returns a session with a socket to h, or to the host that is picked. nil says that there is none,
// which is counted.
func (p *udpProxy) connect(key *udpKey, h *upstream.Host) *udpSession {
	c, route := p.route(&key.flow)
	if c == nil {
		return nil
	}
	if h == nil {
		if h = p.pickHost(c, &key.flow); h == nil {
			return nil
		}
	}
	if p.cfg.UseOriginalSrcIP {
		p.dial.Source = key.flow.Remote().WithPort(0)
	}
	se := p.lease()
	switch c.OpenUDP(&se.up, h, &p.dial, se) {
	case pool.UDPOpen:
		se.key, se.route = *key, route
		return se
	case pool.UDPFailed:
		p.stat.SessOpenFailed.Inc()
	}
	p.release(se)
	return nil
}

// lease returns a session to be used.
func (p *udpProxy) lease() *udpSession {
	se := p.free
	if se == nil {
		se = &udpSession{proxy: p}
		se.timer.Init((*udpIdle)(se))
		return se
	}
	p.free, se.next = se.next, nil
	p.freeLen--
	return se
}

func (p *udpProxy) release(se *udpSession) {
	if p.freeLen < udpFreeMax {
		se.next, p.free = p.free, se
		p.freeLen++
	}
}

// forward sends a datagram of the client to the host.
//
// Hot path: guarded by BenchmarkUDPProxy.
func (se *udpSession) forward(b []byte) {
	p := se.proxy
	se.active = p.loop.Now()
	se.counts.rxDatagrams++
	se.counts.rxBytes += uint64(len(b))
	p.stat.SessRxDatagrams.Inc()
	p.stat.SessRxBytes.Add(uint64(len(b)))
	p.clusterStats[se.route].SessTxDatagrams.Inc()
	se.up.Send(b)
}

// OnDatagram implements engine.PacketHandler: the host has sent something.
//
// Hot path: guarded by BenchmarkUDPProxy.
func (se *udpSession) OnDatagram(_ *engine.PacketSocket, d *engine.Datagram) {
	p := se.proxy
	if se.up.Standing() == pool.HostGone {
		se.end("upstream_host_removed")
		return
	}
	se.active = p.loop.Now()
	se.counts.txDatagrams++
	se.counts.txBytes += uint64(len(d.Data))
	p.stat.SessTxDatagrams.Inc()
	p.stat.SessTxBytes.Add(uint64(len(d.Data)))
	p.clusterStats[se.route].SessRxDatagrams.Inc()
	se.up.Received(d.Data)
	se.down.Reply(&se.key.flow, d.Data)
}

// OnPacketError implements engine.PacketHandler. The session goes on: a host that refuses one datagram may take
// the next, and a client has nobody to tell.
func (se *udpSession) OnPacketError(_ *engine.PacketSocket, e engine.PacketError) {
	st := se.proxy.clusterStats[se.route]
	switch e.Trouble {
	case engine.PacketTruncated, engine.PacketOverrun:
		st.SessRxDatagramsDropped.Add(e.Count)
	case engine.PacketUnreachable, engine.PacketReceiveFailed:
		st.SessRxErrors.Add(e.Count)
	case engine.PacketNotSent:
		st.SessTxErrors.Add(e.Count)
	}
}

// OnPacketClose implements engine.PacketHandler.
func (se *udpSession) OnPacketClose(*engine.PacketSocket) { se.end("loop_end") }

// udpIdle is a udpSession as its timer sees it.
type udpIdle udpSession

// OnTimer implements timer.Firer. The timer is not moved for each datagram: when it fires, what is left of
// the time since the last one is set.
func (i *udpIdle) OnTimer(now int64) {
	se := (*udpSession)(i)
	p := se.proxy
	if at := se.active + p.idle; at > now {
		p.loop.Wheel().Set(&se.timer, at)
		return
	}
	p.stat.IdleTimeout.Inc()
	p.totals.idle++
	se.end("idle_timeout")
}

// end closes the session, for a reason that its log tells.
func (se *udpSession) end(why string) {
	p := se.proxy
	p.logSession(se, why)
	p.totals.add(&se.counts)
	p.loop.Wheel().Unlink(&se.timer)
	se.up.Close()
	delete(p.sessions, se.key)
	if p.last == se {
		p.last = nil
	}
	if se.prev != nil {
		se.prev.next = se.next
	} else {
		p.first = se.next
	}
	if se.next != nil {
		se.next.prev = se.prev
	}
	se.next, se.prev, se.down, se.key = nil, nil, nil, udpKey{}
	p.open--
	p.stat.SessActive.Dec()
	p.shared.sessions.Add(-1)
	p.release(se)
}
