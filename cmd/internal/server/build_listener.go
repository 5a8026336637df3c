package server

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
	"millrace/filters/l4"
	"millrace/filters/route"
)

// listener returns the listener of a configuration, the old one if nothing differs.
func (b *building) listener(cfg *config.Listener, old *control.Listener) (*control.Listener, error) {
	l := &control.Listener{
		Name: cfg.Name, Address: cfg.Address, StatName: cfg.StatName(), UDP: cfg.IsUDP(),
		BufferLimit:       cfg.PerConnectionBufferLimitBytes,
		ConnectionLimit:   int64(cfg.ConnectionLimit),
		IgnoreGlobalLimit: cfg.IgnoreGlobalConnLimit,
		DrainOnlyModify:   cfg.DrainType == "modify_only",
		Inbound:           cfg.TrafficDirection == "inbound",
		UseOriginalDst:    cfg.UseOriginalDst,
		FilterTimeout:     cfg.ListenerFiltersTimeout,
		ContinueOnTimeout: cfg.ContinueOnListenerFiltersTimeout,
		Open:              openCount(old),
	}
	var err error
	if l.Options, err = listenerOptions(cfg); err != nil {
		return nil, err
	}
	for _, address := range cfg.Addresses() {
		addr, err := engine.ParseAddr(address)
		if err != nil {
			return nil, err
		}
		l.Sockets = append(l.Sockets, control.Socket{
			Key: control.SocketKey(l.Name, addr, l.UDP), Configured: addr, Bound: addr, Unbound: !cfg.BindToPort,
		})
	}
	hashListener(l, cfg)
	if err := b.chains(l, old, cfg); err != nil {
		return nil, err
	}
	if old != nil && sameListener(old, l) {
		return old, nil
	}
	if err := b.front(l, old, cfg); err != nil {
		return nil, err
	}
	return l, b.table(l, cfg)
}

// hashListener hashes the parts of a listener.
func hashListener(l *control.Listener, cfg *config.Listener) {
	socket := cfg.SocketConfig
	socket.SocketOptions = append([]config.SocketOption(nil), socket.SocketOptions...)
	for i := range socket.SocketOptions {
		socket.SocketOptions[i].Description = ""
	}
	l.SocketHash = config.Hash(&socket)
	l.EnvHash = config.Hash(&envPart{
		cfg.StatName(), cfg.PerConnectionBufferLimitBytes, cfg.IgnoreGlobalConnLimit, cfg.DrainType, cfg.TrafficDirection,
	})
	l.FilterHash = config.Hash(&filterPart{cfg.ListenerFilters})
	l.LogHash = config.Hash(cfg.AccessLog)
	front := frontPart{
		cfg.ListenerFiltersTimeout, cfg.ContinueOnListenerFiltersTimeout, cfg.UseOriginalDst, cfg.ConnectionLimit,
		cfg.MaxConnectionsToAcceptPerSocketEvent, nil, cfg.DefaultFilterChain != nil,
	}
	for i := range cfg.FilterChains {
		front.Matches = append(front.Matches, matchPart{cfg.FilterChains[i].Name, cfg.FilterChains[i].Match})
	}
	l.FrontHash = config.Hash(&front)
}

// envPart is what every chain of a listener is built with.
type envPart struct {
	StatName          string `json:"stat_name"`
	BufferLimit       int    `json:"buffer_limit"`
	IgnoreGlobalLimit bool   `json:"ignore_global_conn_limit"`
	DrainType         string `json:"drain_type"`
	TrafficDirection  string `json:"traffic_direction"`
}

// filterPart is the listener filters.
type filterPart struct {
	Filters []filters.Config `json:"listener_filters" filter:"listener"`
}

// frontPart is what only new connections see, besides the listener filters and the access log.
type frontPart struct {
	Timeout           time.Duration `json:"listener_filters_timeout"`
	ContinueOnTimeout bool          `json:"continue_on_listener_filters_timeout"`
	UseOriginalDst    bool          `json:"use_original_dst"`
	ConnectionLimit   int           `json:"connection_limit"`
	AcceptsPerTurn    int           `json:"max_connections_to_accept_per_socket_event"`
	Matches           []matchPart   `json:"filter_chains"`
	HasDefault        bool          `json:"default_filter_chain"`
}

// matchPart is what is matched of a chain.
type matchPart struct {
	Name  string          `json:"name"`
	Match *l4.MatchConfig `json:"match"`
}

// chainPart is what makes the filters of a chain, besides the routes of the connection manager.
type chainPart struct {
	Name    string           `json:"name"`
	Filters []filters.Config `json:"filters" filter:"network"`
}

// sameListener reports whether a listener stays as it is.
func sameListener(old, l *control.Listener) bool {
	if !sameBuild(old, l) || old.FilterHash != l.FilterHash || old.FrontHash != l.FrontHash || old.LogHash != l.LogHash {
		return false
	}
	was, now := old.AllChains(), l.AllChains()
	for i := range now { // as many: FrontHash has them
		if was[i] != now[i] {
			return false
		}
	}
	return true
}

// sameBuild reports whether the chains of a listener can stay: only what does not differ by itself is built anew.
func sameBuild(old, l *control.Listener) bool {
	if old == nil || old.SocketHash != l.SocketHash || old.EnvHash != l.EnvHash || len(old.Sockets) != len(l.Sockets) {
		return false
	}
	for i := range l.Sockets {
		if was, now := &old.Sockets[i], &l.Sockets[i]; was.Key != now.Key || was.Unbound != now.Unbound {
			return false
		}
	}
	return true
}

// chains makes the filter chains of a listener. Those that do not differ are the old ones.
func (b *building) chains(l, old *control.Listener, cfg *config.Listener) error {
	if !sameBuild(old, l) {
		old = nil
	}
	for i := range cfg.FilterChains {
		c := &cfg.FilterChains[i]
		chain, err := b.chain(l, c, chainKey(c), old)
		if err != nil {
			return inChain(c, err)
		}
		l.Chains = append(l.Chains, chain)
	}
	if c := cfg.DefaultFilterChain; c != nil {
		key := chainKey(c)
		if c.Name == "" {
			key = "default filter chain"
		}
		chain, err := b.chain(l, c, key, old)
		if err != nil {
			return inChain(c, err)
		}
		l.Default = chain
	}
	return nil
}

// inChain says of an error which chain it is in, where that has a name.
func inChain(c *config.FilterChain, err error) error {
	if c.Name == "" {
		return err
	}
	return fmt.Errorf("filter chain %q: %w", c.Name, err)
}

// chainKey tells a chain from the others of its listener, over reloads.
func chainKey(c *config.FilterChain) string {
	switch {
	case c.Name != "":
		return strconv.Quote(c.Name)
	case c.Match == nil:
		return ""
	}
	return "filter chain " + string(config.Marshal(c.Match))
}

// chain makes a filter chain of l, or takes the one with the key from the old listener, which may be nil.
func (b *building) chain(l *control.Listener, cfg *config.FilterChain, key string, from *control.Listener) (*control.Chain, error) {
	c := &control.Chain{Key: key, Name: cfg.Name}
	last := &cfg.Filters[len(cfg.Filters)-1]
	c.HTTP, _ = last.Config.(*httpconn.Config)
	if last.Name != connectionManager {
		c.HTTP = nil
	}
	c.Hash = chainHash(cfg, c.HTTP)
	if cfg.TLS != nil {
		c.TLSHash = config.Hash(cfg.TLS)
	}
	if c.HTTP != nil {
		c.RouteHash = b.hash(&c.HTTP.RouteConfig)
	}
	old := from.Chain(key)
	same := old != nil && old.Hash == c.Hash && old.TLSHash == c.TLSHash
	if same && old.RouteHash == c.RouteHash {
		return old, nil
	}
	if err := b.routes(c, old); err != nil {
		return nil, err
	}
	if same {
		c.Filters, c.HTTPFilters, c.Logs, c.TLS, c.Held = old.Filters, old.HTTPFilters, old.Logs, old.TLS, old.Held
		return c, nil
	}
	c.Held = b.hold()
	var err error
	if c.TLS, err = b.server.serveTLS(l, cfg.TLS, c.Held); err != nil {
		return nil, err
	}
	if c.HTTP != nil {
		if c.Logs, err = b.openLogs(c.HTTP.AccessLog, c.Held); err != nil {
			return nil, err
		}
		if c.HTTPFilters, err = b.shareHTTP(c.HTTP, c.Held); err != nil {
			return nil, err
		}
	}
	c.Filters, err = b.share(filters.KindNetwork, cfg.Filters, c.Held)
	return c, err
}

// chainHash hashes what makes the filters of a chain, but not its routes.
func chainHash(cfg *config.FilterChain, http *httpconn.Config) uint64 {
	part := chainPart{cfg.Name, cfg.Filters}
	if http == nil {
		return config.Hash(&part)
	}
	routes := http.RouteConfig
	http.RouteConfig = route.Config{}
	hash := config.Hash(&part)
	http.RouteConfig = routes
	return hash
}

// front makes what a listener does before a chain is chosen, or takes it from the old one.
func (b *building) front(l, old *control.Listener, cfg *config.Listener) (err error) {
	if !sameBuild(old, l) {
		old = nil
	}
	if old != nil && old.FilterHash == l.FilterHash {
		l.Filters, l.FilterHeld = old.Filters, old.FilterHeld
	} else {
		l.FilterHeld = b.hold()
		if l.Filters, err = b.share(filters.KindListener, cfg.ListenerFilters, l.FilterHeld); err != nil {
			return err
		}
	}
	if old != nil && old.LogHash == l.LogHash {
		l.Logs, l.LogHeld = old.Logs, old.LogHeld
		return nil
	}
	l.LogHeld = b.hold()
	l.Logs, err = b.openLogs(cfg.AccessLog, l.LogHeld)
	return err
}

// table makes the table of filter chains, unless the only chain takes everything.
func (b *building) table(l *control.Listener, cfg *config.Listener) error {
	if len(cfg.FilterChains) == 1 && cfg.FilterChains[0].Match == nil {
		return nil
	}
	matches := make([]*l4.MatchConfig, len(cfg.FilterChains))
	for i := range matches {
		matches[i] = cfg.FilterChains[i].Match
	}
	table, problems := l4.CompileChains(matches)
	if len(problems) > 0 {
		return fmt.Errorf("filter_chains[%d]: %s", problems[0].Chain, problems[0].Text)
	}
	l.Table = table
	return nil
}

// share makes what all loops have in common of filters of a kind; held lets go of it.
func (b *building) share(kind string, list []filters.Config, held *control.Resources) (shared []control.Filter, err error) {
	for i := range list {
		f := control.Filter{Name: list[i].Name, Config: list[i].Config}
		if err := shareFilter(&f, b.server.network[networkKey{kind, f.Name}].Share, b.sharedEnv(held), held); err != nil {
			return nil, err
		}
		shared = append(shared, f)
	}
	return shared, nil
}

// shareHTTP is share for the filters of a connection manager.
func (b *building) shareHTTP(cfg *httpconn.Config, held *control.Resources) (shared []control.Filter, err error) {
	for _, from := range cfg.HTTPFilters[:len(cfg.HTTPFilters)-1] {
		f, env := control.Filter{Name: from.Name, Config: from.Config}, b.sharedEnv(held)
		env.Scope = stats.HTTPScope(cfg.StatPrefix)
		if err := shareFilter(&f, b.server.filters[f.Name].Share, env, held); err != nil {
			return nil, err
		}
		shared = append(shared, f)
	}
	return shared, nil
}

// shareFilter makes what all loops have in common of a filter.
func shareFilter(f *control.Filter, share func(any, *filters.SharedEnv) (any, error), env *filters.SharedEnv, held *control.Resources) (err error) {
	if share == nil {
		return nil
	}
	if f.Shared, err = share(f.Config, env); err != nil {
		return fmt.Errorf("filter %q: %w", f.Name, err)
	}
	if c, ok := f.Shared.(io.Closer); ok {
		held.Close = append(held.Close, func() { _ = c.Close() }) // nothing is lost with it
	}
	return nil
}

// listenerOptions translates the socket options of a listener.
func listenerOptions(cfg *config.Listener) (engine.ListenerOptions, error) {
	mode, _ := cfg.Mode()
	o := engine.ListenerOptions{
		Backlog: cfg.TCPBacklogSize, AcceptsPerTurn: cfg.MaxConnectionsToAcceptPerSocketEvent, ReusePort: cfg.EnableReusePort,
		DeferAccept: int(cfg.TCPDeferAccept / time.Second), UnixMode: mode, Transparent: cfg.Transparent, Freebind: cfg.Freebind,
		FastOpen: cfg.TCPFastOpenQueueLength, MPTCP: cfg.EnableMPTCP, IPv4Compat: cfg.IPv4Compat,
	}
	if k := cfg.TCPKeepalive; k != nil {
		o.KeepAlive = &engine.KeepAlive{
			Probes: k.KeepaliveProbes, Idle: k.KeepaliveTime, Interval: k.KeepaliveInterval,
		}
	}
	for i := range cfg.SocketOptions {
		from := &cfg.SocketOptions[i]
		to := engine.SocketOption{Level: from.Level, Name: from.Name, State: socketStates[from.State]}
		if from.IntValue != nil {
			to.Int = *from.IntValue
		} else {
			b, err := from.Bytes()
			if err != nil {
				return o, fmt.Errorf("socket_options[%d].buf_value: %w", i, err)
			}
			to.Bytes = b
		}
		o.SocketOptions = append(o.SocketOptions, to)
	}
	return o, nil
}

// socketStates are the values of socket_options[].state.
var socketStates = map[string]engine.SocketState{
	"prebind": engine.SocketPrebind, "bound": engine.SocketBound, "listening": engine.SocketListening,
}

// routes compiles the route table of a chain, or takes the one that is the same.
func (b *building) routes(c, old *control.Chain) error {
	if c.HTTP == nil {
		return nil
	}
	if old != nil && old.Routes != nil && old.RouteHash == c.RouteHash {
		c.Routes = old.Routes
		return nil
	}
	r := &control.Routes{}
	id := func(name string) (uint32, bool) {
		cluster := b.next.Cluster(name)
		if cluster == nil {
			return 0, false
		}
		return uint32(cluster.ID), true
	}
	format := func(text string) (route.FormatID, error) {
		f, err := accesslog.CompileValue(text)
		if err != nil {
			return 0, err
		}
		r.Formats = append(r.Formats, f)
		return route.FormatID(len(r.Formats) - 1), nil
	}
	override := func(filter string, cfg any) (route.Override, error) {
		spec := b.server.filters[filter]
		return spec.Override(cfg)
	}
	table, problems := route.CompileAll(&c.HTTP.RouteConfig, id, format, override)
	if len(problems) > 0 {
		return fmt.Errorf("route_config: %s", problems[0])
	}
	r.Table = table
	c.Routes = r
	return nil
}
