package server

import (
	"errors"
	"math/rand/v2"
	"slices"
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
	sockets  map[string]*engine.Listener // by control.Socket.Key
	packets  map[string]*packetSocket    // likewise, for UDP
	serving  map[string]*serving         // by the listener's name
	retired  []*chain                    // chains that were replaced or removed, until their connections ended
	replaced []*serving                  // listeners that were replaced or removed, until they have no chains left
	closing  []*packetSocket             // sockets nobody listens on any more, until the last session ended
	leaving  []leaving                   // clusters that were removed, until no request can ask for them
	sets     map[setKey]*counted         // counters of chains: one that replaces another goes on counting in its sets
	born     births
	where    whereabouts
	prepared prepared
	// Until accepting is set no listener accepts: the process starts.
	accepting bool

	// Written by the loop, taken by the control goroutine after it has waited for the loop.
	news []registration
}

// prepared is what a diff needs, made but not in force.
type prepared struct {
	serving map[string]*serving         // new ones, by the listener's name
	updates map[string]*update          // of those that stay, likewise
	sockets map[string]*engine.Listener // new ones, paused
	packets map[string]*engine.PacketSocket
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
		sockets: map[string]*engine.Listener{}, packets: map[string]*packetSocket{}, serving: map[string]*serving{}, sets: map[setKey]*counted{},
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
	w.prepared = prepared{map[string]*serving{}, map[string]*update{}, map[string]*engine.Listener{}, map[string]*engine.PacketSocket{}}
	for i := range d.Listeners {
		if err := w.prepareListener(&d.Listeners[i], fds); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) prepareListener(c *control.ListenerChange, fds sockets) (err error) {
	switch {
	case c.Action == control.Removed:
		return nil
	case c.InPlace():
		w.prepared.updates[c.New.Name], err = w.newUpdate(w.serving[c.New.Name], c)
		if err != nil {
			delete(w.prepared.updates, c.New.Name)
		}
		return err
	}
	sv, err := w.newServing(c.New)
	if err != nil {
		return err
	}
	w.prepared.serving[c.New.Name] = sv
	for i := range c.New.Sockets {
		if err := w.addSocket(c.New, &c.New.Sockets[i], sv, fds); err != nil {
			return err
		}
	}
	return nil
}

// addSocket puts a socket of a listener into epoll, unless the loop has it.
func (w *worker) addSocket(l *control.Listener, at *control.Socket, sv *serving, fds sockets) error {
	if at.Unbound || w.server.isStopped(l) || w.sockets[at.Key] != nil || w.packets[at.Key] != nil {
		return nil
	}
	fd, ok := fds.take(at.Key)
	if !ok && l.UDP && !l.Options.ReusePort && w.loop.Index() > 0 {
		return nil // the first loop has it alone
	}
	if !ok {
		return errors.New("BUG: server: no socket for " + at.Key)
	}
	if l.UDP {
		p, err := w.loop.AddPacketSocket(fd, nobody{})
		if err != nil {
			engine.CloseFd(fd)
			return err
		}
		w.prepared.packets[at.Key] = p
		return nil
	}
	ls, err := w.loop.AddListener(fd, l.Options, sv.front)
	if err != nil {
		engine.CloseFd(fd)
		return err
	}
	ls.Pause()
	w.prepared.sockets[at.Key] = ls
	return nil
}

// discard undoes prepare.
func (w *worker) discard() {
	for _, ls := range w.prepared.sockets {
		engine.CloseFd(ls.Detach())
	}
	for _, p := range w.prepared.packets {
		p.Close()
	}
	for _, sv := range w.prepared.serving {
		w.discardServing(sv)
	}
	for _, u := range w.prepared.updates {
		w.discardUpdate(u)
	}
	w.prepared = prepared{}
}

// commit puts a prepared diff into force. Chains that are replaced or removed may keep their connections
// until the given time.
func (w *worker) commit(d *control.Diff, until time.Time) {
	for i := range d.Listeners {
		if c := &d.Listeners[i]; c.Retires() {
			w.replace(w.serving[c.Old.Name], until)
			delete(w.serving, c.Old.Name)
		}
	}
	for i := range d.Listeners {
		switch c := &d.Listeners[i]; {
		case c.InPlace():
			w.commitUpdate(w.prepared.updates[c.New.Name], c, until)
			w.setAccepts(c.New)
		case c.Action != control.Removed:
			w.commitServing(w.prepared.serving[c.New.Name])
		}
	}
	w.where.index(w.serving)
	w.dropSockets()
	w.dropPackets()
	w.prepared = prepared{}
}

// commitServing lets a new listener accept.
func (w *worker) commitServing(sv *serving) {
	l := sv.listener
	w.serving[l.Name] = sv
	if l.UDP {
		w.commitPackets(sv)
		return
	}
	for i := range l.Sockets {
		key := l.Sockets[i].Key
		if ls := w.prepared.sockets[key]; ls != nil {
			w.sockets[key] = ls
			if w.accepting {
				ls.Resume()
			}
		} else if ls := w.sockets[key]; ls != nil {
			ls.SetAcceptor(sv.front)
		}
	}
	w.setAccepts(l)
}

// setAccepts sets how many connections the sockets of a listener accept in a turn.
func (w *worker) setAccepts(l *control.Listener) {
	for i := range l.Sockets {
		if ls := w.sockets[l.Sockets[i].Key]; ls != nil {
			ls.SetAcceptsPerTurn(l.Options.AcceptsPerTurn)
		}
	}
}

// usedSockets returns the keys of the sockets that listeners have.
func (w *worker) usedSockets() map[string]bool {
	used := map[string]bool{}
	for _, sv := range w.serving {
		for i := range sv.listener.Sockets {
			if s := &sv.listener.Sockets[i]; !s.Unbound {
				used[s.Key] = true
			}
		}
	}
	return used
}

// dropSockets closes the sockets no listener has any more, after accepting what is queued on them.
func (w *worker) dropSockets() {
	used := w.usedSockets()
	for key, ls := range w.sockets {
		if !used[key] {
			ls.DrainAndClose(socketLinger)
			delete(w.sockets, key)
		}
	}
}

func (w *worker) setCluster(c *control.ClusterChange) {
	counted, secured := c.Action == control.Changed, false
	if counted {
		secured = w.clusters.Cluster(c.Old.ID).TLSStats != nil
	}
	w.clusters.SetHandshakes(w.server.tls.handshakes)
	w.clusters.Set(c.New.Cluster)
	cl := w.clusters.Cluster(c.New.ID)
	if counted && c.Old.Config.StatName() != c.New.Config.StatName() {
		w.countCluster(w.clusterScope(c.Old), cl, secured, true)
		counted, secured = false, false
	}
	scope := w.clusterScope(c.New)
	if !counted {
		w.countCluster(scope, cl, false, false)
	}
	if cl.TLSStats != nil && !secured { // it has TLS since now
		w.news = append(w.news, registration{scope: scope.Name("ssl"), set: cl.TLSStats})
	}
}

// countCluster notes that the counters of a cluster come or go, those of its TLS too if it is secured.
func (w *worker) countCluster(scope stats.Scope, c *pool.Cluster, secured, gone bool) {
	w.news = append(w.news, registration{scope: scope, set: &c.Stats, gone: gone})
	if secured {
		w.news = append(w.news, registration{scope: scope.Name("ssl"), set: c.TLSStats, gone: gone})
	}
}

// removeCluster drains a cluster. Requests that began with it find it until the given time.
func (w *worker) removeCluster(c *control.ClusterChange, until time.Time) {
	cl := w.clusters.Cluster(c.Old.ID)
	w.clusters.Remove(c.Old.ID)
	w.countCluster(w.clusterScope(c.Old), cl, cl.TLSStats != nil, true)
	w.leaving = append(w.leaving, leaving{c.Old.ID, until})
}

func (w *worker) clusterScope(c *control.Cluster) stats.Scope {
	return stats.ClusterScope(c.Config.StatName()).OnLoop(w.loop.Index())
}

// retire drains a chain that gets no new connections.
func (w *worker) retire(ch *chain, until time.Time) {
	ch.until = until
	ch.ends.Drain()
	w.retired = append(w.retired, ch)
}

// replace drains a listener that accepts no new connections.
func (w *worker) replace(sv *serving, until time.Time) {
	sv.gone, sv.until = true, until
	for _, ch := range sv.chains {
		w.retire(ch, until)
	}
	w.replaced = append(w.replaced, sv)
}

// released is what a loop uses no more.
type released struct {
	chains    []*control.Chain
	listeners []*control.Listener
	left      bool // there is more that drains
}

// sweep ends the connections of retired chains whose time is over, and forgets chains without
// connections, listeners without chains, and removed clusters.
func (w *worker) sweep(now time.Time) (r released) {
	for _, sv := range w.replaced {
		if !now.Before(sv.until) && sv.front != nil {
			sv.front.Close()
		}
	}
	w.retired = slices.DeleteFunc(w.retired, func(ch *chain) bool {
		if !now.Before(ch.until) {
			ch.ends.Close()
		}
		// A connection in listener filters may still come to a chain of a replaced listener.
		if ch.ends.Conns() > 0 || ch.serving.gone && ch.serving.pending() > 0 {
			return false
		}
		w.releaseChain(ch)
		r.chains = append(r.chains, ch.of)
		return true
	})
	w.replaced = slices.DeleteFunc(w.replaced, func(sv *serving) bool {
		if sv.chainsLeft > 0 || sv.pending() > 0 {
			return false
		}
		w.releaseServing(sv)
		r.listeners = append(r.listeners, sv.listener)
		return true
	})
	w.sweepPackets()
	w.sweepClusters(now)
	r.left = len(w.retired)+len(w.replaced)+len(w.leaving)+len(w.closing) > 0
	return r
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

// stopListening closes the listening sockets after the last queued connection. The chains go on. UDP sockets stay open
// for the sessions they have.
func (w *worker) stopListening(inboundOnly bool) {
	for _, sv := range w.serving {
		if inboundOnly && !sv.listener.Inbound {
			continue
		}
		for i := range sv.listener.Sockets {
			key := sv.listener.Sockets[i].Key
			if ls := w.sockets[key]; ls != nil {
				ls.DrainAndClose(socketLinger)
				delete(w.sockets, key)
			}
		}
		if sv.listener.UDP {
			sv.drain()
		}
	}
}

// drain asks all connections to end.
func (w *worker) drain() {
	for _, sv := range w.serving {
		sv.drain()
	}
	w.clusters.Drain()
}

// sessions returns the number of UDP sessions.
func (w *worker) sessions() (n int) {
	for _, sv := range w.serving {
		for _, ch := range sv.chains {
			if ch.datagram != nil {
				n += ch.datagram.Conns()
			}
		}
	}
	for _, ch := range w.retired {
		if ch.datagram != nil {
			n += ch.datagram.Conns()
		}
	}
	return n
}

// end closes everything on the loop, which ends next.
func (w *worker) end() {
	w.stopListening(false)
	for _, ch := range w.retired {
		ch.ends.Close()
	}
	for _, sv := range w.replaced {
		sv.close()
	}
	for _, sv := range w.serving {
		sv.close()
	}
	w.closePackets()
}
