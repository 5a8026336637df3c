package pool

import (
	"net/netip"

	"millrace/codec/proxyproto"
	"millrace/engine"
	"millrace/upstream"
)

// ProxyInfo is what the PROXY header of a connection to a host says.
type ProxyInfo struct {
	// Source is the client, Destination where it wanted to go. Zero values are unknown.
	Source, Destination engine.Addr
	// TLVs are those that downstream has sent.
	TLVs []proxyproto.TLV
	// Own are TLVs that take the place of all others of their types.
	Own []proxyproto.TLV
}

// ProxyOwner is an [Owner] that knows what the PROXY header of its connection says. For another the header
// says that nothing is known.
type ProxyOwner interface {
	// ProxyInfo returns it. It is asked before Owner.OnReady, or inside Lease.
	ProxyInfo() *ProxyInfo
}

// proxyHeader is the proxy_protocol of a cluster, compiled.
type proxyHeader struct {
	v2          bool
	unspecified bool // rather than LOCAL
	pass        [256]bool
	added       []proxyproto.TLV

	tlvs []byte // scratch
}

// newProxyHeader compiles the config; nil stays nil.
func newProxyHeader(cfg *upstream.ProxyProtocolConfig) *proxyHeader {
	if cfg == nil {
		return nil
	}
	p := &proxyHeader{v2: cfg.Version == "v2", unspecified: cfg.AllowUnspecifiedAddress}
	if t := cfg.PassThroughTLVs; t != nil {
		for i := range p.pass {
			p.pass[i] = t.Keeps(uint8(i))
		}
	}
	for i := range cfg.AddedTLVs {
		b, err := cfg.AddedTLVs[i].Bytes()
		if err != nil { // Validate has seen it
			continue
		}
		p.added = append(p.added, proxyproto.TLV{Type: uint8(cfg.AddedTLVs[i].Type), Value: b})
	}
	return p
}

// append appends the header.
func (p *proxyHeader) append(dst []byte, info *ProxyInfo) []byte {
	h := proxyproto.Header{Version: 1, Transport: proxyproto.TransportStream}
	known := fillEndpoints(&h, &info.Source, &info.Destination)
	if !known {
		h.Family, h.Transport = proxyproto.FamilyUnspec, proxyproto.TransportUnspec
	}
	if !p.v2 {
		return proxyproto.AppendV1(dst, &h)
	}
	h.Version, h.Local = 2, !known && !p.unspecified
	h.TLVs = p.appendTLVs(info)
	out, ok := proxyproto.AppendV2(dst, &h)
	if !ok { // too long, with those of downstream
		h.TLVs = nil
		out, _ = proxyproto.AppendV2(dst, &h)
	}
	return out
}

// appendTLVs returns the TLVs of a header: those of downstream, those of the cluster, those of the filter, each but for
// the types that follow.
func (p *proxyHeader) appendTLVs(info *ProxyInfo) []byte {
	b := p.tlvs[:0]
	for _, t := range info.TLVs {
		if p.pass[t.Type] && !hasTLV(p.added, t.Type) && !hasTLV(info.Own, t.Type) {
			b, _ = proxyproto.AppendTLV(b, t.Type, t.Value)
		}
	}
	for _, t := range p.added {
		if !hasTLV(info.Own, t.Type) {
			b, _ = proxyproto.AppendTLV(b, t.Type, t.Value)
		}
	}
	for _, t := range info.Own {
		b, _ = proxyproto.AppendTLV(b, t.Type, t.Value)
	}
	p.tlvs = b
	return b
}

func hasTLV(list []proxyproto.TLV, typ uint8) bool {
	for i := range list {
		if list[i].Type == typ {
			return true
		}
	}
	return false
}

// fillEndpoints sets the addresses of h. It reports false when they are unknown, or not of one kind.
func fillEndpoints(h *proxyproto.Header, src, dst *engine.Addr) bool {
	if src.IsZero() || dst.IsZero() || src.IsUnix() != dst.IsUnix() {
		return false
	}
	if src.IsUnix() {
		h.Family = proxyproto.FamilyUnix
		h.Source.Path, h.Destination.Path = unixPath(src), unixPath(dst)
		return true
	}
	a, b := src.NetIP(), dst.NetIP()
	if a.Is4() && b.Is4() {
		h.Family = proxyproto.FamilyIPv4
		h.Source.IP, h.Destination.IP = leading4(a), leading4(b)
	} else { // an IPv4 address beside one of IPv6 is mapped
		h.Family = proxyproto.FamilyIPv6
		h.Source.IP, h.Destination.IP = a.As16(), b.As16()
	}
	h.Source.Port, h.Destination.Port = uint16(src.Port()), uint16(dst.Port())
	return true
}

// leading4 puts an IPv4 address into the first four bytes.
func leading4(a netip.Addr) (ip [16]byte) {
	b := a.As4()
	copy(ip[:], b[:])
	return ip
}

// unixPath returns a path as the header has it.
func unixPath(a *engine.Addr) []byte {
	path := []byte(a.Path())
	if len(path) > 0 && path[0] == '@' { // the abstract namespace
		path[0] = 0
	}
	if len(path) > proxyproto.UnixPathBytes {
		return nil
	}
	return path
}

// WantsProxyHeader reports whether connections to the hosts begin with a PROXY header.
func (c *Cluster) WantsProxyHeader() bool { return c.settings.proxy != nil }

// AppendProxyHeader appends the header of a connection. Only for a cluster that wants one.
func (c *Cluster) AppendProxyHeader(dst []byte, info *ProxyInfo) []byte {
	return c.settings.proxy.append(dst, info)
}

// AppendProxyHeader appends a header of a version, 1 or 2, that says no more than the addresses.
func AppendProxyHeader(dst []byte, version int, info *ProxyInfo) []byte {
	p := proxyHeader{v2: version == 2}
	return p.append(dst, info)
}

// sendProxyHeader begins a connection with the header of the one exchange it will carry.
func (c *conn) sendProxyHeader(x *Exchange) {
	info := &c.pool.cluster.table.noProxyInfo
	if o, ok := x.Owner.(ProxyOwner); ok {
		info = o.ProxyInfo()
	}
	c.ec.Staged(c.pool.settings.proxy.append(c.ec.Stage(), info))
}
