package server

import (
	"reflect"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
	"millrace/filters/router"
)

// serving is the filter chain of one listener on one loop.
type serving struct {
	listener *control.Listener
	manager  *httpconn.Manager
	router   *router.Router
	keys     []setKey  // of the sets of counters it writes
	until    time.Time // when its connections have to end; only valid if retired
}

// setKey tells the sets of counters of one loop apart.
type setKey struct {
	prefix string
	kind   reflect.Type
}

// counted is a set of counters and how many chains write it.
type counted struct {
	scope stats.Scope
	set   any
	users int
}

// newServing builds the filter chain of a listener.
func (w *worker) newServing(l *control.Listener) (*serving, error) {
	sv := &serving{listener: l}
	register := func(scope stats.Scope, set any) any { return w.register(sv, scope, set) }
	scope := stats.HTTPScope(l.HTTP.StatPrefix).OnLoop(w.loop.Index())
	sv.router = w.newRouter(l.HTTP, scope, register)
	chain, err := w.newChain(sv.router, l.HTTP, scope, register)
	if err == nil {
		sv.manager, err = httpconn.NewManager(l.HTTP, httpconn.Deps{
			Loop: w.loop, Chain: chain, Routes: l.Routes.Table, Formats: l.Routes.Formats,
			Log: accesslog.NewLogger(l.Logs, w.loop.Index()), Scope: scope, Stats: register,
			Gate: w.newGate(l, register), Draining: w.server.drainFlag(l), BufferLimit: l.BufferLimit,
			FilterChain: l.ChainName, ListenerScope: stats.ListenerHTTPScope(l.Address, l.HTTP.StatPrefix),
		})
	}
	if err != nil {
		w.releaseSets(sv)
		return nil, err
	}
	return sv, nil
}

// register returns the set of counters that is known by its prefix and type, or makes this one known.
func (w *worker) register(sv *serving, scope stats.Scope, set any) any {
	scope = scope.OnLoop(w.loop.Index())
	key := setKey{scope.Prefix, reflect.TypeOf(set)}
	c := w.sets[key]
	if c == nil {
		c = &counted{scope: scope, set: set}
		w.sets[key] = c
		w.news = append(w.news, registration{scope: scope, set: set})
	}
	c.users++
	sv.keys = append(sv.keys, key)
	return c.set
}

// release gives back what a chain without connections holds.
func (w *worker) release(sv *serving) {
	sv.manager.Release()
	sv.router.Release()
	w.releaseSets(sv)
}

// releaseSets forgets the sets of counters that no other chain writes.
func (w *worker) releaseSets(sv *serving) {
	for _, key := range sv.keys {
		c := w.sets[key]
		if c.users--; c.users == 0 {
			delete(w.sets, key)
			w.news = append(w.news, registration{scope: c.scope, set: c.set, gone: true})
		}
	}
	sv.keys = nil
}

// newRouter makes the router of a chain.
func (w *worker) newRouter(cfg *httpconn.Config, scope stats.Scope, register stats.Registrar) *router.Router {
	rcfg, _ := cfg.HTTPFilters[len(cfg.HTTPFilters)-1].Config.(*router.Config)
	if rcfg == nil {
		rcfg = &router.Config{}
	}
	return router.New(rcfg, router.Deps{
		Loop: w.loop, Clusters: w.clusters, ClusterByName: w.server.findCluster, Stats: register, Scope: scope,
	})
}

// newChain builds the HTTP filters of a connection manager, the router behind them.
func (w *worker) newChain(last *router.Router, cfg *httpconn.Config, scope stats.Scope, register stats.Registrar) (*filters.Chain, error) {
	chain := filters.NewChain(last)
	env := &filters.Env{Loop: w.loop, StatPrefix: scope.Prefix, Scope: scope, Stats: register, Health: w.server}
	for _, f := range cfg.HTTPFilters[:len(cfg.HTTPFilters)-1] {
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

// gate counts the connections of a listener and holds its connection_limit.
type gate struct {
	limit  int64         // 0 is none
	open   *atomic.Int64 // of the listener, over all loops
	total  *atomic.Int64 // of the process
	buffer int
	stats  *listenerStats
}

// newGate returns the gate of a listener on this loop.
func (w *worker) newGate(l *control.Listener, register stats.Registrar) *gate {
	return &gate{
		limit: l.ConnectionLimit, open: l.Open, total: &w.server.connections, buffer: l.BufferLimit,
		stats: stats.Register[listenerStats](register, stats.ListenerScope(l.Address)),
	}
}

// listenerStats counts one listener on one loop: "listener.<address>.".
type listenerStats struct {
	CxTotal    stats.Counter `stat:"downstream_cx_total" help:"connections accepted"`
	CxActive   stats.Gauge   `stat:"downstream_cx_active" help:"connections now open"`
	CxDestroy  stats.Counter `stat:"downstream_cx_destroy" help:"connections ended"`
	CxOverflow stats.Counter `stat:"downstream_cx_overflow" help:"connections refused at connection_limit"`
}

// Admit implements httpconn.Gate. Connections are counted even without a limit: a reload may bring one.
func (g *gate) Admit(io *engine.Conn) bool {
	if g.open.Add(1) > g.limit && g.limit > 0 {
		g.open.Add(-1)
		g.stats.CxOverflow.Inc()
		return false
	}
	g.total.Add(1)
	g.stats.CxTotal.Inc()
	g.stats.CxActive.Inc()
	io.SetWatermarks(g.buffer, g.buffer/2)
	return true
}

// Left implements httpconn.Gate.
func (g *gate) Left(*engine.Conn) {
	g.open.Add(-1)
	g.total.Add(-1)
	g.stats.CxActive.Dec()
	g.stats.CxDestroy.Inc()
}
