package server

import (
	"fmt"
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
// taken from it. Nothing is changed but cluster ids, which are handed out for good.
func (s *Server) build(cfg *config.Config) (*control.Snapshot, error) {
	next := &control.Snapshot{
		JSON: config.Marshal(cfg), LoadedAt: time.Now(), DrainTime: cfg.DrainTime,
		Hash: config.Hash(cfg),
	}
	if s.opt.DrainTime > 0 {
		next.DrainTime = s.opt.DrainTime
	}
	prev := s.snapshot.Load()
	old := map[string]*control.Cluster{}
	if prev != nil {
		for _, c := range prev.Clusters {
			old[c.Name] = c
		}
	}
	for i := range cfg.Clusters {
		c, err := s.buildCluster(&cfg.Clusters[i], old[cfg.Clusters[i].Name])
		if err != nil {
			return nil, err
		}
		next.Clusters = append(next.Clusters, c)
	}
	known := map[string]bool{}
	for _, c := range next.Clusters {
		known[c.Name] = true
	}
	for i := range cfg.Listeners {
		l, err := s.buildListener(&cfg.Listeners[i], prev, known)
		if err != nil {
			closeLogs(next, prev)
			return nil, err
		}
		next.Listeners = append(next.Listeners, l)
	}
	return next, nil
}

// buildCluster returns the cluster of a configuration, the old one if nothing differs.
func (s *Server) buildCluster(cfg *upstream.Config, old *control.Cluster) (*control.Cluster, error) {
	hash := config.Hash(cfg)
	var prev *upstream.Cluster
	if old != nil {
		if old.Hash == hash {
			return old, nil
		}
		prev = old.Cluster
	}
	c, err := upstream.New(s.clusterID(cfg.Name), cfg, prev)
	if err != nil {
		return nil, err
	}
	return &control.Cluster{Cluster: c, Hash: hash}, nil
}

// clusterID returns the id of a cluster name: the same for as long as the process lives.
func (s *Server) clusterID(name string) upstream.ClusterID {
	id, ok := s.clusterIDs[name]
	if !ok {
		id = upstream.ClusterID(len(s.clusterIDs))
		s.clusterIDs[name] = id
	}
	return id
}

// buildListener returns the listener of a configuration.
func (s *Server) buildListener(cfg *config.Listener, prev *control.Snapshot, clusters map[string]bool) (*control.Listener, error) {
	http, ok := cfg.FilterChains[0].Filters[len(cfg.FilterChains[0].Filters)-1].Config.(*httpconn.Config)
	if !ok {
		return nil, fmt.Errorf("listener %q: the last filter is not %s", cfg.Name, connectionManager)
	}
	l := &control.Listener{
		Name: cfg.Name, Address: cfg.Address, HTTP: http,
		BufferLimit:     cfg.PerConnectionBufferLimitBytes,
		ConnectionLimit: int64(cfg.ConnectionLimit),
		DrainOnlyModify: cfg.DrainType == "modify_only",
		Options:         listenerOptions(cfg),
	}
	l.SocketHash = config.Hash(&socketPart{cfg.EnableReusePort, cfg.TCPBacklogSize, cfg.TCPKeepalive})
	l.RouteHash = config.Hash(&http.RouteConfig)
	l.ChainHash = chainHash(cfg, http)
	old := prev.Listener(cfg.Name)
	if old != nil && old.RouteHash == l.RouteHash {
		l.Routes = old.Routes
	} else {
		routes, err := s.buildRoutes(http, clusters)
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", cfg.Name, err)
		}
		l.Routes = routes
	}
	if old != nil && old.ChainHash == l.ChainHash {
		l.Logs = old.Logs
		return l, nil
	}
	for i := range http.AccessLog {
		log, err := s.logs.Open(&http.AccessLog[i])
		if err != nil {
			return nil, fmt.Errorf("listener %q: access_log[%d]: %w", cfg.Name, i, err)
		}
		l.Logs = append(l.Logs, log)
	}
	return l, nil
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

// buildRoutes compiles a route table.
func (s *Server) buildRoutes(http *httpconn.Config, clusters map[string]bool) (*control.Routes, error) {
	r := &control.Routes{}
	id := func(name string) (uint32, bool) {
		if !clusters[name] {
			return 0, false
		}
		return uint32(s.clusterID(name)), true
	}
	format := func(text string) (route.FormatID, error) {
		f, err := accesslog.CompileValue(text)
		if err != nil {
			return 0, err
		}
		r.Formats = append(r.Formats, f)
		return route.FormatID(len(r.Formats) - 1), nil
	}
	table, problems := route.Compile(&http.RouteConfig, id, format)
	if len(problems) > 0 {
		return nil, fmt.Errorf("route_config: %s", problems[0])
	}
	r.Table = table
	return r, nil
}

// closeLogs lets go of the logs that only next has: it was refused.
func closeLogs(next, prev *control.Snapshot) {
	for _, l := range next.Listeners {
		if old := prev.Listener(l.Name); old != nil && old.ChainHash == l.ChainHash {
			continue
		}
		for _, log := range l.Logs {
			_ = log.Close()
		}
	}
}
