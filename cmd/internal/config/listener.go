package config

import (
	"time"

	"millrace/engine/certs"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/l4"
)

// Listener is one address that connections, or datagrams, are accepted on.
type Listener struct {
	// Name of the listener, unique in the file. Left out, it is the address, with "/udp" behind it for UDP.
	Name string `json:"name"`
	// Address such as "127.0.0.1:80", "[::1]:80", ":8080", "unix:/run/app.sock" or "unix:@abstract". Port 0 takes a
	// free port, which the admin port tells.
	Address string `json:"address" required:"true"`
	// AdditionalAddresses are more addresses that the listener accepts on. Its stats are named by the first one.
	AdditionalAddresses []string `json:"additional_addresses" max:"64"`
	// Protocol is "tcp", which stands for Unix sockets too, or "udp". A UDP listener may have the address of a TCP one.
	Protocol string `json:"protocol" enum:"tcp,udp" default:"tcp" v3:"address.socket_address.protocol"`
	// StatPrefix is what the listener's stats are named by: "listener.<stat_prefix>.". Left out, it is the address.
	StatPrefix string `json:"stat_prefix"`

	// ListenerFilters look at a connection before its filter chain is chosen, in this order. Matches that need to know
	// the SNI or ALPN of a connection get tls_inspector by themselves, and use_original_dst gets original_dst.
	ListenerFilters []filters.Config `json:"listener_filters" filter:"listener" max:"16"`
	// ListenerFiltersTimeout is how long all listener filters may wait for bytes together; then the connection is
	// closed (downstream_pre_cx_timeout). 0s: for ever.
	ListenerFiltersTimeout time.Duration `json:"listener_filters_timeout" default:"15s"`
	// ContinueOnListenerFiltersTimeout goes on to choose a filter chain when listener_filters_timeout is over.
	ContinueOnListenerFiltersTimeout bool `json:"continue_on_listener_filters_timeout" default:"false"`

	// Filters is the short form of one entry in filter_chains, without a match.
	Filters []filters.Config `json:"filters" filter:"network" max:"64" v3:"filter_chains[0].filters"`
	// TLS makes connections speak TLS, beside filters. Left out, what they send is taken as it is.
	TLS *certs.DownstreamConfig `json:"tls" v3:"filter_chains[0].transport_socket"`
	// FilterChains are chains of network filters, of which each connection gets the one that matches it best.
	FilterChains []FilterChain `json:"filter_chains" max:"10000"`
	// DefaultFilterChain is for connections that no entry of filter_chains matches. Left out, they are closed.
	DefaultFilterChain *FilterChain `json:"default_filter_chain"`

	// UseOriginalDst gives a connection whose original destination is the address of another listener to that one: to
	// the one with exactly that address, else to one for all addresses with that port.
	UseOriginalDst bool `json:"use_original_dst" default:"false"`
	// BindToPort opens a socket. Without it the listener only gets what others with use_original_dst hand over.
	BindToPort bool `json:"bind_to_port" default:"true"`
	// TrafficDirection says whether the listener takes traffic to or from local services;
	// /drain_listeners?inboundonly drains "inbound" ones.
	TrafficDirection string `json:"traffic_direction" enum:"unspecified,inbound,outbound" default:"unspecified"`
	// DrainType says when connections are asked to end: whenever the process drains, or only when the
	// listener is changed or removed.
	DrainType string `json:"drain_type" enum:"default,modify_only" default:"default"`
	// AccessLog lists logs with one line for each connection, also for those that no filter chain matches. Default: none.
	AccessLog []accesslog.Config `json:"access_log"`

	// PerConnectionBufferLimitBytes is where a connection's queue pauses the side that fills it; at half of
	// it that side goes on.
	PerConnectionBufferLimitBytes int `json:"per_connection_buffer_limit_bytes" unit:"bytes" default:"1MiB" min:"1KiB" max:"1GiB"`
	// ConnectionLimit is the most connections open at once, over all loops; more are accepted and closed at
	// once. 0 means no limit.
	ConnectionLimit int `json:"connection_limit" min:"0" max:"1073741824" v3:"runtime envoy.resource_limits.listener.<name>.connection_limit"`
	// IgnoreGlobalConnLimit exempts the listener from overload.max_active_downstream_connections.
	IgnoreGlobalConnLimit bool `json:"ignore_global_conn_limit" default:"false"`
	// MaxConnectionsToAcceptPerSocketEvent is the most connections one loop accepts in one turn; the rest
	// wait for the next. 0 means the engine's own limit.
	MaxConnectionsToAcceptPerSocketEvent int `json:"max_connections_to_accept_per_socket_event" min:"0" max:"65536"`

	SocketConfig
}

// SocketConfig is what of a listener concerns its sockets only. It changes with the address or with a restart.
type SocketConfig struct {
	// TCPBacklogSize is the length of the kernel's queue of connections not yet accepted. 0 means the
	// system's own limit (net.core.somaxconn).
	TCPBacklogSize int `json:"tcp_backlog_size" min:"0" max:"1048576"`
	// EnableReusePort gives each loop a socket of its own on the address, among which the kernel spreads the
	// connections. Without it one socket is shared by all loops, or with UDP is one loop's alone. Unix sockets are
	// always shared.
	EnableReusePort bool `json:"enable_reuse_port" default:"true"`
	// TCPKeepalive probes silent downstream connections. Left out, the kernel does not probe.
	TCPKeepalive *TCPKeepalive `json:"tcp_keepalive"`
	// Transparent takes connections to any address that the kernel routes here (IP_TRANSPARENT). It needs CAP_NET_ADMIN.
	Transparent bool `json:"transparent" default:"false"`
	// Freebind allows an address that this machine does not have yet (IP_FREEBIND).
	Freebind bool `json:"freebind" default:"false"`
	// TCPFastOpenQueueLength allows data in the first packet of a connection (TCP_FASTOPEN), for so many connections
	// whose handshake is not complete. 0: off.
	TCPFastOpenQueueLength int `json:"tcp_fast_open_queue_length" min:"0" max:"65535"`
	// TCPDeferAccept makes the kernel keep connections back until they have sent something, for up to about so many
	// whole seconds (TCP_DEFER_ACCEPT; nginx's "deferred"). Not for protocols in which the server speaks first. 0s: off.
	TCPDeferAccept time.Duration `json:"tcp_defer_accept" max:"1h"`
	// EnableMPTCP accepts Multipath TCP.
	EnableMPTCP bool `json:"enable_mptcp" default:"false"`
	// IPv4Compat makes "[::]:80" take IPv4 as well. ":80" always does.
	IPv4Compat bool `json:"ipv4_compat" default:"false" v3:"address.socket_address.ipv4_compat"`
	// SocketOptions are raw options for setsockopt(2), in order.
	SocketOptions []SocketOption `json:"socket_options" max:"64"`
	// UnixMode is the permission of a Unix socket's file, in octal digits. Default: "0660".
	UnixMode string `json:"unix_mode" v3:"address.pipe.mode"`
}

// SocketOption is one raw option of a socket.
type SocketOption struct {
	// Description is for people.
	Description string `json:"description"`
	// Level of the option as a number, such as 6 for IPPROTO_TCP.
	Level int `json:"level" required:"true" min:"0" max:"2147483647"`
	// Name of the option as a number, such as 23 for TCP_FASTOPEN.
	Name int `json:"name" required:"true" min:"0" max:"2147483647"`
	// IntValue is the value, if it is a number.
	IntValue *int `json:"int_value" min:"-2147483648" max:"2147483647"`
	// BufValue is the value, if it is not: bytes in base64.
	BufValue string `json:"buf_value"`
	// State says when the option is set: before bind, after bind, or after listen.
	State string `json:"state" enum:"prebind,bound,listening" default:"prebind"`
}

// FilterChain is one chain of network filters.
type FilterChain struct {
	// Name of the chain, for access logs (%FILTER_CHAIN_NAME%), unique in the listener. A chain with a name keeps its
	// connections when only its match changes.
	Name string `json:"name"`
	// Match says which connections the chain takes. Left out, it takes those that no other chain matches better.
	Match *l4.MatchConfig `json:"match" v3:"filter_chain_match"`
	// TLS makes connections of the chain speak TLS. Left out, what they send is taken as it is.
	TLS *certs.DownstreamConfig `json:"tls" v3:"transport_socket"`
	// Filters of the chain, in order. The last one must end the chain, as http_connection_manager and tcp_proxy do.
	Filters []filters.Config `json:"filters" filter:"network" required:"true" max:"64"`
}

// TCPKeepalive is how silent connections are probed. Zero fields take the kernel's own setting.
type TCPKeepalive struct {
	// KeepaliveProbes is the number of unanswered probes that end a connection. 0 means the kernel's setting.
	KeepaliveProbes int `json:"keepalive_probes" min:"0" max:"127"`
	// KeepaliveTime is the silence before the first probe, in whole seconds. 0s means the kernel's setting.
	KeepaliveTime time.Duration `json:"keepalive_time" max:"9h"`
	// KeepaliveInterval is the time between two probes, in whole seconds. 0s means the kernel's setting.
	KeepaliveInterval time.Duration `json:"keepalive_interval" max:"9h"`
}

// IsUDP reports whether the listener takes datagrams.
func (l *Listener) IsUDP() bool { return l.Protocol == "udp" }

// Addresses returns all addresses of the listener.
func (l *Listener) Addresses() []string { return append([]string{l.Address}, l.AdditionalAddresses...) }

// StatName is what the listener's stats are named by.
func (l *Listener) StatName() string {
	if l.StatPrefix != "" {
		return l.StatPrefix
	}
	return l.Address
}
