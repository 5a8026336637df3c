package server

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/filters/accesslog"
	"millrace/filters/route"
	"millrace/upstream"
	"millrace/upstream/lb"
)

// A building is a snapshot that is being made, and what was opened for it alone.
type building struct {
	server *Server
	prev   *control.Snapshot // nil at the start
	next   *control.Snapshot
	hash   hashOf
	fresh  []*control.Resources
	starts []func() // what begins when the snapshot is in force
}

// hashOf returns the hash of a cluster's or a route table's configuration: config.Hash of it, taken
// from the text of the whole.
type hashOf func(part any) uint64

// build makes a snapshot of a loaded file. Parts that are the same as in the running snapshot are
// taken from it. Nothing is changed but cluster ids, which are handed out for good, and what was
// opened: discard closes it if the snapshot comes to nothing.
func (s *Server) build(cfg *config.Config) (*building, error) {
	text, spans := config.MarshalSpans(cfg, reflect.TypeFor[upstream.Config](), reflect.TypeFor[route.Config]())
	b := &building{server: s, prev: s.snapshot.Load()}
	b.hash = func(part any) uint64 {
		at, ok := spans[part]
		if !ok {
			panic(fmt.Sprintf("BUG: server: a %T is not in the text of its configuration", part))
		}
		return config.HashText(text[at.From:at.To])
	}
	b.next = &control.Snapshot{
		Hash: config.HashText(text), JSON: text, LoadedAt: time.Now(), DrainTime: cfg.DrainTime, FlushInterval: cfg.StatsFlushInterval,
		ConnectionLimit: int64(cfg.Overload.MaxActiveDownstreamConnections), LoopBalancing: loopBalancing(&cfg.LoopBalancing),
	}
	if s.opt.DrainTime > 0 {
		b.next.DrainTime = s.opt.DrainTime
	}
	for i := range cfg.Clusters {
		c, err := b.cluster(&cfg.Clusters[i], b.prev.Cluster(cfg.Clusters[i].Name))
		if err != nil {
			b.discard()
			return nil, err
		}
		b.next.AddCluster(c)
	}
	for i := range cfg.Listeners {
		l, err := b.listener(&cfg.Listeners[i], b.prev.Listener(cfg.Listeners[i].Name))
		if err != nil {
			b.discard()
			return nil, fmt.Errorf("listener %q: %w", cfg.Listeners[i].Name, err)
		}
		b.next.AddListener(l)
	}
	return b, nil
}

// hold returns what a part of the snapshot keeps open, empty. discard closes it.
func (b *building) hold() *control.Resources {
	r := &control.Resources{}
	b.fresh = append(b.fresh, r)
	return r
}

// discard lets go of what was opened: the snapshot was refused.
func (b *building) discard() {
	for _, r := range b.fresh {
		b.server.drop(r)
	}
}

// drop lets go of what a part of a snapshot keeps open.
//
// Precondition: called on the control goroutine.
func (s *Server) drop(r *control.Resources) {
	for _, f := range r.Forget {
		f()
	}
	if len(r.Close) > 0 {
		s.closers.Go(func() { // a file may not take its lines for a while
			for _, f := range r.Close {
				f()
			}
		})
	}
}

// cluster returns the cluster of a configuration, the old one if nothing differs.
func (b *building) cluster(cfg *upstream.Config, old *control.Cluster) (*control.Cluster, error) {
	h := b.hash(cfg)
	var prev *upstream.Cluster
	if old != nil {
		if old.Hash == h {
			return old, nil
		}
		prev = old.Cluster
	}
	made, err := upstream.New(b.server.clusterID(cfg.Name), cfg, prev)
	if err != nil {
		return nil, err
	}
	made.Tables, made.Local = lb.Tables(cfg), b.server.local
	if made.Tables != nil || made.Local != nil {
		made.Rebuild()
	}
	if d := made.Destinations; d != nil && d.Added == nil {
		d.Added = func() { b.server.healthChanged(cfg.Name) }
	}
	made.Outlier = upstream.NewOutlier(cfg.OutlierDetection, b.server.outliers.Reached(cfg.Name))
	c := &control.Cluster{Cluster: made, Hash: h}
	if err := b.secureCluster(c, old); err != nil {
		return nil, err
	}
	return c, nil
}

// clusterID returns the id of a cluster name: the same for as long as the process lives, since
// requests keep the routes they began with.
func (s *Server) clusterID(name string) upstream.ClusterID {
	id, ok := s.clusterIDs[name]
	if !ok {
		id = upstream.ClusterID(len(s.clusterIDs))
		s.clusterIDs[name] = id
	}
	return id
}

// openLogs opens access logs; held lets go of them.
func (b *building) openLogs(cfg []accesslog.Config, held *control.Resources) (logs []*accesslog.Log, err error) {
	for i := range cfg {
		log, err := b.server.logs.Open(&cfg[i])
		if err != nil {
			return nil, fmt.Errorf("access_log[%d]: %w", i, err)
		}
		held.Close = append(held.Close, func() { _ = log.Close() }) // what could not be written is counted
		logs = append(logs, log)
	}
	return logs, nil
}

// openCount returns the counter of open connections of a listener, which outlives reloads.
func openCount(old *control.Listener) *atomic.Int64 {
	if old != nil {
		return old.Open
	}
	return new(atomic.Int64)
}
