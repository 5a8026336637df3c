package accesslog

import (
	"millrace/codec"
	"millrace/engine"
	"millrace/engine/transport"
)

// Info is what a stream remembers for its line in the log while it lives. It is plain data:
// strings are static, or live as long as the configuration they come from.
//
// Points in time are nanoseconds of the loop's clock; 0 says that it did not happen.
type Info struct {
	// Start is when the first byte of the request was read.
	Start int64
	// RequestEnd is when the last byte of the request was read.
	RequestEnd int64
	// UpstreamConnect is when connecting to the host began, 0 if a connection was there already.
	UpstreamConnect int64
	// UpstreamReady is when a connection to the host was there for the request.
	UpstreamReady int64
	// UpstreamHandshake is when its TLS handshake was complete, 0 if it had none for this request.
	UpstreamHandshake int64
	// UpstreamFirstTx and UpstreamLastTx are the first and the last byte of the request sent upstream.
	UpstreamFirstTx, UpstreamLastTx int64
	// UpstreamFirstRx and UpstreamLastRx are the first and the last byte of the response read.
	UpstreamFirstRx, UpstreamLastRx int64
	// UpstreamBodyRx is when the first byte of the response's body was read.
	UpstreamBodyRx int64
	// DownstreamFirstTx and DownstreamLastTx are the first and the last byte of the response sent.
	DownstreamFirstTx, DownstreamLastTx int64

	// RequestBytes is the body received from downstream, ResponseBytes the body sent there, without framing. Of a
	// connection without requests they are what was received and sent.
	RequestBytes, ResponseBytes uint64
	// WireReceived and WireSent are the bytes of the stream on the downstream connection, heads and framing included.
	WireReceived, WireSent uint64
	// RequestHeadBytes and ResponseHeadBytes are the sizes of the heads on the wire.
	RequestHeadBytes, ResponseHeadBytes uint32

	// Flags say what went wrong.
	Flags Flags
	// Status is the status code sent downstream, 0 if none was.
	Status uint16
	// Attempts is how many upstream attempts were made.
	Attempts uint8
	// HealthCheck marks a request of a health checker: not traced, not logged by not_health_check.
	HealthCheck bool
	// Internal says that the request comes from inside the mesh.
	Internal bool

	// Details is %RESPONSE_CODE_DETAILS%: who set the status and why.
	Details string
	// Cluster is the name of the chosen cluster.
	Cluster string
	// UpstreamHost is the name of the host of the last attempt.
	UpstreamHost string
	// UpstreamTransportFailure tells why the transport to the host failed.
	UpstreamTransportFailure string
}

// A Record is all that a format may print of one stream: a request, a connection or a UDP session. A loop
// keeps one and fills it when a stream ends; everything it points to must stay valid during [Logger.Log] only.
//
// What is not known stays zero, and prints as absent, or as 0 where Envoy has a number.
type Record struct {
	Info

	// Type says what the line is about.
	Type Type

	// Request is the head as it arrived and was changed by filters; nil if there was none.
	Request *codec.RequestHead
	// Response is the head as sent downstream; nil if there was none.
	Response *codec.ResponseHead
	// ResponseTrailers are nil if there were none.
	ResponseTrailers *codec.Fields

	// StartUnix is the wall clock at Start, in nanoseconds since 1970.
	StartUnix int64
	// End is when the stream ended, on the loop's clock.
	End int64

	// Protocol of the downstream: 10, 11, 20; 0 prints as absent.
	Protocol uint8
	// UpstreamProtocol of the last attempt, likewise.
	UpstreamProtocol uint8

	// RouteName and VirtualHost are the names from the configuration, or empty.
	RouteName, VirtualHost string
	// FilterChain is the name of the listener's filter chain, or empty.
	FilterChain string
	// RequestedServerName is the SNI of a TLS downstream.
	RequestedServerName string
	// TLS is the session of the downstream connection, UpstreamTLS that of the last attempt's; nil without TLS.
	TLS, UpstreamTLS *transport.Session
	// JA3 is the fingerprint of the client's ClientHello.
	JA3 string
	// ConnectionDetails tells why a network filter ended the downstream connection.
	ConnectionDetails string
	// TransportFailure tells why the handshake with the client failed.
	TransportFailure string
	// LocalReplyBody is the body of a response that the proxy made.
	LocalReplyBody string
	// Metadata are values by namespace and key.
	Metadata map[string]map[string]string

	// CloseType says how the downstream connection ended, UpstreamCloseType how the one of the last attempt did.
	CloseType, UpstreamCloseType CloseType
	// CloseReason tells why we closed the downstream connection, UpstreamCloseReason why that of the last attempt.
	CloseReason, UpstreamCloseReason string

	// Remote is the trusted address of the client, DirectRemote the peer of the connection.
	Remote, DirectRemote engine.Addr
	// Local is our address of the downstream connection, or where the client wanted to go if that was
	// restored; DirectLocal is the one of the socket then.
	Local, DirectLocal engine.Addr
	// UpstreamRemote and UpstreamLocal are the addresses of the last attempt's connection.
	UpstreamRemote, UpstreamLocal engine.Addr

	// UpstreamWireSent and UpstreamWireReceived are the bytes of the last attempt, heads and framing included.
	UpstreamWireSent, UpstreamWireReceived uint64
	// UpstreamHeadSent and UpstreamHeadReceived are the sizes of its heads.
	UpstreamHeadSent, UpstreamHeadReceived uint32
	// Attempted are the attempts in order. Only valid if somebody keeps them.
	Attempted []Attempt

	// ConnID is the number of the downstream connection in this process, UpstreamConnID that of the upstream one.
	ConnID, UpstreamConnID uint64
	// StreamID is a number drawn for the stream: Stream.Random.
	StreamID uint64

	scratch []byte // for the text of one value
}

// An Attempt is one try to reach a host.
type Attempt struct {
	// Host is the name of the host, Addr its address.
	Host string
	Addr engine.Addr
	// ConnID is the number of the connection, 0 if there was none.
	ConnID uint64
}

// Type says what a record is about, and at which moment it was taken.
type Type uint8

const (
	TypeDownstreamEnd        Type = iota // the end of a request
	TypeNotSet                           // the end of a connection, in the log of its listener
	TypeTCPUpstreamConnected             // tcp_proxy has a connection to the upstream
	TypeTCPPeriodic                      // tcp_proxy, while the connection lives
	TypeTCPConnectionEnd                 // tcp_proxy, at the end of the connection
	TypeUDPPeriodic                      // udp_proxy, while the session lives
	TypeUDPSessionEnd                    // udp_proxy, at the end of the session
	typeCount
)

// typeNames are Envoy's names of the types.
var typeNames = [typeCount]string{
	TypeDownstreamEnd:        "DownstreamEnd",
	TypeNotSet:               "NotSet",
	TypeTCPUpstreamConnected: "TcpUpstreamConnected",
	TypeTCPPeriodic:          "TcpPeriodic",
	TypeTCPConnectionEnd:     "TcpConnectionEnd",
	TypeUDPPeriodic:          "UdpPeriodic",
	TypeUDPSessionEnd:        "UdpSessionEnd",
}

// String returns Envoy's name of t.
func (t Type) String() string { return typeNames[t] }

// CloseType says how a connection ended.
type CloseType uint8

const (
	CloseUnknown     CloseType = iota // it is open, or nobody knows
	CloseNormal                       // in order
	CloseLocalReset                   // we reset it
	CloseRemoteReset                  // the peer reset it
)

// closeNames are Envoy's names.
var closeNames = [...]string{CloseUnknown: "", CloseNormal: "Normal", CloseLocalReset: "LocalReset", CloseRemoteReset: "RemoteReset"}

// String returns Envoy's name of c, "" if it is unknown.
func (c CloseType) String() string { return closeNames[c] }

// Reset empties r for the next stream.
func (r *Record) Reset() { *r = Record{scratch: r.scratch[:0]} }
