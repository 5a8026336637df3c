package server

import (
	"context"
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
	"millrace/upstream/discovery"
	"millrace/upstream/health"
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
	// Immutable after Start.
	opt      Options
	log      *slog.Logger
	started  time.Time
	registry *stats.Registry
	schema   *config.Registry
	filters  map[string]filters.Spec            // of HTTP
	network  map[networkKey]filters.NetworkSpec // listener and network filters
	logs     *accesslog.Files
	tls      *tlsSide
	control  *control.Goroutine
	stop     context.CancelFunc // ends the control goroutine
	workers  []*worker
	admin    *admin.Server
	first    config.Config // what Start found: of it, only a restart changes what is kept here

	// Owned by the control goroutine.
	clusterIDs  map[string]upstream.ClusterID
	clusterSets map[string]*clusterSets // by cluster
	counts      counts
	sharedSets  map[setKey]*kept // counters that no loop owns
	once        map[string]*kept // what filters have in common
	leaving     draining
	sweeper     *time.Timer
	closers     sync.WaitGroup // of logs, of what filters have in common, and of goroutines that end with stop
	hostChanges hostChanges    // has a lock of its own
	health      *health.Scheduler
	outliers    *health.Outliers
	initial     *initManager
	discovery   discoverySide
	sweeps      map[string]bool // clusters whose destinations are swept in a while
	local       *upstream.Local // nil without a local cluster
	slowStarts  map[string]bool // clusters with hosts in slow start
	autoscaling sync.Map        // of *runningAutoscaler, by cluster; written by the control goroutine
	// The listening sockets, or those of inbound listeners, are closed for good.
	stopped, inboundStopped bool

	// Guarded by statusMu.
	statusMu sync.Mutex
	status   admin.ConfigStatus
	warming  *warming       // written by the control goroutine, which reads it without; nil: none
	drainers [2]*time.Timer // of a graceful /drain_listeners: of all listeners, and of inbound ones

	// Atomic.
	snapshot    atomic.Pointer[control.Snapshot]
	connections atomic.Int64                        // open downstream connections that count for the limit of the process
	exempt      atomic.Int64                        // the others
	retired     atomic.Pointer[[]*control.Listener] // the keys of leaving.listeners, in no order
	reloading   atomic.Bool                         // a SIGHUP waits for its turn
	rejected    atomic.Bool                         // the last load was refused
	failed      atomic.Bool                         // /healthcheck/fail
	drains      drainFlags                          // of listeners that are not inbound
	inbound     drainFlags                          // of inbound ones
	live        atomic.Bool

	memoryGivenBack atomic.Int64 // times
	even            evenStats
	connectionLimit atomic.Int64 // overload.max_active_downstream_connections
	chainsDraining  atomic.Int64 // filter chains that drain while their listener stays

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
		network: networkFilters(), sharedSets: map[setKey]*kept{}, once: map[string]*kept{},
		clusterIDs: map[string]upstream.ClusterID{}, clusterSets: map[string]*clusterSets{}, sweeps: map[string]bool{},
		leaving: draining{map[*control.Chain]int{}, map[*control.Chain]bool{}, map[*control.Listener]int{}}, quit: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.logs = accesslog.NewFiles(s.registry)
	s.tls = newTLSSide(s.log)
	s.initial = newInitManager()
	s.discovery.resolvers, s.discovery.running = discovery.NewResolvers("", ""), map[string]*runningSource{}
	s.health = health.NewScheduler(s.healthChanged)
	s.outliers = health.NewOutliers(s.healthChanged)
	s.health.Passed = s.outliers.Passed
	s.registry.Add(stats.Root("health_check"), &s.health.Stats)
	s.registry.Add(stats.Root("outlier_detection"), &s.outliers.Stats)
	if err := s.start(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// start does the work of Start. What it leaves behind when it fails, Close cleans up.
func (s *Server) start() error {
	cfg, warnings, err := s.load()
	if err != nil {
		return err
	}
	for _, w := range warnings {
		s.log.Warn("config", "warning", w)
	}
	s.first = config.Config{Admin: cfg.Admin, Concurrency: cfg.Concurrency, Node: cfg.Node, ClusterManager: cfg.ClusterManager,
		Overload: config.Overload{TLSHandshakes: cfg.Overload.TLSHandshakes}}
	s.local = newLocal(cfg)
	if err := s.startLoops(s.concurrency(cfg)); err != nil {
		return err
	}
	s.tls.start(s.handshakeLimits(cfg))
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.control = control.Start(ctx, s.log)
	s.closers.Go(func() { s.giveBackMemory(ctx) })
	s.sweeper = s.newSweeper()
	err = s.control.Do(ctx, func() error {
		var failed error
		s.apply(cfg, func(report admin.Report, err error) {
			if failed = err; err == nil {
				report.Warnings = warnings
				s.noteLoad(report)
				s.registerStats()
			}
		})
		return failed
	})
	if err != nil {
		return err
	}
	if err := s.startAdmin(cfg); err != nil {
		return err
	}
	if len(s.workers) > 1 {
		s.closers.Go(func() { s.evenOut(ctx) })
	}
	return s.initialize(ctx)
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
	cfg := engine.DefaultLoopConfig()
	cfg.OnPanic = func(v any, stack []byte) {
		s.log.Error("a connection was closed by a bug", "panic", fmt.Sprint(v), "stack", string(stack))
	}
	for i := range n {
		loop, err := engine.NewLoop(i, cfg)
		if err != nil {
			return fmt.Errorf("loop %d: %w", i, err)
		}
		w := newWorker(s, loop)
		if n > 1 {
			w.clusters.SetSiblings()
		}
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
	cfg, errs := Load(name, text, s.schema)
	if errs.Fatal() {
		return nil, nil, &ErrRefused{errs}
	}
	for _, e := range errs {
		warnings = append(warnings, e.Error())
	}
	if s.opt.AdminAddress != "" {
		if cfg.Admin == nil {
			cfg.Admin = &config.Admin{}
		}
		cfg.Admin.Address = s.opt.AdminAddress // the rest stays: what may be asked for, and by which name
	}
	return cfg, warnings, nil
}

// findCluster finds a cluster by name, for cluster_header: the one place where a request looks into a
// map, because its key comes from the request.
func (s *Server) findCluster(name []byte) (upstream.ClusterID, bool) {
	c := s.snapshot.Load().ClusterOf(name)
	if c == nil {
		return 0, false
	}
	return c.ID, true
}

// clusterByName is findCluster for a name that comes from a configuration, or from a filter.
func (s *Server) clusterByName(name string) (upstream.ClusterID, bool) {
	c := s.snapshot.Load().Cluster(name)
	if c == nil {
		return 0, false
	}
	return c.ID, true
}

// drainFlags tell connections to end with their next response.
type drainFlags struct {
	draining atomic.Bool // the process or its listeners drain
	closing  atomic.Bool // that, or health checks fail
}

// drainFlag returns what tells the connections of a listener to end with their next response: with
// drain_type modify_only a failed health check does not.
func (s *Server) drainFlag(l *control.Listener) *atomic.Bool {
	flags := &s.drains
	if l.Inbound {
		flags = &s.inbound
	}
	if l.DrainOnlyModify {
		return &flags.draining
	}
	return &flags.closing
}

// openConnections returns the number of open downstream connections.
func (s *Server) openConnections() int64 { return s.connections.Load() + s.exempt.Load() }

// Close ends everything at once.
func (s *Server) Close() {
	s.health.Close()
	s.outliers.Close()
	s.statusMu.Lock()
	for _, t := range s.drainers {
		if t != nil {
			t.Stop()
		}
	}
	s.statusMu.Unlock()
	if s.control != nil {
		s.stop()
		s.control.Wait()
		s.dropWarming(control.ErrStopped)
		s.endSources()
		s.endAutoscalers()
		s.live.Store(false)
		s.sweeper.Stop()
	}
	if !s.stopped {
		removeSocketFiles(s.snapshot.Load(), nil)
	}
	each(s, func(w *worker) error { w.end(); return nil })
	for _, w := range s.workers {
		w.loop.Stop()
	}
	for _, w := range s.workers {
		<-w.done
	}
	if s.admin != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeMax)
		defer cancel()
		_ = s.admin.Close(ctx) // whatever request is left has been cut off
	}
	s.dropAll()
	s.closers.Wait()
	s.tls.close()
	if err := s.logs.Close(closeMax); err != nil {
		s.log.Error("closing access logs", "error", err)
	}
}

// closeMax bounds how long Close waits for requests to the admin port, and for access logs to be written.
const closeMax = 2 * time.Second

// dropAll lets go of what the snapshot in force, and those before it, keep open. The loops have ended.
func (s *Server) dropAll() {
	held := map[*control.Resources]bool{}
	listener := func(l *control.Listener) { held[l.FilterHeld], held[l.LogHeld] = true, true }
	if snap := s.snapshot.Load(); snap != nil {
		for _, c := range snap.Clusters {
			if c.Held != nil {
				held[c.Held] = true
			}
		}
		for _, l := range snap.Listeners {
			listener(l)
			for _, c := range l.AllChains() {
				held[c.Held] = true
			}
		}
	}
	for l := range s.leaving.listeners {
		listener(l)
	}
	for c := range s.leaving.chains {
		held[c.Held] = true
	}
	for r := range held {
		s.drop(r)
	}
}
