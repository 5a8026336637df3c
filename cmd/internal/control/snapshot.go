package control

import (
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
	// Listeners and Clusters are in the order of the file.
	Listeners []*Listener
	Clusters  []*Cluster
}

// A Cluster is a cluster with the hash of its configuration.
type Cluster struct {
	*upstream.Cluster
	Hash uint64
}

// A Listener is one listener: a socket, and the chain of filters behind it.
type Listener struct {
	Name    string
	Address string // as configured: what its sockets are known by
	Options engine.ListenerOptions
	// SocketHash covers what only a new socket can change, ChainHash all that makes the filters, RouteHash the
	// routes.
	SocketHash, ChainHash, RouteHash uint64

	BufferLimit     int
	ConnectionLimit int64
	DrainOnlyModify bool // drain_type modify_only

	HTTP   *httpconn.Config
	Routes *Routes
	Logs   []*accesslog.Log
}

// Routes is a compiled route table with the formats its header values use.
type Routes struct {
	Table   *route.Table
	Formats []*accesslog.Format
}

// Listener returns the listener of that name, or nil.
func (s *Snapshot) Listener(name string) *Listener {
	if s == nil {
		return nil
	}
	for _, l := range s.Listeners {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// Cluster returns the cluster of that name, or nil.
func (s *Snapshot) Cluster(name string) *Cluster {
	if s == nil {
		return nil
	}
	for _, c := range s.Clusters {
		if c.Name == name {
			return c
		}
	}
	return nil
}
