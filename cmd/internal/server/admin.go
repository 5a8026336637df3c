package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/upstream"
)

// startAdmin opens the admin port, if there is one.
func (s *Server) startAdmin(cfg *config.Config) error {
	if cfg.Admin == nil {
		return nil
	}
	s.admin = admin.New(admin.Deps{
		Stats: s.registry, Info: s.info, State: s.state,
		Listeners: s.adminListeners, Clusters: s.adminClusters, Certificates: s.adminCertificates,
		ConfigDump: s.configDump, ConfigStatus: s.configStatus, Regions: s.regions,
		Reload: s.Reload, Drain: s.drainListeners, Quit: s.Quit, SetHealthy: s.setHealthy,
		ReopenLogs: s.ReopenLogs, LogLevel: s.logLevel, SetLogLevel: s.setLogLevel, Log: s.log,
		Hosts: cfg.Admin.Hosts, Pprof: cfg.Admin.Pprof, AllowPaths: allowPaths(cfg.Admin.AllowPaths),
		FlushInterval: s.flushInterval, Autoscaling: s.eachAutoscaling,
	})
	if err := s.admin.Start(cfg.Admin.Address); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// flushInterval returns stats_flush_interval; it is asked again at each interval's end, so a reload changes the next.
func (s *Server) flushInterval() time.Duration {
	if snap := s.snapshot.Load(); snap != nil {
		return snap.FlushInterval
	}
	return s.first.StatsFlushInterval
}

// allowPaths returns whether a path may be used; nil, which allows all, for an empty list.
func allowPaths(list []string) func(string) bool {
	if len(list) == 0 {
		return nil
	}
	return func(path string) bool { return slices.Contains(list, path) }
}

// AdminAddr returns the address of the admin port, or "".
func (s *Server) AdminAddr() string {
	if s.admin == nil || s.admin.Addr() == nil {
		return ""
	}
	return s.admin.Addr().String()
}

// ListenerAddr returns the bound address of a listener by its name, or "".
func (s *Server) ListenerAddr(name string) string {
	for _, l := range s.adminListeners() {
		if l.Name == name && !l.Retired {
			return l.Address
		}
	}
	return ""
}

func (s *Server) info() admin.Info {
	drain, node := s.opt.DrainTime, &s.first.Node
	if snap := s.snapshot.Load(); snap != nil {
		drain = snap.DrainTime
	}
	return admin.Info{
		Version: s.opt.Version, Commit: s.opt.Commit, Started: s.started, Concurrency: len(s.workers),
		DrainTime: drain, ConfigPath: s.opt.ConfigPath, CommandLine: s.opt.CommandLine,
		Node: admin.Node{
			ID: node.ID, Cluster: node.Cluster, Region: node.Locality.Region,
			Zone: node.Locality.Zone, SubZone: node.Locality.SubZone,
		},
	}
}

func (s *Server) state() admin.State {
	switch {
	case s.drains.closing.Load():
		return admin.StateDraining
	case s.live.Load():
		return admin.StateLive
	}
	return admin.StateInitializing
}

// adminListeners returns the listeners with their bound addresses, those in force first.
func (s *Server) adminListeners() (list []admin.Listener) {
	snap := s.snapshot.Load()
	if snap == nil {
		return nil
	}
	for _, l := range snap.Listeners {
		state := "active"
		if s.drains.draining.Load() || l.Inbound && s.inbound.draining.Load() {
			state = "draining"
		}
		list = append(list, adminListener(l, state))
	}
	at := len(list)
	for _, l := range s.retiring() {
		retired := adminListener(l, "draining")
		retired.Retired = true
		list = append(list, retired)
	}
	slices.SortStableFunc(list[at:], func(a, b admin.Listener) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func adminListener(l *control.Listener, state string) admin.Listener {
	a := admin.Listener{Name: l.Name, Address: l.Bound().String(), State: state, UDP: l.UDP}
	for i := range l.Sockets[1:] {
		a.Additional = append(a.Additional, l.Sockets[1+i].Bound.String())
	}
	for _, c := range l.AllChains() {
		if c.Key != "" || l.Table != nil {
			a.Chains = append(a.Chains, chainTitle(c))
		}
	}
	return a
}

// chainTitle names a filter chain.
func chainTitle(c *control.Chain) string {
	switch {
	case c.Name != "":
		return c.Name
	case c.Key != "":
		return c.Key
	}
	return "filter chain without a match"
}

// adminClusters yields the clusters with their hosts.
func (s *Server) adminClusters(yield func(*admin.Cluster) bool) {
	snap := s.snapshot.Load()
	if snap == nil {
		return
	}
	var ac admin.Cluster
	for _, c := range snap.Clusters {
		ac = admin.Cluster{
			Name: c.Name, ObservabilityName: c.Config.StatName(), Hosts: ac.Hosts[:0],
			Default: thresholds(c.Config, upstream.Default), High: thresholds(c.Config, upstream.High),
			Autoscaling: s.autoscalingOf(c.Name),
		}
		for _, h := range c.Hosts() {
			ac.Hosts = append(ac.Hosts, adminHost(h))
		}
		if !yield(&ac) {
			return
		}
	}
}

func thresholds(c *upstream.Config, p upstream.Priority) admin.Thresholds {
	t := c.CircuitBreakers.Thresholds(p)
	retries, share := t.Retries()
	if share != nil {
		retries = share.MinRetryConcurrency // the least of them
	}
	return admin.Thresholds{
		MaxConnections: uint64(t.MaxConnections), MaxPendingRequests: uint64(t.MaxPendingRequests),
		MaxRequests: uint64(t.MaxRequests), MaxRetries: uint64(retries),
	}
}

func adminHost(h *upstream.Host) admin.Host {
	return admin.Host{
		Address: h.Name, Hostname: h.Hostname, Weight: h.Weight(),
		CxActive: h.CxActive.Load(), CxTotal: h.CxTotal.Load(), CxConnectFail: h.CxConnectFail.Load(),
		RqActive: h.RqActive.Load(), RqTotal: h.RqTotal.Load(), RqSuccess: h.RqSuccess.Load(),
		RqError: h.RqError.Load(), RqTimeout: h.RqTimeout.Load(), HealthFlags: healthFlags(h.Health()),
	}
}

// healthFlags returns Envoy's names of flags.
func healthFlags(f upstream.HealthFlag) (list []string) {
	for _, n := range []struct {
		flag upstream.HealthFlag
		name string
	}{
		{upstream.FailedActiveCheck, "/failed_active_hc"},
		{upstream.FailedOutlier, "/failed_outlier_check"},
		{upstream.FailedDiscovery, "/failed_eds_health"},
		{upstream.DegradedActiveCheck, "/degraded_active_hc"},
		{upstream.DegradedDiscovery, "/degraded_eds_health"},
		{upstream.DegradedOutlier, "/degraded_outlier_detection"},
		{upstream.PendingRemoval, "/pending_dynamic_removal"},
		{upstream.PendingActiveCheck, "/pending_active_hc"},
		{upstream.ExcludedImmediate, "/excluded_via_immediate_hc_fail"},
		{upstream.ActiveCheckTimeout, "/active_hc_timeout"},
	} {
		if f&n.flag != 0 {
			list = append(list, n.name)
		}
	}
	return list
}

func (s *Server) configDump() (admin.ConfigDump, error) {
	snap := s.snapshot.Load()
	if snap == nil {
		return admin.ConfigDump{}, errors.New("no configuration has been loaded yet")
	}
	return admin.ConfigDump{Hash: hashText(snap.Hash), LoadedAt: snap.LoadedAt, Path: s.opt.ConfigPath, JSON: snap.JSON}, nil
}

func hashText(h uint64) string { return fmt.Sprintf("%016x", h) }

func (s *Server) configStatus() admin.ConfigStatus {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	st := s.status
	if s.warming != nil {
		st.Warming = s.warming.status()
	}
	return st
}

// drainListeners is /drain_listeners: the listeners stop, the process stays.
func (s *Server) drainListeners(o admin.DrainOptions) error {
	s.setDraining(o.InboundOnly)
	stop := func() error { return s.stopListening(o.InboundOnly) }
	if !o.Graceful {
		return s.control.Do(context.Background(), stop)
	}
	if o.SkipExit {
		return nil
	}
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	at := b2i(o.InboundOnly)
	if s.drainers[at] == nil { // a second request does not begin anew
		s.drainers[at] = time.AfterFunc(s.snapshot.Load().DrainTime, func() {
			_ = s.control.Do(context.Background(), stop) // or the process ends
		})
	}
	return nil
}

// setHealthy is /healthcheck/ok and /healthcheck/fail. A process that fails health checks drains:
// its connections end with their next response.
func (s *Server) setHealthy(ok bool) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	s.failed.Store(!ok)
	for _, f := range []*drainFlags{&s.drains, &s.inbound} {
		f.closing.Store(!ok || f.draining.Load())
	}
}

// setDraining makes all connections, or those of inbound listeners, end with their next response, for good.
func (s *Server) setDraining(inboundOnly bool) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	flags := []*drainFlags{&s.inbound, &s.drains}
	if inboundOnly {
		flags = flags[:1]
	}
	for _, f := range flags {
		f.draining.Store(true)
		f.closing.Store(true)
	}
}

// ReopenLogs opens the access logs anew, after they were moved away.
func (s *Server) ReopenLogs() error {
	s.logs.Reopen()
	s.health.Reopen()
	s.outliers.Reopen()
	return nil
}

func (s *Server) logLevel() string {
	if s.opt.Level == nil {
		return slog.LevelInfo.String()
	}
	return strings.ToLower(s.opt.Level.Level().String())
}

func (s *Server) setLogLevel(level string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("unknown level %q; write debug, info, warn or error", level)
	}
	if s.opt.Level == nil {
		return errors.New("the level of this log is fixed")
	}
	s.opt.Level.Set(l)
	return nil
}

// regions lists the blocks of the loops.
func (s *Server) regions() (list []admin.Region) {
	for i, w := range s.workers {
		st := w.loop.Stats()
		list = append(list, admin.Region{
			Name: fmt.Sprintf("loop %d blocks", i), Bytes: uint64(st.ArenaMapped.Load()), Used: uint64(st.ArenaLeased.Load()),
		})
	}
	return list
}

// Failed implements filters.Health.
func (s *Server) Failed() bool { return s.drains.closing.Load() }

// ClusterHealth implements filters.Health. It is called on loops: the snapshot is immutable and the
// health of hosts atomic.
func (s *Server) ClusterHealth(name string) (healthy, total int, ok bool) {
	c := s.snapshot.Load().Cluster(name)
	if c == nil {
		return 0, 0, false
	}
	hs := c.HostSet()
	return hs.Healthy() + hs.Degraded(), len(hs.Hosts), true
}

// ServiceCluster implements filters.Health.
func (s *Server) ServiceCluster() string { return s.first.Node.Cluster }
