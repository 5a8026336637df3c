package pool

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"millrace/codec/proxyproto"
	"millrace/engine"
	"millrace/upstream"
)

func endpoint(s string) engine.Addr {
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "@") {
		return engine.UnixAddr(s)
	}
	if s == "" {
		return engine.Addr{}
	}
	a := netip.MustParseAddrPort(s)
	return engine.AddrFrom(a.Addr(), a.Port(), 0)
}

func TestProxyHeaderV1(t *testing.T) {
	t.Parallel()
	p := newProxyHeader(&upstream.ProxyProtocolConfig{Version: "v1"})
	for _, tt := range []struct{ src, dst, want string }{
		{"1.2.3.4:5", "6.7.8.9:10", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n"},
		{"[fd00::1]:5", "[fd00::2]:10", "PROXY TCP6 fd00::1 fd00::2 5 10\r\n"},
		{"1.2.3.4:5", "[fd00::2]:10", "PROXY TCP6 ::ffff:102:304 fd00::2 5 10\r\n"},
		{"", "6.7.8.9:10", "PROXY UNKNOWN\r\n"},
		{"/a", "/b", "PROXY UNKNOWN\r\n"},
		{"/a", "6.7.8.9:10", "PROXY UNKNOWN\r\n"},
	} {
		got := string(p.append(nil, &ProxyInfo{Source: endpoint(tt.src), Destination: endpoint(tt.dst)}))
		if got != tt.want {
			t.Errorf("header from %q to %q = %q, want %q", tt.src, tt.dst, got, tt.want)
		}
	}
}

func TestProxyHeaderV2(t *testing.T) {
	t.Parallel()
	tlv := func(typ uint8, v string) proxyproto.TLV { return proxyproto.TLV{Type: typ, Value: []byte(v)} }
	came := []proxyproto.TLV{tlv(proxyproto.TypeALPN, "h2"), tlv(224, "came"), tlv(225, "came")}
	added := []upstream.TLVConfig{{Type: 225, Value: "added"}, {Type: 226, ValueBase64: "YWRkZWQ="}}
	for _, tt := range []struct {
		name string
		cfg  upstream.ProxyProtocolConfig
		info ProxyInfo
		want string
	}{
		{"addresses alone", upstream.ProxyProtocolConfig{}, ProxyInfo{TLVs: came}, "tcp 1.2.3.4:5 6.7.8.9:10"},
		{"all passed", upstream.ProxyProtocolConfig{PassThroughTLVs: &upstream.PassThroughTLVs{MatchType: "include_all"}},
			ProxyInfo{TLVs: came}, "tcp 1.2.3.4:5 6.7.8.9:10 1=h2 224=came 225=came"},
		{"one passed", upstream.ProxyProtocolConfig{PassThroughTLVs: &upstream.PassThroughTLVs{MatchType: "include", TLVType: []int{224}}},
			ProxyInfo{TLVs: came}, "tcp 1.2.3.4:5 6.7.8.9:10 224=came"},
		{"added", upstream.ProxyProtocolConfig{AddedTLVs: added, PassThroughTLVs: &upstream.PassThroughTLVs{MatchType: "include_all"}},
			ProxyInfo{TLVs: came}, "tcp 1.2.3.4:5 6.7.8.9:10 1=h2 224=came 225=added 226=added"},
		{"own", upstream.ProxyProtocolConfig{AddedTLVs: added, PassThroughTLVs: &upstream.PassThroughTLVs{MatchType: "include_all"}},
			ProxyInfo{TLVs: came, Own: []proxyproto.TLV{tlv(226, "own"), tlv(224, "own")}},
			"tcp 1.2.3.4:5 6.7.8.9:10 1=h2 225=added 226=own 224=own"},
		{"too long", upstream.ProxyProtocolConfig{PassThroughTLVs: &upstream.PassThroughTLVs{MatchType: "include_all"}},
			ProxyInfo{TLVs: []proxyproto.TLV{tlv(224, strings.Repeat("x", 40000)), tlv(225, strings.Repeat("x", 40000))}}, "tcp 1.2.3.4:5 6.7.8.9:10"},
		{"unknown", upstream.ProxyProtocolConfig{AddedTLVs: added}, ProxyInfo{Source: endpoint("/a")}, "local"},
		{"unspecified", upstream.ProxyProtocolConfig{AddedTLVs: added, AllowUnspecifiedAddress: true}, ProxyInfo{Source: endpoint("/a")},
			"unspecified +16 bytes"}, // its reader passes over what follows the addresses
		{"unix", upstream.ProxyProtocolConfig{}, ProxyInfo{Source: endpoint("@a"), Destination: endpoint("/b")}, `unix "\x00a" "/b"`},
	} {
		tt.cfg.Version = "v2"
		if tt.info.Source.IsZero() {
			tt.info.Source, tt.info.Destination = endpoint("1.2.3.4:5"), endpoint("6.7.8.9:10")
		}
		b := newProxyHeader(&tt.cfg).append([]byte("before"), &tt.info)
		if got := describeHeader(t, b[len("before"):]); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// describeHeader reads a header of version 2.
func describeHeader(t *testing.T, b []byte) string {
	t.Helper()
	h, n, err := proxyproto.Parse(b, 1<<20)
	if err != nil || n != len(b) || h.Version != 2 {
		t.Fatalf("Parse = %+v, %d of %d, %v", h, n, len(b), err)
	}
	s := fmt.Sprintf("unspecified +%d bytes", len(b)-16)
	switch {
	case h.Local:
		s = "local"
	case h.Family == proxyproto.FamilyIPv4:
		ip := func(e proxyproto.Endpoint) string {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.IP[:4])), e.Port).String()
		}
		s = "tcp " + ip(h.Source) + " " + ip(h.Destination)
	case h.Family == proxyproto.FamilyUnix:
		s = fmt.Sprintf("unix %q %q", h.Source.Path, h.Destination.Path)
	}
	for rest := h.TLVs; ; {
		v, next, ok := proxyproto.NextTLV(rest)
		if !ok {
			return s
		}
		s += fmt.Sprintf(" %d=%s", v.Type, v.Value)
		rest = next
	}
}

// proxied is an owner that knows whom its connection is for.
type proxied struct {
	owner
	info ProxyInfo
}

func (p *proxied) ProxyInfo() *ProxyInfo { return &p.info }

// TestProxyProtocolHTTP: a connection begins with the header of its one request, and carries no other.
func TestProxyProtocolHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(func(c *upstream.Config) { c.ProxyProtocol = &upstream.ProxyProtocolConfig{Version: "v1"} }, o.addr), nil)
	for i := range 3 {
		p := &proxied{info: ProxyInfo{Source: endpoint(fmt.Sprintf("1.2.3.4:%d", i+1)), Destination: endpoint("6.7.8.9:80")}}
		p.x.Owner = p
		w.lease(c, &p.owner)
		peer := o.accept()
		peer.wantBytes(fmt.Sprintf("PROXY TCP4 1.2.3.4 6.7.8.9 %d 80\r\n", i+1))
		peer.wantHead("GET / HTTP/1.1")
		peer.send(ok)
		w.until("answer", func() bool { return p.done })
		peer.wantClosed()
	}
	if n := c.Stats.CxTotal.Load(); n != 3 || c.Stats.CxActive.Load() != 0 {
		t.Errorf("%d connections, %d open; want 3, 0", n, c.Stats.CxActive.Load())
	}
}
