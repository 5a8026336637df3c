package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
)

// Options are what the command line says.
type Options struct {
	// ConfigPath is the file; Text replaces reading it, for a proxy without a file.
	ConfigPath string
	Text       []byte
	// Concurrency, if above 0, DrainTime, if above 0, and AdminAddress, if not empty, take the place
	// of what the file says.
	Concurrency  int
	DrainTime    time.Duration
	AdminAddress string
	// Log is where the process says what it does.
	Log *slog.Logger
	// Level is the level of Log, which the admin port may change. May be nil.
	Level *slog.LevelVar
	// Version, Commit and CommandLine are for /server_info.
	Version, Commit string
	CommandLine     []string
}

// A Server is a running proxy.
type Server struct {
	opt      Options
	log      *slog.Logger
	started  time.Time
	registry *stats.Registry
	schema   *config.Registry
	filters  map[string]filters.Spec
	logs     *accesslog.Files
	control  *control.Goroutine
	stop     context.CancelFunc
	workers  []*worker
	admin    *admin.Server

	// Written by the control goroutine.
	clusterIDs map[string]upstream.ClusterID
	members    map[string]*upstream.MembershipStats // by cluster
	addresses  map[string]engine.Addr               // bound addresses by configured address
	counts     counts
	node       config.Node
	status     admin.ConfigStatus
	statusMu   sync.Mutex

	// Atomic.
	snapshot atomic.Pointer[control.Snapshot]
	bound    atomic.Pointer[map[string]string]        // addresses, as bound, by configured address
	openAll  atomic.Pointer[map[string]*atomic.Int64] // open connections by listener
	rejected atomic.Bool                              // the last load was refused
	byName   atomic.Pointer[map[string]upstream.ClusterID]
	draining atomic.Bool // the process ends: responses say so
	failed   atomic.Bool // /healthcheck/fail
	live     atomic.Bool
	quit     chan struct{}
	quitOnce sync.Once
}

// ErrRefused is returned by Start when the configuration was refused; its text is the list of problems.
type ErrRefused struct{ Errors config.Errors }

// Error implements error.
func (e *ErrRefused) Error() string { return e.Errors.Error() }

// Start loads the configuration, starts the loops and the admin port, and begins to accept.
func Start(opt Options) (*Server, error) {
	s := &Server{
		opt: opt, log: opt.Log, started: time.Now(), registry: &stats.Registry{}, schema: Registry(), filters: httpFilters(),
		clusterIDs: map[string]upstream.ClusterID{}, members: map[string]*upstream.MembershipStats{},
		addresses: map[string]engine.Addr{}, quit: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.logs = accesslog.NewFiles(s.registry)
	cfg, warnings, err := s.load()
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		s.log.Warn("config", "warning", w)
	}
	if err := s.startLoops(s.concurrency(cfg)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.control = control.Start(ctx, s.log)
	s.node = cfg.Node
	var report admin.Report
	_ = s.control.Do(ctx, func() { report, err = s.apply(cfg) })
	if err == nil {
		err = s.startAdmin(cfg)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	s.noteLoad(report)
	s.registerStats()
	s.live.Store(true)
	s.logStart()
	return s, nil
}

// concurrency returns the number of loops.
func (s *Server) concurrency(cfg *config.Config) int {
	switch {
	case s.opt.Concurrency > 0:
		return s.opt.Concurrency
	case cfg.Concurrency > 0:
		return cfg.Concurrency
	}
	return processors
}

// startLoops starts n loops.
func (s *Server) startLoops(n int) error {
	tuneRuntime(n)
	for i := range n {
		cfg := engine.DefaultLoopConfig()
		cfg.OnPanic = func(v any, stack []byte) {
			s.log.Error("a connection was closed by a bug", "panic", fmt.Sprint(v), "stack", string(stack))
		}
		loop, err := engine.NewLoop(i, cfg)
		if err != nil {
			return fmt.Errorf("loop %d: %w", i, err)
		}
		w := newWorker(s, loop)
		s.workers = append(s.workers, w)
		go func() {
			defer close(w.done)
			if err := loop.Run(); err != nil {
				s.log.Error("loop ended", "loop", i, "error", err)
			}
		}()
	}
	return nil
}

// load reads and checks the file. Warnings are whole lines.
func (s *Server) load() (cfg *config.Config, warnings []string, err error) {
	text, name := s.opt.Text, s.opt.ConfigPath
	if text == nil {
		if text, err = os.ReadFile(name); err != nil {
			return nil, nil, err
		}
	}
	cfg, errs := config.Load(name, text, s.schema)
	if errs.Fatal() {
		return nil, nil, &ErrRefused{errs}
	}
	for _, e := range errs {
		warnings = append(warnings, e.Error())
	}
	if s.opt.AdminAddress != "" {
		cfg.Admin = &config.Admin{Address: s.opt.AdminAddress}
	}
	return cfg, warnings, nil
}

// apply puts a loaded configuration into force: on all loops, or not at all.
//
// Precondition: called on the control goroutine.
func (s *Server) apply(cfg *config.Config) (admin.Report, error) {
	begun := time.Now()
	next, err := s.build(cfg)
	if err != nil {
		return admin.Report{}, err
	}
	prev := s.snapshot.Load()
	diff := control.Compare(prev, next)
	fds, err := s.bind(prev, next)
	if err != nil {
		closeLogs(next, prev)
		return admin.Report{}, err
	}
	s.publishNames(next)
	s.prepareListeners(next)
	s.publishAddresses(next)
	if !diff.Empty() {
		if err := s.onEach(func(w *worker) error { return w.apply(diff, fds[w.loop.Index()]) }); err != nil {
			return admin.Report{}, err
		}
	}
	s.snapshot.Store(next)
	s.afterApply(next, diff)
	return newReport(next, diff, time.Since(begun)), nil
}

// onEach runs f on every loop and waits for all of them.
func (s *Server) onEach(f func(w *worker) error) error {
	errs := make(chan error, len(s.workers))
	for _, w := range s.workers {
		w.loop.Post(func() { errs <- f(w) })
	}
	var all error
	for _, w := range s.workers {
		select {
		case err := <-errs:
			all = errors.Join(all, err)
		case <-w.done: // a loop that has ended runs nothing more
			select {
			case err := <-errs:
				all = errors.Join(all, err)
			default:
			}
		}
	}
	return all
}

// bind opens the sockets of addresses that the running snapshot does not have, for each loop. It
// returns them by loop and address.
func (s *Server) bind(prev, next *control.Snapshot) ([]map[string]int, error) {
	fds := make([]map[string]int, len(s.workers))
	for i := range fds {
		fds[i] = map[string]int{}
	}
	have := map[string]*control.Listener{}
	if prev != nil {
		for _, l := range prev.Listeners {
			have[l.Address] = l
		}
	}
	for _, l := range next.Listeners {
		if old := have[l.Address]; old != nil {
			if old.SocketHash != l.SocketHash {
				closeAll(fds)
				return nil, fmt.Errorf("listener %q: socket options of %s cannot change while it is open; restart, or take another address", l.Name, l.Address)
			}
			continue
		}
		if err := s.bindOne(l, fds); err != nil {
			closeAll(fds)
			return nil, fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	return fds, nil
}

// bindOne opens the sockets of one listener: one for each loop, or one they share.
func (s *Server) bindOne(l *control.Listener, fds []map[string]int) error {
	addr, err := engine.ParseAddr(l.Address)
	if err != nil {
		return err
	}
	shared := addr.IsUnix() || !l.Options.ReusePort
	for i := range fds {
		var fd int
		if i > 0 && shared {
			fd, err = engine.DupFd(fds[0][l.Address])
		} else {
			fd, err = engine.Listen(addr, l.Options)
		}
		if err != nil {
			return err
		}
		fds[i][l.Address] = fd
		if i == 0 {
			bound, err := engine.LocalAddr(fd)
			if err != nil {
				return err
			}
			if addr.IsUnix() {
				bound = addr
			}
			s.addresses[l.Address] = bound
			addr = addr.WithPort(uint16(bound.Port()))
		}
	}
	return nil
}

func closeAll(fds []map[string]int) {
	for _, m := range fds {
		for _, fd := range m {
			engine.CloseFd(fd)
		}
	}
}

// publishNames makes the clusters findable by name, for routes with cluster_header.
func (s *Server) publishNames(next *control.Snapshot) {
	names := make(map[string]upstream.ClusterID, len(next.Clusters))
	for _, c := range next.Clusters {
		names[c.Name] = c.ID
	}
	s.byName.Store(&names)
}

// publishAddresses makes the bound addresses readable by the admin port.
func (s *Server) publishAddresses(next *control.Snapshot) {
	bound := make(map[string]string, len(next.Listeners))
	for _, l := range next.Listeners {
		bound[l.Address] = s.addresses[l.Address].String()
	}
	s.bound.Store(&bound)
}

// findCluster finds a cluster by name, for cluster_header: the one place where a request looks into a
// map, because its key comes from the request.
func (s *Server) findCluster(name []byte) (upstream.ClusterID, bool) {
	id, ok := (*s.byName.Load())[string(name)]
	return id, ok
}

// afterApply counts, lets go of what is no longer used, and sets the end of the time that replaced
// chains have.
func (s *Server) afterApply(next *control.Snapshot, diff *control.Diff) {
	for i := range diff.Clusters {
		s.countCluster(&diff.Clusters[i])
	}
	retires, lc := false, &s.counts.listeners
	for i := range diff.Listeners {
		c := &diff.Listeners[i]
		count(c.Action, &lc.Added, &lc.Modified, &lc.Removed)
		if c.Old != nil && (c.Action == control.Removed || c.Chain || c.Address) {
			retires = true
		}
		if c.Old != nil && (c.Action == control.Removed || c.Chain) {
			s.closeLogsLater(c.Old, next.DrainTime)
		}
	}
	if retires {
		time.AfterFunc(next.DrainTime, func() {
			_ = s.onEach(func(w *worker) error { w.closeDraining(); return nil })
		})
	}
}

// closeLogsLater closes the access logs of a chain once no connection can write to them.
func (s *Server) closeLogsLater(l *control.Listener, drain time.Duration) {
	time.AfterFunc(drain+time.Second, func() {
		for _, log := range l.Logs {
			_ = log.Close()
		}
	})
}

// Close ends everything at once.
func (s *Server) Close() {
	s.live.Store(false)
	if s.stop != nil {
		s.stop()
		s.control.Wait()
	}
	_ = s.onEach(func(w *worker) error { w.end(); return nil })
	for _, w := range s.workers {
		w.loop.Stop()
	}
	for _, w := range s.workers {
		<-w.done
	}
	if s.admin != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.admin.Close(ctx)
	}
	_ = s.logs.Close(2 * time.Second)
}
