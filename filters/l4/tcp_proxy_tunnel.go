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
	criteria *upstream.Criteria
	cluster  upstream.ClusterID
	attempts uint16
	routed   bool // cluster is valid
	early    bool // bytes came before the host had accepted
	again    bool // downstream's end was heard before that, and has to be heard again
	held     bool // PauseRead of downstream until the host has accepted
	left     bool // downstream has ended, and was logged and counted
	flushes  bool // counted in upstream_flush_active

	closed   accesslog.CloseType
	upClosed accesslog.CloseType
	flags    accesslog.Flags

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
	paused bool   // not read from until the other side has room, which was counted
	held   bool   // by PauseRead
	lag    bool   // some bytes were queued: seen does not know when they left
	reset  bool   // when what is queued has left: reset rather than close
	shown  bool   // bytes are shown to us: the engine cannot pass them on by itself
	tried  bool   // whether it can after all
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
//
// Hot path: BenchmarkTCPProxy.
func (d *tcpDown) OnSplice(n int64, _, _ bool) {
	t := (*tcpTunnel)(d)
	t.onSpliced(&t.ends[downstream], &t.ends[upstreamer], n)
}

// OnTimeout implements engine.Handler.
func (d *tcpDown) OnTimeout() { (*tcpTunnel)(d).onTimeout() }

// OnClose implements engine.Handler.
func (d *tcpDown) OnClose(why engine.CloseReason) {
	t := (*tcpTunnel)(d)
	// TLS that fails, or ends without close_notify, has cut off what came: the host must not take it for all.
	reset := why == engine.CloseReset || why == engine.CloseTransport && transportFailed(t.ends[downstream].io)
	if reset {
		t.flags |= accesslog.FlagDownstreamConnectionTermination
		t.closed = accesslog.CloseRemoteReset
	}
	t.leave()
	t.ends[downstream].gone = true
	t.dropUp(reset)
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
//
// Hot path: BenchmarkTCPProxy.
func (u *tcpUp) OnSplice(n int64, _, _ bool) {
	t := (*tcpTunnel)(u)
	t.onSpliced(&t.ends[upstreamer], &t.ends[downstream], n)
}

// OnTimeout implements engine.Handler.
func (u *tcpUp) OnTimeout() {
	t := (*tcpTunnel)(u)
	if t.up.Opening() {
		text := t.up.ConnectTimedOut()
		if text == "" {
			text = "connect timeout"
		}
		t.attemptFailed(text)
		return
	}
	t.onTimeout() // what is left for the host is flushed, and downstream is gone
}

// OnClose implements engine.Handler.
func (u *tcpUp) OnClose(why engine.CloseReason) {
	t := (*tcpTunnel)(u)
	wasOpen, text := t.up.Closed(why)
	switch {
	case !wasOpen && why == engine.CloseLoopEnd:
		t.close(downstream, false)
		return
	case !wasOpen:
		t.attemptFailed(text)
		return
	}
	t.ends[upstreamer].gone = true
	t.upClosed = accesslog.CloseRemoteReset
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

// onEOF passes the end of a direction on.
func (t *tcpTunnel) onEOF(i int) {
	from, to := &t.ends[i], &t.ends[1-i]
	switch t.phase {
	case tcpWaiting:
		t.again = true
		if !t.connect() {
			t.close(downstream, false)
		}
		return
	case tcpOpen:
	default:
		t.again = true
		return
	}
	from.eof = true
	if !to.eof {
		to.io.CloseWrite()
		return
	}
	t.phase = tcpFlushing
	d, u := &t.ends[downstream], &t.ends[upstreamer]
	if d.io.Buffered()+u.io.Buffered() == 0 {
		t.closeDown(false)
		t.closeUp(false)
		t.p.end(t)
		return
	}
	t.flush(d)
	t.flush(u)
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
	if e == &t.ends[upstreamer] {
		t.close(upstreamer, e.reset)
	} else {
		t.close(downstream, e.reset)
	}
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
		t.closeDown(reset)
	}
	switch {
	case t.ends[downstream].gone && (t.ends[upstreamer].gone || t.ends[upstreamer].io == nil):
		t.p.end(t)
	case t.ends[downstream].gone:
		t.arm()
	}
}

// closeDown closes the downstream connection.
func (t *tcpTunnel) closeDown(reset bool) {
	d := &t.ends[downstream]
	t.closed = closeTypeOf(reset)
	t.leave()
	d.gone = true
	switch {
	case reset:
		d.io.Reset()
	case d.io.Transport() != nil:
		d.io.CloseLinger(0) // with close_notify, or the peer takes what it has for a part
	default:
		d.io.Close()
	}
}

// closeUp closes the connection to the host.
func (t *tcpTunnel) closeUp(reset bool) {
	e := &t.ends[upstreamer]
	e.gone = true
	t.upClosed = closeTypeOf(reset)
	t.endFlush()
	if reset {
		t.up.Reset()
	} else {
		t.up.Close(e.eof)
	}
}

func closeTypeOf(reset bool) accesslog.CloseType {
	if reset {
		return accesslog.CloseLocalReset
	}
	return accesslog.CloseNormal
}

// abort ends both connections now. A peer that has not got all must not take what it has for the whole, so that
// one is reset.
func (t *tcpTunnel) abort(flags accesslog.Flags, details string) {
	t.flags |= flags
	t.details = details
	if d := &t.ends[downstream]; !d.gone {
		t.closeDown(t.waiting(downstream) > 0)
	}
	t.dropUp(false)
	t.p.end(t)
}

// dropUp ends what there is towards a host.
func (t *tcpTunnel) dropUp(reset bool) {
	switch u := &t.ends[upstreamer]; {
	case t.up.Opening():
		t.up.Close(false)
	case u.io != nil && !u.gone:
		t.closeUp(reset || t.waiting(upstreamer) > 0)
	}
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

// waiting returns how many bytes wait for an end to take them.
func (t *tcpTunnel) waiting(i int) int {
	to, from := &t.ends[i], &t.ends[1-i]
	switch {
	case to.io == nil || to.gone:
		return 0
	case from.io != nil && !from.gone && from.io.Splicing():
		return from.io.SpliceBuffered()
	}
	return to.io.Buffered()
}
