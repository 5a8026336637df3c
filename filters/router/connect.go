package router

import (
	"time"

	"millrace/codec"
	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// tunnelFlushMax bounds how long the rest of a request whose stream has ended waits for a host that takes none of it.
const tunnelFlushMax = 5 * time.Minute

// tunnel is the connection to a host in which a request ends that the route terminates: the body is the bytes to the
// host, and the response those from it. It implements engine.Handler and pool.TCPOwner.
//
// It outlives its stream if that has ended in order and the host has not taken all.
type tunnel struct {
	rq     *request // nil once the stream has ended
	loop   *engine.Loop
	up     pool.TCP
	pauses int  // of the response
	ended  bool // the client has finished sending
	eof    bool // the host has
}

// terminate begins to open the connection. Until it is open the request waits.
func (rq *request) terminate() filters.Verdict {
	s := rq.stream
	t := &tunnel{rq: rq, loop: rq.router.loop}
	t.up.Owner = t
	rq.tunnel = t
	r := rq.router
	to := &r.target
	*to = pool.TCPTarget{
		Host: rq.cur.host, Priority: upstream.Priority(s.Route.Priority), ServerName: string(rq.serverName()),
		Preface: rq.appendProxyHeader(r.preface[:0]),
	}
	if to.Preface != nil {
		r.preface = to.Preface
	}
	switch r, text := rq.cluster.OpenTCP(&t.up, to, t); r {
	case pool.TCPOpening:
		rq.cur.state, rq.held = attemptWaiting, true
		s.Info.UpstreamConnect = s.Now()
		return filters.Pause
	case pool.TCPOverflow:
		rq.cluster.Stats.CountCode(overflowReply.Status, s.Info.Internal)
		return s.ReplyWith(overflowReply)
	default:
		rq.failTunnel(pool.ConnectFailure, text)
		return filters.Replied
	}
}

// failTunnel answers a request whose connection could not be opened.
func (rq *request) failTunnel(why pool.ResetReason, text string) {
	s := rq.stream
	s.Info.UpstreamTransportFailure = text
	rq.cur.host.RqError.Add(1)
	rq.cluster.Stats.CountCode(resetStatus(why), s.Info.Internal)
	rq.fail(why, false)
}

// loseTunnel ends a stream whose host has broken the connection off.
func (rq *request) loseTunnel(flag accesslog.Flags, text string) {
	s := rq.stream
	s.Info.UpstreamTransportFailure = text
	s.Info.Flags |= flag
	rq.router.stats.ResetAfter.Inc()
	rq.cur.host.RqError.Add(1)
	s.Down().ResetResponse("upstream_reset_after_response_started")
}

// OnConnect implements engine.Handler: the host has accepted.
func (t *tunnel) OnConnect() {
	t.up.Connected()
	rq := t.rq
	before := rq.enter()
	t.open()
	rq.leave(before)
}

// open lets the request go, and answers it.
func (t *tunnel) open() {
	rq, s := t.rq, t.rq.stream
	now := s.Now()
	connect := s.Request.Method() == codec.MethodCONNECT
	s.Info.UpstreamReady, s.Info.UpstreamFirstTx = now, now
	if t.up.Session() != nil {
		s.Info.UpstreamHandshake = now
	}
	rq.cur.sentAt = now
	rq.tried[rq.cur.place].conn = t.up.ID()
	rq.cur.state, rq.held = attemptSent, false
	s.HalfClose = connect
	s.ResumeSink(filters.Request)
	if t.rq == nil {
		return
	}
	if !connect && s.Ended(filters.Request) { // a POST without a body
		t.send(nil, true)
	}
	h := &s.Response
	h.Reset()
	h.Status, h.ContentLength = 200, -1
	s.Info.UpstreamFirstRx = now
	rq.countResponse(h.Status)
	rq.cur.state, rq.respHead = attemptResponding, true
	s.Down().OwnResponse()
	rq.addResponseFields(now)
	s.Info.Details = "via_upstream"
	s.Pass(filters.Response, false)
}

// appendProxyHeader appends what tells the host whom the connection is for, as the route wants it, or else the cluster.
func (rq *request) appendProxyHeader(dst []byte) []byte {
	if version := rq.stream.Route.ConnectProxyVersion(); version != 0 {
		return pool.AppendProxyHeader(dst, version, rq.proxyInfo())
	} else if rq.cluster.WantsProxyHeader() {
		return rq.cluster.AppendProxyHeader(dst, rq.proxyInfo())
	}
	return nil
}

// proxyInfo returns whom the request is for.
func (rq *request) proxyInfo() *pool.ProxyInfo {
	io := rq.stream.Conn()
	return &pool.ProxyInfo{Source: io.RemoteAddr(), Destination: io.LocalAddr()}
}

// send takes a piece of the request.
func (t *tunnel) send(b []byte, end bool) {
	if !t.up.IsOpen() || t.ended {
		return
	}
	rq, io := t.rq, t.up.Conn()
	if len(b) > 0 {
		io.WriteRef(b)
	}
	switch {
	case end:
		t.ended = true
		rq.stream.Info.UpstreamLastTx = t.loop.Now()
		io.CloseWrite()
	case io.Full() && !rq.paused:
		rq.paused = true
		rq.stream.Down().PauseSource(filters.Request)
	}
}

// OnData implements engine.Handler.
func (t *tunnel) OnData(b []byte) int {
	rq := t.rq
	if rq == nil {
		return len(b)
	}
	before := rq.enter()
	s := rq.stream
	if s.Info.UpstreamBodyRx == 0 {
		s.Info.UpstreamBodyRx = s.Now()
	}
	if s.PassData(filters.Response, b, false) && t.rq == rq && s.Down().MaySplice(-1) && t.up.Conn().Splice(s.Conn(), -1) {
		s.Down().SpliceBegun(-1)
	}
	rq.leave(before)
	return len(b)
}

// OnSplice implements engine.Handler: n bytes have passed by. OnEOF follows an end.
func (t *tunnel) OnSplice(n int64, _, _ bool) {
	if t.rq != nil {
		t.rq.stream.Down().Spliced(n)
	}
}

// OnEOF implements engine.Handler: the host has finished sending.
func (t *tunnel) OnEOF() {
	t.eof = true
	rq := t.rq
	if rq == nil {
		return
	}
	before := rq.enter()
	rq.responseComplete(rq.stream.Now())
	rq.stream.PassData(filters.Response, nil, true)
	rq.leave(before)
}

// OnWriteLow implements engine.Handler.
func (t *tunnel) OnWriteLow() {
	if t.rq != nil {
		t.rq.takesMore()
		return
	}
	t.flush()
}

// OnTimeout implements engine.Handler.
func (t *tunnel) OnTimeout() {
	if !t.up.Opening() {
		t.up.Reset() // it does not take what is left
		return
	}
	text := t.up.ConnectTimedOut()
	rq := t.rq
	before := rq.enter()
	rq.failTunnel(pool.ConnectTimeout, text)
	rq.leave(before)
}

// OnClose implements engine.Handler.
func (t *tunnel) OnClose(why engine.CloseReason) {
	wasOpen, text := t.up.Closed(why)
	t.drop(wasOpen, pool.ConnectFailure, text)
}

// OnHostFailed implements pool.TCPOwner.
func (t *tunnel) OnHostFailed() {
	wasOpen := t.up.IsOpen()
	t.up.Reset()
	t.drop(wasOpen, pool.LocalClose, "")
}

// drop tells the stream, if there is one, that the connection is gone.
func (t *tunnel) drop(wasOpen bool, why pool.ResetReason, text string) {
	rq := t.rq
	if rq == nil {
		return
	}
	before := rq.enter()
	if wasOpen {
		rq.loseTunnel(accesslog.FlagUpstreamConnectionTermination, text)
	} else {
		rq.failTunnel(why, text)
	}
	rq.leave(before)
}

// leave ends the connection: the stream has. A host that has not got all of the request must not take what it has for the
// whole, so it is reset.
func (t *tunnel) leave() {
	t.rq = nil
	switch {
	case t.up.Opening():
		t.up.Close(false)
	case !t.up.IsOpen():
	case !t.ended:
		t.up.Reset()
	default:
		t.loop.FlushStage() // so that Buffered is what the socket has refused
		t.up.Conn().SetWatermarks(1, 0)
		t.up.Conn().SetDeadline(t.loop.Now() + int64(tunnelFlushMax))
		for ; t.pauses > 0; t.pauses-- {
			t.up.Conn().ResumeRead()
		}
		t.flush()
	}
}

// flush closes the connection as soon as the host has taken what is queued.
func (t *tunnel) flush() {
	if t.up.IsOpen() && !t.up.Conn().Full() { // which asks for OnWriteLow
		t.up.Close(t.eof)
	}
}

// pause stops reading from the host.
func (t *tunnel) pause() {
	if t.up.IsOpen() {
		t.pauses++
		t.up.Cluster().Stats.FlowPaused.Inc()
		t.up.Conn().PauseRead()
	}
}

// resume goes on with it.
func (t *tunnel) resume() {
	if t.up.IsOpen() && t.pauses > 0 {
		t.pauses--
		t.up.Cluster().Stats.FlowResumed.Inc()
		t.up.Conn().ResumeRead()
	}
}

// splice lets what the client sends from here on go to the host without passing through us, if that is possible.
func (t *tunnel) splice(from *engine.Conn, n int64) bool {
	return n < 0 && t.up.IsOpen() && !t.ended && from.Splice(t.up.Conn(), -1)
}

// describe tells the log of the connection.
func (t *tunnel) describe(r *Router, rec *accesslog.Record) {
	rec.UpstreamProtocol = 0 // bytes
	if t.up.Host() != nil {
		rec.UpstreamRemote = t.up.RemoteAddr()
	}
	rec.UpstreamLocal = t.up.LocalAddr()
	rec.UpstreamConnID = r.connID(t.up.ID())
	rec.UpstreamTLS = t.up.Session()
	rec.UpstreamWireReceived, rec.UpstreamWireSent = t.up.Bytes()
}

// pauseResponse stops reading the response.
func (rq *request) pauseResponse() {
	if rq.tunnel != nil {
		rq.tunnel.pause()
		return
	}
	rq.cur.x.PauseRead()
}

// resumeResponse goes on with it.
func (rq *request) resumeResponse() {
	if rq.tunnel != nil {
		rq.tunnel.resume()
		return
	}
	rq.cur.boundReads()
	rq.cur.x.ResumeRead()
}
