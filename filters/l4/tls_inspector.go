package l4

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"millrace/codec/clienthello"
	"millrace/engine/stats"
	"millrace/filters"
)

// TLSInspectorConfig configures the "tls_inspector" listener filter, which looks at the first bytes of a connection: are
// they a TLS ClientHello, which server does it name (SNI), what does it want to speak (ALPN). It takes no part in the
// handshake, so the connection can be passed on as it is. It makes connections wait for the client to speak first.
type TLSInspectorConfig struct {
	// EnableJA3Fingerprinting makes the JA3 fingerprint of the client known, for access logs. Default: false.
	EnableJA3Fingerprinting bool `json:"enable_ja3_fingerprinting"`
	// EnableJA4Fingerprinting makes the JA4 fingerprint known, as "ja4" of the metadata
	// "envoy.filters.listener.tls_inspector". Default: false.
	EnableJA4Fingerprinting bool `json:"enable_ja4_fingerprinting"`
	// MaxClientHelloSize is the longest ClientHello in bytes; longer ones are closed. It may be spread over 64 records
	// at most. Default: 64KiB, the maximum.
	MaxClientHelloSize int `json:"max_client_hello_size" default:"64KiB" min:"256" max:"64KiB" unit:"bytes"`
	// CloseConnectionOnClientHelloParsingErrors closes what begins as a ClientHello and is none, or names a server
	// that cannot be one. Else it is taken as not TLS. Default: true.
	CloseConnectionOnClientHelloParsingErrors bool `json:"close_connection_on_client_hello_parsing_errors" default:"true"`
}

// tlsInspector looks for a ClientHello.
type tlsInspector struct {
	max      int
	ja3, ja4 bool
	lenient  bool
	stats    *tlsInspectorStats
}

// tlsInspectorStats counts one loop: "tls_inspector.".
type tlsInspectorStats struct {
	TLSFound            stats.Counter   `stat:"tls_found" help:"connections that begin with a ClientHello"`
	TLSNotFound         stats.Counter   `stat:"tls_not_found" help:"connections that begin with something else"`
	ALPNFound           stats.Counter   `stat:"alpn_found" help:"ClientHellos with ALPN"`
	ALPNNotFound        stats.Counter   `stat:"alpn_not_found" help:"ClientHellos without ALPN"`
	SNIFound            stats.Counter   `stat:"sni_found" help:"ClientHellos that name a server"`
	SNINotFound         stats.Counter   `stat:"sni_not_found" help:"ClientHellos that name no server"`
	ClientHelloTooLarge stats.Counter   `stat:"client_hello_too_large" help:"connections closed at max_client_hello_size"`
	ParsingError        stats.Counter   `stat:"client_hello_parsing_error" help:"connections that begin as a ClientHello and go on otherwise"`
	BytesProcessed      stats.Histogram `stat:"bytes_processed" help:"bytes looked at until it was known what they are"`
}

func newTLSInspector(cfg *TLSInspectorConfig, _ *struct{}, env *filters.NetworkEnv) (any, error) {
	return &tlsInspector{
		max: cfg.MaxClientHelloSize, ja3: cfg.EnableJA3Fingerprinting, ja4: cfg.EnableJA4Fingerprinting,
		lenient: !cfg.CloseConnectionOnClientHelloParsingErrors,
		stats:   stats.Register[tlsInspectorStats](env.Stats, stats.Root("tls_inspector")),
	}, nil
}

// OnPeek implements filters.PeekFilter.
func (f *tlsInspector) OnPeek(c *filters.Connection, b []byte, _ bool) (int, filters.ListenerVerdict) {
	h, n, err := clienthello.Parse(b, f.max)
	switch {
	case err != nil:
		f.stats.BytesProcessed.Record(uint64(len(b)))
		return 0, f.refused(c, err)
	case n == 0:
		return 0, filters.ListenerWait
	}
	f.stats.BytesProcessed.Record(uint64(n))
	f.found(c, h)
	return 0, filters.ListenerContinue
}

// refused says what becomes of a connection without a ClientHello.
func (f *tlsInspector) refused(c *filters.Connection, err error) filters.ListenerVerdict {
	var reason clienthello.Reason
	errors.As(err, &reason)
	switch reason {
	case clienthello.ReasonTooLarge:
		f.stats.ClientHelloTooLarge.Inc()
		c.Details = "tls_client_hello_too_large"
		return filters.ListenerClose
	case clienthello.ReasonNotTLS:
	default:
		f.stats.ParsingError.Inc()
		if !f.lenient {
			c.Details = tlsInspectorDetails[reason]
			return filters.ListenerClose
		}
	}
	f.stats.TLSNotFound.Inc()
	c.TransportProtocol = filters.TransportRaw
	return filters.ListenerContinue
}

// tlsInspectorDetails are the details of connections that are closed.
var tlsInspectorDetails = [...]string{
	clienthello.ReasonMalformed: "tls_client_hello_malformed",
	clienthello.ReasonName:      "tls_client_hello_server_name",
}

// found gives the connection what its ClientHello says.
func (f *tlsInspector) found(c *filters.Connection, h *clienthello.Hello) {
	f.stats.TLSFound.Inc()
	c.TransportProtocol = filters.TransportTLS
	c.ServerName = h.ServerName
	c.ApplicationProtocols = h.Protocols
	count := func(found bool, yes, no *stats.Counter) {
		if found {
			yes.Inc()
		} else {
			no.Inc()
		}
	}
	count(h.ServerName != "", &f.stats.SNIFound, &f.stats.SNINotFound)
	count(len(h.Protocols) > 0, &f.stats.ALPNFound, &f.stats.ALPNNotFound)
	if f.ja3 {
		sum := md5.Sum([]byte(h.JA3())) // a name, not a signature: JA3 is defined so
		c.JA3 = hex.EncodeToString(sum[:])
	}
	if f.ja4 {
		head, ciphers, extensions := h.JA4()
		c.SetMetadata("envoy.filters.listener.tls_inspector", "ja4",
			fmt.Sprintf("%s_%s_%s", head, tlsInspectorHash(ciphers), tlsInspectorHash(extensions)))
	}
}

// tlsInspectorHash is a part of a JA4 fingerprint.
func tlsInspectorHash(text string) string {
	if text == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}
