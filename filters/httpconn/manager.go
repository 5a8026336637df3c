package httpconn

import (
	"net/netip"
	"sync/atomic"
	"time"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/engine"
	"millrace/engine/arena"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
)

const (
	// headBlockBytes is the smallest block a head is copied to: head and what is added to it.
	headBlockBytes = 4 << 10
	// headSpareBytes is the room a head gets for fields that are added to it.
	headSpareBytes = 1 << 10
	// freeStreamsMax is how many ended streams a manager keeps for reuse, freeBlocksMax how many of them with their
	// blocks.
	freeStreamsMax = 1024
	freeBlocksMax  = 256
	// freeConnsMax is how many ended connections a manager keeps for reuse.
	freeConnsMax = 1024
)

// Deps is what a [Manager] needs of the process.
type Deps struct {
	// Loop the manager lives on.
	Loop *engine.Loop
	// Chain is the filters of http_filters with the router behind them.
	Chain *filters.Chain
	// Routes is the compiled route_config.
	Routes *route.Table
	// Log writes the access logs of this loop. May be nil.
	Log *accesslog.Logger
	// Formats render header values with operators, by route.FormatID.
	Formats []*accesslog.Format
	// FilterChain is the name of the listener's filter chain, for access logs. May be empty.
	FilterChain string
	// BufferLimit is the most bytes a stream keeps of each body. 0 means 1 MiB.
	BufferLimit int
	// Gate hears of the end of connections. May be nil.
	Gate filters.Gate
	// Stats registers counters under a scope. May be nil.
	Stats stats.Registrar
	// Scope is where the manager's own counters go: "http.<stat_prefix>.".
	Scope stats.Scope
	// ListenerScope is where responses are counted by listener: "listener.<address>.http.<stat_prefix>.".
	ListenerScope stats.Scope
	// Challenges answers those of ACME. Nil: there are none.
	Challenges Challenges
	// Draining is set while the process drains: responses then say Connection: close. May be nil.
	Draining *atomic.Bool
}

// A Manager is one HTTP connection manager on one loop: its options, streams and connections. It is the
// terminal filter of a filter chain.
type Manager struct {
	// Immutable.
	loop        *engine.Loop
	cfg         *Config
	opt         options
	limits      codec.Limits
	cfg2        *HTTP2Config
	http2       h2.Options
	chain       *filters.Chain
	log         *accesslog.Logger
	bufferLimit int
	filterChain string
	gate        filters.Gate
	draining    *atomic.Bool
	challenges  Challenges // or nil

	// Owned by the loop.
	routes  *route.Table
	formats []*accesslog.Format

	overrides filters.Overrides // of the table

	conns   *conn // list of open connections
	conns2  *conn2
	open    int
	away    int      // on their way to another loop
	handOut *handOut // who leaves for another loop, nil for nobody
	drained bool
	free    *stream // ended streams, linked
	freeLen int

	freeConns    *conn // ended connections, linked by next
	freeConnsLen int

	scratch2 h2.Scratch
	head     codec.RequestHead // the next of HTTP/2
	early    []*stream         // of the OnData that goes on: those with a piece of a body that lies in its bytes

	ev       codec.Event
	input    route.Input
	record   accesslog.Record
	trailers codec.Fields
	values   []byte // header values of the response or request being changed
	scratch  []byte // for values that are put together
	dateSec  int64
	dateText []byte
	connID   uint64

	stats         *managerStats
	stats2        *http2Stats
	listenerStats *listenerStats
}

// NewManager returns a manager for one filter chain on one loop.
func NewManager(cfg *Config, d Deps) (*Manager, error) {
	opt, err := newOptions(cfg)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		loop: d.Loop, cfg: cfg, opt: opt, chain: d.Chain, routes: d.Routes,
		log: d.Log, gate: d.Gate, formats: d.Formats, draining: d.Draining, challenges: d.Challenges, limits: codec.DefaultLimits(),
		scratch: make([]byte, 0, 4096), filterChain: d.FilterChain,
		stats: stats.Register[managerStats](d.Stats, d.Scope),

		stats2:        stats.Register[http2Stats](d.Stats, stats.Root("http2")),
		listenerStats: stats.Register[listenerStats](d.Stats, d.ListenerScope),
	}
	m.overrides = m.chain.Overrides(m.routes)
	if m.bufferLimit = d.BufferLimit; m.bufferLimit == 0 {
		m.bufferLimit = bufferLimitBytes
	}
	m.limits.HeadBytes = cfg.MaxRequestHeadersKb << 10
	m.limits.FieldCount = cfg.MaxHeadersCount
	m.limits.AcceptHTTP10 = cfg.AcceptHTTP10
	m.cfg2 = &m.cfg.HTTP2ProtocolOptions
	if m.cfg2.MaxConcurrentStreams == 0 { // not from a file
		d := DefaultHTTP2Config()
		m.cfg2 = &d
	}
	m.http2 = m.cfg2.options(&m.limits)
	return m, nil
}

// Accept implements filters.NetworkTerminal.
func (m *Manager) Accept(io *engine.Conn, net *filters.Connection) engine.Handler {
	m.connID++
	base := link{m: m, io: io, net: net, id: m.connID<<8 | uint64(m.loop.Index()), startMs: loopMs(m.loop)}
	io.FailAtReset()
	m.open++
	m.stats.CxTotal.Inc()
	m.stats.CxActive.Inc()
	version := base.version()
	if version == versionHTTP2 {
		return m.newConn2(base, h2.NewServer(&m.http2, &m.scratch2))
	}
	c := m.newConn()
	*c = conn{link: base}
	c.codec.Reset(&m.limits)
	m.link(c)
	if version == versionHTTP1 {
		c.speaksHTTP1()
	}
	// The first request has to begin soon: a connection that says nothing is not idle but slow.
	first := m.cfg.RequestHeadersTimeout
	if first == 0 {
		first = m.cfg.IdleTimeout
	}
	c.wait(first)
	return c
}

// newConn takes an ended conn for reuse, or makes one.
func (m *Manager) newConn() *conn {
	c := m.freeConns
	if c == nil {
		return new(conn)
	}
	m.freeConns = c.next
	m.freeConnsLen--
	return c
}

// SetRoutes changes the route table, and the formats of its header values, for requests that
// begin from now on.
func (m *Manager) SetRoutes(t *route.Table, formats []*accesslog.Format) {
	m.routes, m.formats, m.overrides = t, formats, m.chain.Overrides(t)
}

// Conns implements filters.NetworkTerminal.
func (m *Manager) Conns() int { return m.open + m.away }

// Drain implements filters.NetworkTerminal: it ends connections with their next response, which says so. One that stays silent is closed
// after drain_timeout: closing it now would break a request that is on its way already.
func (m *Manager) Drain() {
	if m.drained {
		return
	}
	m.drained = true
	for c, next := m.conns, (*conn)(nil); c != nil; c = next {
		next = c.next
		if c.stream == nil && c.io.Buffered() == 0 {
			c.awaitLast()
		}
	}
	for c, next := m.conns2, (*conn2)(nil); c != nil; c = next {
		next = c.next
		if c.life.drain(c) {
			m.stats.CxDrainClose.Inc()
			c.settle()
		}
	}
}

// Close implements filters.NetworkTerminal: the drain time is over.
func (m *Manager) Close() {
	m.drained = true
	for c, next := m.conns, (*conn)(nil); c != nil; c = next {
		next = c.next
		if s := c.stream; s != nil {
			s.abort("downstream_local_disconnect(drain_time)")
			continue
		}
		c.closeLocal()
	}
	for c, next := m.conns2, (*conn2)(nil); c != nil; c = next {
		next = c.next
		c.end("downstream_local_disconnect(drain_time)")
	}
}

// Release implements filters.NetworkTerminal: it gives back the memory kept for reuse.
func (m *Manager) Release() {
	for s := m.free; s != nil; s = s.nextFree {
		m.loop.Wheel().Unlink(&s.timer)
		m.release(&s.requestBlock)
		m.release(&s.responseBlock)
	}
	m.free, m.freeLen = nil, 0
}

// drains reports whether responses have to say that the connection ends.
func (m *Manager) drains() bool {
	return m.drained || m.draining != nil && m.draining.Load()
}

// begin takes a stream for the next request of c.
func (m *Manager) begin(c wire) *stream {
	s := m.take()
	m.start(s, c)
	return s
}

// take takes an ended stream for reuse, or makes one.
func (m *Manager) take() *stream {
	s := m.free
	if s == nil {
		s = &stream{m: m}
		s.timer.Init((*streamTimer)(s))
		return s
	}
	m.free, s.nextFree = s.nextFree, nil
	m.freeLen--
	return s
}

// start begins the life of a stream on c.
func (m *Manager) start(s *stream, c wire) {
	s.wire = c
	s.BufferLimit = [2]int{m.bufferLimit, m.bufferLimit}
	s.Init(m.chain, s)
	s.HeaderValues, m.values = s, m.values[:0]
	s.Info.Start, s.lasts = m.loop.Now(), m.cfg.MaxStreamDuration
	s.Random = m.loop.Rand().Uint64()
	m.stats.RqActive.Inc()
}

// end takes a stream back. Its blocks stay with it for the next request, if not too many are kept.
func (m *Manager) end(s *stream) {
	m.stats.RqActive.Dec()
	s.Clear()
	s.phase, s.wire, s.flow, s.formats, s.Client = phaseRoute, nil, flow{}, nil, netip.Addr{}
	if s.id != 0 {
		s.flow2 = flow2{out: s.out, in: s.in}
	}
	if m.freeLen >= freeBlocksMax {
		m.release(&s.requestBlock)
		m.release(&s.responseBlock)
	}
	m.putBack(s)
}

// putBack keeps a stream for reuse, if not too many are kept.
func (m *Manager) putBack(s *stream) {
	if m.freeLen >= freeStreamsMax {
		m.loop.Wheel().Unlink(&s.timer)
		return
	}
	s.nextFree, m.free = m.free, s
	m.freeLen++
}

// own makes sure that block has room for n bytes and some, and returns it.
func (m *Manager) own(block *arena.Block, n int) ([]byte, bool) {
	if need := n + headSpareBytes; len(block.Bytes()) < need {
		m.release(block)
		b, ok := m.loop.Arena().Lease(max(need, headBlockBytes))
		if !ok {
			return nil, false
		}
		*block = b
	}
	return block.Bytes(), true
}

// release gives a block back to the pool.
func (m *Manager) release(block *arena.Block) {
	if len(block.Bytes()) > 0 {
		m.loop.Arena().Return(*block)
		*block = arena.Block{}
	}
}

// forget takes c off the list of open connections.
func (m *Manager) forget(c *conn) {
	m.unlink(c)
	if c.known {
		m.stats.CxHTTP1Active.Dec()
	}
	m.left(&c.link)
	m.keepConn(c)
}

// link puts c on the list of open connections.
func (m *Manager) link(c *conn) {
	if c.next = m.conns; c.next != nil {
		c.next.prev = c
	}
	m.conns = c
}

func (m *Manager) unlink(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		m.conns = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// left counts the end of a connection.
func (m *Manager) left(c *link) {
	m.open--
	m.stats.CxActive.Dec()
	m.stats.CxDestroy.Inc()
	m.stats.CxRxBytes.Add(c.io.BytesIn())
	m.stats.CxTxBytes.Add(c.io.BytesOut())
	m.stats.CxLengthMs.Record(uint64(c.age() / time.Microsecond))
	if m.gate != nil {
		m.gate.Left(c.io, c.net)
	}
}

// keepConn keeps an ended conn for reuse.
func (m *Manager) keepConn(c *conn) {
	// The calls that led here may still look at c; none of them outlives the event, and c
	// begins anew in another one.
	if m.freeConnsLen < freeConnsMax {
		c.next, m.freeConns = m.freeConns, c
		m.freeConnsLen++
	}
}
