package server

import (
	"errors"
	"math/rand/v2"
	"time"

	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/upstream"
	"millrace/upstream/lb"
	"millrace/upstream/pool"
)

// worker is one loop and what it has of the configuration.
type worker struct {
	// Immutable.
	server *Server
	loop   *engine.Loop
	done   chan struct{} // closed when the loop has ended

	// Owned by the loop.
	clusters *pool.Table
	sockets  map[string]*engine.Listener // by control.Listener.Socket
	serving  map[string]*serving         // by the listener's name
	retired  []*serving                  // chains that were replaced or removed, until their connections ended
	leaving  []leaving                   // clusters that were removed, until no request can ask for them
	sets     map[setKey]*counted         // counters of chains: one that replaces another goes on counting in its sets
	prepared prepared

	// Written by the loop, taken by the control goroutine after it has waited for the loop.
	news []registration
}

// prepared is what a diff needs, made but not in force.
type prepared struct {
	serving map[string]*serving         // by the listener's name
	sockets map[string]*engine.Listener // new ones, paused
}

// leaving is a removed cluster.
type leaving struct {
	id    upstream.ClusterID
	until time.Time
}

// registration is a set of counters the registry is to know, or to forget.
type registration struct {
	scope stats.Scope
	set   any
	gone  bool
}

// socketLinger is how long a listening socket that is not wanted any more takes connections whose handshake
// has begun.
const socketLinger = 100 * time.Millisecond

func newWorker(s *Server, loop *engine.Loop) *worker {
	w := &worker{
		server: s, loop: loop, done: make(chan struct{}),
		sockets: map[string]*engine.Listener{}, serving: map[string]*serving{}, sets: map[setKey]*counted{},
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

// prepare builds the chains of a diff and puts the new sockets into epoll, paused. The descriptors
// become the loop's.
func (w *worker) prepare(d *control.Diff, fds sockets) error {
	defer fds.close()
	w.prepared = prepared{map[string]*serving{}, map[string]*engine.Listener{}}
	for i := range d.Listeners {
		c := &d.Listeners[i]
		if c.Action == control.Removed || c.Action == control.Changed && !c.Rebuilds() {
			continue
		}
		sv, err := w.newServing(c.New)
		if err != nil {
			return err
		}
		w.prepared.serving[c.New.Name] = sv
		if err := w.addSocket(c.New, sv, fds); err != nil {
			return err
		}
	}
	return nil
}

// addSocket puts the socket of a listener into epoll, unless the loop has it.
func (w *worker) addSocket(l *control.Listener, sv *serving, fds sockets) error {
	if w.sockets[l.Socket] != nil {
		return nil
	}
	fd, ok := fds.take(l.Socket)
	if !ok {
		return errors.New("BUG: server: no socket for " + l.Socket)
	}
	ls, err := w.loop.AddListener(fd, l.Options, sv.manager)
	if err != nil {
		engine.CloseFd(fd)
		return err
	}
	ls.Pause()
	w.prepared.sockets[l.Socket] = ls
	return nil
}

// discard undoes prepare.
func (w *worker) discard() {
	for _, ls := range w.prepared.sockets {
		engine.CloseFd(ls.Detach())
	}
	for _, sv := range w.prepared.serving {
		w.release(sv)
	}
	w.prepared = prepared{}
}

// commit puts a prepared diff into force. Chains that are replaced or removed may keep their connections
// until the given time.
func (w *worker) commit(d *control.Diff, until time.Time) {
	for i := range d.Listeners {
		if c := &d.Listeners[i]; c.Retires() {
			w.retire(w.serving[c.Old.Name], until)
			delete(w.serving, c.Old.Name)
		}
	}
	for i := range d.Listeners {
		if c := &d.Listeners[i]; c.Action != control.Removed {
			w.commitListener(c)
		}
	}
	w.dropSockets()
	w.prepared = prepared{}
}

func (w *worker) commitListener(c *control.ListenerChange) {
	l := c.New
	sv := w.prepared.serving[l.Name]
	if sv == nil { // the chain stays
		sv = w.serving[l.Name]
		sv.listener = l
		sv.manager.SetRoutes(l.Routes.Table, l.Routes.Formats)
		return
	}
	w.serving[l.Name] = sv
	if ls := w.prepared.sockets[l.Socket]; ls != nil {
		w.sockets[l.Socket] = ls
		ls.Resume()
		return
	}
	ls := w.sockets[l.Socket]
	ls.SetAcceptor(sv.manager)
	ls.SetAcceptsPerTurn(l.Options.AcceptsPerTurn)
}

// dropSockets closes the sockets no listener has any more, after accepting what is queued on them.
func (w *worker) dropSockets() {
	used := map[string]bool{}
	for _, sv := range w.serving {
		used[sv.listener.Socket] = true
	}
	for key, ls := range w.sockets {
		if !used[key] {
			ls.DrainAndClose(socketLinger)
			delete(w.sockets, key)
		}
	}
}

func (w *worker) setCluster(c *control.ClusterChange) {
	w.clusters.Set(c.New.Cluster)
	set := &w.clusters.Cluster(c.New.ID).Stats
	renamed := c.Action == control.Changed && c.Old.Config.StatName() != c.New.Config.StatName()
	if renamed {
		w.news = append(w.news, registration{scope: w.clusterScope(c.Old), set: set, gone: true})
	}
	if renamed || c.Action == control.Added {
		w.news = append(w.news, registration{scope: w.clusterScope(c.New), set: set})
	}
}

// removeCluster drains a cluster. Requests that began with it find it until the given time.
func (w *worker) removeCluster(c *control.ClusterChange, until time.Time) {
	set := &w.clusters.Cluster(c.Old.ID).Stats
	w.clusters.Remove(c.Old.ID)
	w.news = append(w.news, registration{scope: w.clusterScope(c.Old), set: set, gone: true})
	w.leaving = append(w.leaving, leaving{c.Old.ID, until})
}

func (w *worker) clusterScope(c *control.Cluster) stats.Scope {
	return stats.ClusterScope(c.Config.StatName()).OnLoop(w.loop.Index())
}

// retire drains a chain that gets no new connections.
func (w *worker) retire(sv *serving, until time.Time) {
	sv.until = until
	sv.manager.Drain()
	w.retired = append(w.retired, sv)
}

// sweep ends the connections of retired chains whose time is over, and forgets chains without
// connections, whose listeners it returns, and removed clusters.
func (w *worker) sweep(now time.Time) (released []*control.Listener) {
	left := w.retired[:0]
	for _, sv := range w.retired {
		if !now.Before(sv.until) {
			sv.manager.Close()
		}
		if sv.manager.Conns() > 0 {
			left = append(left, sv)
			continue
		}
		w.release(sv)
		released = append(released, sv.listener)
	}
	clear(w.retired[len(left):])
	w.retired = left
	w.sweepClusters(now)
	return released
}

func (w *worker) sweepClusters(now time.Time) {
	left := w.leaving[:0]
	for _, l := range w.leaving {
		if now.Before(l.until) {
			left = append(left, l)
		} else {
			w.clusters.Forget(l.id)
		}
	}
	w.leaving = left
}

// stopListening closes the listening sockets after the last queued connection. The chains go on.
func (w *worker) stopListening() {
	for key, ls := range w.sockets {
		ls.DrainAndClose(socketLinger)
		delete(w.sockets, key)
	}
}

// drain asks all connections to end.
func (w *worker) drain() {
	for _, sv := range w.serving {
		sv.manager.Drain()
	}
	w.clusters.Drain()
}

// end closes everything on the loop, which ends next.
func (w *worker) end() {
	w.stopListening()
	for _, sv := range w.retired {
		sv.manager.Close()
	}
	for _, sv := range w.serving {
		sv.manager.Close()
	}
}
