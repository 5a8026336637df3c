package server

import (
	"fmt"
	"reflect"
	"time"

	"millrace/cmd/internal/control"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
	"millrace/filters/l4"
	"millrace/filters/router"
)

// chain is one filter chain on one loop.
type chain struct {
	sets
	of      *control.Chain
	serving *serving
	ends    ender

	l4       *l4.Chain                // nil for UDP
	datagram filters.DatagramTerminal // nil for TCP
	manager  *httpconn.Manager        // nil unless it speaks HTTP
	router   *router.Router
	until    time.Time // when its connections have to end; only valid if retired
}

// An ender has connections or sessions, and ends them.
type ender interface {
	Conns() int
	Drain()
	Close()
	Release()
}

// sets are the sets of counters that something writes.
type sets struct{ keys []setKey }

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

// newChain builds a filter chain of a listener.
func (w *worker) newChain(sv *serving, of *control.Chain) (*chain, error) {
	ch := &chain{of: of, serving: sv}
	if err := w.buildChain(ch); err != nil {
		w.releaseSets(&ch.sets)
		return nil, err
	}
	sv.chainsLeft++
	return ch, nil
}

func (w *worker) buildChain(ch *chain) error {
	last := len(ch.of.Filters) - 1
	named, err := w.networkFilters(ch, ch.of.Filters[:last])
	if err != nil {
		return err
	}
	if ch.serving.listener.UDP {
		built, err := w.buildNetwork(ch, last)
		if err != nil {
			return err
		}
		d, ok := built.(filters.DatagramTerminal)
		if !ok {
			return fmt.Errorf("BUG: server: %q is a %T, which takes no datagrams", ch.of.Filters[last].Name, built)
		}
		ch.datagram, ch.ends = d, d
		return nil
	}
	terminal, err := w.terminal(ch, last)
	if err != nil {
		return err
	}
	if ch.l4, err = l4.NewChain(ch.of.Name, named, terminal); err != nil {
		return err
	}
	ch.ends = ch.l4
	if ch.of.TLS != nil {
		w.setTLS(ch)
	}
	return nil
}

// terminal builds the last filter of a chain.
func (w *worker) terminal(ch *chain, at int) (filters.NetworkTerminal, error) {
	if ch.of.HTTP != nil {
		if err := w.newManager(ch); err != nil {
			return nil, err
		}
		return ch.manager, nil
	}
	built, err := w.buildNetwork(ch, at)
	if err != nil {
		return nil, err
	}
	t, ok := built.(filters.NetworkTerminal)
	if !ok {
		return nil, fmt.Errorf("BUG: server: %q is a %T, which ends no chain", ch.of.Filters[at].Name, built)
	}
	return t, nil
}

// networkFilters builds the filters of a chain before the last one.
func (w *worker) networkFilters(ch *chain, list []control.Filter) (named []l4.Named, err error) {
	for i := range list {
		built, err := w.buildNetwork(ch, i)
		if err != nil {
			return nil, err
		}
		named = append(named, l4.Named{Name: list[i].Name, Filter: built})
	}
	return named, nil
}

// buildNetwork builds one network filter. Network filters have even slots of a connection, listener filters odd ones.
func (w *worker) buildNetwork(ch *chain, at int) (any, error) {
	f := &ch.of.Filters[at]
	env := w.networkEnv(ch.serving, &ch.sets, 2*at)
	env.ChainName = ch.of.Name
	built, err := w.server.network[networkKey{filters.KindNetwork, f.Name}].Build(f.Config, f.Shared, env)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", f.Name, err)
	}
	return built, nil
}

// networkEnv returns what a listener or network filter may use.
func (w *worker) networkEnv(sv *serving, owner *sets, slot int) *filters.NetworkEnv {
	return &filters.NetworkEnv{
		Loop: w.loop, Stats: w.registrar(owner), Gate: l4.ChainGate{Gate: sv.gate}, Clusters: w.clusters,
		ClusterByName: w.server.clusterByName, Draining: w.server.drainFlag(sv.listener), BufferLimit: sv.listener.BufferLimit,
		Address: sv.listener.Address, Transparent: sv.listener.Options.Transparent, Slot: slot,
	}
}

// registrar returns what makes the counters of something known.
func (w *worker) registrar(owner *sets) stats.Registrar {
	return func(scope stats.Scope, set any) any { return w.register(owner, scope, set) }
}

// register returns the set of counters that is known by its prefix and type, or makes this one known.
func (w *worker) register(owner *sets, scope stats.Scope, set any) any {
	scope = scope.OnLoop(w.loop.Index())
	key := setKey{scope.Prefix, reflect.TypeOf(set)}
	c := w.sets[key]
	if c == nil {
		c = &counted{scope: scope, set: set}
		w.sets[key] = c
		w.news = append(w.news, registration{scope: scope, set: set})
	}
	c.users++
	owner.keys = append(owner.keys, key)
	return c.set
}

// releaseSets forgets the sets of counters that nobody else writes.
func (w *worker) releaseSets(owner *sets) {
	for _, key := range owner.keys {
		c := w.sets[key]
		if c.users--; c.users == 0 {
			delete(w.sets, key)
			w.news = append(w.news, registration{scope: c.scope, set: c.set, gone: true})
		}
	}
	owner.keys = nil
}

// releaseChain gives back what a chain without connections holds.
func (w *worker) releaseChain(ch *chain) {
	ch.ends.Release()
	if ch.router != nil {
		ch.router.Release()
	}
	w.releaseSets(&ch.sets)
	ch.serving.chainsLeft--
}

// newManager makes the connection manager of a chain.
func (w *worker) newManager(ch *chain) error {
	cfg, l := ch.of.HTTP, ch.serving.listener
	register := w.registrar(&ch.sets)
	scope := stats.HTTPScope(cfg.StatPrefix).OnLoop(w.loop.Index())
	ch.router = w.newRouter(cfg, scope, register)
	built, err := w.newHTTPChain(ch.router, ch.of.HTTPFilters, scope, register)
	if err != nil {
		return err
	}
	ch.manager, err = httpconn.NewManager(cfg, httpconn.Deps{
		Loop: w.loop, Chain: built, Routes: ch.of.Routes.Table, Formats: ch.of.Routes.Formats,
		Log: accesslog.NewLogger(ch.of.Logs, w.loop.Index()), Scope: scope, Stats: register,
		Gate: l4.ChainGate{Gate: ch.serving.gate}, Draining: w.server.drainFlag(l), Challenges: w.server.tls.acme, BufferLimit: l.BufferLimit,
		FilterChain: ch.of.Name, ListenerScope: stats.ListenerHTTPScope(l.StatName, cfg.StatPrefix),
	})
	return err
}

// newRouter makes the router of a chain.
func (w *worker) newRouter(cfg *httpconn.Config, scope stats.Scope, register stats.Registrar) *router.Router {
	rcfg, _ := cfg.HTTPFilters[len(cfg.HTTPFilters)-1].Config.(*router.Config)
	if rcfg == nil {
		rcfg = &router.Config{}
	}
	return router.New(rcfg, router.Deps{
		Loop: w.loop, Clusters: w.clusters, ClusterByName: w.server.findCluster, Stats: register, Scope: scope,
		HostFailed: w.server.health.Fail,
	})
}

// newHTTPChain builds the HTTP filters of a connection manager, the router behind them.
func (w *worker) newHTTPChain(last *router.Router, list []control.Filter, scope stats.Scope, register stats.Registrar) (*filters.Chain, error) {
	chain := filters.NewChain(last)
	env := &filters.Env{Loop: w.loop, StatPrefix: scope.Prefix, Scope: scope, Stats: register, Health: w.server}
	for _, f := range list {
		spec := w.server.filters[f.Name]
		env.Shared = f.Shared
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
