package l4

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"millrace/codec/proxyproto"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/upstream"
)

// ProxyProtocolConfig configures the "proxy_protocol" listener filter, which reads the header of the PROXY protocol,
// version 1 or 2, that a proxy in front puts before the bytes of its client. The addresses in it become those of the
// connection. A connection without a header, or with a bad one, is closed.
type ProxyProtocolConfig struct {
	// StatPrefix is a name in the counters: proxy_proto.<stat_prefix>. Default: none, proxy_proto.
	StatPrefix string `json:"stat_prefix"`
	// AllowRequestsWithoutProxyProtocol takes connections without a header too, and those whose header is of a
	// disallowed version, for what they are. Anybody who can connect can then say who they are: only for
	// listeners that untrusted clients cannot reach. Default: false.
	AllowRequestsWithoutProxyProtocol bool `json:"allow_requests_without_proxy_protocol"`
	// DisallowedVersions are versions that are not taken. Default: none.
	DisallowedVersions []string `json:"disallowed_versions" enum:"v1,v2"`
	// Rules put values of TLVs of version 2 into the metadata of the connection.
	Rules []ProxyProtocolRule `json:"rules" max:"256"`
	// PassThroughTLVs says which TLVs are kept, for tcp_proxy to send on to the upstream. Default: none.
	PassThroughTLVs *upstream.PassThroughTLVs `json:"pass_through_tlvs"`
}

// ProxyProtocolRule puts the value of one type of TLV into the metadata.
type ProxyProtocolRule struct {
	// TLVType is the type, 0 to 255.
	TLVType int `json:"tlv_type" required:"true" min:"0" max:"255"`
	// OnTLVPresent says where the value goes.
	OnTLVPresent ProxyProtocolKey `json:"on_tlv_present" required:"true"`
}

// ProxyProtocolKey is a place in the metadata.
type ProxyProtocolKey struct {
	// MetadataNamespace is where the key is. Default: "envoy.filters.listener.proxy_protocol".
	MetadataNamespace string `json:"metadata_namespace" default:"envoy.filters.listener.proxy_protocol"`
	// Key of the value. What is not UTF-8 in a value becomes '!'.
	Key string `json:"key" required:"true"`
}

// Validate reports versions of which none is left.
func (c *ProxyProtocolConfig) Validate(report func(path, problem, hint string)) {
	if slices.Contains(c.DisallowedVersions, "v1") && slices.Contains(c.DisallowedVersions, "v2") {
		report("disallowed_versions", "no version is left", "leave the filter out, or one of the versions")
	}
}

// proxyProtocol reads the PROXY header.
type proxyProtocol struct {
	allowNone  bool
	disallowed [3]bool // by version
	rules      []ProxyProtocolRule
	keep       [256]bool
	stats      *proxyProtocolStats
	versions   [3]*proxyProtocolVersionStats // by version
	legacy     *proxyProtocolListenerStats
}

// proxyProtocolStats counts connections of one loop without a header: "proxy_proto.<stat_prefix>.".
type proxyProtocolStats struct {
	NotFoundAllowed    stats.Counter `stat:"not_found_allowed" help:"connections without a PROXY header that were taken"`
	NotFoundDisallowed stats.Counter `stat:"not_found_disallowed" help:"connections closed because they had no PROXY header"`
}

// proxyProtocolVersionStats counts the headers of one version: "proxy_proto.<stat_prefix>.versions.v1.".
type proxyProtocolVersionStats struct {
	Found      stats.Counter `stat:"found" help:"PROXY headers read"`
	Disallowed stats.Counter `stat:"disallowed" help:"connections closed because the version of their PROXY header is disallowed"`
	Error      stats.Counter `stat:"error" help:"connections closed because of a bad PROXY header"`
}

// proxyProtocolListenerStats counts one listener: "listener.<address>.".
type proxyProtocolListenerStats struct {
	Error stats.Counter `stat:"downstream_cx_proxy_proto_error" help:"connections closed because of a bad or missing PROXY header"`
}

func newProxyProtocol(cfg *ProxyProtocolConfig, _ *struct{}, env *filters.NetworkEnv) (any, error) {
	f := &proxyProtocol{allowNone: cfg.AllowRequestsWithoutProxyProtocol, rules: cfg.Rules}
	for _, v := range cfg.DisallowedVersions {
		f.disallowed[v[1]-'0'] = true
	}
	if t := cfg.PassThroughTLVs; t != nil {
		for i := range f.keep {
			f.keep[i] = t.Keeps(uint8(i))
		}
	}
	scope := stats.Root("proxy_proto")
	if cfg.StatPrefix != "" {
		scope = scope.Tag("envoy_proxy_protocol_prefix", cfg.StatPrefix)
	}
	f.stats = stats.Register[proxyProtocolStats](env.Stats, scope)
	for v := 1; v <= 2; v++ {
		f.versions[v] = stats.Register[proxyProtocolVersionStats](env.Stats,
			scope.Name("versions").Tag("envoy_proxy_protocol_version", fmt.Sprintf("v%d", v)))
	}
	f.legacy = stats.Register[proxyProtocolListenerStats](env.Stats, stats.ListenerScope(env.Address))
	return f, nil
}

// OnPeek implements filters.PeekFilter.
func (f *proxyProtocol) OnPeek(c *filters.Connection, b []byte, end bool) (int, filters.ListenerVerdict) {
	version := proxyproto.Version(b)
	if version == proxyproto.Undecided {
		if !end || !f.allowNone || len(b) == 0 {
			return 0, filters.ListenerWait
		}
		version = 0
	}
	switch {
	case version == 0 && f.allowNone, f.disallowed[version] && f.allowNone:
		f.stats.NotFoundAllowed.Inc()
		return 0, filters.ListenerContinue
	case version == 0:
		f.stats.NotFoundDisallowed.Inc()
		return 0, f.refuse(c, "proxy_protocol_not_found")
	case f.disallowed[version]:
		f.versions[version].Disallowed.Inc()
		return 0, f.refuse(c, "proxy_protocol_version_disallowed")
	}
	h, n, err := proxyproto.Parse(b, proxyproto.HeaderBytesMax)
	switch {
	case err == nil && n == 0:
		return 0, filters.ListenerWait
	case err != nil || !f.apply(c, &h):
		f.versions[version].Error.Inc()
		return 0, f.refuse(c, "proxy_protocol_error")
	}
	f.versions[version].Found.Inc()
	return n, filters.ListenerContinue
}

// refuse closes the connection.
func (f *proxyProtocol) refuse(c *filters.Connection, details string) filters.ListenerVerdict {
	f.legacy.Error.Inc()
	c.Details = details
	return filters.ListenerClose
}

// apply gives the connection what the header says. It reports whether that can be.
func (f *proxyProtocol) apply(c *filters.Connection, h *proxyproto.Header) bool {
	c.ProxyVersion = h.Version
	if h.Local || h.Family == proxyproto.FamilyUnspec {
		return true // the addresses of the connection itself count
	}
	if h.Family == proxyproto.FamilyUnix {
		return false // as in Envoy: there is no such client on the network
	}
	source, okSource := proxyProtocolAddr(h, &h.Source)
	destination, okDestination := proxyProtocolAddr(h, &h.Destination)
	if !okSource || !okDestination {
		return false
	}
	c.IO.SetRemoteAddr(source)
	if destination != c.IO.LocalAddr() {
		c.IO.SetLocalAddr(destination)
	}
	f.applyTLVs(c, h.TLVs)
	return true
}

// proxyProtocolAddr returns an address of a header. It reports whether a client can have it: not what stands
// for all or none.
func proxyProtocolAddr(h *proxyproto.Header, e *proxyproto.Endpoint) (engine.Addr, bool) {
	ip := netip.AddrFrom16(e.IP)
	if h.Family == proxyproto.FamilyIPv4 {
		ip = netip.AddrFrom4([4]byte(e.IP[:4]))
	}
	ip = ip.Unmap()
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return engine.AddrFrom(ip, e.Port, 0), !ip.IsUnspecified() && !ip.IsMulticast() && ip != broadcast
}

// applyTLVs gives the connection the values that are asked for.
func (f *proxyProtocol) applyTLVs(c *filters.Connection, b []byte) {
	for {
		t, rest, ok := proxyproto.NextTLV(b)
		if !ok {
			return
		}
		b = rest
		for i := range f.rules {
			if r := &f.rules[i]; r.TLVType == int(t.Type) {
				c.SetMetadata(r.OnTLVPresent.MetadataNamespace, r.OnTLVPresent.Key, proxyProtocolText(t.Value))
			}
		}
		if f.keep[t.Type] {
			c.TLVs = append(c.TLVs, filters.TLV{Type: t.Type, Value: slices.Clone(t.Value)})
		}
	}
}

// proxyProtocolText makes text of a value.
func proxyProtocolText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "!")
}
