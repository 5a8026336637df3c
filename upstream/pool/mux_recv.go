package pool

import (
	"millrace/codec"
	"millrace/codec/h2"
)

// OnData implements [engine.Handler]: it feeds the codec until the bytes are used up. Reading is never paused:
// what an exchange that is paused gets waits in its stream, within the window.
//
// Hot path: TestStreamAllocs, BenchmarkStream.
func (m *mux) OnData(b []byte) int {
	t := m.pool.cluster.table
	ev := &t.event
	m.client.SetNow(m.pool.cluster.loop.Now())
	n := 0
	for n < len(b) {
		ev.Response, ev.Trailers = &t.head, &t.trailers
		used, err := m.client.Feed(b[n:], ev)
		n += used
		if err != nil && !m.broke(err) {
			return len(b)
		}
		if ev.Kind == codec.EventNone && err == nil {
			break
		}
		m.handle(ev, err != nil)
		if m.state == muxClosed {
			return len(b)
		}
	}
	if !m.flushControl() {
		return len(b)
	}
	switch {
	case m.state == muxConnecting && m.client.Settled():
		m.settled()
	case !m.listed && m.room(): // SETTINGS may have come
		m.settle()
	}
	if m.state == muxClosed {
		return len(b)
	}
	return n
}

// broke counts a rule that the host broke, and ends the connection if that is what it costs. It reports whether feeding
// goes on.
func (m *mux) broke(err *codec.Error) bool {
	st := &m.pool.cluster.Stats
	st.Broken.Inc(err.Reason)
	switch err.Reason {
	case codec.ReasonHeadTooLarge, codec.ReasonTooManyFields, codec.ReasonHeadSwells:
		st.H2HeaderOverflow.Inc()
	case codec.ReasonEmptyFrames:
		st.H2EmptyFlood.Inc()
	case codec.ReasonPingFlood, codec.ReasonSettingsFlood, codec.ReasonPriorityFlood, codec.ReasonWindowUpdateFlood,
		codec.ReasonUnknownFlood:
		st.H2ControlFlood.Inc()
	case codec.ReasonResetFlood:
		st.H2ResetFlood.Inc()
	}
	if err.Scope == codec.ScopeStream {
		st.H2RxMessaging.Inc()
		return true
	}
	st.CxProtocolError.Inc()
	st.H2GoAwaySent.Inc()
	if m.flushControl() {
		m.fail(closeLocal, ProtocolError)
	}
	return false
}

// handle acts on an event. ours says that a reset is our answer to what the host did.
func (m *mux) handle(ev *codec.Event, ours bool) {
	switch ev.Kind {
	case codec.EventGoAway:
		m.onGoAway(uint32(ev.Stream))
		return
	case codec.EventWindow:
		m.onWindow(ev)
		return
	case codec.EventNone:
		return
	}
	if int(ev.Slot) >= len(m.streams) || m.streams[ev.Slot] == nil {
		m.client.Consume(ev.Stream, len(ev.Data))
		return
	}
	st := m.streams[ev.Slot]
	switch ev.Kind {
	case codec.EventReset:
		m.onReset(st, ev.Code, ours)
		return
	case codec.EventHead:
		m.onHead(st, ev)
	case codec.EventData:
		m.onData(st, ev)
	case codec.EventTrailers:
		m.onTrailers(st, ev)
	}
}

// end notes that the response of st has come whole.
func (m *mux) end(st *stream) {
	st.ended = true
	if st.sentEnd {
		m.unlink(st)
	}
}

// onHead passes a head on, also to an exchange that is paused: it is bounded, and nothing came before it.
func (m *mux) onHead(st *stream, ev *codec.Event) {
	x, t := st.x, m.pool.cluster.table
	x.bytesIn += uint64(t.head.HeadBytes())
	final := t.head.Status >= 200
	if st.tunnel != tunnelNone && final {
		st.answerTunnel(&t.head)
	}
	head := x.Owner.ResponseHead()
	*head, t.head = t.head, *head
	if ev.End {
		m.end(st)
		if st.tunnel != tunnelOpen && x.pauses == 0 {
			m.complete(st, ev)
			return
		}
	}
	life := st.life
	x.Owner.OnResponseHead(false)
	if st.life != life {
		return
	}
	if ev.End {
		st.deliver()
	}
}

// onData passes a piece of a body on, or keeps it if the exchange is paused.
func (m *mux) onData(st *stream, ev *codec.Event) {
	x, n := st.x, len(ev.Data)
	x.bytesIn += uint64(n)
	if ev.End {
		m.end(st)
	}
	if x.pauses > 0 || st.in.n > 0 {
		if !st.in.append(m.pool.cluster.loop.Arena(), ev.Data) {
			m.client.Consume(ev.Stream, n)
			m.reset(st, LocalClose, h2.InternalError)
			return
		}
		m.hold(st, n)
		return
	}
	if ev.End {
		m.client.Consume(ev.Stream, n)
		m.complete(st, ev)
		return
	}
	life := st.life
	x.Owner.OnResponseData(ev.Data, false)
	switch {
	case m.state == muxClosed:
	case st.life == life && x.pauses > 0:
		st.owed += n
		m.hold(st, n)
	default:
		m.client.Consume(ev.Stream, n)
	}
}

// onTrailers passes trailers on, behind what is kept.
func (m *mux) onTrailers(st *stream, ev *codec.Event) {
	m.pool.cluster.Stats.H2Trailers.Inc()
	m.end(st)
	if st.x.pauses > 0 || st.in.n > 0 {
		st.inTrailers = ev.Trailers.Clone()
		return
	}
	m.complete(st, ev)
}

// complete ends the exchange of st, whose response is told by ev to its end. The stream is free before the owner is told, so
// that a retry from inside finds room.
func (m *mux) complete(st *stream, ev *codec.Event) {
	x := st.x
	if !st.gone { // the host did not wait for the end of the request
		m.cut(st, h2.Cancel)
	}
	m.detach(st)
	if m.pool.next(m.rested) == nil {
		m.settle()
	}
	tell(x.Owner, ev)
	m.settle()
}

// deliver passes on what is kept of the response, until the exchange is paused again.
func (st *stream) deliver() {
	m, x := st.mux, st.x
	loop := m.pool.cluster.loop
	life := st.life
	for st.in.n > 0 && x.pauses == 0 {
		b := st.in.front()
		x.Owner.OnResponseData(b, false)
		if st.life != life {
			return
		}
		loop.FlushStage() // b may be on its way still
		st.in.skip(loop.Arena(), len(b))
		m.consume(st, len(b))
	}
	if x.pauses > 0 || !st.ended {
		m.flushLater()
		return
	}
	ev := codec.Event{Kind: codec.EventData, End: true}
	if st.inTrailers != nil {
		ev = codec.Event{Kind: codec.EventTrailers, End: true, Trailers: st.inTrailers}
	}
	m.complete(st, &ev)
	m.flushLater()
}

// hold opens the window of the connection again for n bytes of a response that is paused: the other responses are not to
// wait for it.
func (m *mux) hold(st *stream, n int) {
	if m.held+n > m.pool.settings.heldMax {
		m.pool.cluster.Stats.H2PausedFull.Inc()
		return
	}
	m.held, st.held = m.held+n, st.held+n
	m.client.ConsumeConn(n)
}

// consume gives credit for n bytes of a response, but what hold has given, if there is still a connection to give it to.
func (m *mux) consume(st *stream, n int) {
	early := min(st.held, n)
	m.held, st.held = m.held-early, st.held-early
	if m.state == muxClosed {
		return
	}
	if n > early {
		m.client.ConsumeConn(n - early)
	}
	m.client.ConsumeStream(st.id, n)
}

// flushLater is flushControl where the connection may be closed already.
func (m *mux) flushLater() {
	if m.state != muxClosed {
		m.flushControl()
	}
}

// onReset ends an exchange that the host, or our codec because of what the host did, has reset.
func (m *mux) onReset(st *stream, code uint32, ours bool) {
	stats := &m.pool.cluster.Stats
	m.unlink(st)
	if ours {
		stats.H2TxReset.Inc()
	} else {
		stats.H2RxReset.Inc()
	}
	switch {
	case st.ended && !ours: // it only wants no more of the request
	case ours:
		m.reset(st, ProtocolError, 0)
	case code == h2.RefusedStream:
		stats.H2Refused.Inc()
		m.reset(st, RefusedStream, 0)
	default:
		st.x.canceled = code == h2.Cancel
		m.reset(st, RemoteReset, 0)
	}
}

// onGoAway ends what the host has not processed, and takes no more exchanges.
func (m *mux) onGoAway(last uint32) {
	stats := &m.pool.cluster.Stats
	if m.state != muxDraining {
		stats.CxCloseNotify.Inc()
	}
	if m.state == muxConnecting {
		return // settled sees it
	}
	m.drain()
	for st := m.first; st != nil; st = m.cursor {
		m.cursor = st.next
		if uint32(st.id) > last {
			stats.H2Refused.Inc()
			m.reset(st, RefusedStream, h2.Cancel)
		}
		if m.state == muxClosed {
			return
		}
	}
	m.settle()
}

// OnEOF implements [engine.Handler]: the host has closed the connection. What it has not answered whole is cut off.
func (m *mux) OnEOF() {
	if m.state == muxConnecting {
		m.connectFailed(closeRemote, ConnectFailure, closedBeforeSettings)
		return
	}
	m.fail(closeRemote, ConnectionTermination)
}

// closedBeforeSettings is said of a host that does not begin to speak HTTP/2.
const closedBeforeSettings = "closed before SETTINGS"

// OnSplice implements [engine.Handler]. Nothing is spliced where frames lie.
func (m *mux) OnSplice(int64, bool, bool) {}
