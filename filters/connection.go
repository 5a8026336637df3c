package filters

import (
	"millrace/engine"
	"millrace/engine/transport"
	"millrace/filters/accesslog"
)

// A Connection is what is known and decided about one downstream connection beside its socket. It lives
// as long as the connection, on its loop, and is never reused: a callback that comes late finds it ended.
//
// It exists only where somebody has something to say: a connection without listener filters, network
// filters and TLS has none, and its terminal filter gets nil.
type Connection struct {
	// IO is the connection. Its RemoteAddr, LocalAddr and LocalRestored are what listener filters made of them.
	IO *engine.Conn
	// Chain runs the filters of this connection: see Resume and Close.
	Chain ConnectionChain
	// Start is when it was accepted, on the loop's clock.
	Start int64

	// Found out by listener filters, and by TLS.

	// DirectRemote and DirectLocal are the addresses of the socket itself.
	DirectRemote, DirectLocal engine.Addr
	// TransportProtocol is TransportTLS or TransportRaw; "" until somebody has looked, which matches as
	// TransportRaw.
	TransportProtocol string
	// ServerName is the SNI in lower case, or "".
	ServerName string
	// ApplicationProtocols are those the client offers (ALPN), or the one http_inspector found.
	ApplicationProtocols []string
	// JA3 is the fingerprint of the ClientHello, or "".
	JA3 string
	// ProxyVersion is that of the PROXY header that arrived: 1, 2, or 0 for none.
	ProxyVersion uint8
	// TLVs are those of the PROXY header that its filter keeps, in order.
	TLVs []TLV
	// Metadata are values by namespace and key, or nil.
	Metadata map[string]map[string]string

	// Session is that of our handshake with the client, not of somebody else's that passes by; nil before it is
	// complete, and without TLS.
	Session *transport.Session

	// Decided by network filters.

	// Cluster is where tcp_proxy forwards to instead of what its configuration says: sni_cluster sets it.
	Cluster string
	// OriginalSource makes upstream connections come from the client's address: original_src.
	OriginalSource bool
	// SourceMark is the SO_MARK of such connections, 0 for none.
	SourceMark uint32

	// For the access log.

	// TransportFailure is why TLS ended the connection.
	TransportFailure transport.Reason
	// Flags and Details say why a filter ended the connection.
	Flags   accesslog.Flags
	Details string
	// ChainName is the name of the filter chain, or "".
	ChainName string

	slots []any
	peer  *PeerCertificate // nil until somebody asks
	ended bool
}

// The values of Connection.TransportProtocol.
const (
	TransportRaw = "raw_buffer"
	TransportTLS = "tls"
)

// A TLV is one type-length-value of a PROXY protocol header, version 2.
type TLV struct {
	Type  uint8
	Value []byte
}

// A ConnectionChain runs the network filters of a connection.
type ConnectionChain interface {
	// Resume goes on behind the filter that answered NetworkPause.
	Resume(c *Connection)
	// Close ends the connection. What the terminal filter has upstream ends too.
	Close(c *Connection)
}

// Resume goes on with a connection that a network filter holds. It does nothing when the connection has ended.
func (c *Connection) Resume() {
	if !c.ended {
		c.Chain.Resume(c)
	}
}

// Close ends the connection, for a reason that goes to its log. It does nothing when the connection has ended.
func (c *Connection) Close(flags accesslog.Flags, details string) {
	if c.ended {
		return
	}
	c.Flags |= flags
	c.Details = details
	c.Chain.Close(c)
}

// Ended reports whether the connection is over.
func (c *Connection) Ended() bool { return c.ended }

// End marks the connection as over. For the chain.
func (c *Connection) End() { c.ended = true }

// Slot returns what a filter keeps for this connection, nil at first. i is NetworkEnv.Slot.
func (c *Connection) Slot(i int) any {
	if i >= len(c.slots) {
		return nil
	}
	return c.slots[i]
}

// SetSlot sets what Slot returns.
func (c *Connection) SetSlot(i int, v any) {
	for i >= len(c.slots) {
		c.slots = append(c.slots, nil)
	}
	c.slots[i] = v
}

// SetMetadata sets one value of Metadata.
func (c *Connection) SetMetadata(namespace, key, value string) {
	if c.Metadata == nil {
		c.Metadata = map[string]map[string]string{}
	}
	if c.Metadata[namespace] == nil {
		c.Metadata[namespace] = map[string]string{}
	}
	c.Metadata[namespace][key] = value
}
