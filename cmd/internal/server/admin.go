package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
		Listeners: s.adminListeners, Clusters: s.adminClusters,
		ConfigDump: s.configDump, ConfigStatus: s.configStatus, Regions: s.regions,
		Reload: s.Reload, Drain: s.drainListeners, Quit: s.Quit, SetHealthy: s.setHealthy,
		ReopenLogs: s.ReopenLogs, LogLevel: s.logLevel, SetLogLevel: s.setLogLevel,
	})
	if err := s.admin.Start(cfg.Admin.Address); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
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
		if l.Name == name {
			return l.Address
		}
	}
	return ""
}

func (s *Server) info() admin.Info {
	drain := s.opt.DrainTime
	if snap := s.snapshot.Load(); snap != nil {
		drain = snap.DrainTime
	}
	return admin.Info{
		Version: s.opt.Version, Commit: s.opt.Commit, Started: s.started, Concurrency: len(s.workers),
		DrainTime: drain, ConfigPath: s.opt.ConfigPath, CommandLine: s.opt.CommandLine,
		Node: admin.Node{
			ID: s.node.ID, Cluster: s.node.Cluster, Region: s.node.Locality.Region,
			Zone: s.node.Locality.Zone, SubZone: s.node.Locality.SubZone,
		},
	}
}

func (s *Server) state() admin.State {
	switch {
	case s.draining.Load() || s.failed.Load():
		return admin.StateDraining
	case s.live.Load():
		return admin.StateLive
	}
	return admin.StateInitializing
}

// adminListeners returns the listeners with their bound addresses.
func (s *Server) adminListeners() (list []admin.Listener) {
	snap := s.snapshot.Load()
	if snap == nil {
		return nil
	}
	state := "active"
	if s.draining.Load() {
		state = "draining"
	}
	bound := *s.bound.Load()
	for _, l := range snap.Listeners {
		list = append(list, admin.Listener{Name: l.Name, Address: bound[l.Address], State: state})
	}
	return list
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
		}
		for _, h := range c.Hosts {
			ac.Hosts = append(ac.Hosts, adminHost(h))
		}
		if !yield(&ac) {
			return
		}
	}
}

func thresholds(c *upstream.Config, p upstream.Priority) admin.Thresholds {
	t := c.CircuitBreakers.Thresholds(p)
	return admin.Thresholds{
		MaxConnections: uint64(t.MaxConnections), MaxPendingRequests: uint64(t.MaxPendingRequests),
		MaxRequests: uint64(t.MaxRequests), MaxRetries: uint64(t.MaxRetries),
	}
}

func adminHost(h *upstream.Host) admin.Host {
	return admin.Host{
		Address: h.Name, Weight: h.Weight(),
		CxActive: h.CxActive.Load(), CxTotal: h.CxTotal.Load(), CxConnectFail: h.CxConnectFail.Load(),
		RqActive: h.RqActive.Load(), RqTotal: h.RqTotal.Load(), RqSuccess: h.RqSuccess.Load(),
		RqError: h.RqError.Load(), RqTimeout: h.RqTimeout.Load(),
	}
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
	return s.status
}

// noteLoad remembers the outcome of a load for /config_status.
func (s *Server) noteLoad(r admin.Report) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	st := &s.status
	st.Path = s.opt.ConfigPath
	st.Loads++
	if st.Loads > 1 {
		st.LastAttempt = time.Now()
	}
	st.Last = r
	if !r.Applied {
		st.Refusals++
		s.rejected.Store(true)
		return
	}
	s.rejected.Store(false)
	st.Hash, st.LoadedAt = r.Hash, s.snapshot.Load().LoadedAt
}

// Reload loads the file again. A file that is refused changes nothing.
func (s *Server) Reload(ctx context.Context) admin.Report {
	var report admin.Report
	err := s.control.Do(ctx, func() {
		report = s.reload()
		s.noteLoad(report)
	})
	if err != nil {
		return admin.Report{Errors: []string{err.Error()}}
	}
	return report
}

func (s *Server) reload() admin.Report {
	cfg, warnings, err := s.load()
	var report admin.Report
	if err == nil {
		report, err = s.apply(cfg)
	}
	if err != nil {
		report = admin.Report{Errors: problems(err)}
		s.log.Error("reload refused, nothing changed", "errors", report.Errors)
		return report
	}
	report.Warnings = warnings
	s.logReport(&report)
	return report
}

// problems returns the lines of an error.
func problems(err error) (lines []string) {
	var refused *ErrRefused
	if errors.As(err, &refused) {
		for _, e := range refused.Errors {
			lines = append(lines, e.Error())
		}
		return lines
	}
	return strings.Split(err.Error(), "\n")
}

// newReport tells what a diff did.
func newReport(next *control.Snapshot, d *control.Diff, took time.Duration) admin.Report {
	r := admin.Report{Applied: true, Hash: hashText(next.Hash), Took: took, Unchanged: d.Unchanged}
	for i := range d.Clusters {
		c := &d.Clusters[i]
		name := ""
		if c.New != nil {
			name = c.New.Name
		} else {
			name = c.Old.Name
		}
		r.Changes = append(r.Changes, admin.Change{Action: c.Action.String(), Kind: "cluster", Name: name, Detail: c.Detail()})
	}
	for i := range d.Listeners {
		c := &d.Listeners[i]
		kind, l := "listener", c.New
		if l == nil {
			l = c.Old
		}
		if c.Action == control.Changed && !c.Address && !c.Chain {
			kind = "route_table"
		}
		r.Changes = append(r.Changes, admin.Change{Action: c.Action.String(), Kind: kind, Name: l.Name, Detail: c.Detail()})
	}
	return r
}

func (s *Server) logReport(r *admin.Report) {
	s.log.Info("reloaded", "changes", len(r.Changes), "unchanged", r.Unchanged, "took", r.Took.String(), "hash", r.Hash)
	for _, c := range r.Changes {
		s.log.Info("reload", "action", c.Action, "kind", c.Kind, "name", c.Name, "detail", c.Detail)
	}
}

// drainListeners is /drain_listeners: the listeners stop, the process stays.
func (s *Server) drainListeners(o admin.DrainOptions) error {
	stop := func() error {
		return s.onEach(func(w *worker) error { w.drain(false); return nil })
	}
	if !o.Graceful {
		s.draining.Store(true)
		return stop()
	}
	s.draining.Store(true)
	if o.SkipExit {
		return nil
	}
	time.AfterFunc(s.snapshot.Load().DrainTime, func() { _ = stop() })
	return nil
}

func (s *Server) setHealthy(ok bool) { s.failed.Store(!ok) }

// ReopenLogs opens the access logs anew, after they were moved away.
func (s *Server) ReopenLogs() error {
	s.logs.Reopen()
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
		st := &w.loop.Arena().Stats
		list = append(list, admin.Region{
			Name: fmt.Sprintf("loop %d blocks", i), Bytes: uint64(st.Mapped.Load()), Used: uint64(st.Leased.Load()),
		})
	}
	return list
}

// Failed implements filters.Health.
func (s *Server) Failed() bool { return s.failed.Load() || s.draining.Load() }

// ClusterHealth implements filters.Health. It is called on loops: the snapshot is immutable and the
// health of hosts atomic.
func (s *Server) ClusterHealth(name string) (healthy, total int, ok bool) {
	c := s.snapshot.Load().Cluster(name)
	if c == nil {
		return 0, 0, false
	}
	for _, h := range c.Hosts {
		if h.Healthy() {
			healthy++
		}
	}
	return healthy, len(c.Hosts), true
}

// ServiceCluster implements filters.Health.
func (s *Server) ServiceCluster() string { return s.node.Cluster }
