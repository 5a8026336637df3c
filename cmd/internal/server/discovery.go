package server

import (
	"context"
	"sync/atomic"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/engine/stats"
	"millrace/upstream"
	"millrace/upstream/discovery"
)

// discoverySide is where the hosts of clusters come from that are not listed.
type discoverySide struct {
	// Owned by the control goroutine.
	resolvers *discovery.Resolvers
	running   map[string]*runningSource // by cluster

	// Atomic.
	warming atomic.Int64 // sources without a first answer
}

// runningSource is the source of one cluster.
type runningSource struct {
	config *upstream.Config
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
}

// setSources begins, leaves alone or ends the sources of changed clusters. At the start the listeners wait for the first
// answer of each.
//
// Precondition: called on the control goroutine; the changes are in force.
func (s *Server) setSources(changes []control.ClusterChange) {
	for i := range changes {
		c := &changes[i]
		name := ""
		if c.New != nil {
			name = c.New.Name
		} else {
			name = c.Old.Name
		}
		old := s.discovery.running[name]
		if old != nil && c.New != nil && c.New.Config.SameDiscovery(old.config) {
			continue
		}
		var ended chan struct{}
		if old != nil {
			old.cancel()
			ended = old.done
			delete(s.discovery.running, name)
		}
		if c.New != nil && c.New.Config.Discovered() {
			s.startSource(c.New.Cluster, ended)
		}
	}
}

// startSource begins to find the hosts of a cluster, after the source before it has ended.
func (s *Server) startSource(c *upstream.Cluster, before chan struct{}) {
	answered := s.waitForHosts(c)
	src := discovery.New(c.Config, &discovery.Env{
		Resolvers: s.discovery.resolvers, Stats: &s.clusterSets[c.Name].found, Known: c.Members(),
		Decode: decodeHosts, Log: s.log, Answered: answered,
	})
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningSource{config: c.Config, cancel: cancel, done: make(chan struct{})}
	s.discovery.running[c.Name] = r
	put := func(hosts []upstream.HostConfig, err error) { s.foundHosts(ctx, c.Name, r, hosts, err) }
	s.closers.Go(func() {
		defer close(r.done)
		defer answered()
		if before != nil {
			<-before
		}
		src.Run(ctx, put)
	})
}

// waitForHosts makes the listeners wait, at the start, until the function it returns is called.
func (s *Server) waitForHosts(c *upstream.Cluster) (answered func()) {
	if !c.Config.WaitForWarmOnInit || s.initial.isOver() {
		return func() {}
	}
	initial := s.initial.waitFor("hosts of cluster " + c.Name)
	s.discovery.warming.Add(1)
	var once atomic.Bool
	return func() {
		if once.CompareAndSwap(false, true) {
			s.discovery.warming.Add(-1)
			initial()
		}
	}
}

// foundHosts has the control goroutine take what a source has found, or that it could not find any, unless another one has
// taken its place.
func (s *Server) foundHosts(ctx context.Context, cluster string, r *runningSource, hosts []upstream.HostConfig, failed error) {
	err := s.control.Do(ctx, func() error {
		if s.discovery.running[cluster] != r {
			return nil
		}
		if c := s.snapshot.Load().Cluster(cluster); c != nil {
			c.SetResolved(failed == nil)
		}
		if failed != nil {
			return nil
		}
		return s.setHosts(cluster, hosts)
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("hosts cannot be taken", "cluster", cluster, "error", err)
	}
}

// endSources ends all sources. The control goroutine has ended.
func (s *Server) endSources() {
	for _, r := range s.discovery.running {
		r.cancel()
	}
}

// hostList is the hosts file as the loader of configurations knows it.
type hostList struct {
	// Hosts are those of the file.
	Hosts []upstream.HostConfig `json:"hosts"`
}

// Validate reports what the tags cannot say.
func (l *hostList) Validate(report func(path, problem, hint string)) {
	upstream.CheckHosts(l.Hosts, "hosts", report)
}

// decodeHosts reads a hosts file: a list in the words of a cluster's hosts.
func decodeHosts(file string, text []byte) ([]upstream.HostConfig, error) {
	var list hostList
	whole := append(append([]byte(`{"hosts":`), text...), '}')
	if errs := config.Decode(file, whole, &list, nil); errs.Fatal() {
		return nil, errs
	}
	return list.Hosts, nil
}

// setFound makes the counters of a source known while there is one.
func (c *clusterSets) setFound(found bool, r *stats.Registry) {
	if scope := stats.ClusterScope(c.name); found && !c.finds {
		r.Add(scope, &c.found)
	} else if c.finds && !found {
		r.Remove(scope, &c.found)
	}
	c.finds = found
}
