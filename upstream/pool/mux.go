package pool

import (
	"millrace/codec"
	"millrace/codec/h2"
	"millrace/engine"
	"millrace/engine/transport"
	"millrace/upstream"
)

// muxState is where an HTTP/2 connection stands.
//
//	connecting ── SETTINGS ──▶ open ── GOAWAY, spent, old ──▶ draining
//	     │                      │                                │ last stream
//	     └──────────────────────┴──▶ closed ◀────────────────────┘
type muxState uint8

const (
	muxConnecting muxState = iota // until the host's SETTINGS have come
	muxOpen                       // takes exchanges
	muxDraining                   // takes no more
	muxClosed
)

// mux is one HTTP/2 connection to a host. It carries many exchanges, each on a [stream] of its own.
//
// No request is sent before the SETTINGS of the host have come. That costs a round trip for each new connection, and in turn
// no request has to be refused and sent again because it was one too many, none goes to a host that speaks
// another protocol, and extended CONNECT is known to be possible or not.
type mux struct {
	pool   *Pool
	ec     *engine.Conn
	client *h2.Client

	session *transport.Session // nil without TLS

	older, newer *mux      // in Pool.ready
	streams      []*stream // by slot of the codec
	first        *stream   // all that depend on the connection
	cursor       *stream   // the next one of each

	state    muxState
	listed   bool // in Pool.ready
	resting  bool // open, and carries nothing
	rested   bool // was resting at some time: it may be dead without our knowledge
	pinging  bool // a PING is unanswered
	requests uint32
	held     int    // bytes of paused responses for which the window of the connection was opened again
	reserved int    // exchanges whose head has not been sent
	noted    int    // part in Cluster.muxSpare
	id       uint32 // number of the connection on this loop

	createdAt int64 // loop clock, ns
	openedAt  int64 // when our SETTINGS were sent
	idleSince int64
	oldAt     int64  // max_connection_duration, 0 for never
	pingAt    int64  // when the last PING was sent, or the connection opened
	pingEvery int64  // until the next one, with its jitter
	pingIn    uint64 // ec.BytesIn at the last PING
	rxCounted uint64 // of ec.BytesIn, what is in the stats already
	txCounted uint64
}

// newMux counts a connection of p. open or forget follows.
func newMux(p *Pool) *mux {
	p.countConn()
	return p.addMux(p.cluster.table.nextConn(), p.cluster.loop.Now())
}

// addMux makes the HTTP/2 side of a connection that is counted.
func (p *Pool) addMux(id uint32, createdAt int64) *mux {
	m := &mux{pool: p, id: id, createdAt: createdAt, client: h2.NewClient(p.settings.h2, &p.cluster.table.scratch)}
	m.oldAt = p.settings.oldAt(createdAt, id)
	p.cluster.Stats.CxHTTP2Total.Inc()
	return m
}

// open stores the dialled conn.
func (m *mux) open(ec *engine.Conn) {
	m.ec = ec
	m.pool.prepare(ec, m.createdAt)
	ec.SetBatch(true)
	m.pool.encrypt(ec, m)
}

// OnSession implements [transport.Owner].
func (m *mux) OnSession(s *transport.Session) { m.session = s }

// OnConnect implements [engine.Handler].
func (m *mux) OnConnect() {
	if m.session != nil && m.session.ALPN != upstream.ALPNHTTP2 {
		m.connectFailed(closeLocal, ConnectFailure, noHTTP2Text(m.session))
		return
	}
	m.connected()
}

// connected begins to speak HTTP/2.
func (m *mux) connected() {
	m.openedAt = m.pool.cluster.loop.Now()
	m.client.SetNow(m.openedAt)
	m.flushControl()
}

// settled is called when the SETTINGS of the host have come.
func (m *mux) settled() {
	p := m.pool
	if m.client.Away() {
		m.connectFailed(closeRemote, ConnectFailure, closedBeforeSettings)
		return
	}
	p.opened()
	m.state = muxOpen
	p.cluster.Stats.CxConnectMs.Record(p.cluster.sinceUs(m.createdAt))
	m.pingAt = p.cluster.loop.Now()
	m.nextPing()
	m.arm()
	m.settle()
	p.grow() // the host may allow less than was hoped for
}

// room reports whether the connection takes another exchange.
func (m *mux) room() bool {
	return m.state == muxOpen && !m.client.Away() && m.client.Streams()+m.reserved < m.client.StreamsMax()
}

// isIdle reports whether the connection carries nothing.
func (m *mux) isIdle() bool { return m.client.Streams()+m.reserved == 0 }

// attach gives x a stream. Precondition: room.
func (m *mux) attach(x *Exchange) {
	p := m.pool
	st := p.cluster.table.newStream()
	st.mux, st.x = m, x
	m.link(st)
	if m.resting {
		m.unrest()
		m.askIfIdle()
	}
	x.state, x.pool, x.stream = exchangeActive, p, st
	x.last, x.lastToken = m.ec, m.ec.Token()
	x.connID, x.session, x.isH2, x.canceled = m.id, m.session, true, false
	x.reused = m.requests > 0
	x.headSent, x.written, x.pauses = false, false, 0
	x.bytesOut, x.bytesIn = 0, 0
	m.requests++
	m.reserved++
	p.active++
	m.noteRoom()
	p.host.RqTotal.Add(1)
	stats := &p.cluster.Stats
	stats.RqTotal.Inc()
	stats.RqActive.Inc()
	switch limit := p.settings.maxRequests; {
	case limit > 0 && m.requests >= limit:
		stats.CxMaxRequests.Inc()
		m.drain()
	case !m.room():
		p.unlist(m)
	}
}

// detach frees the exchange of st, and the stream.
func (m *mux) detach(st *stream) {
	x, p := st.x, m.pool
	x.written = x.Written()
	if st.id == 0 {
		m.reserved--
	}
	m.unlink(st)
	if m.state != muxClosed {
		m.countBytes()
	}
	x.free()
	st.clear()
	p.cluster.table.freeStream(st)
	p.active--
	m.noteRoom()
	p.cluster.Stats.RqActive.Dec()
	p.breaker.budget.ReleaseRequest()
	p.host.RqActive.Add(-1)
}

// settle is called after something has changed: what waits is served, and a connection without any business
// rests or closes.
func (m *mux) settle() {
	if m.state == muxClosed || m.state == muxConnecting {
		return
	}
	p := m.pool
	p.streamsMax = m.client.StreamsMax()
	m.noteRoom()
	p.serveMux(m)
	switch {
	case m.state == muxClosed:
	case !m.isIdle():
		if m.room() {
			p.list(m)
		}
	case m.room() && p.welcomes():
		p.list(m)
		m.rest()
	case m.state == muxOpen && p.welcomes() && !m.client.Away(): // the host allows no streams for the moment
		m.rest()
	default:
		m.close(closeLocal)
	}
}

// rest makes an open connection without business an idle one.
func (m *mux) rest() {
	if m.resting {
		return
	}
	p := m.pool
	m.resting, m.rested = true, m.requests > 0
	m.idleSince = p.cluster.loop.Now()
	p.noteIdle()
	m.arm()
	m.countBytes()
}

// unrest ends the rest.
func (m *mux) unrest() {
	m.resting = false
	m.pool.noteBusy()
}

// drain takes no more exchanges: what waits goes elsewhere. The connection closes with its last one.
func (m *mux) drain() {
	if m.state == muxOpen {
		m.state = muxDraining
	}
	m.noteRoom()
	m.pool.unlist(m)
	m.pool.grow()
}

// link adds st to the streams that depend on the connection.
func (m *mux) link(st *stream) {
	st.next = m.first
	if m.first != nil {
		m.first.prev = st
	}
	m.first = st
}

// unlink takes st out: the connection has nothing more to do for it.
func (m *mux) unlink(st *stream) {
	if st.gone {
		return
	}
	st.gone = true
	if st.id != 0 {
		m.streams[st.slot] = nil
		m.pool.cluster.Stats.H2StreamsActive.Dec()
	}
	if m.cursor == st {
		m.cursor = st.next
	}
	if st.prev != nil {
		st.prev.next = st.next
	} else {
		m.first = st.next
	}
	if st.next != nil {
		st.next.prev = st.prev
	}
	st.next, st.prev = nil, nil
}

// countBytes adds what moved since the last time.
func (m *mux) countBytes() {
	st := &m.pool.cluster.Stats
	rx, tx := m.ec.BytesIn(), m.ec.BytesOut()
	st.CxRxBytes.Add(rx - m.rxCounted)
	st.CxTxBytes.Add(tx - m.txCounted)
	m.rxCounted, m.txCounted = rx, tx
}

// stage returns the staging buffer of the connection, in which what the protocol has to say stands first.
func (m *mux) stage() []byte { return m.client.AppendControl(m.ec.Stage()) }

// outboundFloodFactor bounds what waits for a host that makes us answer its frames and does not read the answers, as a
// multiple of per_connection_buffer_limit_bytes.
const outboundFloodFactor = 4

// flushControl sends what the protocol has to say. It reports false when it has ended the connection, because the host does not
// take it.
func (m *mux) flushControl() bool {
	if !m.client.HasControl() {
		return true
	}
	m.ec.Staged(m.stage())
	if m.ec.Buffered() <= outboundFloodFactor*m.pool.settings.bufferLimit {
		return true
	}
	m.pool.cluster.Stats.H2OutboundFlood.Inc()
	m.fail(closeLocal, ConnectionTermination)
	return false
}

// stream is what a multiplexed connection keeps of one exchange, from the lease to its end.
type stream struct {
	mux        *mux
	x          *Exchange
	prev, next *stream // in mux.first; next in Table.streams too

	id   codec.StreamID // 0 until the head is sent
	slot uint32
	life uint32 // how often the stream has been given to an exchange

	out         kept          // what of the request waits for a window
	in          kept          // what of the response came while it was paused
	outTrailers *codec.Fields // behind out
	inTrailers  *codec.Fields // behind in
	owed        int           // bytes that were passed on, and are consumed when the pause ends
	held        int           // of those and of in, those in mux.held
	mark        uint64        // where in what the connection sends the head begins

	endDue    bool        // the request ends with out
	sentEnd   bool        // it has ended
	ended     bool        // the response has come whole
	gone      bool        // the connection has nothing more to do for the stream
	backedUp  bool        // the exchange saw Full, OnWriteLow has not come
	queued    bool        // RunTask is due
	broken    bool        // RunTask tells why
	why       ResetReason // only valid if broken
	tunnel    tunnelState
	handshake *handshake // only valid if tunnel is tunnelAsked
}

// streamsSpareMax is how many streams a loop keeps for reuse.
const streamsSpareMax = 1024

// newStream takes a stream for an exchange.
func (t *Table) newStream() *stream {
	st := t.streams
	if st == nil {
		return &stream{}
	}
	t.streams, st.next = st.next, nil
	t.streamsSpare--
	return st
}

// freeStream takes a stream back, or leaves that to its RunTask.
func (t *Table) freeStream(st *stream) {
	if st.queued || t.streamsSpare >= streamsSpareMax {
		return
	}
	st.next, t.streams = t.streams, st
	t.streamsSpare++
}

// clear ends a life of the stream. What is kept of a body may be on its way out still.
func (st *stream) clear() {
	m := st.mux
	loop := m.pool.cluster.loop
	if credit := st.owed + st.in.n; credit > 0 {
		m.consume(st, credit)
	}
	if st.in.n+st.out.n > 0 {
		loop.FlushStage()
		m.pool.cluster.Stats.H2PendingBytes.Add(-int64(st.out.n))
		st.in.free(loop.Arena())
		st.out.free(loop.Arena())
	}
	*st = stream{life: st.life + 1, in: st.in, out: st.out, queued: st.queued}
}

// later makes RunTask run at the end of the turn.
func (st *stream) later() {
	if !st.queued {
		st.queued = true
		st.mux.pool.cluster.loop.Later(st)
	}
}

// fail makes the exchange end at the end of the turn: its owner is in the middle of something.
func (st *stream) fail(why ResetReason) {
	if !st.broken {
		st.broken, st.why = true, why
		st.later()
	}
}

// RunTask implements [engine.Task].
func (st *stream) RunTask() {
	st.queued = false
	switch {
	case st.x == nil: // ended in the meantime
	case st.broken:
		st.mux.reset(st, st.why, h2.Cancel)
	default:
		st.deliver()
	}
}
