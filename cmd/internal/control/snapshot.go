package control

import (
	"sync/atomic"
	"time"

	"millrace/engine"
	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
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
	// Listeners and Clusters are in the order of the file; AddListener and AddCluster append to them.
	Listeners []*Listener
	Clusters  []*Cluster

	listeners map[string]*Listener // by name
	clusters  map[string]*Cluster
}

// A Cluster is a cluster with the hash of its configuration.
type Cluster struct {
	*upstream.Cluster
	Hash uint64
}

// A Listener is one listener: a socket, and the chain of filters behind it.
type Listener struct {
	Name    string
	Address string // as configured
	// Socket names what the listener accepts on: listeners of two snapshots with the same Socket share
	// the file descriptors, whatever their names. See SocketKey.
	Socket  string
	Options engine.ListenerOptions
	// SocketHash covers what only a new socket can change, ChainHash all that makes the filters, RouteHash the
	// routes.
	SocketHash, ChainHash, RouteHash uint64

	ChainName       string // of its filter chain, or ""
	BufferLimit     int
	ConnectionLimit int64
	DrainOnlyModify bool // drain_type modify_only

	HTTP   *httpconn.Config
	Routes *Routes
	Logs   []*accesslog.Log

	// Open is the number of open connections over all loops, for ConnectionLimit. It is kept over
	// reloads as long as the name is.
	Open *atomic.Int64
	// Bound is the address the sockets have: that of the file, with a port instead of port 0.
	Bound engine.Addr
}

// Routes is a compiled route table with the formats its header values use.
type Routes struct {
	Table   *route.Table
	Formats []*accesslog.Format
}

// SocketKey returns the Listener.Socket of a listener. One that takes a free port has it for itself.
func SocketKey(name string, addr engine.Addr) string {
	if !addr.IsUnix() && addr.Port() == 0 {
		return addr.String() + " of " + name
	}
	return addr.String()
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
