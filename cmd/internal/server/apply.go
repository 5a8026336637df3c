package server

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
)

// clustersPerTurn bounds how many clusters a loop takes up between two of its turns: a reload of
// thousands must not hold up the traffic.
const clustersPerTurn = 64

// errDraining is why a configuration is not taken any more.
var errDraining = errors.New("the process is draining: it takes no new configuration")

// apply puts a loaded configuration into force: on all loops, or not at all.
//
//	build ─▶ warm ─▶ bind ─▶ prepare on each loop ─▶ commit: clusters, snapshot, listeners, removed clusters
//	  └───────┴────────┴──────────────┴─▶ refused: everything made so far is given back
//
// Whatever can fail, sockets and epoll included, has been done on every loop before the first one
// commits. done is told what has come of it, on the control goroutine: before apply returns unless clusters have to be warmed.
//
// Precondition: called on the control goroutine.
func (s *Server) apply(cfg *config.Config, done func(admin.Report, error)) {
	begun := time.Now()
	if s.stopped {
		done(admin.Report{}, errDraining)
		return
	}
	b, err := s.build(cfg)
	if err != nil {
		s.counts.listeners.Failed.Inc()
		done(admin.Report{}, err)
		return
	}
	s.dropWarming(errSuperseded) // not before: a file that is refused changes nothing
	diff := control.Compare(b.prev, b.next)
	if !s.warm(b, diff, begun, done) {
		done(s.install(b, diff, begun))
	}
}

// install puts a configuration that has been built into force.
func (s *Server) install(b *building, diff *control.Diff, begun time.Time) (admin.Report, error) {
	if err := s.prepare(b.prev, b.next, diff); err != nil {
		b.discard()
		s.counts.listeners.Failed.Inc()
		return admin.Report{}, err
	}
	for i := range diff.Clusters {
		if c := &diff.Clusters[i]; c.Action == control.Changed {
			c.New.Follow(c.Old.Cluster)
		}
	}
	s.commit(b.prev, b.next, diff)
	for _, start := range b.starts {
		start()
	}
	return newReport(b.next, diff, time.Since(begun)), nil
}

// prepare makes, on each loop, all that diff needs and that can fail. If it fails, nothing is left of it.
func (s *Server) prepare(prev, next *control.Snapshot, diff *control.Diff) error {
	fds, err := s.bind(prev, next)
	if err != nil {
		return err
	}
	if len(diff.Listeners) == 0 {
		return nil
	}
	err = errors.Join(each(s, func(w *worker) error { return w.prepare(diff, fds[w.loop.Index()]) })...)
	if err != nil {
		each(s, func(w *worker) error { w.discard(); return nil })
	}
	s.registerSets()
	return err
}

// commit puts a prepared diff into force. Clusters come before the routes that use them, and go after
// them. The snapshot is published in between: requests look there for the cluster that a field names.
func (s *Server) commit(prev, next *control.Snapshot, diff *control.Diff) {
	set, removed := splitClusters(diff.Clusters)
	zoned := s.followLocal(next)
	for _, c := range set {
		c.New.Rezone() // it may have waited
	}
	s.eachClusters(set, (*worker).setCluster)
	s.snapshot.Store(next)
	s.refreshHosts(zoned)
	for _, c := range set {
		if c.New.Ramping() {
			s.slowStartLater(c.New.Name)
		}
	}
	s.connectionLimit.Store(next.ConnectionLimit)
	if len(diff.Listeners) > 0 {
		removeSocketFiles(prev, next)
		until := time.Now().Add(next.DrainTime)
		each(s, func(w *worker) error { w.commit(diff, until); return nil })
		s.retire(diff)
	}
	s.eachClusters(removed, func(w *worker, c *control.ClusterChange) { w.removeCluster(c, time.Now().Add(next.DrainTime)) })
	s.leaveClusters(diff.Clusters)
	s.registerSets()
	s.count(diff)
	s.setChecks(diff.Clusters)
	s.setSources(diff.Clusters)
	s.setAutoscaling(diff.Clusters)
	if len(removed) > 0 || len(s.leaving.chains)+len(s.leaving.listeners) > 0 {
		s.sweep()
	}
}

// splitClusters parts the changes into what is set and what is removed.
func splitClusters(changes []control.ClusterChange) (set, removed []*control.ClusterChange) {
	for i := range changes {
		if c := &changes[i]; c.Action == control.Removed {
			removed = append(removed, c)
		} else {
			set = append(set, c)
		}
	}
	return set, removed
}

// eachClusters does f with all changes on each loop, a bounded number in a turn.
func (s *Server) eachClusters(changes []*control.ClusterChange, f func(*worker, *control.ClusterChange)) {
	for len(changes) > 0 {
		n := min(len(changes), clustersPerTurn)
		part := changes[:n]
		changes = changes[n:]
		each(s, func(w *worker) error {
			for _, c := range part {
				f(w, c)
			}
			return nil
		})
	}
}

// each runs f on every loop, waits for all of them and returns their answers in order. A loop that
// has ended answers with nothing.
func each[T any](s *Server, f func(w *worker) T) []T {
	answers := make([]chan T, len(s.workers))
	for i, w := range s.workers {
		c := make(chan T, 1)
		answers[i] = c
		w.loop.Post(func() { c <- f(w) })
	}
	list := make([]T, len(s.workers))
	for i, w := range s.workers {
		select {
		case list[i] = <-answers[i]:
		case <-w.done:
		}
	}
	return list
}

// registerSets makes known to the registry what the loops count since the last time. The
// registry has a lock, which a loop must not wait for.
func (s *Server) registerSets() {
	for _, w := range s.workers {
		for _, r := range w.news {
			if r.gone {
				s.registry.Remove(r.scope, r.set)
			} else {
				s.registry.Add(r.scope, r.set)
			}
		}
		clear(w.news)
		w.news = w.news[:0]
	}
}

// restartNeeded returns what of a configuration only a restart puts into force, as warnings.
func (s *Server) restartNeeded(cfg *config.Config) (warnings []string) {
	was := &s.first
	warn := func(path string, was, now any) {
		warnings = append(warnings, fmt.Sprintf("%s: %s: changed from %v to %v; this needs a restart", s.opt.ConfigPath, path, was, now))
	}
	if was, now := adminAddress(was), adminAddress(cfg); was != now {
		warn("admin.address", was, now)
	}
	if was, now := adminRest(was), adminRest(cfg); was != now {
		warn("admin", was, now)
	}
	if was, now := was.Overload.TLSHandshakes, cfg.Overload.TLSHandshakes; was != now {
		warn("overload.tls_handshakes", fmt.Sprintf("%+v", was), fmt.Sprintf("%+v", now))
	}
	if s.opt.Concurrency == 0 && was.Concurrency != cfg.Concurrency {
		warn("concurrency", was.Concurrency, cfg.Concurrency)
	}
	if was.Node != cfg.Node {
		warn("node", fmt.Sprintf("%+v", was.Node), fmt.Sprintf("%+v", cfg.Node))
	}
	if was, now := was.ClusterManager.LocalClusterName, cfg.ClusterManager.LocalClusterName; was != now {
		warn("cluster_manager.local_cluster_name", strconv.Quote(was), strconv.Quote(now))
	}
	return warnings
}

// adminAddress returns the address of the admin port, "none" without one.
func adminAddress(cfg *config.Config) string {
	if cfg.Admin == nil {
		return "none"
	}
	return cfg.Admin.Address
}

// adminRest returns the other settings of the admin port as text, those of none without one.
func adminRest(cfg *config.Config) string {
	a := cfg.Admin
	if a == nil {
		a = &config.Admin{}
	}
	return fmt.Sprintf("hosts %q, allow_paths %q, pprof %v", a.Hosts, a.AllowPaths, a.Pprof)
}
