package admin

import (
	"context"
	"log/slog"
	"time"

	"millrace/engine/stats"
)

// Deps is what the admin port asks of the process. Every function is called on request
// goroutines, several at a time. A nil function makes its endpoint answer 501.
type Deps struct {
	// Stats is shown by /stats. Never nil.
	Stats *stats.Registry

	// Log is told of requests that change something, and of panics of handlers. Nil means nobody is.
	Log *slog.Logger

	// Hosts are names, besides localhost and IP addresses, that requests may use in Host. A
	// port is ignored. Default: none.
	Hosts []string
	// Pprof opens /debug/pprof/. Default off: profiles show memory addresses and cost time.
	Pprof bool
	// AllowPaths, if not nil, reports whether an endpoint may be used; others answer 403.
	AllowPaths func(path string) bool

	// FlushInterval returns how long an interval of the histograms is, above 0. Nil means 5 seconds.
	FlushInterval func() time.Duration
	// Info tells who this process is.
	Info func() Info
	// State is the server state that /ready and /server_info show.
	State func() State

	// Listeners returns the listeners in the order of the config, then the retired ones.
	Listeners func() []Listener
	// Clusters yields the clusters; the value yielded may be used again for the next.
	Clusters func(yield func(*Cluster) bool)
	// Autoscaling yields the clusters that say how many hosts they want.
	Autoscaling func(yield func(cluster string, a *Autoscaling) bool)
	// Certificates returns the certificates of all TLS contexts, each file once.
	Certificates func() []Certificates
	// ConfigDump returns the running configuration as JSON. Secrets are taken out here too.
	ConfigDump func() (ConfigDump, error)
	// ConfigStatus tells how the last loads of the configuration went.
	ConfigStatus func() ConfigStatus
	// Regions lists memory outside the Go heap.
	Regions func() []Region

	// Reload loads the configuration again and waits for the outcome.
	Reload func(context.Context) Report
	// Drain begins to drain the listeners.
	Drain func(DrainOptions) error
	// Quit begins to end the process; it must not wait for the admin server.
	Quit func()
	// SetHealthy is /healthcheck/ok (true) and /healthcheck/fail (false).
	SetHealthy func(bool)
	// ReopenLogs reopens log files, as SIGUSR1 does.
	ReopenLogs func() error
	// LogLevel and SetLogLevel are the level of the process log: debug, info, warn or error.
	LogLevel    func() string
	SetLogLevel func(string) error
}

// State is where a process is in its life.
type State string

// The states, under Envoy's names.
const (
	StatePreInitializing State = "PRE_INITIALIZING" // clusters are not up yet
	StateInitializing    State = "INITIALIZING"     // listeners are not up yet
	StateLive            State = "LIVE"             // serving
	StateDraining        State = "DRAINING"         // serving what it has, /healthcheck/fail or on its way out
)

// Info is what /server_info tells, besides the state.
type Info struct {
	Version string
	Commit  string // of the source, or ""
	// Started is when this process began to run.
	Started time.Time
	// FirstStarted is when the first process of a chain of hot restarts did. Zero means Started.
	FirstStarted time.Time
	RestartEpoch int
	Concurrency  int // loops
	DrainTime    time.Duration
	ConfigPath   string
	CommandLine  []string // without the program
	Node         Node
}

// Node is the "node" block of the config.
type Node struct{ ID, Cluster, Region, Zone, SubZone string }

// Listener is one line of /listeners.
type Listener struct {
	Name    string
	Address string // as bound: "127.0.0.1:80", "[::1]:80", "unix:/run/x", "unix:@abstract"
	State   string // "active", "warming" or "draining"
	UDP     bool
	// Additional are the addresses after the first one, Chains what the filter chains are called, in the order of
	// the configuration; none if there is only one without a name.
	Additional []string
	Chains     []string
	// Retired says that it was replaced or removed and has connections left. The text page,
	// which has no states, leaves it out.
	Retired bool
}

// Cluster is one cluster of /clusters.
type Cluster struct {
	Name              string
	ObservabilityName string // empty means Name
	EDSServiceName    string
	AddedViaAPI       bool
	Default, High     Thresholds
	Outlier           *Outlier // nil if no sweep has had enough traffic to tell
	Hosts             []Host
	Autoscaling       *Autoscaling // nil if the cluster does not say how many hosts it wants
}

// Autoscaling is how many hosts a cluster wants, and why.
type Autoscaling struct {
	Wanted, Current, Healthy uint32 // hosts
	Metric                   string // "requests_per_second" or "active_requests"
	Traffic, TargetPerHost   float64
	MinHosts, MaxHosts       uint32
}

// Outlier is what the last sweep of outlier detection worked with, in percent.
type Outlier struct {
	SuccessRateAverage, SuccessRateThreshold                       float64
	LocalOriginSuccessRateAverage, LocalOriginSuccessRateThreshold float64
}

// Thresholds are the circuit breakers of one priority.
type Thresholds struct{ MaxConnections, MaxPendingRequests, MaxRequests, MaxRetries uint64 }

// Certificates are those of one pair of files, or of one file of certificate authorities.
type Certificates struct {
	CA, Chain []Certificate
	Users     []string // what uses them, such as "listener edge"
	// LastError says why what the files hold now is not used, "" if it is.
	LastError string
}

// Certificate is one certificate of a file.
type Certificate struct {
	Path                string
	Serial              string // in hexadecimal digits
	Subject             string // as RFC 2253 has it
	Names               []AltName
	NotBefore, NotAfter time.Time
	DaysLeft            int64 // whole days until NotAfter, 0 once it is past
	// OCSPFrom and OCSPUntil are when the stapled answer is valid; zero without one.
	OCSPFrom, OCSPUntil time.Time
}

// AltName is a name that a certificate is for.
type AltName struct {
	Kind  string // "dns", "uri", "ip_address" or "email"
	Value string
}

// Host is one endpoint of a cluster, summed over the loops.
type Host struct {
	Address  string // "10.0.0.1:80" or "unix:/run/x"
	Hostname string

	CxActive, RqActive                 int64
	CxConnectFail, CxTotal             uint64
	RqError, RqSuccess, RqTimeout      uint64
	RqTotal                            uint64
	HealthFlags                        []string // such as "/failed_active_hc"; none means healthy
	Weight, Priority                   uint32
	Region, Zone, SubZone              string
	Canary                             bool
	SuccessRate                        float64 // percent; negative means too little traffic to tell
	LocalOriginSuccessRate             float64
	HasSuccessRate, HasLocalOriginRate bool // without them the rates are shown as -1
}

// ConfigDump is the configuration that runs.
type ConfigDump struct {
	Hash     string
	LoadedAt time.Time
	Path     string // the file it came from, or ""
	JSON     []byte // the whole tree, one object
}

// ConfigStatus is what /config_status tells.
type ConfigStatus struct {
	Path     string
	Hash     string    // of what runs
	LoadedAt time.Time // of what runs
	// Loads and Refusals count the attempts since the start.
	Loads, Refusals uint64
	// LastAttempt is when Last happened; zero when only the first load has.
	LastAttempt time.Time
	Last        Report
	// Warming is the configuration that waits for its clusters, nil if there is none.
	Warming *Warming
}

// Warming is a configuration that is not in force yet.
type Warming struct {
	Hash  string
	Since time.Time
	// Clusters are those that are waited for, Listeners those that will be new or other ones. Sorted neither way.
	Clusters, Listeners []string
}

// Report is the outcome of a reload.
type Report struct {
	// Applied is false if the file was refused; then Errors says why and nothing has changed. Dropped says that nothing is
	// wrong with it, but another one, or the end of the process, came before it was in force.
	Applied, Dropped bool
	Hash             string
	Took             time.Duration
	// Errors and Warnings are whole lines, "edge.json:41:9: clusters[2].lb_policy: …".
	Errors, Warnings []string
	Changes          []Change
	// Unchanged counts the parts that were left alone.
	Unchanged int
	// Warmed counts the clusters that had to be warmed, which is a part of Took.
	Warmed    int
	WarmedFor time.Duration
}

// Change is one part of the configuration that a reload touched.
type Change struct {
	Action string // "added", "changed" or "removed"
	Kind   string // "listener", "cluster", "route_table" …
	Name   string
	Detail string // what changed, or ""
}

// Region is a piece of memory outside the Go heap.
type Region struct {
	Name  string // such as "loop 0 blocks"
	Bytes uint64 // reserved
	Used  uint64 // leased at the moment
}

// DrainOptions are the parameters of /drain_listeners.
type DrainOptions struct {
	Graceful    bool // give connections the drain time, and then close the listeners
	SkipExit    bool // with Graceful: keep the listeners open after it
	InboundOnly bool // only listeners marked inbound
}
