package server

import (
	"runtime"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/control"
	"millrace/engine/stats"
	"millrace/upstream"
)

// registerStats registers the values of the process: "server.", "listener_manager.", "cluster_manager.".
func (s *Server) registerStats() {
	r := s.registry
	gauge := func(name string, f func() int64, help string) { r.Func(name, stats.KindGauge, f, help) }
	gauge("server.uptime", func() int64 { return int64(time.Since(s.started) / time.Second) }, "seconds since the start")
	gauge("server.concurrency", func() int64 { return int64(len(s.workers)) }, "loops")
	gauge("server.live", func() int64 { return b2i(s.state() == "LIVE") }, "1 unless the process starts or drains")
	gauge("server.state", s.stateNumber, "0 live, 1 draining, 2 before clusters, 3 before listeners")
	gauge("server.config_rejected", func() int64 { return b2i(s.rejected.Load()) }, "1 if the last load of the configuration was refused")
	gauge("server.total_connections", s.connections, "downstream connections now open")
	gauge("server.memory_allocated", func() int64 { return memory().heap }, "bytes of live and not yet collected objects")
	gauge("server.memory_heap_size", func() int64 { return memory().sys }, "bytes the Go heap has from the system")
	gauge("server.gc_total", func() int64 { return memory().collections }, "garbage collections")
	gauge("server.gc_pause_total_us", func() int64 { return memory().pauseUs }, "microseconds all loops were stopped by collections")
	gauge("listener_manager.total_listeners_active", func() int64 { return int64(len(s.snapshot.Load().Listeners)) }, "listeners")
	gauge("listener_manager.workers_started", func() int64 { return b2i(s.live.Load()) }, "1 once the loops accept")
	gauge("cluster_manager.active_clusters", func() int64 { return int64(len(s.snapshot.Load().Clusters)) }, "clusters")
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
}

type clusterCounts struct {
	Added    stats.Counter `stat:"cluster_added" help:"clusters added"`
	Modified stats.Counter `stat:"cluster_modified" help:"clusters changed"`
	Removed  stats.Counter `stat:"cluster_removed" help:"clusters removed"`
}

// count counts an action.
func count(a control.Action, added, changed, removed *stats.Counter) {
	switch a {
	case control.Added:
		added.Inc()
	case control.Changed:
		changed.Inc()
	case control.Removed:
		removed.Inc()
	}
}

// countCluster counts a change of a cluster and keeps what is registered for it up to date.
func (s *Server) countCluster(c *control.ClusterChange) {
	cc := &s.counts.clusters
	count(c.Action, &cc.Added, &cc.Modified, &cc.Removed)
	if c.Action == control.Removed {
		s.registry.Remove(stats.ClusterScope(c.Old.Config.StatName()), s.members[c.Old.Name])
		delete(s.members, c.Old.Name)
		s.breakerGauges(c.Old, false)
		return
	}
	m := s.members[c.New.Name]
	if m == nil {
		m = &upstream.MembershipStats{}
		s.members[c.New.Name] = m
		s.registry.Add(stats.ClusterScope(c.New.Config.StatName()), m)
	}
	var prev *upstream.Cluster
	if c.Old != nil {
		prev = c.Old.Cluster
	}
	m.Update(c.New.Cluster, prev)
	s.breakerGauges(c.New, true)
}

// breakerGauges registers the gauges of the circuit breakers of a cluster, or takes them back.
func (s *Server) breakerGauges(c *control.Cluster, on bool) {
	for prio, name := range []string{"default", "high"} {
		scope := stats.ClusterScope(c.Config.StatName()).Prefix + "circuit_breakers." + name + "."
		budget := c.Budgets[prio]
		for r := upstream.Connections; r <= upstream.Retries; r++ {
			f := func() int64 { return b2i(budget.Open(r)) }
			if !on {
				f = nil
			}
			s.registry.Func(scope+r.String()+"_open", stats.KindGauge, f, "1 while the limit is reached")
		}
	}
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (s *Server) stateNumber() int64 {
	switch s.state() {
	case "LIVE":
		return 0
	case "DRAINING":
		return 1
	}
	return 3
}

// connections returns the open downstream connections.
func (s *Server) connections() (n int64) {
	open := *s.openAll.Load()
	for _, c := range open {
		n += c.Load()
	}
	return n
}

// openOf returns the count of open connections of a listener, shared by the loops. It is called on loops
// that build a chain, for a name that prepareListeners has entered.
func (s *Server) openOf(name string) *atomic.Int64 { return (*s.openAll.Load())[name] }

// prepareListeners enters the listeners of next in the tables that other goroutines read.
func (s *Server) prepareListeners(next *control.Snapshot) {
	all := map[string]*atomic.Int64{}
	if old := s.openAll.Load(); old != nil {
		for name, n := range *old { // also of removed ones: their connections are still counted
			if n.Load() > 0 || next.Listener(name) != nil {
				all[name] = n
			}
		}
	}
	for _, l := range next.Listeners {
		if all[l.Name] == nil {
			all[l.Name] = new(atomic.Int64)
		}
	}
	s.openAll.Store(&all)
}

// memoryNumbers are what the runtime says, read at most once a second.
type memoryNumbers struct {
	at                              time.Time
	heap, sys, collections, pauseUs int64
}

var lastMemory atomic.Pointer[memoryNumbers]

func memory() *memoryNumbers {
	if m := lastMemory.Load(); m != nil && time.Since(m.at) < time.Second {
		return m
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	m := &memoryNumbers{
		at: time.Now(), heap: int64(ms.HeapAlloc), sys: int64(ms.HeapSys),
		collections: int64(ms.NumGC), pauseUs: int64(ms.PauseTotalNs / 1000),
	}
	lastMemory.Store(m)
	return m
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
	limit := int64(0)
	for _, w := range s.workers {
		limit += w.loop.Arena().Budget()
	}
	s.log.Info("started", "version", s.opt.Version, "loops", len(s.workers), "listeners", len(snap.Listeners),
		"clusters", len(snap.Clusters), "config", s.opt.ConfigPath, "hash", hashText(snap.Hash),
		"blocks_max_mib", limit>>20, "took", time.Since(s.started).Round(time.Millisecond).String())
}
