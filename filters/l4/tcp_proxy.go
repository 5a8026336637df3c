package l4

import (
	"errors"
	"fmt"
	"time"

	"millrace/codec/proxyproto"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/engine/timer"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

const (
	// tcpFreeMax is how many ended tunnels a tcp_proxy keeps for reuse.
	tcpFreeMax = 1024
	// tcpSweepEvery is how old the byte counters of living connections may be.
	tcpSweepEvery = time.Second
	// tcpBufferLimit is what waits for a connection to take it, unless the listener says otherwise, in bytes.
	tcpBufferLimit = 1 << 20
)

// tcpStats counts the tcp_proxy filters with one stat_prefix on one loop, under tcp.<stat_prefix>.
type tcpStats struct {
	CxTotal     stats.Counter `stat:"downstream_cx_total" help:"connections taken"`
	CxNoRoute   stats.Counter `stat:"downstream_cx_no_route" help:"connections closed because no route matched, or its cluster is unknown"`
	CxTxBytes   stats.Counter `stat:"downstream_cx_tx_bytes_total" help:"bytes sent to downstream"`
	CxRxBytes   stats.Counter `stat:"downstream_cx_rx_bytes_total" help:"bytes received from downstream"`
	TxBuffered  stats.Gauge   `stat:"downstream_cx_tx_bytes_buffered" help:"bytes that wait for downstream to take them"`
	RxBuffered  stats.Gauge   `stat:"downstream_cx_rx_bytes_buffered" help:"bytes from downstream that wait for a host to take them"`
	FlowPaused  stats.Counter `stat:"downstream_flow_control_paused_reading_total" help:"reading from downstream was paused"`
	FlowResumed stats.Counter `stat:"downstream_flow_control_resumed_reading_total" help:"reading from downstream went on"`
	EarlyData   stats.Counter `stat:"early_data_received_count_total" help:"connections that sent bytes before the host had accepted"`
	IdleTimeout stats.Counter `stat:"idle_timeout" help:"connections closed because no bytes passed"`
	MaxDuration stats.Counter `stat:"max_downstream_connection_duration" help:"connections closed at max_downstream_connection_duration"`
	FlushTotal  stats.Counter `stat:"upstream_flush_total" help:"connections whose downstream was gone before a host had taken all"`
	FlushActive stats.Gauge   `stat:"upstream_flush_active" help:"such connections now"`
}

// tcpShared is what the loops have in common.
type tcpShared struct {
	routes *tcpRoutes
	logs   []*accesslog.Log
	tlvs   []proxyproto.TLV
}

// newTCPShared compiles the configuration and opens the logs.
func newTCPShared(c *TCPProxyConfig, env *filters.SharedEnv) (*tcpShared, error) {
	routes, err := newTCPRoutes(c, env)
	if err != nil {
		return nil, err
	}
	s := &tcpShared{routes: routes}
	for i := range c.ProxyProtocolTLVs {
		t := &c.ProxyProtocolTLVs[i]
		b, err := t.Bytes()
		if err != nil {
			return nil, fmt.Errorf("proxy_protocol_tlvs[%d]: %w", i, err)
		}
		s.tlvs = append(s.tlvs, proxyproto.TLV{Type: uint8(t.Type), Value: b})
	}
	for i := range c.AccessLog {
		log, err := env.OpenLog(&c.AccessLog[i])
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.logs = append(s.logs, log)
	}
	return s, nil
}

// Close implements io.Closer.
func (s *tcpShared) Close() error {
	var errs error
	for _, log := range s.logs {
		errs = errors.Join(errs, log.Close())
	}
	return errs
}

// tcpProxy forwards the connections of one chain on one loop, each to a host of its own.
type tcpProxy struct {
	// Immutable.
	loop     *engine.Loop
	cfg      *TCPProxyConfig
	shared   *tcpShared
	clusters *pool.Table
	byName   func(name string) (upstream.ClusterID, bool)
	gate     filters.Gate
	log      *accesslog.Logger
	limit    int // of what waits for a connection to take it
	chain    string

	// Owned by the loop.
	stats   *tcpStats
	conns   *tcpTunnel // linked by next
	open    int
	free    *tcpTunnel // ended ones, linked by next
	freeLen int
	connID  uint64
	record  accesslog.Record
	pick    upstream.Pick
	source  pool.Source
	info    pool.ProxyInfo
	target  pool.TCPTarget
	preface []byte

	active     []*tcpTunnel // those that have moved bytes since the last sweep
	sweep      timer.Timer
	txBuffered int // this filter's part of the gauges
	rxBuffered int
}

// newTCPProxy makes the filter of one chain on one loop.
func newTCPProxy(c *TCPProxyConfig, s *tcpShared, env *filters.NetworkEnv) (any, error) {
	p := &tcpProxy{
		loop: env.Loop, cfg: c, shared: s, clusters: env.Clusters, byName: env.ClusterByName, gate: env.Gate,
		limit: env.BufferLimit, chain: env.ChainName,
		stats: stats.Register[tcpStats](env.Stats, stats.TCPScope(c.StatPrefix).OnLoop(env.Loop.Index())),
	}
	if p.limit == 0 {
		p.limit = tcpBufferLimit
	}
	if len(s.logs) > 0 {
		p.log = accesslog.NewLogger(s.logs, env.Loop.Index())
	}
	p.sweep.Init(p)
	return p, nil
}

// Accept implements filters.NetworkTerminal.
func (p *tcpProxy) Accept(io *engine.Conn, c *filters.Connection) engine.Handler {
	t := p.begin(io, c)
	p.stats.CxTotal.Inc()
	io.SetWatermarks(p.limit, p.limit/2)
	if !t.route() {
		t.refuse()
		return nil
	}
	if p.cfg.UpstreamConnectMode == tcpOnData {
		t.phase = tcpWaiting
	} else if t.holdRead(); !t.connect() {
		t.refuse()
		return nil
	}
	t.arm()
	return (*tcpDown)(t)
}

// begin takes a tunnel for a connection.
func (p *tcpProxy) begin(io *engine.Conn, c *filters.Connection) *tcpTunnel {
	t := p.free
	if t == nil {
		t = new(tcpTunnel)
	} else {
		p.free = t.next
		p.freeLen--
	}
	p.connID++
	*t = tcpTunnel{p: p, c: c, id: p.connID<<8 | uint64(p.loop.Index()), start: p.loop.Now(), random: p.loop.Rand().Uint64()}
	t.up.Owner = t
	t.ends[downstream].io = io
	t.endAt = p.endAt(t.start, t.random)
	if d := p.cfg.AccessLogOptions.AccessLogFlushInterval; d > 0 && p.log.Enabled() {
		t.logAt = t.start + int64(d)
	}
	if t.next = p.conns; t.next != nil {
		t.next.prev = t
	}
	p.conns = t
	p.open++
	return t
}

// endAt returns when a connection that began at start has lived long enough, 0 for never.
func (p *tcpProxy) endAt(start int64, random uint64) int64 {
	d := int64(p.cfg.MaxDownstreamConnectionDuration)
	if d == 0 {
		return 0
	}
	if most := float64(d) * p.cfg.MaxDownstreamConnectionDurationJitterPercentage / 100; most >= 1 {
		d += int64(float64(random>>11) / (1 << 53) * most)
	}
	return start + d
}

// end takes a tunnel off the list. Both of its connections are over.
func (p *tcpProxy) end(t *tcpTunnel) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		p.conns = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	p.open--
	p.rest(t)
	t.phase, t.next, t.prev, t.c = tcpEnded, nil, nil, nil
	// The calls that led here may still look at t; none of them outlives the event, and t begins
	// anew in another one.
	if p.freeLen < tcpFreeMax {
		t.next, p.free = p.free, t
		p.freeLen++
	}
}

// Conns implements filters.NetworkTerminal.
func (p *tcpProxy) Conns() int { return p.open }

// Drain implements filters.NetworkTerminal. There is no point in the bytes of a connection at which it could
// end in order, so connections live until Close.
func (p *tcpProxy) Drain() {}

// Close implements filters.NetworkTerminal.
func (p *tcpProxy) Close() {
	for t, next := p.conns, (*tcpTunnel)(nil); t != nil; t = next {
		next = t.next
		t.abort(0, "downstream_local_disconnect(drain_time)")
	}
}

// Release implements filters.NetworkTerminal.
func (p *tcpProxy) Release() {
	p.free, p.freeLen = nil, 0
	p.loop.Wheel().Unlink(&p.sweep)
	p.countBuffered(0, 0)
}

// wake enters a tunnel that has moved bytes into the list of those to be swept.
func (p *tcpProxy) wake(t *tcpTunnel) {
	if len(p.active) == 0 && p.sweep.At() == 0 {
		p.loop.Wheel().Set(&p.sweep, p.loop.Now()+int64(tcpSweepEvery))
	}
	p.active = append(p.active, t)
	t.active = int32(len(p.active))
}

// rest takes a tunnel off that list.
func (p *tcpProxy) rest(t *tcpTunnel) {
	if t.active == 0 {
		return
	}
	last := len(p.active) - 1
	moved := p.active[last]
	p.active[t.active-1] = moved
	moved.active = t.active
	p.active[last] = nil
	p.active = p.active[:last]
	t.active = 0
}

// OnTimer implements timer.Firer: it brings the byte counters up to date. So no message has to, and a proxy
// whose connections are silent sleeps.
func (p *tcpProxy) OnTimer(now int64) {
	var tx, rx int
	for i := len(p.active) - 1; i >= 0; i-- {
		t := p.active[i]
		t.count()
		out, in := t.waiting(downstream), t.waiting(upstreamer)
		tx, rx = tx+out, rx+in
		if out+in == 0 {
			p.rest(t)
		}
	}
	p.countBuffered(tx, rx)
	if len(p.active) > 0 {
		p.loop.Wheel().Set(&p.sweep, now+int64(tcpSweepEvery))
	}
}

// countBuffered sets this filter's part of the gauges.
func (p *tcpProxy) countBuffered(tx, rx int) {
	p.stats.TxBuffered.Add(int64(tx - p.txBuffered))
	p.stats.RxBuffered.Add(int64(rx - p.rxBuffered))
	p.txBuffered, p.rxBuffered = tx, rx
}
