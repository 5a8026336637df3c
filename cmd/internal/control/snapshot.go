package control

import (
	"sync/atomic"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
	"millrace/filters/l4"
	"millrace/filters/route"
	"millrace/upstream"
)

// A Snapshot is a whole configuration. It is immutable once it is published.
type Snapshot struct {
	// Hash of everything in it.
	Hash uint64
	// JSON is the configuration as text, defaults written out.
	JSON []byte
	// LoadedAt is when it was put into force.
	LoadedAt time.Time
	// DrainTime is how long connections may take to end.
	DrainTime time.Duration
	// FlushInterval is how long an interval of histograms is.
	FlushInterval time.Duration
	// ConnectionLimit is the most downstream connections of the process, 0 for no limit.
	ConnectionLimit int64
	// LoopBalancing says when loops hand connections over.
	LoopBalancing LoopBalancing
	// Listeners and Clusters are in the order of the file; AddListener and AddCluster append to them.
	Listeners []*Listener
	Clusters  []*Cluster

	listeners map[string]*Listener // by name
	clusters  map[string]*Cluster
}

// LoopBalancing says when a loop that is busier than the others hands connections to them.
type LoopBalancing struct {
	Enabled   bool
	BusyRatio float64 // to the mean
	MinBusy   float64 // share of the time
	Interval  time.Duration
	Intervals int
}

// A Cluster is a cluster with the hash of its configuration.
type Cluster struct {
	*upstream.Cluster
	Hash uint64
	// Held is what TLS keeps open, nil without it.
	Held *Resources
}

// A Listener is one listener: its sockets, what looks at a connection first, and the filter chains.
type Listener struct {
	Name    string
	Address string // the first one, as configured
	// StatName is what stats are named by, "listener.<StatName>.".
	StatName string
	UDP      bool
	// Sockets are what it accepts on, one for each address.
	Sockets []Socket
	Options engine.ListenerOptions
	// SocketHash covers what only a new socket can change, EnvHash what every chain is built with besides its own
	// configuration, FilterHash the listener filters, FrontHash all that only new connections see.
	SocketHash, EnvHash, FilterHash, FrontHash uint64

	BufferLimit       int
	ConnectionLimit   int64
	IgnoreGlobalLimit bool // overload.max_active_downstream_connections is not for it
	DrainOnlyModify   bool // drain_type modify_only
	Inbound           bool // traffic_direction inbound
	UseOriginalDst    bool
	FilterTimeout     time.Duration
	ContinueOnTimeout bool

	// Filters are the listener filters, FilterHeld what they keep open.
	Filters    []Filter
	FilterHeld *Resources
	// Logs are those of the listener itself, LogHeld what keeps them open.
	Logs    []*accesslog.Log
	LogHash uint64
	LogHeld *Resources

	// Chains are the filter chains in the order of the file, Table finds one of them, and Default is for what it does
	// not find. Table is nil if Chains[0] takes all.
	Chains  []*Chain
	Table   *l4.ChainTable
	Default *Chain

	// Open is the number of open connections over all loops, for ConnectionLimit. It is kept over
	// reloads as long as the name is.
	Open *atomic.Int64
}

// A Socket is one address of a listener.
type Socket struct {
	// Key names the socket: listeners of two snapshots with the same Key share the file descriptors,
	// whatever their names. See SocketKey.
	Key string
	// Configured is the address of the file, Bound the one the sockets have, with a port instead of port 0.
	Configured, Bound engine.Addr
	// Unbound says that there is no socket: the listener only gets what others hand over.
	Unbound bool
}

// Bound returns the first address of the listener as it is bound.
func (l *Listener) Bound() engine.Addr { return l.Sockets[0].Bound }

// AllChains returns the chains with the default one.
func (l *Listener) AllChains() []*Chain {
	if l.Default == nil {
		return l.Chains
	}
	return append(l.Chains[:len(l.Chains):len(l.Chains)], l.Default)
}

// Chain returns the chain with a key, or nil.
func (l *Listener) Chain(key string) *Chain {
	if l == nil {
		return nil
	}
	for _, c := range l.AllChains() {
		if c.Key == key {
			return c
		}
	}
	return nil
}

// A Chain is one filter chain of a listener.
type Chain struct {
	// Key tells the chains of a listener apart, and finds them again in the next snapshot: the name, or without one
	// the match.
	Key  string
	Name string // or ""
	// Hash covers all that makes the filters, TLSHash the TLS context, RouteHash the routes.
	Hash, TLSHash, RouteHash uint64
	// Filters are the network filters; the last one ends the chain.
	Filters []Filter
	// HTTP is the config of the last filter if that is the connection manager. Only then are there HTTPFilters, the router
	// left out, Routes and Logs.
	HTTP        *httpconn.Config
	HTTPFilters []Filter
	Routes      *Routes
	Logs        []*accesslog.Log
	// TLS is what its connections speak, nil if they are plain. All loops share it, and so do chains of later snapshots
	// that differ in their routes only.
	TLS *certs.Server
	// Held is what Filters, HTTPFilters, Logs and TLS keep open.
	Held *Resources
}

// A Filter is one listener, network or HTTP filter: what the file says of it, and what all loops have in common.
type Filter struct {
	Name           string
	Config, Shared any
}

// Routes is a compiled route table with the formats its header values use.
type Routes struct {
	Table   *route.Table
	Formats []*accesslog.Format
}

// Resources are what parts of a snapshot keep open until no loop uses them any more.
type Resources struct {
	// Close may wait, and runs on a goroutine of its own. Forget runs on the control goroutine.
	Close, Forget []func()
}

// SocketKey returns the Socket.Key of an address of a listener. One that takes a free port has it for itself.
func SocketKey(name string, addr engine.Addr, udp bool) string {
	key := addr.String()
	if udp {
		key = "udp " + key
	}
	if !addr.IsUnix() && addr.Port() == 0 {
		return key + " of " + name
	}
	return key
}

// AddListener appends a listener.
func (s *Snapshot) AddListener(l *Listener) {
	if s.listeners == nil {
		s.listeners = map[string]*Listener{}
	}
	s.listeners[l.Name] = l
	s.Listeners = append(s.Listeners, l)
}

// AddCluster appends a cluster.
func (s *Snapshot) AddCluster(c *Cluster) {
	if s.clusters == nil {
		s.clusters = map[string]*Cluster{}
	}
	s.clusters[c.Name] = c
	s.Clusters = append(s.Clusters, c)
}

// Listener returns the listener of that name, or nil. A nil Snapshot has none.
func (s *Snapshot) Listener(name string) *Listener {
	if s == nil {
		return nil
	}
	return s.listeners[name]
}

// Cluster returns the cluster of that name, or nil. A nil Snapshot has none.
func (s *Snapshot) Cluster(name string) *Cluster {
	if s == nil {
		return nil
	}
	return s.clusters[name]
}

// ClusterOf is Cluster for a name that comes from a request; it does not allocate.
func (s *Snapshot) ClusterOf(name []byte) *Cluster { return s.clusters[string(name)] }
