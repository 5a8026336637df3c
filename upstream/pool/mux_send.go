package pool

import (
	"millrace/codec"
	"millrace/codec/h2"
)

// sendHead opens the stream on the wire. It returns the size of the head.
func (st *stream) sendHead(h *codec.RequestHead, end bool) int {
	m := st.mux
	if m.state == muxClosed || !m.client.Reusable() { // since the lease: it has not happened for the host
		st.fail(RefusedStream)
		return 0
	}
	if !st.askTunnel(h) {
		st.fail(RemoteReset)
		return 0
	}
	if st.tunnel != tunnelNone {
		end = false // what looks complete goes on as a tunnel
	}
	m.reserved--
	st.id, st.slot = m.client.Open()
	for len(m.streams) <= int(st.slot) {
		m.streams = append(m.streams, nil)
	}
	m.streams[st.slot] = st
	m.pool.cluster.Stats.H2StreamsActive.Inc()
	buf := m.stage()
	st.mark = m.ec.BytesOut() + uint64(m.ec.Buffered())
	before := len(buf)
	if st.tunnel == tunnelAsked {
		buf = appendExtended(m.client, buf, st.id, h)
	} else {
		buf = m.client.AppendRequestHead(buf, st.id, h, end)
	}
	n := len(buf) - before
	m.ec.Staged(buf)
	st.x.bytesOut += uint64(n)
	st.sentEnd = end
	return n
}

// written reports whether something of the head may have reached the host.
func (st *stream) written() bool {
	return st.id != 0 && (st.mux.state == muxClosed && st.mux.txCounted > st.mark || st.mux.state != muxClosed && st.mux.ec.BytesOut() > st.mark)
}

// mayPush reports whether more of the request can be sent.
func (st *stream) mayPush() bool { return st.id != 0 && !st.gone && !st.sentEnd && !st.broken }

// sendData sends a piece of the body, or keeps what the windows do not let through.
func (st *stream) sendData(b []byte, end bool) {
	if !st.mayPush() || st.endDue {
		return
	}
	if st.out.n == 0 {
		if b = b[st.push(b, end):]; len(b) == 0 {
			return
		}
	}
	m := st.mux
	st.endDue = end
	if !st.out.append(m.pool.cluster.loop.Arena(), b) {
		st.fail(LocalClose)
		return
	}
	m.pool.cluster.Stats.H2PendingBytes.Add(int64(len(b)))
}

// push sends as much of b as the windows let through now, and the end with the last of it. It returns how much that is.
//
// Hot path: TestStreamAllocs.
func (st *stream) push(b []byte, end bool) (n int) {
	m := st.mux
	for n < len(b) {
		k := min(m.client.Writable(st.id), m.client.FrameMax(), len(b)-n)
		if k == 0 {
			return n
		}
		st.frame(b[n:n+k], end && n+k == len(b))
		n += k
	}
	if end && !st.sentEnd {
		st.frame(nil, true)
	}
	return n
}

// frame sends one DATA frame.
func (st *stream) frame(b []byte, end bool) {
	m := st.mux
	buf := m.stage()
	before := len(buf)
	buf = m.client.AppendDataPrefix(buf, st.id, len(b), end)
	st.x.bytesOut += uint64(len(buf) - before + len(b))
	m.ec.Staged(buf)
	if len(b) > 0 {
		m.ec.WriteRef(b)
	}
	if end {
		st.sent()
	}
}

// sent notes that the request has ended.
func (st *stream) sent() {
	st.sentEnd = true
	if st.ended {
		st.mux.unlink(st)
	}
}

// sendTrailers sends the trailers, behind what is kept.
func (st *stream) sendTrailers(t *codec.Fields) {
	if !st.mayPush() || st.endDue {
		return
	}
	if st.out.n > 0 {
		st.outTrailers, st.endDue = t.Clone(), true
		return
	}
	m := st.mux
	buf := m.stage()
	before := len(buf)
	buf = m.client.AppendTrailers(buf, st.id, t)
	st.x.bytesOut += uint64(len(buf) - before)
	m.ec.Staged(buf)
	st.sent()
}

// flush sends at most so many bytes of what is kept of the request, and reports whether it sent any.
func (st *stream) flush(most int) bool {
	m := st.mux
	loop, moved := m.pool.cluster.loop, 0
	for st.out.n > 0 && moved < most && !m.ec.Full() {
		b := st.out.front()
		b = b[:min(len(b), most-moved)]
		end := st.endDue && st.outTrailers == nil && len(b) == st.out.n
		n := st.push(b, end)
		if n == 0 {
			break
		}
		loop.FlushStage() // the block may be given back
		st.out.skip(loop.Arena(), n)
		moved += n
	}
	m.pool.cluster.Stats.H2PendingBytes.Add(-int64(moved))
	if st.out.n == 0 && st.outTrailers != nil {
		t := st.outTrailers
		st.outTrailers, st.endDue = nil, false
		st.sendTrailers(t)
	}
	return moved > 0
}

// full reports whether the host takes less than it is sent.
func (st *stream) full() bool {
	if st.out.n == 0 && (st.mux.state == muxClosed || !st.mux.ec.Full()) {
		return false
	}
	if !st.backedUp {
		st.backedUp = true
		st.mux.pool.cluster.Stats.FlowBackedUp.Inc()
	}
	return true
}

// onWindow sends what a window has let through.
func (m *mux) onWindow(ev *codec.Event) {
	if ev.Stream != 0 {
		if st := m.streams[ev.Slot]; st != nil {
			st.flush(st.out.n)
			st.drained()
		}
		return
	}
	m.flushStreams()
}

// OnWriteLow implements [engine.Handler].
func (m *mux) OnWriteLow() {
	if m.state == muxOpen || m.state == muxDraining {
		m.flushStreams()
	}
}

// flushStreams sends what is kept of all requests, in turns of one frame each, and tells owners that there is room again.
func (m *mux) flushStreams() {
	for moved := true; moved && !m.ec.Full(); {
		moved = false
		for st := m.first; st != nil; {
			next := st.next
			if st.out.n > 0 && st.flush(m.client.FrameMax()) {
				moved = true
			}
			st = next
		}
	}
	for st := m.first; st != nil; st = m.cursor {
		m.cursor = st.next
		st.drained()
	}
}

// drained tells an owner that saw Full that there is room again.
func (st *stream) drained() {
	if !st.backedUp || st.out.n > 0 || st.mux.ec.Full() {
		return
	}
	st.backedUp = false
	st.mux.pool.cluster.Stats.FlowDrained.Inc()
	st.x.Owner.OnWriteLow()
}

// resume goes on with the response after the last ResumeRead.
func (st *stream) resume() {
	m := st.mux
	if st.owed > 0 {
		m.consume(st, st.owed)
		st.owed = 0
		m.flushLater()
	}
	if st.in.n > 0 || st.ended {
		st.later()
	}
}

// cut resets a stream on the wire.
func (m *mux) cut(st *stream, code uint32) {
	if st.id != 0 && !st.gone {
		m.client.Reset(st.id, code)
		m.unlink(st)
		m.pool.cluster.Stats.H2TxReset.Inc()
	}
}

// reset ends the exchange of st and tells its owner. code goes to the host, if it does not know.
func (m *mux) reset(st *stream, why ResetReason, code uint32) {
	x := st.x
	m.cut(st, code)
	m.detach(st)
	m.pool.cluster.Stats.RqRxReset.Inc()
	x.Owner.OnReset(why, "")
	m.flushLater()
	m.settle()
}

// cancel ends the exchange of st without telling the owner.
func (m *mux) cancel(st *stream) {
	if st.id == 0 && m.state != muxClosed && m.state != muxDraining {
		m.requests-- // nothing was asked of the host: as good as before
	} else {
		m.pool.cluster.Stats.RqTxReset.Inc()
	}
	m.cut(st, h2.Cancel)
	m.detach(st)
	m.flushLater()
	m.settle()
}
