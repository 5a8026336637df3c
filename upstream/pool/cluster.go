package pool

import (
	"time"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/engine"
	"millrace/engine/transport"
	"millrace/upstream"
)

// Cluster is one loop's view of an [upstream.Cluster]: its balancer and its pools.
type Cluster struct {
	// Stats is written by the loop. It lives as long as the cluster keeps its place in the table.
	Stats upstream.ClusterStats
	// TLSStats is nil until the cluster has TLS. It lives on when the cluster has it no more.
	TLSStats *transport.Stats

	table    *Table
	loop     *engine.Loop
	shared   *upstream.Cluster
	balancer upstream.Balancer
	hosts    *upstream.HostSet
	settings *settings
	breakers [2]*breaker // by priority; nil until first used
	pools    [2][]*Pool  // by priority and Host.Slot; both nil until first used
	tcp      *TCP        // connections that have one owner, linked
	removed  bool

	// For predict.
	ahead      picks
	idle       int // HTTP/1.1 connections that carry nothing
	connecting int
	muxSpare   int // exchanges that HTTP/2 connections still take; see mux.noteRoom

	dialFrom engine.DialOptions // scratch of dialOptions

	destinations destinations
}

// settings is what connections need of the config, in the loop's units.
type settings struct {
	limits         codec.Limits
	connectTimeout int64   // ns
	idleTimeout    int64   // ns, 0 is never
	maxDuration    int64   // ns, 0 is never
	durationJitter float64 // share of maxDuration
	maxRequests    uint32
	bufferLimit    int
	dial           *engine.DialOptions // nil: the defaults
	proxy          *proxyHeader        // nil: none
	h2             *h2.Options         // nil: HTTP/1.1 alone
	boundsLoad     bool                // the policy wants Pick.Active
	pendingMax     int64               // ns, 0 is for ever
	hostConnsMax   int64               // connections to one host, 0 is no limit
	keepsHost      bool                // the policy sends a hash to one host
	auto           bool                // ALPN chooses between HTTP/1.1 and HTTP/2
	heldMax        int                 // bytes of paused responses beside the window of their connection
	tls            *security           // nil: plain
	keepalive      keepalive
	shares         bool // idle connections go to the loop that needs one
	// How many requests connections are to be enough for, of a host and of the cluster; 0 as many as there are.
	perHostRatio, predictiveRatio float64
}

func newSettings(cfg *upstream.Config) *settings {
	s := &settings{
		limits:         cfg.Limits(),
		connectTimeout: int64(cfg.ConnectTimeout),
		idleTimeout:    int64(cfg.IdleTimeout),
		maxDuration:    int64(cfg.MaxConnectionDuration),
		maxRequests:    cfg.MaxRequestsPerConnection,
		bufferLimit:    cfg.PerConnectionBufferLimitBytes,
		dial:           cfg.DialOptions(),
		proxy:          newProxyHeader(cfg.ProxyProtocol),
		durationJitter: cfg.MaxConnectionDurationJitter / 100,
		boundsLoad:     cfg.ConsistentHash.HashBalanceFactor > 0,
		pendingMax:     int64(cfg.CircuitBreakers.MaxPendingDuration),
		hostConnsMax:   int64(cfg.CircuitBreakers.PerHostThresholds.MaxConnections),
		keepsHost:      cfg.LbPolicy == "ring_hash" || cfg.LbPolicy == "maglev",
	}
	if pc := &cfg.PreconnectPolicy; pc.PerUpstreamPreconnectRatio > 1 {
		s.perHostRatio = pc.PerUpstreamPreconnectRatio
	}
	if pc := &cfg.PreconnectPolicy; pc.PredictivePreconnectRatio > 1 {
		s.predictiveRatio = pc.PredictivePreconnectRatio
	}
	if cfg.IsHTTP2() {
		s.auto = cfg.IsAuto()
		s.h2, s.heldMax = cfg.HTTP2Options(&s.limits), int(cfg.HTTP2.MaxPausedResponseBytes)
	}
	if k := cfg.HTTP2.ConnectionKeepalive; k != nil {
		s.keepalive = keepalive{
			interval: int64(k.Interval), timeout: int64(k.Timeout), jitter: k.IntervalJitter / 100,
			idleInterval: int64(k.ConnectionIdleInterval),
		}
	}
	return s
}

// Config returns the config now in force.
func (c *Cluster) Config() *upstream.Config { return c.shared.Config }

// Shared returns what the loops share.
func (c *Cluster) Shared() *upstream.Cluster { return c.shared }

// LeaseResult is the immediate answer to a lease.
type LeaseResult uint8

const (
	// LeaseReady: the exchange has a connection; SendHead may follow now.
	LeaseReady LeaseResult = iota
	// LeasePending: Owner.OnReady or Owner.OnReset follows, never from inside Lease.
	LeasePending
	// LeaseOverflow: a circuit breaker is open. Counted; the exchange is free.
	LeaseOverflow
)

// Lease asks for an exchange on a connection to h. x.Owner is set and x is free. fresh asks
// for a connection that has not been lying idle, as a retry does after a stale one.
//
// Hot path: TestExchangeAllocs, BenchmarkExchange.
func (c *Cluster) Lease(h *upstream.Host, prio upstream.Priority, x *Exchange, fresh bool) LeaseResult {
	return c.LeaseNamed(nil, h, prio, x, fresh)
}

// pool returns the pool of a host, which it makes on first use.
func (c *Cluster) pool(h *upstream.Host, prio upstream.Priority) *Pool {
	pools := c.pools[prio]
	if slot := h.Slot(); slot < len(pools) {
		if p := pools[slot]; p != nil && p.host == h {
			return p
		}
	}
	return c.addPool(h, prio)
}

// addPool makes the pool of a host. A host that has left the cluster since it was picked gets
// one that drains from the start, for one lease.
func (c *Cluster) addPool(h *upstream.Host, prio upstream.Priority) *Pool {
	p := &Pool{cluster: c, host: h, settings: c.settings, breaker: c.breaker(prio), streamsMax: -1, hostFailed: !h.Healthy()}
	p.sit(nil)
	if c.removed || !c.has(h) {
		p.draining = true
		return p
	}
	c.place(p, prio)
	return p
}

// has reports whether h is a host of the cluster.
func (c *Cluster) has(h *upstream.Host) bool { return c.hosts.Has(h) || c.destinations.has(h) }

// place enters a pool into its table. One of another host in its place belongs to a destination that is gone, of which this
// loop is about to hear.
func (c *Cluster) place(p *Pool, prio upstream.Priority) {
	slot := p.host.Slot()
	if n := max(c.hosts.Slots(), slot+1) - len(c.pools[prio]); n > 0 {
		c.pools[prio] = append(c.pools[prio], make([]*Pool, n)...)
	}
	old := c.pools[prio][slot]
	c.pools[prio][slot] = p
	if old != nil {
		old.drain()
	}
}

// breaker returns the breaker of a priority, which it makes on first use: of thousands of
// clusters most are quiet.
func (c *Cluster) breaker(prio upstream.Priority) *breaker {
	b := c.breakers[prio]
	if b == nil {
		b = newBreaker(c.loop, c.shared.Budgets[prio])
		if c.removed { // for this pool alone
			b.retired = true
			return b
		}
		c.breakers[prio] = b
	}
	return b
}

// set puts a new shared cluster into force.
func (c *Cluster) set(next *upstream.Cluster) {
	prev := c.shared
	next.Apply()
	c.shared = next
	fresh := prev == nil || prev.Budgets != next.Budgets || !next.Config.SameConnections(prev.Config)
	if fresh {
		c.drainPools()
	}
	if prev != nil && prev.Budgets != next.Budgets {
		c.leaveBudgets()
	}
	c.settings = newSettings(next.Config)
	c.settings.shares = next.Config.ShareIdleConnections && c.table.siblings
	c.secure(next)
	switch {
	case next.Destinations != nil:
		c.balancer = noHosts{}
	case prev == nil || !next.Config.SamePolicy(prev.Config):
		c.balancer = c.table.newBalancer(next)
	}
	c.destinations.use(next)
	c.takeHosts()
	for prio := range c.pools {
		c.replacePools(prio)
	}
	c.failTCP()
	for _, b := range c.breakers {
		if b != nil {
			b.retryAll() // limits may be higher now
		}
	}
}

// leaveBudgets forgets the breakers. They leave their budgets when no pool needs them.
func (c *Cluster) leaveBudgets() {
	for prio, b := range c.breakers {
		if b != nil {
			b.retire()
			c.breakers[prio] = nil
		}
	}
}

// replacePools moves the pools of hosts that stay into a new table and drains the others.
func (c *Cluster) replacePools(prio int) {
	old := c.pools[prio]
	if old == nil {
		return
	}
	c.pools[prio] = make([]*Pool, c.hosts.Slots())
	for _, p := range old {
		switch {
		case p == nil:
		case c.has(p.host):
			p.use(c.settings)
			c.place(p, upstream.Priority(prio))
		default:
			p.drain()
		}
	}
}

// drainPools drains and forgets all pools.
func (c *Cluster) drainPools() {
	for prio, pools := range c.pools {
		c.pools[prio] = nil
		for _, p := range pools {
			if p != nil {
				p.drain()
			}
		}
	}
}

// takeHosts takes up the host set of now.
func (c *Cluster) takeHosts() {
	was := c.hosts
	if c.hosts = c.shared.HostSet(); c.hosts != was {
		c.Stats.CountZones(c.hosts)
	}
}

// refresh takes up the host set of now. Pools of hosts that are gone drain.
func (c *Cluster) refresh() {
	was := c.hosts
	if c.takeHosts(); c.hosts.Membership != was.Membership {
		c.destinations.forget()
		for prio := range c.pools {
			c.replacePools(prio)
		}
	}
	for prio := range c.pools {
		c.leaveFailed(prio)
	}
	c.failTCP()
}

// leaveFailed drains the pools of hosts that have become ill since the last time: what goes on goes on, and whoever leases
// from such a host in a panic begins with a new connection.
func (c *Cluster) leaveFailed(prio int) {
	for slot, p := range c.pools[prio] {
		if p == nil {
			continue
		}
		failed := !p.host.Healthy()
		if failed && !p.hostFailed {
			c.pools[prio][slot] = nil
			p.drain()
			continue
		}
		p.hostFailed = failed
	}
}

// closeIdle closes the idle connections of all pools.
func (c *Cluster) closeIdle() {
	for prio := range c.pools {
		for _, p := range c.pools[prio] {
			if p != nil {
				p.names.each((*Pool).closeIdle)
				p.closeIdle()
			}
		}
	}
}

// remove drains everything. The breakers retire when the last pool is done.
func (c *Cluster) remove() {
	c.removed = true
	c.drainPools()
	c.leaveBudgets()
}

// sinceUs returns the microseconds from a loop time to now.
func (c *Cluster) sinceUs(from int64) uint64 {
	return uint64(max(c.loop.Now()-from, 0)) / uint64(time.Microsecond)
}
