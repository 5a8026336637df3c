package server

import (
	"math/rand/v2"
	"reflect"
	"sync/atomic"

	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
	"millrace/filters/router"
	"millrace/upstream"
	"millrace/upstream/lb"
	"millrace/upstream/pool"
)

// worker is one loop and what it has of the configuration. All but loop and done is touched on the
// loop only.
type worker struct {
	server *Server
	loop   *engine.Loop
	done   chan struct{} // closed when the loop has ended

	clusters *pool.Table
	sockets  map[string]*engine.Listener // by address
	serving  map[string]*serving         // by the listener's name
	draining []*serving                  // chains that were replaced or removed, until their connections ended
	sets     map[setKey]any              // counters of chains: a chain that replaces another goes on counting in its sets
}

// serving is the filter chain of one listener on one loop.
type serving struct {
	listener *control.Listener
	manager  *httpconn.Manager
}

// setKey tells the sets of counters of one loop apart.
type setKey struct {
	prefix string
	kind   reflect.Type
}

func newWorker(s *Server, loop *engine.Loop) *worker {
	w := &worker{
		server: s, loop: loop, done: make(chan struct{}),
		sockets: map[string]*engine.Listener{}, serving: map[string]*serving{}, sets: map[setKey]any{},
	}
	w.clusters = pool.NewTable(loop, w.balancer)
	s.registry.Add(stats.Root("server").OnLoop(loop.Index()), loop.Stats())
	return w
}

// balancer makes the balancer of a cluster on this loop.
func (w *worker) balancer(c *upstream.Cluster) upstream.Balancer {
	rng := rand.New(rand.NewPCG(w.loop.Rand().Uint64(), w.loop.Rand().Uint64()))
	b, err := lb.New(c.Config.LbPolicy, c.Config, rng)
	if err != nil {
		panic("BUG: server: " + err.Error()) // the loader knows the policies
	}
	return b
}

// apply brings the loop from one snapshot to the next. Clusters come before the routes that use
// them, and go after them.
func (w *worker) apply(d *control.Diff, fds map[string]int) error {
	for i := range d.Clusters {
		if c := &d.Clusters[i]; c.Action != control.Removed {
			w.setCluster(c)
		}
	}
	for i := range d.Listeners {
		if err := w.applyListener(&d.Listeners[i], fds); err != nil {
			return err
		}
	}
	w.dropSockets(d)
	for i := range d.Clusters {
		if c := &d.Clusters[i]; c.Action == control.Removed {
			w.removeCluster(c)
		}
	}
	return nil
}

func (w *worker) setCluster(c *control.ClusterChange) {
	w.clusters.Set(c.New.Cluster)
	if c.Action == control.Added {
		pc := w.clusters.Cluster(c.New.ID)
		w.server.registry.Add(w.clusterScope(c.New), &pc.Stats)
	}
}

func (w *worker) removeCluster(c *control.ClusterChange) {
	pc := w.clusters.Cluster(c.Old.ID)
	w.clusters.Remove(c.Old.ID)
	w.server.registry.Remove(w.clusterScope(c.Old), &pc.Stats)
}

func (w *worker) clusterScope(c *control.Cluster) stats.Scope {
	return stats.ClusterScope(c.Config.StatName()).OnLoop(w.loop.Index())
}

// applyListener changes one listener.
func (w *worker) applyListener(c *control.ListenerChange, fds map[string]int) error {
	if c.Action == control.Removed {
		w.retire(w.serving[c.Old.Name])
		delete(w.serving, c.Old.Name)
		return nil
	}
	old := w.serving[c.New.Name]
	if c.Action == control.Changed && !c.Chain && !c.Address {
		old.listener = c.New
		old.manager.SetRoutes(c.New.Routes.Table, c.New.Routes.Formats)
		return nil
	}
	sv, err := w.newServing(c.New)
	if err != nil {
		return err
	}
	w.serving[c.New.Name] = sv
	if old != nil {
		w.retire(old)
	}
	return w.attach(c.New, sv, fds)
}

// attach gives the listener's socket to a chain: the one there is, or a new one.
func (w *worker) attach(l *control.Listener, sv *serving, fds map[string]int) error {
	if ls := w.sockets[l.Address]; ls != nil {
		ls.SetAcceptor(sv.manager)
		return nil
	}
	ls, err := w.loop.AddListener(fds[l.Address], l.Options, sv.manager)
	if err != nil {
		return err
	}
	w.sockets[l.Address] = ls
	return nil
}

// dropSockets closes the sockets no listener has any more, after accepting what is queued on them.
func (w *worker) dropSockets(d *control.Diff) {
	used := map[string]bool{}
	for _, sv := range w.serving {
		used[sv.listener.Address] = true
	}
	for address, ls := range w.sockets {
		if !used[address] {
			ls.DrainAndClose(0)
			delete(w.sockets, address)
		}
	}
	w.sweep()
}

// newServing builds the filter chain of a listener.
func (w *worker) newServing(l *control.Listener) (*serving, error) {
	sv := &serving{listener: l}
	scope := stats.HTTPScope(l.HTTP.StatPrefix).OnLoop(w.loop.Index())
	chain, err := w.newChain(l.HTTP, scope)
	if err != nil {
		return nil, err
	}
	sv.manager, err = httpconn.NewManager(l.HTTP, httpconn.Deps{
		Loop: w.loop, Chain: chain, Routes: l.Routes.Table, Formats: l.Routes.Formats,
		Log: accesslog.NewLogger(l.Logs, w.loop.Index()), Scope: scope, Stats: w.register,
		Gate: w.newGate(l), Draining: &w.server.draining,
	})
	return sv, err
}

// register makes a set of counters known, or returns the one that is known by its prefix and type.
func (w *worker) register(scope stats.Scope, set any) any {
	key := setKey{scope.Prefix, reflect.TypeOf(set)}
	if known := w.sets[key]; known != nil {
		return known
	}
	w.server.registry.Add(scope.OnLoop(w.loop.Index()), set)
	w.sets[key] = set
	return set
}

// newChain builds the HTTP filters of a connection manager, the router last.
func (w *worker) newChain(cfg *httpconn.Config, scope stats.Scope) (*filters.Chain, error) {
	n := len(cfg.HTTPFilters) - 1
	rcfg, _ := cfg.HTTPFilters[n].Config.(*router.Config)
	if rcfg == nil {
		rcfg = &router.Config{}
	}
	terminal := router.New(rcfg, router.Deps{
		Loop: w.loop, Clusters: w.clusters, ClusterByName: w.server.findCluster, Stats: w.register, Scope: scope,
	})
	chain := filters.NewChain(terminal)
	env := &filters.Env{Loop: w.loop, StatPrefix: scope.Prefix, Scope: scope, Stats: w.register, Health: w.server}
	for _, f := range cfg.HTTPFilters[:n] {
		spec := w.server.filters[f.Name]
		built, err := spec.Build(f.Config, env)
		if err != nil {
			return nil, err
		}
		if err := chain.Add(f.Name, built); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// retire drains a chain that gets no new connections.
func (w *worker) retire(sv *serving) {
	sv.manager.Drain()
	w.draining = append(w.draining, sv)
}

// sweep forgets drained chains whose connections have ended.
func (w *worker) sweep() {
	left := w.draining[:0]
	for _, sv := range w.draining {
		if sv.manager.Conns() > 0 {
			left = append(left, sv)
			continue
		}
		sv.manager.Release()
	}
	clear(w.draining[len(left):])
	w.draining = left
}

// drain closes the listening sockets after the last queued connection, and asks all connections to end.
func (w *worker) drain(onlyDefault bool) {
	for _, sv := range w.serving {
		if onlyDefault && sv.listener.DrainOnlyModify {
			continue
		}
		if ls := w.sockets[sv.listener.Address]; ls != nil {
			ls.DrainAndClose(0)
			delete(w.sockets, sv.listener.Address)
		}
		sv.manager.Drain()
	}
	w.clusters.Drain()
}

// conns returns the number of downstream connections.
func (w *worker) conns() (n int) {
	for _, sv := range w.serving {
		n += sv.manager.Conns()
	}
	for _, sv := range w.draining {
		n += sv.manager.Conns()
	}
	return n
}

// end closes everything on the loop, which ends next.
func (w *worker) end() {
	for _, sv := range w.serving {
		w.draining = append(w.draining, sv)
	}
	clear(w.serving)
	w.closeDraining()
}

// closeDraining ends the connections of drained chains: their time is over.
func (w *worker) closeDraining() {
	for _, sv := range w.draining {
		sv.manager.Close()
	}
	w.sweep()
}

// gate counts the connections of a listener and holds its connection_limit.
type gate struct {
	limit  int64
	open   *atomic.Int64 // over all loops
	buffer int
	stats  *listenerStats
}

// newGate returns the gate of a listener on this loop.
func (w *worker) newGate(l *control.Listener) *gate {
	scope := stats.ListenerScope(l.Address)
	return &gate{
		limit: l.ConnectionLimit, open: w.server.openOf(l.Name), buffer: l.BufferLimit,
		stats: stats.Register[listenerStats](w.register, scope),
	}
}

// listenerStats counts one listener on one loop: "listener.<address>.".
type listenerStats struct {
	CxTotal    stats.Counter `stat:"downstream_cx_total" help:"connections accepted"`
	CxActive   stats.Gauge   `stat:"downstream_cx_active" help:"connections now open"`
	CxDestroy  stats.Counter `stat:"downstream_cx_destroy" help:"connections ended"`
	CxOverflow stats.Counter `stat:"downstream_cx_overflow" help:"connections refused at connection_limit"`
}

// Admit implements httpconn.Gate.
func (g *gate) Admit(io *engine.Conn) bool {
	if g.open.Add(1) > g.limit && g.limit > 0 {
		g.open.Add(-1)
		g.stats.CxOverflow.Inc()
		return false
	}
	g.stats.CxTotal.Inc()
	g.stats.CxActive.Inc()
	io.SetWatermarks(g.buffer, g.buffer/2)
	return true
}

// Left implements httpconn.Gate.
func (g *gate) Left(*engine.Conn) {
	g.open.Add(-1)
	g.stats.CxActive.Dec()
	g.stats.CxDestroy.Inc()
}
