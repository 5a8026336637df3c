package l4

import (
	"bytes"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/codec/clienthello"
	"millrace/codec/proxyproto"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
)

// add builds a listener filter of the table.
func (w *listenerWorld) add(name string, cfg any) {
	w.t.Helper()
	if v, ok := cfg.(interface {
		Validate(func(path, problem, hint string))
	}); ok {
		v.Validate(func(path, problem, hint string) { w.t.Errorf("%s: %s: %s; %s", name, path, problem, hint) })
	}
	for _, s := range Builtin() {
		if s.Kind != filters.KindListener || s.Name != name {
			continue
		}
		var shared any
		if s.Share != nil {
			var err error
			if shared, err = s.Share(cfg, &filters.SharedEnv{}); err != nil {
				w.t.Fatal(err)
			}
		}
		f, err := s.Build(cfg, shared, &filters.NetworkEnv{Loop: w.loop.Loop, Stats: w.register, Address: "0.0.0.0:80"})
		if err != nil {
			w.t.Fatal(err)
		}
		w.opt.Filters = append(w.opt.Filters, Named{name, f})
		return
	}
	w.t.Fatalf("no listener filter %q in the table", name)
}

func tlsInspectorDefaults() *TLSInspectorConfig {
	return &TLSInspectorConfig{MaxClientHelloSize: 64 << 10, CloseConnectionOnClientHelloParsingErrors: true}
}

// clientHello returns what a client of crypto/tls sends first.
func clientHello(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	cfg.InsecureSkipVerify = true
	go func() {
		defer a.Close()
		_ = tls.Client(a, cfg).Handshake() // fails: nobody answers
	}()
	buf := make([]byte, 64<<10)
	n := 0
	for {
		m, err := b.Read(buf[n:])
		if n += m; err != nil {
			t.Fatal(err)
		}
		if h, _, _ := clienthello.Parse(buf[:n], len(buf)); h != nil {
			return buf[:n]
		}
	}
}

// A load balancer in front, SNI behind, cut at every byte.
func TestProxyProtocolAndTLSInspector(t *testing.T) {
	t.Parallel()
	hello := clientHello(t, &tls.Config{ServerName: "Shop.Example.com", NextProtos: []string{"h2", "http/1.1"}, CurvePreferences: []tls.CurveID{tls.CurveP256}})
	header := "PROXY TCP6 2001:db8::7 2001:db8::9 1234 8443\r\n"
	in := header + string(hello)
	for cut := 0; cut <= len(in); cut++ {
		w := newListenerWorld(t)
		w.add("proxy_protocol", &ProxyProtocolConfig{})
		w.add("tls_inspector", tlsInspectorDefaults())
		w.add("http_inspector", &HTTPInspectorConfig{})
		_, term := w.chain("shop")
		w.chain("other")
		w.match(&MatchConfig{
			ServerNames: []string{"*.example.com"}, TransportProtocol: "tls", ApplicationProtocols: []string{"h2"}, DestinationPort: 8443,
			SourcePrefixRanges: []string{"2001:db8::/32"}, PrefixRanges: []string{"2001:db8::9"}, SourcePorts: []uint16{1234},
		}, nil)
		io, peer := w.connect()
		peer.Write(in[:cut])
		w.loop.Settle()
		peer.Write(in[cut:])
		w.loop.Settle()
		tc := term.last()
		c := tc.c
		if string(tc.Data) != string(hello) {
			t.Fatalf("cut at %d: the terminal filter got %q", cut, tc.Data)
		}
		if c.ServerName != "shop.example.com" || !slices.Equal(c.ApplicationProtocols, []string{"h2", "http/1.1"}) ||
			c.TransportProtocol != "tls" || c.ProxyVersion != 1 || !io.LocalRestored() || !c.DirectRemote.IsUnix() {
			t.Fatalf("cut at %d: %+v", cut, c)
		}
		if io.RemoteAddr().String() != "[2001:db8::7]:1234" || io.LocalAddr().String() != "[2001:db8::9]:8443" {
			t.Fatalf("cut at %d: addresses %v, %v", cut, io.RemoteAddr(), io.LocalAddr())
		}
		peer.Close()
		w.wantDone()
		want := "proxy_proto.versions.v1.found=1 tls_inspector.alpn_found=1 tls_inspector.sni_found=1 tls_inspector.tls_found=1"
		if got := w.values(); got != want {
			t.Fatalf("cut at %d: stats %q, want %q", cut, got, want)
		}
	}
}

// The same story, read a byte at a time with a socket that is not ready every other time.
func TestListenerFiltersFaults(t *testing.T) {
	t.Parallel()
	hello := string(clientHello(t, &tls.Config{ServerName: "a.example", CurvePreferences: []tls.CurveID{tls.CurveP256}}))
	for _, chunk := range []int{1, 3, 50} {
		w := newListenerWorld(t)
		w.loop.Faults.ReadChunk, w.loop.Faults.EAGAIN = chunk, true
		w.add("proxy_protocol", &ProxyProtocolConfig{})
		w.add("tls_inspector", tlsInspectorDefaults())
		r := &fakeReader{fakeFilter: fakeFilter{w: w, name: "r"}}
		_, term := w.chain("", r)
		_, peer := w.connect()
		peer.Write(v2Header(t, withTLVs("\x02a")) + hello + "and the rest")
		peer.CloseWrite()
		w.loop.Settle()
		if tc := term.last(); string(tc.Data) != hello+"and the rest" || tc.c.ServerName != "a.example" || !tc.gone {
			t.Errorf("in pieces of %d the terminal filter got %q, name %q, end %v", chunk, tc.Data, tc.c.ServerName, tc.gone)
		}
		w.wantDone()
	}
}

// No block is to be had for what is kept: the connection ends, and nothing else does.
func TestListenerNoMemory(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.add("tls_inspector", tlsInspectorDefaults())
	w.chain("")
	arena := w.loop.Arena()
	var blocks []interface{ Bytes() []byte }
	for n := 64 << 10; n > 0; n /= 2 {
		for {
			b, ok := arena.Lease(n)
			if !ok {
				break
			}
			blocks = append(blocks, b)
		}
	}
	_, peer := w.connect()
	peer.Write("\x16\x03\x01")
	w.loop.Settle()
	if len(blocks) == 0 || w.loop.Conns() != 0 || w.left != 1 || w.l.Pending() != 0 || w.opt.Stats.ListenerFilterError.Load() != 1 {
		t.Errorf("%d conns, %d left, %d pending, downstream_listener_filter_error = %d",
			w.loop.Conns(), w.left, w.l.Pending(), w.opt.Stats.ListenerFilterError.Load())
	}
}

// v2Header makes a header of version 2 for TCP over IPv4.
func v2Header(t testing.TB, change func(h *proxyproto.Header)) string {
	t.Helper()
	h := proxyproto.Header{Family: proxyproto.FamilyIPv4, Transport: proxyproto.TransportStream}
	h.Source = proxyproto.Endpoint{IP: [16]byte{192, 0, 2, 7}, Port: 1234}
	h.Destination = proxyproto.Endpoint{IP: [16]byte{192, 0, 2, 9}, Port: 443}
	if change != nil {
		change(&h)
	}
	b, ok := proxyproto.AppendV2(nil, &h)
	if !ok {
		t.Fatal("AppendV2 refuses")
	}
	return string(b)
}

func withTLVs(tlvs ...string) func(h *proxyproto.Header) {
	return func(h *proxyproto.Header) {
		for _, s := range tlvs {
			h.TLVs, _ = proxyproto.AppendTLV(h.TLVs, s[0], []byte(s[1:]))
		}
	}
}

func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	const v1 = "PROXY TCP4 192.0.2.7 192.0.2.9 1234 443\r\n"
	allow := ProxyProtocolConfig{AllowRequestsWithoutProxyProtocol: true}
	for _, tt := range []struct {
		name     string
		cfg      ProxyProtocolConfig
		in       string
		data     string // what the terminal filter gets
		remote   string // "" where it is that of the socket
		stats    string
		details  string // not empty: closed
		nextData string
	}{
		{name: "version 1", in: v1 + "x", data: "x", remote: "192.0.2.7:1234", stats: "proxy_proto.versions.v1.found=1"},
		{name: "version 2", in: v2Header(t, nil) + "x", data: "x", remote: "192.0.2.7:1234", stats: "proxy_proto.versions.v2.found=1"},
		{name: "version 2, IPv6 mapped", in: v2Header(t, func(h *proxyproto.Header) {
			h.Family = proxyproto.FamilyIPv6
			h.Source.IP = netip.MustParseAddr("::ffff:192.0.2.7").As16()
			h.Destination.IP = netip.MustParseAddr("2001:db8::1").As16()
		}), remote: "192.0.2.7:1234", stats: "proxy_proto.versions.v2.found=1"},
		{name: "datagrams relayed over a stream", in: v2Header(t, func(h *proxyproto.Header) { h.Transport = proxyproto.TransportDatagram }),
			remote: "192.0.2.7:1234", stats: "proxy_proto.versions.v2.found=1"},
		{name: "prefix", cfg: ProxyProtocolConfig{StatPrefix: "edge"}, in: v1, remote: "192.0.2.7:1234", stats: "proxy_proto.edge.versions.v1.found=1"},
		{name: "unknown", in: "PROXY UNKNOWN\r\nx", data: "x", stats: "proxy_proto.versions.v1.found=1"},
		{name: "local", in: v2Header(t, func(h *proxyproto.Header) { h.Local = true }) + "x", data: "x", stats: "proxy_proto.versions.v2.found=1"},
		{name: "unspec", in: v2Header(t, func(h *proxyproto.Header) { h.Family, h.Transport = 0, 0 }), stats: "proxy_proto.versions.v2.found=1"},

		{name: "missing", in: "GET /", details: "proxy_protocol_not_found",
			stats: "listener.0.0.0.0_80.downstream_cx_proxy_proto_error=1 proxy_proto.not_found_disallowed=1"},
		{name: "bad", in: "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n", details: "proxy_protocol_error",
			stats: "listener.0.0.0.0_80.downstream_cx_proxy_proto_error=1 proxy_proto.versions.v1.error=1"},
		{name: "bad, though it may be missing", cfg: allow, in: "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n", details: "proxy_protocol_error",
			stats: "listener.0.0.0.0_80.downstream_cx_proxy_proto_error=1 proxy_proto.versions.v1.error=1"},
		{name: "unix", in: v2Header(t, func(h *proxyproto.Header) { h.Family = proxyproto.FamilyUnix }), details: "proxy_protocol_error",
			stats: "listener.0.0.0.0_80.downstream_cx_proxy_proto_error=1 proxy_proto.versions.v2.error=1"},
		{name: "no such client", in: "PROXY TCP4 0.0.0.0 1.2.3.4 1 1\r\n", details: "proxy_protocol_error",
			stats: "listener.0.0.0.0_80.downstream_cx_proxy_proto_error=1 proxy_proto.versions.v1.error=1"},
		{name: "multicast", in: "PROXY TCP6 ff02::1 ::1 1 1\r\n", details: "proxy_protocol_error",
			stats: "listener.0.0.0.0_80.downstream_cx_proxy_proto_error=1 proxy_proto.versions.v1.error=1"},
		{name: "broadcast", in: "PROXY TCP4 1.2.3.4 255.255.255.255 1 1\r\n", details: "proxy_protocol_error",
			stats: "listener.0.0.0.0_80.downstream_cx_proxy_proto_error=1 proxy_proto.versions.v1.error=1"},

		{name: "allowed to be missing", cfg: allow, in: "GET /", data: "GET /", stats: "proxy_proto.not_found_allowed=1"},
		{name: "allowed, and there", cfg: allow, in: v1 + "x", data: "x", remote: "192.0.2.7:1234", stats: "proxy_proto.versions.v1.found=1"},
		{name: "allowed, like a header at first", cfg: allow, in: "PROXIMITY", data: "PROXIMITY", stats: "proxy_proto.not_found_allowed=1"},
		{name: "disallowed version", cfg: ProxyProtocolConfig{DisallowedVersions: []string{"v1"}}, in: v1, details: "proxy_protocol_version_disallowed",
			stats: "listener.0.0.0.0_80.downstream_cx_proxy_proto_error=1 proxy_proto.versions.v1.disallowed=1"},
		{name: "the other version", cfg: ProxyProtocolConfig{DisallowedVersions: []string{"v1"}}, in: v2Header(t, nil), remote: "192.0.2.7:1234",
			stats: "proxy_proto.versions.v2.found=1"},
		{name: "disallowed version, allowed to be missing", cfg: ProxyProtocolConfig{DisallowedVersions: []string{"v2"}, AllowRequestsWithoutProxyProtocol: true},
			in: v2Header(t, nil), data: v2Header(t, nil), stats: "proxy_proto.not_found_allowed=1"},
	} {
		for _, cut := range []int{1, len(tt.in) / 2, len(tt.in)} {
			w := newListenerWorld(t)
			w.logTo("%CONNECTION_TERMINATION_DETAILS%")
			w.add("proxy_protocol", &tt.cfg)
			_, term := w.chain("")
			io, peer := w.connect()
			peer.Write(tt.in[:cut])
			w.loop.Settle()
			peer.TryWrite([]byte(tt.in[cut:]))
			w.loop.Settle()
			if tt.details == "" {
				tc := term.last()
				remote := tt.remote
				if remote == "" {
					remote = tc.c.DirectRemote.String()
				}
				if string(tc.Data) != tt.data || io.RemoteAddr().String() != remote || io.LocalRestored() != (tt.remote != "") {
					t.Errorf("%s: data %q, remote %v, restored %v", tt.name, tc.Data, io.RemoteAddr(), io.LocalRestored())
				}
				peer.Close()
			}
			w.wantDone()
			if got := w.values(); got != tt.stats {
				t.Errorf("%s: stats %q, want %q", tt.name, got, tt.stats)
			}
			if got := strings.TrimSpace(w.lines()); tt.details != "" && got != tt.details {
				t.Errorf("%s: details %q, want %q", tt.name, got, tt.details)
			}
		}
	}
}

// The peer ends in the middle of what could still become a header.
func TestProxyProtocolEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		allow bool
		in    string
		data  string
		taken bool
	}{
		{false, "PRO", "", false},
		{false, "", "", false},
		{true, "PRO", "PRO", true},
		{true, "\r\n\r\n", "\r\n\r\n", true},
		{true, "PROXY TCP4 1.2.3.4", "", false},
		{true, "", "", false},
	} {
		w := newListenerWorld(t)
		w.add("proxy_protocol", &ProxyProtocolConfig{AllowRequestsWithoutProxyProtocol: tt.allow})
		_, term := w.chain("")
		_, peer := w.connect()
		peer.TryWrite([]byte(tt.in))
		peer.CloseWrite()
		w.wantDone()
		if n := w.opt.Stats.ListenerFilterRemoteClose.Load(); (len(term.conns) == 1) != tt.taken || (n == 1) == tt.taken {
			t.Errorf("%+v: %d connections, downstream_listener_filter_remote_close = %d", tt, len(term.conns), n)
		}
		if tt.taken && string(term.last().Data) != tt.data {
			t.Errorf("%+v: data %q", tt, term.last().Data)
		}
	}
}

func TestProxyProtocolTLVs(t *testing.T) {
	t.Parallel()
	in := v2Header(t, withTLVs("\x02a.example", "\xe0one", "\x03\x00\x00\x00\x00", "\xe0two\xff", "\x04pad", "\xe1"))
	for _, tt := range []struct {
		keep *upstream.PassThroughTLVs
		want []string
	}{
		{nil, nil},
		{&upstream.PassThroughTLVs{MatchType: "include_all"}, []string{"\x02a.example", "\xe0one", "\xe0two\xff", "\xe1"}},
		{&upstream.PassThroughTLVs{MatchType: "include", TLVType: []int{0xe0, 0x03}}, []string{"\xe0one", "\xe0two\xff"}},
	} {
		w := newListenerWorld(t)
		w.add("proxy_protocol", &ProxyProtocolConfig{PassThroughTLVs: tt.keep, Rules: []ProxyProtocolRule{
			{TLVType: 2, OnTLVPresent: ProxyProtocolKey{"ns", "authority"}}, {TLVType: 0xe0, OnTLVPresent: ProxyProtocolKey{"ns", "text"}},
			{TLVType: 9, OnTLVPresent: ProxyProtocolKey{"ns", "absent"}},
		}})
		_, term := w.chain("")
		_, peer := w.connect()
		peer.Write(in)
		w.loop.Settle()
		c := term.last().c
		var got []string
		for _, v := range c.TLVs {
			got = append(got, string(v.Type)[:0]+string([]byte{v.Type})+string(v.Value))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%+v: TLVs %q, want %q", tt.keep, got, tt.want)
		}
		if fmt.Sprint(c.Metadata) != "map[ns:map[authority:a.example text:two!]]" {
			t.Errorf("metadata %v", c.Metadata)
		}
		peer.Close()
		w.wantDone()
	}
}

func TestTLSInspector(t *testing.T) {
	t.Parallel()
	hello := func(cfg *tls.Config) string { return string(clientHello(t, cfg)) }
	full := hello(&tls.Config{ServerName: "a.example", NextProtos: []string{"h2"}})
	bad := strings.Replace(full, "a.example", "a..xample", 1)
	for _, tt := range []struct {
		name, in, stats, details string
		change                   func(*TLSInspectorConfig)
		transport, server        string
	}{
		{name: "hello", in: full, stats: "alpn_found=1 sni_found=1 tls_found=1", transport: "tls", server: "a.example"},
		{name: "address", in: hello(&tls.Config{ServerName: "10.0.0.1"}), stats: "alpn_not_found=1 sni_not_found=1 tls_found=1", transport: "tls"},
		{name: "http", in: "GET / HTTP/1.1\r\n\r\n", stats: "tls_not_found=1", transport: "raw_buffer"},
		{name: "one byte", in: "\x00", stats: "tls_not_found=1", transport: "raw_buffer"},
		{name: "ssl 2", in: "\x80\x2e\x01\x00\x02", stats: "tls_not_found=1", transport: "raw_buffer"},
		{name: "malformed", in: bad, stats: "client_hello_parsing_error=1", details: "tls_client_hello_server_name"},
		{name: "cut", in: "\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", stats: "client_hello_parsing_error=1", details: "tls_client_hello_malformed"},
		{name: "malformed, lenient", in: bad, stats: "client_hello_parsing_error=1 tls_not_found=1", transport: "raw_buffer",
			change: func(c *TLSInspectorConfig) { c.CloseConnectionOnClientHelloParsingErrors = false }},
		{name: "too large", in: full, stats: "client_hello_too_large=1", details: "tls_client_hello_too_large",
			change: func(c *TLSInspectorConfig) { c.MaxClientHelloSize = 256 }},
	} {
		w := newListenerWorld(t)
		w.logTo("%CONNECTION_TERMINATION_DETAILS%")
		cfg := tlsInspectorDefaults()
		if tt.change != nil {
			tt.change(cfg)
		}
		w.add("tls_inspector", cfg)
		_, term := w.chain("")
		_, peer := w.connect()
		peer.Write(tt.in)
		w.loop.Settle()
		if tt.details == "" {
			if tc := term.last(); string(tc.Data) != tt.in || tc.c.TransportProtocol != tt.transport || tc.c.ServerName != tt.server {
				t.Errorf("%s: data %q, %q, %q", tt.name, tc.Data, tc.c.TransportProtocol, tc.c.ServerName)
			}
			peer.Close()
		}
		w.wantDone()
		got := strings.ReplaceAll(w.values(), "tls_inspector.", "")
		if got != tt.stats {
			t.Errorf("%s: stats %q, want %q", tt.name, got, tt.stats)
		}
		if got := strings.TrimSpace(w.lines()); tt.details != "" && got != tt.details {
			t.Errorf("%s: details %q, want %q", tt.name, got, tt.details)
		}
	}
}

func TestTLSInspectorFingerprints(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	cfg := tlsInspectorDefaults()
	cfg.EnableJA3Fingerprinting, cfg.EnableJA4Fingerprinting = true, true
	w.add("tls_inspector", cfg)
	_, term := w.chain("")
	in := clientHello(t, &tls.Config{ServerName: "a.example", NextProtos: []string{"h2"}})
	_, peer := w.connect()
	peer.Write(string(in))
	w.loop.Settle()
	h, _, _ := clienthello.Parse(in, len(in))
	sum := md5.Sum([]byte(h.JA3()))
	c := term.last().c
	if want := hex.EncodeToString(sum[:]); c.JA3 != want {
		t.Errorf("JA3 %q, want %q", c.JA3, want)
	}
	ja4 := c.Metadata["envoy.filters.listener.tls_inspector"]["ja4"]
	if !strings.HasPrefix(ja4, "t13d") || len(ja4) != len("t13d1516h2_8daaf6152771_e5627efa2ab1") {
		t.Errorf("JA4 %q", ja4)
	}
	peer.Close()
	w.wantDone()
}

// 64 KiB of hello, a byte at a time: kept in a block, which comes back, and without work that grows with it.
func TestTLSInspectorByteByByte(t *testing.T) {
	t.Parallel()
	big := bigHello()
	w := newListenerWorld(t)
	w.add("tls_inspector", tlsInspectorDefaults())
	_, term := w.chain("")
	_, peer := w.connect()
	step := 1
	if testing.Short() {
		step = 61
	}
	for at := 0; at < len(big); at += step {
		peer.Write(big[at:min(at+step, len(big))])
		w.loop.Step()
	}
	w.loop.Settle()
	if tc := term.last(); string(tc.Data) != big || tc.c.ServerName != "big.example" {
		t.Errorf("the terminal filter got %d of %d bytes, name %q", len(tc.Data), len(big), tc.c.ServerName)
	}
	peer.Close()
	w.wantDone()

	// One byte more than allowed is known as soon as its length is.
	_, peer = w.connect()
	peer.Write("\x16\x03\x01\x40\x00\x01\x00\xff\xf8")
	w.wantDone()
	if !strings.Contains(w.values(), "client_hello_too_large=1") {
		t.Errorf("stats %q", w.values())
	}
}

// bigHello makes the longest hello allowed, in records of 2^14 bytes.
func bigHello() string {
	field := func(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }
	sni := append([]byte{0, 0}, field(field(append([]byte{0}, field([]byte("big.example"))...)))...)
	body := append([]byte{3, 3}, make([]byte, 33)...)
	body = append(body, 0, 2, 0x13, 1, 1, 0)
	const size = 64<<10 - 5*5 // of the message: it takes five records
	pad := make([]byte, size-4-len(body)-2-len(sni)-4)
	extensions := append(append(sni, 0, 21), field(pad)...)
	body = append(body, field(extensions)...)
	message := append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	var out bytes.Buffer
	for len(message) > 0 {
		n := min(len(message), 1<<14)
		out.Write([]byte{22, 3, 1, byte(n >> 8), byte(n)})
		out.Write(message[:n])
		message = message[n:]
	}
	return out.String()
}

func TestHTTPInspector(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, want, stats string
	}{
		{"GET / HTTP/1.1\r\n", "http/1.1", "http11_found=1"},
		{"\r\nPOST /a b HTTP/1.0\n", "http/1.0", "http10_found=1"},
		{"M-SEARCH * HTTP/1.1\r\n", "http/1.1", "http11_found=1"},
		{"PRI * HTTP/2", "h2c", "http2_found=1"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c", "http2_found=1"},
		{"PRI * HTTP/1.1\r\n", "http/1.1", "http11_found=1"},
		{"GET / HTTP/1.2\r\n", "", "http_not_found=1"},
		{"GET / HTTP/2.0\r\n", "", "http_not_found=1"},
		{"GET /\r\n", "", "http_not_found=1"},
		{"EHLO example.com\r\n", "", "http_not_found=1"},
		{"GET\r\n", "", "http_not_found=1"},
		{"GET\tx", "", "http_not_found=1"},
		{" GET", "", "http_not_found=1"},
		{"\x00", "", "http_not_found=1"},
		{"\r\n\r\n", "", "http_not_found=1"},
		{"\x16\x03\x01", "", "http_not_found=1"},
		{strings.Repeat("A", 33), "", "http_not_found=1"},
		{"GET " + strings.Repeat("a", 8192), "", "http_not_found=1"},
		{"GET " + strings.Repeat("a", 8100) + " HTTP/1.1\r\n", "http/1.1", "http11_found=1"},
	} {
		for _, one := range []bool{false, true} {
			w := newListenerWorld(t)
			w.add("http_inspector", &HTTPInspectorConfig{})
			_, term := w.chain("")
			_, peer := w.connect()
			for i := range len(tt.in) {
				if !one {
					peer.Write(tt.in)
					w.loop.Settle()
					break
				}
				peer.Write(tt.in[i : i+1])
				w.loop.Step()
			}
			w.loop.Settle()
			tc := term.last()
			if got := strings.Join(tc.c.ApplicationProtocols, ","); got != tt.want || string(tc.Data) != tt.in {
				t.Errorf("%.30q: protocols %q, want %q; data %.30q", tt.in, got, tt.want, tc.Data)
			}
			peer.Close()
			w.wantDone()
			if got := strings.ReplaceAll(w.values(), "http_inspector.", ""); got != tt.stats {
				t.Errorf("%.30q: stats %q, want %q", tt.in, got, tt.stats)
			}
		}
	}
}

// A few bytes are enough to know what is not HTTP.
func TestHTTPInspectorSoon(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]httpKind{
		"": httpUndecided, "\r": httpUndecided, "\r\n": httpUndecided, "P": httpUndecided, "PRI * HTTP/": httpUndecided, "GET": httpUndecided,
		"GET / HTTP/1.1\r": httpUndecided, "\x03": httpNone, "\r\r": httpNone, "S\x00": httpNone, "PRI * HTTP/2": http2,
	} {
		if got := inspectHTTP([]byte(in)); got != want {
			t.Errorf("inspectHTTP(%q) = %d, want %d", in, got, want)
		}
	}
}

func TestHTTPInspectorEnd(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.add("http_inspector", &HTTPInspectorConfig{})
	w.chain("")
	_, peer := w.connect()
	peer.Write("GET / HT")
	peer.CloseWrite()
	w.wantDone()
	if got := w.values(); got != "http_inspector.read_error=1" || w.opt.Stats.ListenerFilterRemoteClose.Load() != 1 {
		t.Errorf("stats %q", got)
	}
}

func TestOriginalSrc(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want bool
	}{{"PROXY TCP4 192.0.2.7 192.0.2.9 1234 443\r\n", true}, {"PROXY UNKNOWN\r\n", false}} {
		w := newListenerWorld(t)
		w.add("proxy_protocol", &ProxyProtocolConfig{})
		w.add("original_src", &OriginalSrcConfig{Mark: 123})
		_, term := w.chain("")
		_, peer := w.connect()
		peer.Write(tt.in)
		w.loop.Settle()
		if c := term.last().c; c.OriginalSource != tt.want || (c.SourceMark == 123) != tt.want {
			t.Errorf("%q: original source %v, mark %d", tt.in, c.OriginalSource, c.SourceMark)
		}
		peer.Close()
		w.wantDone()
	}
}

// A connection that nobody redirected stays what it is. The redirect itself is in cmd/millrace/e2e_original_dst_test.go.
func TestOriginalDstNotRedirected(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.add("original_dst", &OriginalDstConfig{})
	_, term := w.chain("")
	io, peer := w.connect()
	if c := term.last().c; io.LocalRestored() || io.LocalAddr() != c.DirectLocal {
		t.Errorf("local %v, restored %v", io.LocalAddr(), io.LocalRestored())
	}
	peer.Close()
	w.wantDone()
}

// The bucket is one for all loops.
func TestListenerLocalRateLimit(t *testing.T) {
	t.Parallel()
	cfg := &ListenerLocalRateLimitConfig{StatPrefix: "x", RuntimeEnabled: true,
		TokenBucket: TokenBucketConfig{MaxTokens: 3, TokensPerFill: 1, FillInterval: time.Second}}
	a, b := newListenerWorld(t), newListenerWorld(t)
	bucket, err := shareListenerLocalRateLimit(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	open := 0
	for _, w := range []*listenerWorld{a, b} {
		f, err := newListenerLocalRateLimit(cfg, bucket, &filters.NetworkEnv{Loop: w.loop.Loop, Stats: w.register})
		if err != nil {
			t.Fatal(err)
		}
		w.opt.Filters = []Named{{"local_ratelimit", f}}
		w.logTo("%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%")
		w.chain("")
	}
	for i := range 8 {
		w := []*listenerWorld{a, b}[i%2]
		if _, peer := w.connect(); !peer.AtEOF() {
			open++
			peer.Close()
		}
	}
	if open != 3 {
		t.Errorf("%d connections passed, want 3", open)
	}
	a.loop.Advance(1100 * time.Millisecond)
	if _, peer := a.connect(); peer.AtEOF() {
		t.Error("closed though there is a token again")
	} else {
		peer.Close()
	}
	a.wantDone()
	b.wantDone()
	if got := a.values() + " " + b.values(); got != "listener_local_ratelimit.x.rate_limited=2 listener_local_ratelimit.x.rate_limited=3" {
		t.Errorf("stats %q", got)
	}
	if got := b.lines(); !strings.Contains(got, accesslog.FlagRateLimited.String()+" listener_local_rate_limited\n") {
		t.Errorf("log %q", got)
	}
	cfg.RuntimeEnabled = false
	w := newListenerWorld(t)
	w.add("local_ratelimit", cfg)
	w.chain("")
	for range 9 {
		if _, peer := w.connect(); peer.AtEOF() {
			t.Error("closed though the filter is off")
		} else {
			peer.Close()
		}
	}
}

func TestListenerFilterConfigs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg interface {
			Validate(func(path, problem, hint string))
		}
		want string
	}{
		{&ProxyProtocolConfig{DisallowedVersions: []string{"v1", "v2"}}, "disallowed_versions: no version is left"},
		{&ProxyProtocolConfig{DisallowedVersions: []string{"v1", "v1"}}, ""},
	} {
		got := ""
		tt.cfg.Validate(func(path, problem, hint string) { got += path + ": " + problem })
		if got != tt.want {
			t.Errorf("Validate(%+v) reports %q, want %q", tt.cfg, got, tt.want)
		}
	}
}

// A client that resets while listener filters wait, over TCP.
func TestListenerReset(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.add("tls_inspector", tlsInspectorDefaults())
	a := &fakeFilter{w: w, name: "a", onNew: filters.NetworkPause}
	w.chain("", a)
	addr := w.listen()
	dial := func(in string) *net.TCPConn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(in)); err != nil {
			t.Fatal(err)
		}
		return c.(*net.TCPConn)
	}
	reset := func(c *net.TCPConn) {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	waiting := dial("\x16\x03")
	w.loop.Until(func() bool { return w.l.Pending() == 1 })
	reset(waiting)
	w.loop.Until(func() bool { return w.left == 1 })
	if n := w.opt.Stats.ListenerFilterError.Load(); n != 1 {
		t.Errorf("downstream_listener_filter_error = %d", n)
	}
	held := dial("x")
	w.loop.Until(func() bool { return len(a.conns) == 1 })
	reset(held)
	w.loop.Until(func() bool { return w.left == 2 })
	if n := w.opt.Stats.ListenerFilterError.Load(); n != 1 {
		t.Errorf("downstream_listener_filter_error = %d after a reset behind listener filters", n)
	}
	w.want("a new", "a end")
	w.wantDone()
}

// A filter that panics costs its connection, wherever it does, and nothing is left of that.
func TestListenerPanics(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"accept", "peek", "new", "established", "terminal"} {
		w := newListenerWorld(t)
		panics := func(now string) {
			if now == stage {
				panic("as the test wants")
			}
		}
		w.opt.Filters = []Named{{"a", panicFilter(panics)}}
		a := &fakeFilter{w: w, name: "a"}
		a.inNew = func(*filters.Connection) { panics("new") }
		a.inEstablished = func(*filters.Connection) { panics("established") }
		_, term := w.chain("", a)
		term.onData = func(*fakeConn, []byte) { panics("terminal") }
		addr := w.listen()
		for range 3 {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("xy")); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		w.loop.Until(func() bool { return w.left == 3 })
		w.wantDone()
		if n := w.loop.Stats().Panics.Load(); n != 3 {
			t.Errorf("%s: %d panics", stage, n)
		}
	}
}

type panicFilter func(now string)

func (f panicFilter) OnAccept(*filters.Connection) filters.ListenerVerdict {
	f("accept")
	return filters.ListenerContinue
}

func (f panicFilter) OnPeek(_ *filters.Connection, b []byte, _ bool) (int, filters.ListenerVerdict) {
	if len(b) == 0 {
		return 0, filters.ListenerWait
	}
	f("peek")
	return 1, filters.ListenerContinue
}

// FuzzListenerFilters: whatever comes, however it is cut, the terminal filter gets what no filter has consumed, and
// nothing is left in the end.
func FuzzListenerFilters(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.9 1234 443\r\nGET / HTTP/1.1\r\n\r\n"), uint16(7))
	f.Add([]byte(v2Header(f, withTLVs("\x02a"))+"PRI * HTTP/2.0\r\n"), uint16(20))
	f.Add(append([]byte("PROXY UNKNOWN\r\n"), clientHello(f, &tls.Config{ServerName: "a.b"})...), uint16(40))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		if len(in) > 32<<10 {
			return
		}
		at := int(cut) % (len(in) + 1)
		story := func(parts ...[]byte) string {
			w := newListenerWorld(t)
			w.add("proxy_protocol", &ProxyProtocolConfig{AllowRequestsWithoutProxyProtocol: true})
			w.add("tls_inspector", tlsInspectorDefaults())
			w.add("http_inspector", &HTTPInspectorConfig{})
			_, term := w.chain("")
			_, peer := w.connect()
			for _, p := range parts {
				peer.TryWrite(p)
				w.loop.Settle()
			}
			peer.CloseWrite()
			w.wantDone()
			s := ""
			for _, tc := range term.conns {
				if !bytes.HasSuffix(in, tc.Data) {
					t.Fatalf("%q became %q", in, tc.Data)
				}
				s = fmt.Sprintf("%q %q %q %d", tc.Data, tc.c.ServerName, tc.c.ApplicationProtocols, tc.c.ProxyVersion)
			}
			return s
		}
		if whole, split := story(in), story(in[:at], in[at:]); whole != split {
			t.Fatalf("%q cut at %d: %s; whole: %s", in, at, split, whole)
		}
	})
}
