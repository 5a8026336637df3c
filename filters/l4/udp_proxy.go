package l4

import (
	"errors"
	"fmt"
	"sync/atomic"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// udpFreeMax is how many ended sessions a udp_proxy keeps for reuse.
const udpFreeMax = 1024

// udpStats counts the udp_proxy filters with one stat_prefix on one loop, under udp.<stat_prefix>.
type udpStats struct {
	SessTotal       stats.Counter `stat:"downstream_sess_total" help:"sessions begun"`
	SessActive      stats.Gauge   `stat:"downstream_sess_active" help:"sessions now"`
	SessNoRoute     stats.Counter `stat:"downstream_sess_no_route" help:"datagrams dropped because no route matched, or its cluster is unknown"`
	SessOverflow    stats.Counter `stat:"downstream_sess_overflow" help:"datagrams dropped at max_sessions"`
	SessRateLimited stats.Counter `stat:"downstream_sess_rate_limited" help:"datagrams dropped by session_rate_limit"`
	SessOpenFailed  stats.Counter `stat:"downstream_sess_open_failed" help:"datagrams dropped because no socket to the host could be had"`
	SessRxBytes     stats.Counter `stat:"downstream_sess_rx_bytes" help:"bytes received from downstream"`
	SessRxDatagrams stats.Counter `stat:"downstream_sess_rx_datagrams" help:"datagrams received from downstream"`
	SessRxErrors    stats.Counter `stat:"downstream_sess_rx_errors" help:"errors of receiving from downstream"`
	SessTxBytes     stats.Counter `stat:"downstream_sess_tx_bytes" help:"bytes sent to downstream"`
	SessTxDatagrams stats.Counter `stat:"downstream_sess_tx_datagrams" help:"datagrams sent to downstream"`
	SessTxErrors    stats.Counter `stat:"downstream_sess_tx_errors" help:"datagrams to downstream that could not be sent"`
	IdleTimeout     stats.Counter `stat:"idle_timeout" help:"sessions ended because no datagrams passed"`
}

// udpListenerStats counts the listener on one loop, under listener.<address>.udp.
type udpListenerStats struct {
	RxDropped stats.Counter `stat:"downstream_rx_datagram_dropped" help:"datagrams that were too long, or lost because the kernel's buffer was full"`
}

// udpShared is what the loops have in common.
type udpShared struct {
	routes    udpRoutes
	hash      *udpHash
	rate      *tokenBucket // nil: no limit
	logs      []*accesslog.Log
	proxyLogs []*accesslog.Log

	sessions atomic.Int64 // bounded by max_sessions
}

// newUDPShared compiles the configuration and opens the logs.
func newUDPShared(c *UDPProxyConfig, env *filters.SharedEnv) (*udpShared, error) {
	if c.UseOriginalSrcIP {
		if err := engine.CheckTransparent(); err != nil {
			return nil, fmt.Errorf("use_original_src_ip needs CAP_NET_ADMIN: %w", err)
		}
	}
	routes, err := newUDPRoutes(c, env)
	if err != nil {
		return nil, err
	}
	s := &udpShared{routes: routes, hash: newUDPHash(c.HashPolicies)}
	if c.SessionRateLimit != nil {
		s.rate = newTokenBucket(c.SessionRateLimit)
	}
	if s.logs, err = openUDPLogs(c.AccessLog, env); err == nil {
		s.proxyLogs, err = openUDPLogs(c.ProxyAccessLog, env)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openUDPLogs returns those it opened also with an error.
func openUDPLogs(list []accesslog.Config, env *filters.SharedEnv) (logs []*accesslog.Log, err error) {
	for i := range list {
		log, err := env.OpenLog(&list[i])
		if err != nil {
			return logs, err
		}
		logs = append(logs, log)
	}
	return logs, nil
}

// Close implements io.Closer.
func (s *udpShared) Close() error {
	var errs error
	for _, logs := range [][]*accesslog.Log{s.logs, s.proxyLogs} {
		for _, log := range logs {
			errs = errors.Join(errs, log.Close())
		}
	}
	return errs
}

// udpKey tells sessions apart. host is nil, but with use_per_packet_load_balancing.
type udpKey struct {
	flow engine.Flow
	host *upstream.Host
}

// udpProxy forwards the datagrams of one listener on one loop.
type udpProxy struct {
	// Immutable.
	loop         *engine.Loop
	cfg          *UDPProxyConfig
	shared       *udpShared
	clusters     *pool.Table
	chain        string
	stat         *udpStats
	listener     *udpListenerStats
	clusterStats []*pool.UDPStats // by index of shared.routes
	log          *accesslog.Logger
	proxyLog     *accesslog.Logger

	// Owned by the loop.

	// sessions is a map, against the rule for the data path: it is asked once for a run of datagrams of one peer,
	// next to the system calls for which its 30 ns do not count, and its hash is seeded, so that peers
	// cannot make their keys collide.
	sessions map[udpKey]*udpSession
	last     *udpSession // of the last datagram, or nil
	first    *udpSession // all, linked by next
	open     int
	free     *udpSession // ended ones, linked by next
	freeLen  int
	draining bool
	idle     int64 // ns
	dial     engine.PacketDialOptions
	pick     upstream.Pick
	record   accesslog.Record
	totals   udpTotals
	start    int64
}

// newUDPProxy makes the filter of one listener on one loop.
func newUDPProxy(c *UDPProxyConfig, s *udpShared, env *filters.NetworkEnv) (any, error) {
	on := env.Loop.Index()
	p := &udpProxy{
		loop: env.Loop, cfg: c, shared: s, clusters: env.Clusters, chain: env.ChainName,
		stat:     stats.Register[udpStats](env.Stats, udpScope(c.StatPrefix).OnLoop(on)),
		listener: stats.Register[udpListenerStats](env.Stats, stats.ListenerScope(env.Address).Name("udp").OnLoop(on)),
		log:      accesslog.NewLogger(s.logs, on), proxyLog: accesslog.NewLogger(s.proxyLogs, on),
		sessions: map[udpKey]*udpSession{}, idle: int64(c.IdleTimeout), start: env.Loop.Now(),
		dial: engine.PacketDialOptions{
			Transparent: c.UseOriginalSrcIP, GRO: c.UpstreamSocketConfig.PreferGRO,
			MaxDatagram: c.UpstreamSocketConfig.MaxRxDatagramSize,
		},
	}
	for i := range s.routes {
		scope := stats.ClusterScope(s.routes[i].stat).Name("udp").OnLoop(on)
		p.clusterStats = append(p.clusterStats, stats.Register[pool.UDPStats](env.Stats, scope))
	}
	return p, nil
}

// udpScope is the scope of a UDP proxy with that stat_prefix.
func udpScope(prefix string) stats.Scope { return stats.Root("udp").Tag("envoy_udp_prefix", prefix) }

// Attach implements filters.DatagramTerminal.
func (p *udpProxy) Attach(s *engine.PacketSocket) {
	c := &p.cfg.DownstreamSocketConfig
	s.SetMaxDatagram(c.MaxRxDatagramSize)
	s.SetGRO(c.PreferGRO)
	s.SetHandler(p)
}

// Conns implements filters.DatagramTerminal: it returns the number of sessions.
func (p *udpProxy) Conns() int { return p.open }

// Drain implements filters.DatagramTerminal.
func (p *udpProxy) Drain() { p.draining = true }

// Close implements filters.DatagramTerminal.
func (p *udpProxy) Close() {
	p.draining = true
	for p.first != nil {
		p.first.end("udp_proxy_closed")
	}
}

// Release implements filters.DatagramTerminal.
func (p *udpProxy) Release() {
	p.Close()
	p.free, p.freeLen = nil, 0
	p.logProxy()
}

// OnDatagram implements engine.PacketHandler: a client has sent something.
//
// Hot path: guarded by BenchmarkUDPProxy.
func (p *udpProxy) OnDatagram(s *engine.PacketSocket, d *engine.Datagram) {
	se := p.last
	if se == nil || se.key.flow != d.Flow || p.cfg.UsePerPacketLoadBalancing {
		se = p.session(s, d)
		p.last = se
	} else if se.up.Standing() != pool.HostStays {
		se = p.session(s, d)
		p.last = se
	}
	if se != nil {
		se.forward(d.Data)
	}
}

// OnPacketError implements engine.PacketHandler.
func (p *udpProxy) OnPacketError(_ *engine.PacketSocket, e engine.PacketError) {
	switch e.Trouble {
	case engine.PacketTruncated, engine.PacketOverrun:
		p.listener.RxDropped.Add(e.Count)
	case engine.PacketUnreachable, engine.PacketReceiveFailed:
		p.stat.SessRxErrors.Add(e.Count)
		p.totals.rxErrors += e.Count
	case engine.PacketNotSent:
		p.stat.SessTxErrors.Add(e.Count)
		p.totals.txErrors += e.Count
	}
}

// OnPacketClose implements engine.PacketHandler.
func (p *udpProxy) OnPacketClose(*engine.PacketSocket) { p.Close() }

// session returns the session of a datagram, a new one if need be, or nil: then it is dropped, and counted.
func (p *udpProxy) session(s *engine.PacketSocket, d *engine.Datagram) *udpSession {
	if p.cfg.UsePerPacketLoadBalancing {
		return p.sessionOfPacket(s, d)
	}
	key := udpKey{flow: d.Flow}
	se := p.sessions[key]
	if se == nil {
		return p.begin(s, &key, nil)
	}
	switch se.up.Standing() {
	case pool.HostGone:
		se.end("upstream_host_removed")
		return p.begin(s, &key, nil)
	case pool.HostUnhealthy:
		return p.moveOn(s, se)
	}
	se.down = s
	return se
}

// moveOn replaces a session whose host is not well by one to another host, if there is a healthy one.
func (p *udpProxy) moveOn(s *engine.PacketSocket, se *udpSession) *udpSession {
	c := p.clusters.Cluster(p.shared.routes[se.route].cluster)
	if c == nil {
		return se
	}
	h := p.pickHost(c, &se.key.flow)
	if h == nil || h == se.up.Host() || !h.Healthy() {
		return se
	}
	key := se.key
	se.end("upstream_host_unhealthy")
	return p.begin(s, &key, h)
}

// sessionOfPacket picks a host for a datagram, and the session to it.
func (p *udpProxy) sessionOfPacket(s *engine.PacketSocket, d *engine.Datagram) *udpSession {
	c, _ := p.route(&d.Flow)
	if c == nil {
		return nil
	}
	h := p.pickHost(c, &d.Flow)
	if h == nil {
		return nil
	}
	key := udpKey{d.Flow, h}
	se := p.sessions[key]
	if se == nil {
		return p.begin(s, &key, h)
	}
	se.down = s
	return se
}

// route returns the cluster for what a client sends, and the index of its route; nil if there is none, which
// is counted.
func (p *udpProxy) route(f *engine.Flow) (*pool.Cluster, int) {
	client := f.Remote()
	if i := p.shared.routes.find(&client); i >= 0 {
		if c := p.clusters.Cluster(p.shared.routes[i].cluster); c != nil {
			return c, i
		}
	}
	p.stat.SessNoRoute.Inc()
	p.totals.noRoute++
	return nil, -1
}

// pickHost asks the balancer of the cluster. No host at all is counted there (upstream_cx_none_healthy).
func (p *udpProxy) pickHost(c *pool.Cluster, f *engine.Flow) *upstream.Host {
	p.pick = upstream.Pick{Tunnel: true, Random: p.loop.Rand().Uint64()}
	if h := p.shared.hash; h != nil {
		client := f.Remote()
		p.pick.Hash, p.pick.HashSet = h.of(&client), true
	}
	return c.Pick(&p.pick)
}
