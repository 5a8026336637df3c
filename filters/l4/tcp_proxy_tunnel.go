package l4

import (
	"time"

	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// tcpOnData is the upstream_connect_mode that waits for bytes.
const tcpOnData = "on_downstream_data"

// tcpFlushMax bounds how long the rest of an ended connection waits for a peer that takes none of it, if
// idle_timeout does not.
const tcpFlushMax = 5 * time.Minute

// The two ends of a tunnel, as indices.
const (
	downstream = 0
	upstreamer = 1
)

// tcpPhase is where a tunnel stands.
//
//	waiting ──▶ connecting ◀──▶ backoff      both directions have ended
//	                │                             │
//	                └──▶ open ──────────────▶ flushing ──▶ ended
type tcpPhase uint8

const (
	tcpWaiting    tcpPhase = iota // for the first bytes
	tcpConnecting                 // to a host
	tcpBackoff                    // until retryAt
	tcpOpen
	tcpFlushing // what is queued still leaves
	tcpEnded
)

// tcpTunnel is a downstream connection and the one to its host. It is the handler of both: as *tcpDown and as *tcpUp.
type tcpTunnel struct {
	// What each message touches.
	p      *tcpProxy
	ends   [2]tcpEnd
	phase  tcpPhase
	active int32 // place in tcpProxy.active plus one, 0 if not there

	// Owned by the loop, as all.
	up         pool.TCP
	c          *filters.Connection // may be nil
	next, prev *tcpTunnel          // in tcpProxy.conns

	id       uint64
	random   uint64
	start    int64  // loop clock, ns, as are the others
	readyAt  int64  // when the host had accepted
	endAt    int64  // max_downstream_connection_duration, 0 for never
	logAt    int64  // access_log_flush_interval, 0 for never
	retryAt  int64  // in tcpBackoff
	rx, tx   uint64 // of downstream's BytesIn and BytesOut, what is in the stats already
	cluster  upstream.ClusterID
	attempts uint16
	routed   bool // cluster is valid
	early    bool // bytes came before the host had accepted
	held     bool // PauseRead of downstream until the host has accepted
	left     bool // downstream has ended, and was logged and counted
	flushes  bool // counted in upstream_flush_active

	flags   accesslog.Flags
	closed  accesslog.CloseType
	details string
	failure string // why the last host could not be reached
}

// tcpEnd is one side of a tunnel.
type tcpEnd struct {
	io     *engine.Conn
	seen   int64  // when bytes last passed here
	bytes  uint64 // read here and passed on
	outAt  uint64 // BytesOut when lag was last looked at
	eof    bool   // the peer has finished sending
	gone   bool   // closed
	paused bool   // reading waits until the other side has room
	lag    bool   // some bytes were queued: seen does not know when they left
	reset  bool   // when what is queued has left: reset rather than close
	splice tcpSplice
}

// tcpDown is a tunnel as the handler of its downstream connection, tcpUp of the one to the host.
type (
	tcpDown tcpTunnel
	tcpUp   tcpTunnel
)

// OnConnect implements engine.Handler.
func (d *tcpDown) OnConnect() {}

// OnData implements engine.Handler.
//
// Hot path: BenchmarkTCPProxy.
func (d *tcpDown) OnData(b []byte) int {
	t := (*tcpTunnel)(d)
	if t.phase != tcpOpen {
		return t.onEarlyData(b)
	}
	t.relay(&t.ends[downstream], &t.ends[upstreamer], b)
	return len(b)
}

// OnEOF implements engine.Handler.
func (d *tcpDown) OnEOF() { (*tcpTunnel)(d).onEOF(downstream) }

// OnWriteLow implements engine.Handler.
func (d *tcpDown) OnWriteLow() { (*tcpTunnel)(d).onRoom(downstream) }

// OnSplice implements engine.Handler.
func (d *tcpDown) OnSplice(n int64, done, _ bool) { (*tcpTunnel)(d).onSpliced(downstream, n, done) }

// OnTimeout implements engine.Handler.
func (d *tcpDown) OnTimeout() { (*tcpTunnel)(d).onTimeout() }

// OnClose implements engine.Handler.
func (d *tcpDown) OnClose(why engine.CloseReason) {
	t := (*tcpTunnel)(d)
	reset := why == engine.CloseReset
	if reset {
		t.flags |= accesslog.FlagDownstreamConnectionTermination
		t.closed = accesslog.CloseRemoteReset
	}
	t.leave()
	t.ends[downstream].gone = true
	switch u := &t.ends[upstreamer]; {
	case t.up.Opening():
		t.up.Close(false)
	case u.io != nil && !u.gone:
		t.closeUp(reset || u.io.Buffered() > 0)
	}
	t.p.end(t)
}

// OnConnect implements engine.Handler: the host has accepted.
func (u *tcpUp) OnConnect() { (*tcpTunnel)(u).onConnected() }

// OnData implements engine.Handler.
//
// Hot path: BenchmarkTCPProxy.
func (u *tcpUp) OnData(b []byte) int {
	t := (*tcpTunnel)(u)
	t.relay(&t.ends[upstreamer], &t.ends[downstream], b)
	return len(b)
}

// OnEOF implements engine.Handler.
func (u *tcpUp) OnEOF() { (*tcpTunnel)(u).onEOF(upstreamer) }

// OnWriteLow implements engine.Handler.
func (u *tcpUp) OnWriteLow() { (*tcpTunnel)(u).onRoom(upstreamer) }

// OnSplice implements engine.Handler.
func (u *tcpUp) OnSplice(n int64, done, _ bool) { (*tcpTunnel)(u).onSpliced(upstreamer, n, done) }

// OnTimeout implements engine.Handler.
func (u *tcpUp) OnTimeout() {
	t := (*tcpTunnel)(u)
	if t.up.Opening() {
		t.up.ConnectTimedOut()
		t.attemptFailed("connect timeout")
		return
	}
	t.onTimeout() // what is left for the host is flushed, and downstream is gone
}

// OnClose implements engine.Handler.
func (u *tcpUp) OnClose(why engine.CloseReason) {
	t := (*tcpTunnel)(u)
	wasOpen, text := t.up.Closed(why)
	if !wasOpen {
		t.attemptFailed(text)
		return
	}
	t.ends[upstreamer].gone = true
	t.endFlush()
	d := &t.ends[downstream]
	if d.gone {
		t.p.end(t)
		return
	}
	// What the host has sent before goes to downstream first, and then, as the end was no orderly one, a reset.
	t.flags |= accesslog.FlagUpstreamConnectionTermination
	d.reset = true
	t.phase = tcpFlushing
	t.flush(d)
}

// relay passes bytes on.
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
	if to.io.Buffered() == 0 {
		to.seen = now
	} else {
		t.backedUp(from, to)
	}
	if len(b) >= spliceReadMin {
		t.bulk(from, to)
	} else {
		from.splice.large = 0
	}
}

// backedUp is called when the socket of to has refused bytes.
func (t *tcpTunnel) backedUp(from, to *tcpEnd) {
	if !to.lag {
		to.lag, to.outAt = true, to.io.BytesOut()
	}
	if from.paused || from.gone || !to.io.Full() {
		return
	}
	from.paused = true
	from.io.PauseRead()
	if from == &t.ends[downstream] {
		t.p.stats.FlowPaused.Inc()
	} else {
		t.up.Cluster().Stats.FlowPaused.Inc()
	}
}

// onRoom is called when the queue of an end is short again, or empty if it was the last.
func (t *tcpTunnel) onRoom(i int) {
	if t.phase == tcpFlushing {
		t.flush(&t.ends[i])
		return
	}
	from := &t.ends[1-i]
	if !from.paused || from.gone {
		return
	}
	from.paused = false
	from.io.ResumeRead()
	if i == upstreamer {
		t.p.stats.FlowResumed.Inc()
	} else {
		t.up.Cluster().Stats.FlowResumed.Inc()
	}
}

// onEOF passes the end of a direction on.
func (t *tcpTunnel) onEOF(i int) {
	from, to := &t.ends[i], &t.ends[1-i]
	switch t.phase {
	case tcpWaiting:
		if t.connect() {
			return
		}
		t.close(downstream, false)
		return
	case tcpOpen:
	default:
		return // heard again when the host has accepted
	}
	from.eof = true
	if !to.eof {
		to.io.CloseWrite()
		return
	}
	t.phase = tcpFlushing
	t.flush(&t.ends[downstream])
	if t.phase == tcpFlushing && !t.ends[upstreamer].gone {
		t.flush(&t.ends[upstreamer])
	}
}

// flush closes an end of which nothing is expected any more as soon as it has taken what is queued.
func (t *tcpTunnel) flush(e *tcpEnd) {
	if e.io.Buffered() > 0 {
		e.io.SetWatermarks(1, 0)
		e.io.Full() // asks for OnWriteLow
		if e == &t.ends[upstreamer] && !t.flushes {
			t.flushes = true
			t.p.stats.FlushTotal.Inc()
			t.p.stats.FlushActive.Inc()
		}
		t.arm()
		return
	}
	i := downstream
	if e == &t.ends[upstreamer] {
		i = upstreamer
	}
	t.close(i, e.reset)
}

// endFlush ends what flush counted.
func (t *tcpTunnel) endFlush() {
	if t.flushes {
		t.flushes = false
		t.p.stats.FlushActive.Dec()
	}
}

// close closes an end, and ends the tunnel when it was the last.
func (t *tcpTunnel) close(i int, reset bool) {
	if i == upstreamer {
		t.closeUp(reset)
	} else {
		d := &t.ends[downstream]
		t.leave()
		d.gone = true
		if reset {
			d.io.Reset()
		} else {
			d.io.Close()
		}
	}
	switch {
	case t.ends[downstream].gone && (t.ends[upstreamer].gone || t.ends[upstreamer].io == nil):
		t.p.end(t)
	case t.ends[downstream].gone:
		t.arm()
	}
}

// closeUp closes the connection to the host.
func (t *tcpTunnel) closeUp(reset bool) {
	e := &t.ends[upstreamer]
	e.gone = true
	t.endFlush()
	if reset {
		t.up.Reset()
	} else {
		t.up.Close(e.eof)
	}
}

// abort ends both connections now. A peer that has not got all must not take what it has for the whole, so that
// one is reset.
func (t *tcpTunnel) abort(flags accesslog.Flags, details string) {
	t.flags |= flags
	t.details = details
	d, u := &t.ends[downstream], &t.ends[upstreamer]
	if !d.gone {
		t.leave()
		d.gone = true
		if d.io.Buffered() > 0 {
			d.io.Reset()
		} else {
			d.io.Close()
		}
	}
	switch {
	case t.up.Opening():
		t.up.Close(false)
	case u.io != nil && !u.gone:
		t.closeUp(u.io.Buffered() > 0)
	}
	t.p.end(t)
}

// OnHostFailed implements pool.TCPOwner.
func (t *tcpTunnel) OnHostFailed() {
	t.abort(accesslog.FlagUpstreamConnectionTermination, "non_pooled_tcp_connection_host_health_failure")
}

// refuse ends a tunnel in Accept, whose caller closes the connection.
func (t *tcpTunnel) refuse() {
	t.left = true // the gate is told by whoever closes it
	t.p.logTunnel(t, accesslog.TypeTCPConnectionEnd)
	t.p.end(t)
}

// leave logs and counts the end of the downstream connection, once.
func (t *tcpTunnel) leave() {
	if t.left {
		return
	}
	t.left = true
	t.count()
	t.p.logTunnel(t, accesslog.TypeTCPConnectionEnd)
	if t.p.gate != nil {
		t.p.gate.Left(t.ends[downstream].io, t.c)
	}
}

// count brings the byte counters up to date.
func (t *tcpTunnel) count() {
	if d := &t.ends[downstream]; !d.gone || !t.left {
		rx, tx := d.io.BytesIn(), d.io.BytesOut()
		t.p.stats.CxRxBytes.Add(rx - t.rx)
		t.p.stats.CxTxBytes.Add(tx - t.tx)
		t.rx, t.tx = rx, tx
	}
	if t.up.IsOpen() {
		t.up.Count()
	}
}

// buffered returns the bytes that wait for each side to take them.
func (t *tcpTunnel) buffered() (down, up int64) {
	if d := &t.ends[downstream]; !d.gone {
		down = int64(d.io.Buffered())
	}
	if t.up.IsOpen() {
		up = int64(t.up.Conn().Buffered())
	}
	return down, up
}
