package l4

// Bytes pass a tunnel in one of two ways. The engine moves them from socket to socket, each piece in the cheaper way,
// and tells what has moved: engine.Conn.Splice. Where it cannot, because something stands between a socket and its
// bytes (a network filter that reads or writes, TLS), they are shown to the tunnel, which writes them.
//
// With kernel TLS it can, for a downstream connection, in time: a tunnel that turns out to be for bulk asks once more.
//
// Both stop reading from a peer while the other one takes less than is sent, and both are counted in
// *_flow_control_paused_reading_total: the engine when a socket refuses bytes, the tunnel when the high watermark of
// what is queued is reached.

// tryAfterBytes is how much an end has sent when it is worth while to ask whether the kernel may encrypt for the other one.
const tryAfterBytes = 512 << 10

// pass lets the engine move what comes from e to the other end, if it can.
func (e *tcpEnd) pass(to *tcpEnd) {
	e.shown = e.io.Transport() != nil || to.io.Transport() != nil
	if !e.shown {
		e.io.Splice(to.io, -1)
	}
}

// onSpliced tells that bytes went past us, or that the other end begins to hold them up, or ceases to.
//
// Hot path: BenchmarkTCPProxy.
func (t *tcpTunnel) onSpliced(from, to *tcpEnd, n int64) {
	p := t.p
	if n > 0 {
		now := p.loop.Now()
		from.seen, to.seen = now, now
		from.bytes += uint64(n)
		if t.active == 0 {
			p.wake(t)
		}
	}
	switch {
	case from.io.SpliceBuffered() > 0:
		t.lags(to)
		t.pause(from)
	case from.paused:
		to.seen = p.loop.Now()
		t.resume(from)
	}
}

// relay passes on bytes that are shown to us.
//
// Hot path: BenchmarkTCPProxy.
func (t *tcpTunnel) relay(from, to *tcpEnd, b []byte) {
	p := t.p
	now := p.loop.Now()
	from.seen = now
	from.bytes += uint64(len(b))
	if t.active == 0 {
		p.wake(t)
	}
	to.io.WriteRef(b)
	p.loop.FlushStage() // so that Buffered is what the socket has refused
	switch {
	case to.io.Buffered() == 0:
		to.seen = now
	case to.io.Full() && !from.held:
		t.lags(to)
		t.pause(from)
		from.held = true
		from.io.PauseRead()
	default:
		t.lags(to)
	}
	switch {
	case !from.shown: // these were kept from before
		from.pass(to)
	case from.bytes >= tryAfterBytes && !from.tried:
		from.tried = true
		from.shown = !from.io.Splice(to.io, -1)
	}
}

// onRoom is called when the queue of an end is short again, or empty if it was the last.
func (t *tcpTunnel) onRoom(i int) {
	if t.phase == tcpFlushing {
		t.flush(&t.ends[i])
		return
	}
	if from := &t.ends[1-i]; from.held && !from.gone {
		t.resume(from)
		from.held = false
		from.io.ResumeRead()
	}
}

// lags notes that bytes are queued for e.
func (t *tcpTunnel) lags(e *tcpEnd) {
	if !e.lag {
		e.lag, e.outAt = true, e.io.BytesOut()
	}
}

// pause counts that e is not read from until the other end has room.
func (t *tcpTunnel) pause(e *tcpEnd) {
	switch {
	case e.paused:
		return
	case e == &t.ends[downstream]:
		t.p.stats.FlowPaused.Inc()
	default:
		t.up.Cluster().Stats.FlowPaused.Inc()
	}
	e.paused = true
}

// resume counts that e is read from again.
func (t *tcpTunnel) resume(e *tcpEnd) {
	e.paused = false
	if e == &t.ends[downstream] {
		t.p.stats.FlowResumed.Inc()
	} else {
		t.up.Cluster().Stats.FlowResumed.Inc()
	}
}
