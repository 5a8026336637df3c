package server

import (
	"context"
	"reflect"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/control"
	"millrace/engine/stats"
	"millrace/upstream"
)

// autoscaleStats are the values of a cluster with "autoscaling". The sampling goroutine writes the first ones, the one
// that tells of changes the others.
type autoscaleStats struct {
	Wanted  stats.Gauge   `stat:"wanted_hosts" help:"hosts wanted for the traffic of the window"`
	Current stats.Gauge   `stat:"current_hosts" help:"hosts there are"`
	Traffic stats.Gauge   `stat:"traffic" help:"traffic of the window, in the unit of target_per_host, rounded"`
	Up      stats.Counter `stat:"scale_up" help:"times more hosts were wanted than before"`
	Down    stats.Counter `stat:"scale_down" help:"times fewer hosts were wanted than before"`

	WebhookSuccess stats.Counter `stat:"webhook_success" help:"changes that the webhook has taken"`
	WebhookRetry   stats.Counter `stat:"webhook_retry" help:"changes posted to the webhook once more"`
	WebhookFailure stats.Counter `stat:"webhook_failure" help:"changes that the webhook was not told of: the last try has failed, or there was a newer one"`
	CommandSuccess stats.Counter `stat:"command_success" help:"commands that ended with 0"`
	CommandFailure stats.Counter `stat:"command_failure" help:"commands that could not be run, ended otherwise or took too long"`
}

// runningAutoscaler is the autoscaling of one cluster.
type runningAutoscaler struct {
	config *upstream.AutoscalingConfig
	scope  stats.Scope
	stats  *autoscaleStats
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	state  atomic.Pointer[admin.Autoscaling]
}

// setAutoscaling begins, leaves alone or ends the autoscaling of changed clusters.
//
// Precondition: called on the control goroutine; the changes are in force.
func (s *Server) setAutoscaling(changes []control.ClusterChange) {
	for i := range changes {
		c := &changes[i]
		if c.New == nil {
			s.endAutoscaling(c.Old.Name)
			continue
		}
		cfg := c.New.Config.Autoscaling
		scope := stats.ClusterScope(c.New.Config.StatName()).Name("autoscaling")
		old := s.autoscaler(c.New.Name)
		if old != nil && cfg != nil && old.scope.Prefix == scope.Prefix && reflect.DeepEqual(old.config, cfg) {
			continue
		}
		before := s.endAutoscaling(c.New.Name)
		if cfg != nil {
			s.startAutoscaling(c.New.Cluster, scope, before)
		}
	}
}

// autoscaler returns that of a cluster, or nil. Any goroutine may call it.
func (s *Server) autoscaler(cluster string) *runningAutoscaler {
	if r, ok := s.autoscaling.Load(cluster); ok {
		return r.(*runningAutoscaler)
	}
	return nil
}

// endAutoscaling ends that of a cluster, if there is any, and returns it.
func (s *Server) endAutoscaling(cluster string) *runningAutoscaler {
	r := s.autoscaler(cluster)
	if r != nil {
		s.autoscaling.Delete(cluster)
		s.registry.Remove(r.scope, r.stats)
		r.cancel()
	}
	return r
}

// endAutoscalers ends all. The control goroutine has ended.
func (s *Server) endAutoscalers() {
	s.autoscaling.Range(func(_, r any) bool { r.(*runningAutoscaler).cancel(); return true })
}

// startAutoscaling begins to watch the traffic of a cluster. What was wanted before goes on being wanted until a window has
// passed, and what it runs has ended first.
func (s *Server) startAutoscaling(c *upstream.Cluster, scope stats.Scope, before *runningAutoscaler) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningAutoscaler{config: c.Config.Autoscaling, scope: scope, stats: &autoscaleStats{}, cancel: cancel, done: make(chan struct{})}
	hosts := uint32(len(c.Hosts()))
	if before != nil {
		hosts = before.state.Load().Wanted
	}
	a := upstream.NewAutoscaler(r.config, hosts)
	r.note(a, c)
	s.autoscaling.Store(c.Name, r)
	s.registry.Add(scope, r.stats)
	teller := newAutoscaleTeller(r.config, r.stats, s.log.With("cluster", c.Name))
	s.closers.Go(func() {
		defer close(r.done)
		if before != nil {
			<-before.done
		}
		var telling = make(chan struct{})
		go func() { defer close(telling); teller.run(ctx) }()
		s.watchTraffic(ctx, c.Name, r, a, teller)
		<-telling
	})
}

// watchTraffic samples until ctx is done.
func (s *Server) watchTraffic(ctx context.Context, name string, r *runningAutoscaler, a *upstream.Autoscaler, teller *autoscaleTeller) {
	ticker := time.NewTicker(r.config.SampleInterval())
	defer ticker.Stop()
	begun := time.Now()
	var sum trafficSum
	for {
		if c := s.snapshot.Load().Cluster(name); c != nil {
			total, active := sum.of(c.Hosts())
			was := a.Wanted()
			changed := a.Add(upstream.AutoscaleSample{At: time.Since(begun), Total: total, Active: active})
			now := r.note(a, c.Cluster)
			if changed {
				if now.Wanted > was {
					r.stats.Up.Inc()
				} else {
					r.stats.Down.Inc()
				}
				s.log.Info("another number of hosts is wanted", "cluster", name, "wanted", now.Wanted, "before", was, "hosts", now.Current, "traffic", now.Traffic)
				teller.tell(newAutoscaleChange(name, was, now))
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// note makes known what is wanted.
func (r *runningAutoscaler) note(a *upstream.Autoscaler, c *upstream.Cluster) *admin.Autoscaling {
	hs := c.HostSet()
	now := &admin.Autoscaling{
		Wanted: a.Wanted(), Current: uint32(len(hs.Hosts)), Healthy: uint32(hs.Healthy()), Traffic: a.Traffic(),
		Metric: r.config.Metric, TargetPerHost: r.config.TargetPerHost, MinHosts: r.config.MinHosts, MaxHosts: r.config.MaxHosts,
	}
	r.stats.Wanted.Set(int64(now.Wanted))
	r.stats.Current.Set(int64(now.Current))
	r.stats.Traffic.Set(int64(now.Traffic + 0.5))
	r.state.Store(now)
	return now
}

// trafficSum adds up the requests of hosts that come and go: what a host has counted stays counted when it leaves.
type trafficSum struct {
	total uint64
	seen  map[*upstream.Host]uint64 // of the last time; what a host had before it was seen first counts not
}

// of returns the requests since the first call, and those under way now.
func (t *trafficSum) of(hosts []*upstream.Host) (total, active uint64) {
	seen := make(map[*upstream.Host]uint64, len(hosts))
	for _, h := range hosts {
		n := h.RqTotal.Load()
		if was, ok := t.seen[h]; ok {
			t.total += n - was
		} else if t.seen != nil {
			t.total += n
		}
		seen[h] = n
		active += uint64(max(h.RqActive.Load(), 0))
	}
	t.seen = seen
	return t.total, active
}

// autoscalingOf returns what /clusters shows of a cluster, nil without autoscaling.
func (s *Server) autoscalingOf(cluster string) *admin.Autoscaling {
	if r := s.autoscaler(cluster); r != nil {
		return r.state.Load()
	}
	return nil
}

// eachAutoscaling yields the clusters with autoscaling, in the order of the configuration.
func (s *Server) eachAutoscaling(yield func(string, *admin.Autoscaling) bool) {
	snap := s.snapshot.Load()
	if snap == nil {
		return
	}
	for _, c := range snap.Clusters {
		if a := s.autoscalingOf(c.Name); a != nil && !yield(c.Name, a) {
			return
		}
	}
}
