package server

import (
	"time"

	"millrace/cmd/internal/control"
	"millrace/engine/stats"
	"millrace/upstream"
	"millrace/upstream/discovery"
	"millrace/upstream/health"
)

// listenersWarming returns how many listeners do not accept yet, or not in their new form.
func (s *Server) listenersWarming() int64 {
	if !s.initial.isOver() {
		return int64(len(s.snapshot.Load().Listeners))
	}
	_, n := s.warmingNow()
	return n
}

// clustersWarming returns how many clusters are waited for.
func (s *Server) clustersWarming() int64 {
	n, _ := s.warmingNow()
	return n + s.discovery.warming.Load()
}

// registerStats registers what the control side knows: "server.", "listener_manager.", "cluster_manager.".
// The rest of "server." is the admin port's, which alone shows it.
func (s *Server) registerStats() {
	r := s.registry
	gauge := func(name string, f func() int64, help string) { r.Func(name, stats.KindGauge, f, help) }
	gauge("server.config_rejected", func() int64 { return b2i(s.rejected.Load()) }, "1 if the last load of the configuration was refused")
	gauge("server.total_connections", s.openConnections, "downstream connections now open")
	gauge("listener_manager.total_listeners_active", func() int64 { return int64(len(s.snapshot.Load().Listeners)) }, "listeners")
	gauge("listener_manager.total_listeners_draining", func() int64 { return int64(len(s.retiring())) }, "replaced or removed listeners that still have connections")
	gauge("listener_manager.total_listeners_warming", s.listenersWarming, "new or changed listeners that wait for clusters before they accept, as all do at the start")
	gauge("listener_manager.total_filter_chains_draining", s.chainsDraining.Load, "replaced or removed filter chains of listeners that stay, that still have connections")
	gauge("listener_manager.workers_started", func() int64 { return b2i(s.live.Load()) }, "1 once the loops accept")
	gauge("cluster_manager.active_clusters", func() int64 { return int64(len(s.snapshot.Load().Clusters)) }, "clusters")
	gauge("cluster_manager.warming_clusters", s.clustersWarming, "new or changed clusters that are waited for: their hosts have to be found, or to be checked for the first time")
	r.Func("server.memory_given_back", stats.KindCounter, s.memoryGivenBack.Load, "times garbage was collected and memory returned to the kernel since the process was quiet")
	s.registerTLS()
	s.registerEven()
	r.Add(stats.Root("listener_manager"), &s.counts.listeners)
	r.Add(stats.Root("cluster_manager"), &s.counts.clusters)
}

// counts are the counters of the control side; the control goroutine writes them.
type counts struct {
	listeners listenerCounts
	clusters  clusterCounts
}

type listenerCounts struct {
	Added    stats.Counter `stat:"listener_added" help:"listeners added"`
	Modified stats.Counter `stat:"listener_modified" help:"listeners changed"`
	Removed  stats.Counter `stat:"listener_removed" help:"listeners removed"`
	Stopped  stats.Counter `stat:"listener_stopped" help:"listeners that were told not to accept any more"`
	InPlace  stats.Counter `stat:"listener_in_place_updated" help:"changed listeners that kept the connections of filter chains that are the same"`
	Created  stats.Counter `stat:"listener_create_success" help:"listeners built for all loops"`
	Failed   stats.Counter `stat:"listener_create_failure" help:"configurations refused because a listener could not be built or bound"`
}

type clusterCounts struct {
	Added    stats.Counter `stat:"cluster_added" help:"clusters added"`
	Modified stats.Counter `stat:"cluster_modified" help:"clusters changed"`
	Removed  stats.Counter `stat:"cluster_removed" help:"clusters removed"`
}

// count counts what a diff did.
func (s *Server) count(diff *control.Diff) {
	for i := range diff.Clusters {
		s.countCluster(&diff.Clusters[i])
	}
	lc := &s.counts.listeners
	for i := range diff.Listeners {
		c := &diff.Listeners[i]
		countAction(c.Action, &lc.Added, &lc.Modified, &lc.Removed)
		switch {
		case c.InPlace():
			lc.InPlace.Inc()
		case c.Action != control.Removed:
			lc.Created.Inc()
		}
	}
}

// countAction counts an action.
func countAction(a control.Action, added, changed, removed *stats.Counter) {
	switch a {
	case control.Added:
		added.Inc()
	case control.Changed:
		changed.Inc()
	case control.Removed:
		removed.Inc()
	}
}

// clusterSets are the values of a cluster that no loop keeps.
type clusterSets struct {
	name     string // as registered
	members  upstream.MembershipStats
	breakers [2]*upstream.BreakerStats // by priority
	checks   health.Stats
	found    discovery.Stats
	finds    bool // found is registered
	checked  bool // checks is registered
	outliers health.OutlierStats
	judged   bool // outliers is registered
}

// priorityNames are the parts of stat names that stand for an upstream.Priority.
var priorityNames = [2]string{"default", "high"}

// countCluster counts a change of a cluster and keeps what is registered for it up to date.
func (s *Server) countCluster(c *control.ClusterChange) {
	cc := &s.counts.clusters
	countAction(c.Action, &cc.Added, &cc.Modified, &cc.Removed)
	if c.Action == control.Removed {
		s.clusterSets[c.Old.Name].register(s.registry.Remove)
		delete(s.clusterSets, c.Old.Name)
		return
	}
	set := s.clusterSets[c.New.Name]
	if set == nil {
		set = &clusterSets{}
		for p, b := range c.New.Budgets {
			set.breakers[p] = upstream.NewBreakerStats(b)
		}
		s.clusterSets[c.New.Name] = set
	}
	if name := c.New.Config.StatName(); set.name != name {
		if set.name != "" {
			set.register(s.registry.Remove)
		}
		set.name = name
		set.register(s.registry.Add)
	}
	set.setJudged(c.New.Config.OutlierDetection != nil, s.registry)
	set.setChecked(c.New.Config.HealthCheck() != nil, s.registry)
	set.setFound(c.New.Config.Discovered(), s.registry)
	var prev *upstream.Cluster
	if c.Old != nil {
		prev = c.Old.Cluster
	}
	set.members.Update(c.New.Cluster, prev)
}

// register does f, which is Add or Remove of the registry, with each set.
func (c *clusterSets) register(f func(stats.Scope, any)) {
	scope := stats.ClusterScope(c.name)
	f(scope, &c.members)
	for p, b := range c.breakers {
		f(scope.Name("circuit_breakers").Name(priorityNames[p]), b)
	}
	if c.finds {
		f(scope, &c.found)
	}
	if c.judged {
		f(scope.Name("outlier_detection"), &c.outliers)
	}
	if c.checked {
		f(scope.Name("health_check"), &c.checks)
	}
}

// setChecked makes the counters of health checks known while there are any.
func (c *clusterSets) setChecked(checked bool, r *stats.Registry) {
	if scope := stats.ClusterScope(c.name).Name("health_check"); checked && !c.checked {
		r.Add(scope, &c.checks)
	} else if c.checked && !checked {
		r.Remove(scope, &c.checks)
	}
	c.checked = checked
}

// setJudged makes the counters of outlier detection known while there is any.
func (c *clusterSets) setJudged(judged bool, r *stats.Registry) {
	if scope := stats.ClusterScope(c.name).Name("outlier_detection"); judged && !c.judged {
		r.Add(scope, &c.outliers)
	} else if c.judged && !judged {
		r.Remove(scope, &c.outliers)
	}
	c.judged = judged
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// logStart says what runs, and the most memory it may come to use.
func (s *Server) logStart() {
	snap := s.snapshot.Load()
	for _, l := range s.adminListeners() {
		s.log.Info("listening", "listener", l.Name, "address", l.Address)
	}
	if a := s.AdminAddr(); a != "" {
		s.log.Info("admin port", "address", a)
	}
	m := s.memoryMax(snap)
	s.log.Info("memory at most", m.attrs()...)
	s.log.Info("started", "version", s.opt.Version, "loops", len(s.workers), "listeners", len(snap.Listeners),
		"clusters", len(snap.Clusters), "config", s.opt.ConfigPath, "hash", hashText(snap.Hash),
		"took", time.Since(s.started).Round(time.Millisecond).String())
}
