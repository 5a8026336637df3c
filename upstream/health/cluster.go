package health

import (
	"context"
	"math/rand/v2"
	"time"

	"millrace/upstream"
)

// trafficEvery is how often a cluster without traffic is looked at for some.
const trafficEvery = 100 * time.Millisecond

// A cluster is what a scheduler knows of one cluster. Guarded by the scheduler.
type cluster struct {
	name      string
	shared    *upstream.Cluster // for Config and TLS; its hosts may be newer than hosts
	stats     *Stats
	rules     rules
	intervals intervals
	timeout   time.Duration
	jitter    time.Duration // before the first check
	probes    func(context.Context, *upstream.Host) probe
	cancel    context.CancelFunc
	ctx       context.Context
	events    *events // nil: none
	hosts     map[*upstream.Host]*hostCheck

	traffic  bool // the cluster has had a connection
	lookedAt time.Time

	unchecked int      // hosts without a result
	waiting   []func() // called when there are none
}

// A hostCheck is the checks of one host.
type hostCheck struct {
	cluster *cluster
	host    *upstream.Host
	probe   probe
	machine machine
	due     time.Time
	index   int  // in the queue, -1 while not in it
	checked bool // has counted in cluster.unchecked
}

func newCluster(ctx context.Context, c *upstream.Cluster, st *Stats) *cluster {
	h := c.Config.HealthCheck()
	cl := &cluster{
		name: c.Name, shared: c, stats: st, rules: newRules(h), intervals: newIntervals(h), timeout: h.Timeout, jitter: h.InitialJitter,
		probes: newProbes(c.Config, c.TLS), hosts: map[*upstream.Host]*hostCheck{},
	}
	cl.ctx, cl.cancel = context.WithCancel(ctx)
	return cl
}

// does reports whether the checks are those of a cluster that takes this one's place.
func (c *cluster) does(next *upstream.Cluster) bool {
	return c.shared.TLS == next.TLS && c.shared.Config.SameChecks(next.Config)
}

// add begins to check a host.
func (c *cluster) add(h *upstream.Host, now time.Time) *hostCheck {
	hc := &hostCheck{cluster: c, host: h, probe: c.probes(c.ctx, h), machine: newMachine(h.Health()), due: now, index: -1}
	if c.jitter > 0 {
		hc.due = now.Add(rand.N(c.jitter))
	}
	c.hosts[h] = hc
	c.unchecked++
	c.count(hc, 1)
	return hc
}

// drop ends the checks of a host.
func (c *cluster) drop(hc *hostCheck) {
	c.count(hc, -1)
	delete(c.hosts, hc.host)
	hc.probe.end()
	c.firstDone(hc)
}

// count adds a host to the gauges, or with -1 takes it out.
func (c *cluster) count(hc *hostCheck, n int64) {
	if !hc.machine.failed() {
		c.stats.Healthy.Add(n)
	}
	if hc.machine.flags&upstream.DegradedActiveCheck != 0 {
		c.stats.Degraded.Add(n)
	}
}

// firstDone notes that nobody has to wait for a host any more.
func (c *cluster) firstDone(hc *hostCheck) {
	if !hc.checked {
		hc.checked = true
		c.unchecked--
	}
}

// record takes in a result. It reports whether balancing has to hear of it.
func (c *cluster) record(hc *hostCheck, r Result, now time.Time) (change Change, changed bool) {
	before, first := hc.machine.flags, !hc.machine.checked
	c.count(hc, -1)
	change = hc.machine.record(r, &c.rules)
	c.count(hc, 1)
	c.countResult(r)
	changed = hc.host.ReplaceHealth(activeFlags, hc.machine.flags)
	if c.events != nil {
		c.events.record(c, hc, r, before, first, now)
	}
	c.firstDone(hc)
	return change, changed
}

func (c *cluster) countResult(r Result) {
	st := c.stats
	if r.Verified {
		st.VerifyCluster.Inc()
	}
	if r.Outcome == Passed {
		st.Success.Inc()
		return
	}
	st.Failure.Inc()
	switch r.Outcome {
	case Network, Timeout:
		st.NetworkFailure.Inc()
	case Passive:
		st.PassiveFailure.Inc()
	}
}

// hasTraffic reports whether the cluster has had a connection.
func (c *cluster) hasTraffic(now time.Time) bool {
	if c.traffic || now.Sub(c.lookedAt) < trafficEvery {
		return c.traffic
	}
	c.lookedAt = now
	for h := range c.hosts {
		if h.CxTotal.Load() > 0 {
			c.traffic = true
			break
		}
	}
	return c.traffic
}
