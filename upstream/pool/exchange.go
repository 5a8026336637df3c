package pool

import (
	"millrace/codec"
	"millrace/engine"
	"millrace/engine/transport"
	"millrace/upstream"
)

// ResetReason says why an exchange ended without a complete response.
type ResetReason uint8

const (
	ConnectFailure        ResetReason = iota // refused, unreachable, no descriptor
	ConnectTimeout                           // not open after connect_timeout
	ConnectionTermination                    // closed before or inside the response
	RemoteReset                              // the host gave up this request alone (HTTP/2)
	ProtocolError                            // what the host sent is not a response
	Overflow                                 // max_requests was reached when its turn came
	LocalClose                               // the loop ends, or has no memory left
	RefusedStream                            // the host says that it has not processed the request (HTTP/2)
	PendingTimeout                           // it waited for a connection for max_pending_duration
)

var resetReasonNames = [...]string{"connect_failure", "connect_timeout", "connection_termination",
	"remote_reset", "protocol_error", "overflow", "local_close", "refused_stream", "pending_timeout"}

// String returns the reason in lower snake case.
func (r ResetReason) String() string { return resetReasonNames[r] }

// Owner is told what becomes of its exchange. It may call any method of the exchange, and
// Lease another, from inside; after the call that ends an exchange it may lease the same one again.
type Owner interface {
	// OnReady tells that an exchange that waited has its connection.
	OnReady()
	// ResponseHead returns the head to fill next: the same one until it is complete.
	ResponseHead() *codec.ResponseHead
	// OnResponseHead tells that it is complete. Its Status says whether it is a 1xx, after which another follows.
	OnResponseHead(end bool)
	// OnResponseData passes a piece of the body. b is valid during the call, and in
	// Conn.WriteRef until the end of the event. It may be empty when end is set.
	OnResponseData(b []byte, end bool)
	// OnResponseTrailers passes the trailers, which end the response. t is valid during the call.
	OnResponseTrailers(t *codec.Fields)
	// OnWriteLow tells that the connection, which was Full, has room again.
	OnWriteLow()
	// OnReset tells that the exchange is over without a complete response. text is what the
	// kernel said about a failed connect, or "".
	OnReset(why ResetReason, text string)
}

// exchangeState is where an exchange stands.
//
//	free ── Lease ──▶ pending ── a connection is free ──▶ active
//	  ▲                  │                                  │
//	  └──────────────────┴─── end, OnReset, Cancel ◀────────┘
type exchangeState uint8

const (
	exchangeFree    exchangeState = iota // the zero value
	exchangePending                      // in Pool.pending
	exchangeActive                       // has a conn
)

// Exchange is one request and its response on an upstream connection. It is embedded
// in what the router keeps for each attempt, so it costs no allocation.
type Exchange struct {
	// Owner is set before Lease.
	Owner Owner

	pool   *Pool   // only valid if pending or active
	conn   *conn   // if active on an HTTP/1.1 connection, else nil
	stream *stream // if active on an HTTP/2 connection, else nil

	meant   *conn              // being opened for this exchange alone, else nil
	session *transport.Session // of the connection of the last lease, nil without TLS

	splicer Splicer // what the body is spliced for; only valid if conn.splices

	last      *engine.Conn // the connection of the last lease, nil before it came
	lastToken engine.Token // of last while it was that connection

	next, prev *Exchange // in Pool.pending
	since      int64     // loop clock, ns: when it began to wait
	epoch      uint32    // of Pool.pending

	state    exchangeState
	fresh    bool   // waits for a connection that has carried nothing
	reused   bool   // the connection carried a request before
	isH2     bool   // the connection of the last lease is one of HTTP/2
	headSent bool   // SendHead was called
	written  bool   // after the end: see Written
	canceled bool   // the host has reset the stream with CANCEL
	pauses   uint16 // PauseRead without ResumeRead
	connID   uint32 // of the conn of the last lease
	// HTTP/1.1, active: the conn's count when leased. Else what this exchange sent.
	bytesOut uint64
	bytesIn  uint64 // likewise
}

// ConnID is the number of the connection among those of the loop, 0 before there was one. Still valid
// after the end.
func (x *Exchange) ConnID() uint32 { return x.connID }

// Session returns what the TLS handshake of the connection found out, nil without TLS or before there was a connection.
// Still valid after the end.
func (x *Exchange) Session() *transport.Session { return x.session }

// IsHTTP2 reports whether the connection is one of HTTP/2. Still valid after the end.
func (x *Exchange) IsHTTP2() bool { return x.isH2 }

// Canceled reports whether the host has ended the exchange as one that nobody waits for any more: with CANCEL (HTTP/2). Only valid
// in [Owner.OnReset].
func (x *Exchange) Canceled() bool { return x.canceled }

// Active reports whether the exchange has a connection.
func (x *Exchange) Active() bool { return x.state == exchangeActive }

// Pending reports whether the exchange waits for a connection.
func (x *Exchange) Pending() bool { return x.state == exchangePending }

// Reused reports whether the connection carried a request before this one, so that its loss may only
// mean that the host had closed it. Still valid in OnReset.
func (x *Exchange) Reused() bool { return x.reused }

// BytesSent is how many bytes of the request the socket has taken; on a connection that others share, how many it was
// given. Still valid after the end.
func (x *Exchange) BytesSent() uint64 {
	if x.conn != nil {
		return x.conn.ec.BytesOut() - x.bytesOut
	}
	return x.bytesOut
}

// BytesReceived is how many bytes came in answer, framing included. Still valid after the end.
func (x *Exchange) BytesReceived() uint64 {
	if x.conn != nil {
		return x.conn.ec.BytesIn() - x.bytesIn
	}
	return x.bytesIn
}

// Written reports whether something of the request may have reached the host.
func (x *Exchange) Written() bool {
	if x.stream != nil {
		return x.stream.written()
	}
	return x.written || x.conn != nil && x.BytesSent() > 0
}

// SendHead sends the head of the request, and returns its size. end says that nothing follows.
func (x *Exchange) SendHead(h *codec.RequestHead, end bool) (size int) {
	c := x.conn
	if c == nil {
		if x.stream != nil {
			x.headSent = true
			size = x.stream.sendHead(h, end)
		}
		return size
	}
	x.headSent = true
	c.headDone = false
	buf := c.ec.Stage()
	before := len(buf)
	buf = c.client.AppendRequestHead(buf, 0, h, end)
	c.ec.Staged(buf)
	return len(buf) - before
}

// SendData sends a piece of the body. b must stay valid until the end of the event only.
func (x *Exchange) SendData(b []byte, end bool) {
	c := x.conn
	if c == nil {
		if x.stream != nil {
			x.stream.sendData(b, end)
		}
		return
	}
	if c.upgraded {
		c.ec.WriteRef(b)
		if end {
			c.ec.CloseWrite()
		}
		return
	}
	c.ec.Staged(c.client.AppendDataPrefix(c.ec.Stage(), 0, len(b), end))
	if len(b) > 0 {
		c.ec.WriteRef(b)
	}
	c.ec.Staged(c.client.AppendDataSuffix(c.ec.Stage(), 0, len(b), end))
}

// SendTrailers sends the trailers, which end the request.
func (x *Exchange) SendTrailers(t *codec.Fields) {
	c := x.conn
	if c == nil {
		if x.stream != nil {
			x.stream.sendTrailers(t)
		}
		return
	}
	c.ec.Staged(c.client.AppendTrailers(c.ec.Stage(), 0, t))
}

// Full reports whether the host takes less than it is sent: stop reading what feeds SendData
// until OnWriteLow.
func (x *Exchange) Full() bool {
	c := x.conn
	if c == nil {
		return x.stream != nil && x.stream.full()
	}
	if !c.ec.Full() {
		return false
	}
	if !c.backedUp {
		c.backedUp = true
		c.pool.cluster.Stats.FlowBackedUp.Inc()
	}
	return true
}

// PauseRead stops the response. Calls are counted. On a connection that others share its head may come all the same.
func (x *Exchange) PauseRead() {
	if x.state != exchangeActive {
		return
	}
	if x.pauses == 0 {
		x.pool.cluster.Stats.FlowPaused.Inc()
	}
	x.pauses++
	if x.conn != nil {
		x.conn.ec.PauseRead()
	}
}

// Paused reports whether the response is stopped by PauseRead.
func (x *Exchange) Paused() bool { return x.pauses > 0 }

// SetReadMax bounds what one read of the response brings, in bytes, until the exchange ends; 0 is no limit. On a
// connection that others share it does nothing: there the window of the stream is the bound.
func (x *Exchange) SetReadMax(n int) {
	if x.conn != nil {
		x.conn.ec.SetReadMax(n)
	}
}

// ResumeRead takes one PauseRead back. What was kept is passed on later in the turn.
func (x *Exchange) ResumeRead() {
	if x.state != exchangeActive || x.pauses == 0 {
		return
	}
	x.pauses--
	if x.pauses == 0 {
		x.pool.cluster.Stats.FlowResumed.Inc()
	}
	switch {
	case x.conn != nil:
		x.conn.ec.ResumeRead()
	case x.pauses == 0:
		x.stream.resume()
	}
}

// Host returns the host, or nil when the exchange is free.
func (x *Exchange) Host() *upstream.Host {
	if x.pool == nil {
		return nil
	}
	return x.pool.host
}

// Conn returns the connection, or nil when there is none (yet), or one that others share.
func (x *Exchange) Conn() *engine.Conn {
	if x.conn == nil {
		return nil
	}
	return x.conn.ec
}

// LocalAddr returns our address of the connection, also after the end while it is open, for the log.
func (x *Exchange) LocalAddr() (a engine.Addr) {
	if x.last != nil && x.last.Token() == x.lastToken {
		a = x.last.LocalAddr()
	}
	return a
}

// RemoteAddr returns the address of h that the connection goes to, also after the end, for the log.
func (x *Exchange) RemoteAddr(h *upstream.Host) engine.Addr { return remoteOf(h, x.last, x.lastToken) }

// remoteOf returns the address of h that a connection goes to. Only with several of them it can be another one than Target,
// as long as that is known.
func remoteOf(h *upstream.Host, ec *engine.Conn, token engine.Token) engine.Addr {
	if len(h.Others()) > 0 && ec != nil && ec.Token() == token {
		if a := ec.RemoteAddr(); !a.IsZero() {
			return a
		}
	}
	return *h.Target()
}

// Upgraded reports whether the exchange is a tunnel now, after a 101 or a 2xx to CONNECT:
// SendData and OnResponseData carry plain bytes.
func (x *Exchange) Upgraded() bool {
	if x.stream != nil {
		return x.stream.tunnel == tunnelOpen
	}
	return x.conn != nil && x.conn.upgraded
}

// Cancel gives the exchange up, without a callback. An HTTP/1.1 connection on which the request has
// begun is closed; one that was not used goes back.
func (x *Exchange) Cancel() {
	switch p := x.pool; x.state {
	case exchangePending:
		p.endWait(x)
		p.cluster.Stats.RqCancelled.Inc()
		p.host.RqActive.Add(-1)
		x.free()
		p.settle()
	case exchangeActive:
		if x.conn != nil {
			x.conn.cancel()
		} else {
			x.stream.mux.cancel(x.stream)
		}
	}
}

// wait makes x a waiting exchange of p.
func (x *Exchange) wait(p *Pool, fresh bool) {
	x.state, x.pool, x.fresh, x.last, x.session = exchangePending, p, fresh, nil, nil
	x.isH2 = p.settings.h2 != nil && !p.settings.auto
	x.reused, x.headSent, x.written, x.pauses = false, false, false, 0
	x.bytesOut, x.bytesIn = 0, 0
	x.since = p.cluster.loop.Now()
}

// free makes x ready for another lease. What the accessors tell after the end stays.
func (x *Exchange) free() {
	x.state = exchangeFree
	x.pool, x.conn, x.stream, x.splicer = nil, nil, nil, nil
}
