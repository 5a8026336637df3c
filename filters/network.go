package filters

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// The path of a connection until its terminal filter has it:
//
//	accept ─▶ listener filters ─▶ filter chain is chosen ─▶ OnNewConnection ─▶ TLS ─▶ OnEstablished ─▶ terminal
//
// The contracts of listener and network filters follow. A filter implements those it needs. All are called on the
// connection's loop, on one object for all connections of a listener or a chain.

// A ListenerVerdict is what a listener filter answers.
type ListenerVerdict uint8

const (
	// ListenerContinue: the filter is done with this connection.
	ListenerContinue ListenerVerdict = iota
	// ListenerWait: it needs more bytes than it was shown, and sees all of them again with the next ones.
	ListenerWait
	// ListenerClose ends the connection.
	ListenerClose
)

// AcceptFilter is a listener filter that decides without looking at bytes.
type AcceptFilter interface {
	OnAccept(c *Connection) ListenerVerdict
}

// PeekFilter is a listener filter that looks at the first bytes. b is all that has come and was not consumed; it
// is empty in the first call if nothing has come yet. end says that nothing will follow. What it consumes nobody
// else sees; with ListenerWait it may not consume. It keeps no state between calls: it starts anew with b.
type PeekFilter interface {
	OnPeek(c *Connection, b []byte, end bool) (consumed int, v ListenerVerdict)
}

// A NetworkVerdict is what a network filter answers.
type NetworkVerdict uint8

const (
	// NetworkContinue passes on to the next filter.
	NetworkContinue NetworkVerdict = iota
	// NetworkPause holds the connection, or this direction of its bytes, at this filter until Connection.Resume.
	NetworkPause
	// NetworkClose ends the connection. The filter has set Connection.Flags and Details.
	NetworkClose
)

// NewConnectionFilter hears of a connection when its chain was chosen, before a TLS handshake costs anything.
type NewConnectionFilter interface {
	OnNewConnection(c *Connection) NetworkVerdict
}

// EstablishedFilter hears of a connection when bytes may flow: after the TLS handshake, or for a plain connection
// right after all OnNewConnection.
type EstablishedFilter interface {
	OnEstablished(c *Connection) NetworkVerdict
}

// ReadFilter sees the bytes from downstream, decrypted, before the terminal filter gets them. b is valid during
// the call. With NetworkPause the same bytes are not shown to it again: they go on to the next filter on Resume.
type ReadFilter interface {
	OnRead(c *Connection, b []byte, end bool) NetworkVerdict
}

// WriteFilter sees the bytes to downstream before they are encrypted. b is valid during the call. It cannot pause:
// NetworkPause counts as NetworkContinue.
type WriteFilter interface {
	OnWrite(c *Connection, b []byte, end bool) NetworkVerdict
}

// EndFilter hears of the end of each connection for which OnNewConnection or OnEstablished of it was called.
type EndFilter interface {
	OnEnd(c *Connection)
}

// A NetworkTerminal is the last network filter of a chain: it owns the connections it is given.
type NetworkTerminal interface {
	// Accept takes a connection and returns its handler, or nil to have it closed; then Left is not
	// called for it. c may be nil, see Connection.
	Accept(io *engine.Conn, c *Connection) engine.Handler
	// Conns returns the number of its connections.
	Conns() int
	// Drain asks connections to end when they can.
	Drain()
	// Close ends all connections now.
	Close()
	// Release gives back what it holds. It has no connections and gets no more.
	Release()
}

// A Gate hears of the end of connections that a NetworkTerminal has taken.
type Gate interface {
	// Left must be called once for each connection that Accept returned a handler for, when it ended. Its
	// addresses and byte counts can still be asked for.
	Left(io *engine.Conn, c *Connection)
}

// NetworkEnv is what a listener or network filter may use of the process that runs it: one chain on one loop.
type NetworkEnv struct {
	// Loop the filter object will live on.
	Loop *engine.Loop
	// Stats makes the counters of the filter known: see stats.Register.
	Stats stats.Registrar
	// Gate is for terminal filters.
	Gate Gate
	// Clusters are those of the loop.
	Clusters *pool.Table
	// ClusterByName finds a cluster of the running configuration.
	ClusterByName func(name string) (upstream.ClusterID, bool)
	// RateLimit asks the rate limit service, nil if there is none.
	RateLimit RateLimiter
	// Draining is set while the process drains.
	Draining *atomic.Bool
	// BufferLimit is per_connection_buffer_limit_bytes of the listener.
	BufferLimit int
	// Address of the listener, as configured, and the name of the chain.
	Address, ChainName string
	// Transparent says that the listener is given connections to other addresses than its own.
	Transparent bool
	// Slot is the index for Connection.Slot.
	Slot int
}

// SharedEnv is what NetworkSpec.Share and Spec.Share may use. They are called on the control side.
type SharedEnv struct {
	// ClusterID finds a cluster of the configuration that is being built.
	ClusterID func(name string) (upstream.ClusterID, bool)
	// ClusterStatName returns what the counters of a cluster of that configuration are named by. Nil: its name.
	ClusterStatName func(name string) string
	// OpenLog opens an access log. Whoever opens it closes it.
	OpenLog func(*accesslog.Config) (*accesslog.Log, error)
	// Watch reads a source at once and then every so often, and gives what it found, or why it found
	// nothing, to put, on a goroutine. After stop has returned put is not called any more.
	Watch func(src Source, every, jitter time.Duration, put func(body []byte, err error)) (stop func())
	// Once returns what the first call with that key made, so that filters of several chains and listeners of a
	// configuration can have something in common. The key starts with the name of the filter. If it is nil
	// they have not.
	Once func(key string, made func() any) any
	// Stats makes counters known that no loop owns.
	Stats stats.Registrar
	// Scope is that of the connection manager, of HTTP filters.
	Scope stats.Scope
	// Log is for what an operator must hear of.
	Log *slog.Logger
}

// A Source is where a list comes from that is read again and again.
type Source struct {
	// File is a path, or "".
	File string
	// Cluster and Path are an HTTP/1.1 GET to a host of a cluster.
	Cluster, Path string
}

// The kinds of a NetworkSpec.
const (
	KindListener = "listener"
	KindNetwork  = "network"
)

// A NetworkSpec describes a kind of listener or network filter: one line in filters/l4/builtin.go.
type NetworkSpec struct {
	// Name in the configuration, and a sentence for the reference page.
	Name, Doc string
	// Kind is KindListener or KindNetwork.
	Kind string
	// Terminal filters end a chain: what Build returns is a NetworkTerminal, or with UDP a DatagramTerminal.
	Terminal bool
	// UDP filters are for listeners with protocol "udp", all others for "tcp".
	UDP bool
	// NewConfig returns a pointer to a config struct with zero values; the loader puts the defaults in.
	NewConfig func() any
	// Share makes what all loops have in common: compiled configuration, counts, logs, lists. May be nil. If what it
	// returns is an io.Closer it is closed when no loop has connections of the chain any more.
	Share func(cfg any, env *SharedEnv) (any, error)
	// Build makes the filter object of one chain on one loop.
	Build func(cfg, shared any, env *NetworkEnv) (any, error)
}

// Network makes a NetworkSpec from typed functions. share may be nil: then S is struct{} and build gets nil.
func Network[C, S any](kind, name string, share func(*C, *SharedEnv) (*S, error), build func(*C, *S, *NetworkEnv) (any, error)) NetworkSpec {
	spec := NetworkSpec{Name: name, Kind: kind, NewConfig: func() any { return new(C) }}
	typed := func(cfg any) (*C, error) {
		c, ok := cfg.(*C)
		if !ok {
			return nil, fmt.Errorf("filter %q: config is a %T", name, cfg)
		}
		return c, nil
	}
	if share != nil {
		spec.Share = func(cfg any, env *SharedEnv) (any, error) {
			c, err := typed(cfg)
			if err != nil {
				return nil, err
			}
			return share(c, env)
		}
	}
	spec.Build = func(cfg, shared any, env *NetworkEnv) (any, error) {
		c, err := typed(cfg)
		if err != nil {
			return nil, err
		}
		s, _ := shared.(*S)
		return build(c, s, env)
	}
	return spec
}
