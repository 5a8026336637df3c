package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/control"
	"millrace/upstream"
	"millrace/upstream/discovery"
)

// errSuperseded is why a configuration that waited for its clusters was not taken.
var errSuperseded = errors.New("another load came before its clusters were warm")

// A warming is a configuration that waits for its clusters: their hosts have to be found, or checked for the first time. The
// one in force serves meanwhile, whole.
//
//	apply ─▶ build ─▶ warm: find hosts ─▶ check new hosts ─▶ install
//	                   └─ initMax is over ───────────────────▶ install, with a warning
//	                   └─ another load, or the process drains ─▶ discarded
type warming struct {
	server  *Server
	built   *building
	diff    *control.Diff
	begun   time.Time
	done    func(admin.Report, error)
	ctx     context.Context // until it is over, one way or the other
	cancel  context.CancelFunc
	changes []*control.ClusterChange // of the clusters
	timer   *time.Timer

	// Guarded by statusMu; written by the control goroutine.
	left map[string]bool // clusters that are not warm
}

// outcome is what has become of a warming, for the report.
type outcome struct {
	clusters int
	took     time.Duration
	cold     []string // given up, sorted
}

// newHosts returns the hosts of a cluster that requests have not gone to so far.
func newHosts(c *control.ClusterChange) []*upstream.Host {
	if c.Old == nil {
		return c.New.Hosts()
	}
	return slices.DeleteFunc(slices.Clone(c.New.Hosts()), c.Old.HostSet().Has)
}

// finds reports whether the hosts of a changed cluster have to be found before it can be used.
func finds(c *control.ClusterChange) bool {
	cfg := c.New.Config
	return cfg.Discovered() && (c.Old == nil || !cfg.SameDiscovery(c.Old.Config))
}

// cold reports whether a changed cluster has to be warmed.
func cold(c *control.ClusterChange) bool {
	if c.Action == control.Removed || !c.New.Config.WaitForWarmOnInit {
		return false
	}
	return finds(c) || c.New.Config.HealthCheck() != nil && len(newHosts(c)) > 0
}

// warm begins to warm the clusters of a configuration, which is put into force when that is done. It reports whether there is
// anything to wait for. At the start there is not: the listeners wait.
//
// Precondition: called on the control goroutine.
func (s *Server) warm(b *building, diff *control.Diff, begun time.Time, done func(admin.Report, error)) bool {
	if !s.initial.isOver() {
		return false
	}
	w := &warming{server: s, built: b, diff: diff, begun: begun, done: done, left: map[string]bool{}}
	for i := range diff.Clusters {
		if c := &diff.Clusters[i]; cold(c) {
			w.changes = append(w.changes, c)
			w.left[c.New.Name] = true
		}
	}
	if len(w.changes) == 0 {
		return false
	}
	s.log.Info("reload waits for clusters", "count", len(w.changes), "first", w.changes[0].New.Name, "at_most", initMax.String())
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.timer = time.AfterFunc(initMax, func() { w.do(w.install) })
	s.setWarming(w)
	for _, c := range w.changes {
		if finds(c) {
			w.find(c)
		} else {
			w.check(c)
		}
	}
	return true
}

// setWarming makes w the warming there is, nil for none.
func (s *Server) setWarming(w *warming) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	s.warming = w
}

// do runs f on the control goroutine, unless the warming is over.
func (w *warming) do(f func()) {
	_ = w.server.control.Do(w.ctx, func() error {
		if w.server.warming == w {
			f()
		}
		return nil
	})
}

// find looks for the hosts of a cluster, then checks them.
func (w *warming) find(c *control.ClusterChange) {
	s := w.server
	answered := false // owned by the control goroutine
	src := discovery.New(c.New.Config, &discovery.Env{
		Resolvers: s.discovery.resolvers, Stats: &discovery.Stats{}, Known: c.New.Members(), Decode: decodeHosts, Log: s.log,
		Answered: func() { w.do(func() { answered = true; w.check(c) }) },
	})
	put := func(hosts []upstream.HostConfig, err error) {
		w.do(func() {
			if c.New.SetResolved(err == nil); err != nil {
				return
			}
			if err := c.New.Propose(hosts); err != nil {
				s.log.Warn("hosts cannot be taken", "cluster", c.New.Name, "error", err)
			}
			if answered {
				w.check(c)
			}
		})
	}
	s.closers.Go(func() { src.Run(w.ctx, put) })
}

// check checks the new hosts of a cluster; after the first round it is warm.
func (w *warming) check(c *control.ClusterChange) {
	hosts := newHosts(c)
	if c.New.Config.HealthCheck() == nil || len(hosts) == 0 {
		w.warmed(c.New.Name)
		return
	}
	w.server.health.Warm(c.New.Cluster, hosts, func() { go w.do(func() { w.warmed(c.New.Name) }) }) // we may be asked to wait for ourselves
}

// warmed notes that a cluster is warm. After the last one the configuration is put into force.
func (w *warming) warmed(cluster string) {
	s := w.server
	s.statusMu.Lock()
	delete(w.left, cluster)
	over := len(w.left) == 0
	s.statusMu.Unlock()
	if over {
		w.install()
	}
}

// install puts the configuration into force, whether or not all of its clusters are warm.
func (w *warming) install() {
	s := w.server
	o := outcome{clusters: len(w.changes), took: time.Since(w.begun), cold: slices.Sorted(maps.Keys(w.left))}
	w.end()
	for _, c := range w.changes {
		c.New.Rebuild() // its hosts have become well
	}
	if len(o.cold) > 0 {
		s.log.Warn("clusters are used without having been warmed", "first", o.cold[0], "count", len(o.cold))
	}
	report, err := s.install(w.built, w.diff, w.begun)
	report.Warmed, report.WarmedFor = o.clusters, o.took
	for _, name := range o.cold {
		report.Warnings = append(report.Warnings, fmt.Sprintf("cluster %q: not warm after %s", name, initMax))
	}
	w.done(report, err)
}

// end stops the warming.
func (w *warming) end() {
	s := w.server
	s.setWarming(nil)
	w.cancel()
	w.timer.Stop()
	for _, c := range w.changes {
		s.health.Cool(c.New.Name)
	}
}

// dropWarming gives a configuration up that waits for its clusters, if there is one.
//
// Precondition: called on the control goroutine, or after its end.
func (s *Server) dropWarming(why error) {
	if w := s.warming; w != nil {
		w.end()
		w.built.discard()
		w.done(admin.Report{Dropped: true}, why)
	}
}

// warmingNow returns how many clusters and listeners wait to be put into force.
func (s *Server) warmingNow() (clusters, listeners int64) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	if w := s.warming; w != nil {
		return int64(len(w.left)), int64(len(w.listeners()))
	}
	return 0, 0
}

// listeners returns the names of the listeners that wait.
func (w *warming) listeners() (names []string) {
	for i := range w.diff.Listeners {
		if c := &w.diff.Listeners[i]; c.Action != control.Removed {
			names = append(names, c.New.Name)
		}
	}
	return names
}

// status tells /config_status. statusMu is held.
func (w *warming) status() *admin.Warming {
	return &admin.Warming{
		Hash: hashText(w.built.next.Hash), Since: w.begun, Clusters: slices.Sorted(maps.Keys(w.left)), Listeners: w.listeners(),
	}
}
