package httpconn

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"millrace/filters/route"
)

// TestForwardedFor is the algorithm of use_remote_address, xff_num_trusted_hops and internal addresses.
func TestForwardedFor(t *testing.T) {
	t.Parallel()
	edge := func(c *Config) { c.UseRemoteAddress = true }
	hops := func(n int, edge bool) func(*Config) {
		return func(c *Config) { c.UseRemoteAddress, c.XffNumTrustedHops = edge, n }
	}
	const inside, outside = "127.0.0.1", "127.0.0.2" // of the first alone is said that it is internal
	for _, tt := range []struct {
		name   string
		edit   func(*Config)
		peer   string
		fields string
		xff    string // x-forwarded-for that is sent on
		client string // who the request is taken to be from
		ext    string // x-envoy-external-address
		in     bool   // internal
		proto  string // x-forwarded-proto
	}{
		{"edge, from inside", edge, inside, "", inside, inside, "-", true, "http"},
		{"edge, from outside", edge, outside, "", outside, outside, outside, false, "http"},
		{"edge, any field makes it external", edge, inside, "X-Forwarded-For: 10.0.0.5\r\n", "10.0.0.5, " + inside, inside, inside, false, "http"},
		{"edge, a lie about internal", edge, outside, "X-Forwarded-For: 10.0.0.5\r\nX-Envoy-Internal: true\r\nX-Envoy-External-Address: 10.1.1.1\r\n", "10.0.0.5, " + outside, outside, outside, false, "http"},
		{"edge, proto is ours", edge, outside, "X-Forwarded-Proto: https\r\n", outside, outside, outside, false, "http"},
		{"edge, one hop", hops(1, true), outside, "X-Forwarded-For: 203.0.113.1, 198.51.100.2\r\n", "203.0.113.1, 198.51.100.2, " + outside, "198.51.100.2", "198.51.100.2", false, "http"},
		{"edge, two hops", hops(2, true), outside, "X-Forwarded-For: 203.0.113.1, 198.51.100.2\r\n", "203.0.113.1, 198.51.100.2, " + outside, "203.0.113.1", "203.0.113.1", false, "http"},
		{"edge, more hops than addresses", hops(3, true), outside, "X-Forwarded-For: 203.0.113.1, 198.51.100.2\r\n", "203.0.113.1, 198.51.100.2, " + outside, outside, outside, false, "http"},
		{"edge, hops trust the proto", hops(1, true), outside, "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-Proto: https\r\n", "203.0.113.1, " + outside, "203.0.113.1", "203.0.113.1", false, "https"},
		{"edge, hops without proto", hops(1, true), inside, "", inside, inside, "-", true, "http"},
		{"edge, no append", func(c *Config) { c.UseRemoteAddress, c.SkipXffAppend = true, true }, outside, "X-Forwarded-For: 203.0.113.1\r\n", "203.0.113.1", outside, outside, false, "http"},
		{"edge, two lines", edge, outside, "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 203.0.113.2\r\n", "203.0.113.1|203.0.113.2, " + outside, outside, outside, false, "http"},
		{"inner, nothing known", nil, inside, "", "-", "invalid IP", "-", false, "http"},
		{"inner, internal", nil, outside, "X-Forwarded-For: 10.0.0.1\r\n", "10.0.0.1", "10.0.0.1", "-", true, "http"},
		{"inner, external", nil, outside, "X-Forwarded-For: 203.0.113.1\r\n", "203.0.113.1", "203.0.113.1", "-", false, "http"},
		{"inner, two addresses are never internal", nil, outside, "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", "10.0.0.1, 10.0.0.2", "10.0.0.2", "-", false, "http"},
		{"inner, two lines", nil, outside, "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n", "10.0.0.1|10.0.0.2", "10.0.0.2", "-", false, "http"},
		{"inner, one hop", hops(1, false), outside, "X-Forwarded-For: 203.0.113.1, 10.0.0.2\r\n", "203.0.113.1, 10.0.0.2", "203.0.113.1", "-", false, "http"},
		{"inner, too few for the hops", hops(1, false), outside, "X-Forwarded-For: 10.0.0.2\r\n", "10.0.0.2", "invalid IP", "-", false, "http"},
		{"inner, no address", nil, outside, "X-Forwarded-For: unknown\r\n", "unknown", "invalid IP", "-", false, "http"},
		{"inner, an address with a port is none", nil, outside, "X-Forwarded-For: 10.0.0.1:80\r\n", "10.0.0.1:80", "invalid IP", "-", false, "http"},
		{"inner, empty", nil, outside, "X-Forwarded-For:\r\n", "", "invalid IP", "-", false, "http"},
		{"inner, proto is kept", nil, outside, "X-Forwarded-Proto: https\r\n", "-", "invalid IP", "-", false, "https"},
		{"inner, ::1", nil, outside, "X-Forwarded-For: ::1\r\n", "::1", "::1", "-", true, "http"},
		{"inner, fd00::/8", nil, outside, "X-Forwarded-For: fd12::9\r\n", "fd12::9", "fd12::9", "-", true, "http"},
		{"inner, only one loopback address is internal", nil, outside, "X-Forwarded-For: 127.0.0.2\r\n", "127.0.0.2", "127.0.0.2", "-", false, "http"},
		{"inner, other networks", func(c *Config) { c.InternalAddressConfig.CIDRRanges = []string{"203.0.113.0/24"} }, outside, "X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9", "203.0.113.9", "-", true, "http"},
		{"inner, other networks replace ours", func(c *Config) { c.InternalAddressConfig.CIDRRanges = []string{"203.0.113.0/24"} }, outside, "X-Forwarded-For: 10.0.0.1\r\n", "10.0.0.1", "10.0.0.1", "-", false, "http"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.edit)
			w.dial(tt.peer).ask("GET / HTTP/1.1\r\nHost: a\r\n" + tt.fields + "\r\n")
			h, _ := w.forwarded()
			internal := "-"
			if tt.in {
				internal = "true"
			}
			for name, want := range map[string]string{
				"x-forwarded-for": tt.xff, "x-envoy-external-address": tt.ext, "x-envoy-internal": internal, "x-forwarded-proto": tt.proto,
			} {
				if got := values(h, name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			end := w.term.ended[0]
			if end.client != tt.client || end.Internal != tt.in {
				t.Errorf("client %s, internal %v; want %s, %v", end.client, end.Internal, tt.client, tt.in)
			}
		})
	}
}

func TestForwardedPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.UseRemoteAddress, c.AppendXForwardedPort = true, true })
	w.dial("127.0.0.2").ask("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Port: 1\r\n\r\n")
	h, _ := w.forwarded()
	if got := values(h, "x-forwarded-port"); !strings.HasSuffix(w.addr, ":"+got) {
		t.Errorf("x-forwarded-port %q at %s", got, w.addr)
	}
}

// TestSanitize: what a client may tell the proxy depends on where it is.
func TestSanitize(t *testing.T) {
	t.Parallel()
	edgeOnly := []string{"x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-original-path", "x-envoy-original-host"}
	internal := []string{"x-envoy-retriable-status-codes", "x-envoy-retriable-header-names", "x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries",
		"x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
		"x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-original-url", "x-envoy-hedge-on-per-try-timeout",
		"x-envoy-original-dst-host"}
	for _, tt := range []struct {
		name           string
		edge           bool
		peer, xff      string
		edgeOnly, rest bool // whether they get through
	}{
		{"edge, external", true, "127.0.0.2", "", false, false},
		{"edge, internal", true, "127.0.0.1", "", true, true},
		{"inner, external", false, "127.0.0.1", "203.0.113.1", true, false},
		{"inner, unknown", false, "127.0.0.1", "", true, false},
		{"inner, internal", false, "127.0.0.1", "10.0.0.1", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *Config) { c.UseRemoteAddress = tt.edge })
			text := "GET / HTTP/1.1\r\nHost: a\r\nX-Other: stays\r\n"
			if tt.xff != "" {
				text += "X-Forwarded-For: " + tt.xff + "\r\n"
			}
			for _, name := range append(append([]string(nil), edgeOnly...), internal...) {
				text += strings.ToUpper(name) + ": 1\r\n" + name + ": 2\r\n"
			}
			w.dial(tt.peer).ask(text + "\r\n")
			h, _ := w.forwarded()
			check := func(names []string, through bool) {
				for _, name := range names {
					if got := values(h, name) != "-"; got != through {
						t.Errorf("%s: through %v, want %v", name, got, through)
					}
				}
			}
			check(edgeOnly, tt.edgeOnly)
			check(internal, tt.rest)
			check([]string{"x-other"}, true)
		})
	}
}

// TestInternalOnlyHeaders: the route table names more fields that only internal requests may have.
func TestInternalOnlyHeaders(t *testing.T) {
	t.Parallel()
	table, problems := route.Compile(&route.Config{InternalOnlyHeaders: []string{"X-Secret"}},
		func(string) (uint32, bool) { return 0, true }, nil)
	if table == nil {
		t.Fatal(problems)
	}
	w := newWorld(t, func(c *Config) { c.UseRemoteAddress = true })
	w.m.SetRoutes(table, nil)
	for peer, want := range map[string]string{"127.0.0.1": "1", "127.0.0.2": "-"} {
		w.dial(peer).ask("GET / HTTP/1.1\r\nHost: a\r\nx-SECRET: 1\r\n\r\n")
		if h, _ := w.forwarded(); values(h, "x-secret") != want {
			t.Errorf("from %s: x-secret %q, want %q", peer, values(h, "x-secret"), want)
		}
	}
}

// "Intermediaries MUST … remove or replace the Connection header field", and what it names.
// RFC 9110 section 7.6.1
func TestHopByHop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fields string
		want   map[string]string // values that reach the terminal
	}{
		{"Connection: X-A, x-b ,X-C\r\nX-A: 1\r\nx-a: 2\r\nX-B: 1\r\nX-D: 1\r\n", map[string]string{"connection": "-", "x-a": "-", "x-b": "-", "x-d": "1"}},
		{"Connection: a\r\nX-A: 1\r\nConnection: x-a\r\nA: 1\r\n", map[string]string{"connection": "-", "x-a": "-", "a": "-"}},
		{"Connection: x-forwarded-for, cookie\r\nX-Forwarded-For: 1.2.3.4\r\nCookie: a=b\r\n", map[string]string{"x-forwarded-for": "-", "cookie": "-"}},
		{"Connection: content-length, host, te\r\nContent-Length: 0\r\nTE: trailers, gzip\r\n", map[string]string{"content-length": "0", "te": "trailers"}},
		{"Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: gzip\r\n", map[string]string{"keep-alive": "-", "proxy-connection": "-", "te": "-"}},
		{"TE: trailers\r\n", map[string]string{"te": "trailers"}},
		{"TE: gzip\r\nTE: Trailers;q=0.5\r\n", map[string]string{"te": "-"}},
		{"Upgrade: h2c\r\n", map[string]string{"upgrade": "-"}},
		{"Connection:\r\nConnection: ,,\r\nX: 1\r\n", map[string]string{"connection": "-", "x": "1"}},
	} {
		w := newWorld(t, nil)
		w.dial("127.0.0.1").ask("GET / HTTP/1.1\r\nHost: a\r\n" + tt.fields + "\r\n")
		h, ok := w.forwarded()
		if !ok {
			t.Errorf("%q reached nobody", tt.fields)
			continue
		}
		for name, want := range tt.want {
			if got := values(h, name); got != want {
				t.Errorf("%q: %s is %q, want %q", tt.fields, name, got, want)
			}
		}
	}
}

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestRequestID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		edit        func(*Config)
		peer, given string
		want        string // "": a new one
	}{
		{"none", nil, "127.0.0.1", "", ""},
		{"inner keeps", nil, "127.0.0.1", "mine", "mine"},
		{"edge replaces", func(c *Config) { c.UseRemoteAddress = true }, "127.0.0.2", "mine", ""},
		{"edge keeps those from inside", func(c *Config) { c.UseRemoteAddress = true }, "127.0.0.1", "mine", "mine"},
		{"edge told to keep", func(c *Config) { c.UseRemoteAddress, c.PreserveExternalRequestID = true, true }, "127.0.0.2", "mine", "mine"},
		{"off", func(c *Config) { c.GenerateRequestID = false }, "127.0.0.1", "", "-"},
	} {
		w := newWorld(t, tt.edit)
		text := "GET / HTTP/1.1\r\nHost: a\r\n"
		if tt.given != "" {
			text += "X-Request-Id: " + tt.given + "\r\n"
		}
		w.dial(tt.peer).ask(text + "\r\n")
		h, _ := w.forwarded()
		got := values(h, "x-request-id")
		if tt.want == "" && !uuid4.MatchString(got) || tt.want != "" && got != tt.want {
			t.Errorf("%s: x-request-id %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAppendUUID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b uint64
		want string
	}{
		{0, 0, "00000000-0000-4000-8000-000000000000"},
		{^uint64(0), ^uint64(0), "ffffffff-ffff-4fff-bfff-ffffffffffff"},
		{0x0123456789abcdef, 0x0123456789abcdef, "01234567-89ab-4def-8123-456789abcdef"},
	} {
		var id [36]byte
		if appendUUID(&id, tt.a, tt.b); string(id[:]) != tt.want {
			t.Errorf("appendUUID(%x, %x) = %s, want %s", tt.a, tt.b, id[:], tt.want)
		}
	}
}

func TestUnderscores(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]struct {
		status int
		value  string
	}{"allow": {200, "1"}, "reject_request": {400, "-"}, "drop_header": {200, "-"}} {
		w := newWorld(t, func(c *Config) { c.HeadersWithUnderscoresAction = action })
		resp := w.dial("127.0.0.1").ask("GET / HTTP/1.1\r\nHost: a\r\nX_A: 1\r\nX_B: 1\r\n\r\n")
		if resp.StatusCode != want.status {
			t.Errorf("%s: status %d, want %d", action, resp.StatusCode, want.status)
		}
		if h, ok := w.forwarded(); ok && (values(h, "x_a") != want.value || values(h, "x_b") != want.value) {
			t.Errorf("%s: x_a %q, x_b %q; want %q", action, values(h, "x_a"), values(h, "x_b"), want.value)
		}
	}
}

func TestAuthority(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		edit       func(*Config)
		host, want string
	}{
		{nil, "A.com:80", "A.com:80"},
		{func(c *Config) { c.StripAnyHostPort = true }, "a.com:80", "a.com"},
		{func(c *Config) { c.StripAnyHostPort = true }, "[::1]:80", "[::1]"},
		{func(c *Config) { c.StripAnyHostPort = true }, "[::1]", "[::1]"},
		{func(c *Config) { c.StripMatchingHostPort = true }, "a.com:1", "a.com:1"},
		{func(c *Config) { c.StripMatchingHostPort = true }, "a.com:PORT", "a.com"},
		{func(c *Config) { c.StripTrailingHostDot = true }, "a.com.", "a.com"},
		{func(c *Config) { c.StripTrailingHostDot = true }, "a.com.:8080", "a.com:8080"},
		{func(c *Config) { c.StripTrailingHostDot, c.StripAnyHostPort = true, true }, "a.com.:8080", "a.com"},
	} {
		w := newWorld(t, tt.edit)
		_, port, _ := strings.Cut(w.addr, ":")
		host := strings.Replace(tt.host, "PORT", port, 1)
		w.dial("127.0.0.1").ask(fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host))
		if h, ok := w.forwarded(); !ok || string(h.Authority()) != tt.want {
			t.Errorf("authority of %q is %q, want %q", host, h.Authority(), tt.want)
		}
	}
}
