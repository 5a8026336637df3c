package server

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// build makes a snapshot of a loaded file. Parts that are the same as in the running snapshot are
// taken from it. Nothing is changed but cluster ids, which are handed out for good, and the logs that were
// opened: discard closes them if the snapshot comes to nothing.
func (s *Server) build(cfg *config.Config) (*control.Snapshot, error) {
	text, spans := config.MarshalSpans(cfg, reflect.TypeFor[upstream.Config](), reflect.TypeFor[route.Config]())
	hash := func(part any) uint64 {
		at, ok := spans[part]
		if !ok {
			panic(fmt.Sprintf("BUG: server: a %T is not in the text of its configuration", part))
		}
		return config.HashText(text[at.From:at.To])
	}
	next := &control.Snapshot{
		Hash: config.HashText(text), JSON: text, LoadedAt: time.Now(), DrainTime: cfg.DrainTime,
	}
	if s.opt.DrainTime > 0 {
		next.DrainTime = s.opt.DrainTime
	}
	prev := s.snapshot.Load()
	for i := range cfg.Clusters {
		c, err := s.buildCluster(&cfg.Clusters[i], prev.Cluster(cfg.Clusters[i].Name), hash)
		if err != nil {
			return nil, err
		}
		next.AddCluster(c)
	}
	for i := range cfg.Listeners {
		l, err := s.buildListener(&cfg.Listeners[i], prev.Listener(cfg.Listeners[i].Name), next, hash)
		if err != nil {
			discard(next, prev)
			return nil, fmt.Errorf("listener %q: %w", cfg.Listeners[i].Name, err)
		}
		next.AddListener(l)
	}
	return next, nil
}

// hashOf returns the hash of a cluster's or a route table's configuration: config.Hash of it, taken
// from the text of the whole.
type hashOf func(part any) uint64

// buildCluster returns the cluster of a configuration, the old one if nothing differs.
func (s *Server) buildCluster(cfg *upstream.Config, old *control.Cluster, hash hashOf) (*control.Cluster, error) {
	h := hash(cfg)
	var prev *upstream.Cluster
	if old != nil {
		if old.Hash == h {
			return old, nil
		}
		prev = old.Cluster
	}
	c, err := upstream.New(s.clusterID(cfg.Name), cfg, prev)
	if err != nil {
		return nil, err
	}
	return &control.Cluster{Cluster: c, Hash: h}, nil
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

// buildListener returns the listener of a configuration, the old one if nothing differs.
func (s *Server) buildListener(cfg *config.Listener, old *control.Listener, next *control.Snapshot, hash hashOf) (*control.Listener, error) {
	chain := cfg.FilterChains[0].Filters
	http, ok := chain[len(chain)-1].Config.(*httpconn.Config)
	if !ok {
		return nil, fmt.Errorf("the last filter is not %s", connectionManager)
	}
	addr, err := engine.ParseAddr(cfg.Address)
	if err != nil {
		return nil, err
	}
	l := &control.Listener{
		Name: cfg.Name, Address: cfg.Address, Socket: control.SocketKey(cfg.Name, addr), HTTP: http,
		ChainName:       cfg.FilterChains[0].Name,
		BufferLimit:     cfg.PerConnectionBufferLimitBytes,
		ConnectionLimit: int64(cfg.ConnectionLimit),
		DrainOnlyModify: cfg.DrainType == "modify_only",
		Options:         listenerOptions(cfg),
		Open:            new(atomic.Int64),
	}
	l.SocketHash = config.Hash(&socketPart{cfg.EnableReusePort, cfg.TCPBacklogSize, cfg.TCPKeepalive})
	l.RouteHash = hash(&http.RouteConfig)
	l.ChainHash = chainHash(cfg, http)
	if old != nil {
		if sameChain(old, l) && old.RouteHash == l.RouteHash {
			return old, nil
		}
		l.Open = old.Open
	}
	if l.Routes, err = s.buildRoutes(l, old, next); err != nil {
		return nil, err
	}
	l.Logs, err = s.buildLogs(l, old)
	return l, err
}

// sameChain reports whether a listener keeps its filters, and with them its connections.
func sameChain(old, l *control.Listener) bool {
	return old.Socket == l.Socket && old.SocketHash == l.SocketHash && old.ChainHash == l.ChainHash
}

// buildLogs opens the access logs of a chain, or takes those of the chain that stays.
func (s *Server) buildLogs(l, old *control.Listener) (logs []*accesslog.Log, err error) {
	if old != nil && sameChain(old, l) {
		return old.Logs, nil
	}
	for i := range l.HTTP.AccessLog {
		log, err := s.logs.Open(&l.HTTP.AccessLog[i])
		if err != nil {
			closeLogs(logs)
			return nil, fmt.Errorf("access_log[%d]: %w", i, err)
		}
		logs = append(logs, log)
	}
	return logs, nil
}

// discard lets go of the logs that only next has: it was refused.
func discard(next, prev *control.Snapshot) {
	for _, l := range next.Listeners {
		if old := prev.Listener(l.Name); old == nil || !sameChain(old, l) {
			closeLogs(l.Logs)
		}
	}
}

func closeLogs(logs []*accesslog.Log) {
	for _, log := range logs {
		_ = log.Close() // what could not be written is counted
	}
}

// socketPart is what of a listener only a new socket can change.
type socketPart struct {
	ReusePort bool                 `json:"enable_reuse_port"`
	Backlog   int                  `json:"tcp_backlog_size"`
	Keepalive *config.TCPKeepalive `json:"tcp_keepalive"`
}

// chainHash hashes all of a listener that makes its filters, but neither its socket nor its routes.
func chainHash(cfg *config.Listener, http *httpconn.Config) uint64 {
	routes := http.RouteConfig
	http.RouteConfig = route.Config{}
	part := *cfg
	part.EnableReusePort, part.TCPBacklogSize, part.TCPKeepalive, part.Address, part.Name = false, 0, nil, "", ""
	hash := config.Hash(&part)
	http.RouteConfig = routes
	return hash
}

// listenerOptions translates the socket options of a listener.
func listenerOptions(cfg *config.Listener) engine.ListenerOptions {
	o := engine.ListenerOptions{
		Backlog:        cfg.TCPBacklogSize,
		AcceptsPerTurn: cfg.MaxConnectionsToAcceptPerSocketEvent,
		ReusePort:      cfg.EnableReusePort,
	}
	if k := cfg.TCPKeepalive; k != nil {
		o.KeepAlive = &engine.KeepAlive{
			Probes: k.KeepaliveProbes, Idle: k.KeepaliveTime, Interval: k.KeepaliveInterval,
		}
	}
	return o
}

// buildRoutes compiles the route table of a listener, or takes the one that is the same.
func (s *Server) buildRoutes(l, old *control.Listener, next *control.Snapshot) (*control.Routes, error) {
	if old != nil && old.RouteHash == l.RouteHash {
		return old.Routes, nil
	}
	r := &control.Routes{}
	id := func(name string) (uint32, bool) {
		c := next.Cluster(name)
		if c == nil {
			return 0, false
		}
		return uint32(c.ID), true
	}
	format := func(text string) (route.FormatID, error) {
		f, err := accesslog.CompileValue(text)
		if err != nil {
			return 0, err
		}
		r.Formats = append(r.Formats, f)
		return route.FormatID(len(r.Formats) - 1), nil
	}
	table, problems := route.Compile(&l.HTTP.RouteConfig, id, format)
	if len(problems) > 0 {
		return nil, fmt.Errorf("route_config: %s", problems[0])
	}
	r.Table = table
	return r, nil
}
