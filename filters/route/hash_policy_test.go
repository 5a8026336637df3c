package route

import (
	"math/bits"
	"net/netip"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

func TestRequestHash(t *testing.T) {
	h := xxhash.Sum64String
	both := func(a, b string) uint64 { return bits.RotateLeft64(h(a), 1) ^ h(b) }
	for _, tt := range []struct {
		name, policy string
		path         string
		fields       []string
		want         uint64
		ok           bool
	}{
		{"header", `{"header": {"header_name": "X-User"}}`, "/", []string{"x-user: ann"}, h("ann"), true},
		{"known header", `{"header": {"header_name": "user-agent"}}`, "/", []string{"user-agent: curl"}, h("curl"), true},
		{"repeated header", `{"header": {"header_name": "x-user"}}`, "/", []string{"x-user: a", "x-user: b"}, h("a,b"), true},
		{"pseudo-header", `{"header": {"header_name": ":path"}}`, "/p?q", nil, h("/p?q"), true},
		{"no header", `{"header": {"header_name": "x-user"}}`, "/", nil, 0, false},
		{"empty header", `{"header": {"header_name": "x-user"}}`, "/", []string{"x-user: "}, 0, false},
		{"query", `{"query_parameter": {"name": "id"}}`, "/?a=1&id=77", nil, h("77"), true},
		{"cookie", `{"cookie": {"name": "sid"}}`, "/", []string{"cookie: a=b; sid=\"xyz\""}, h("xyz"), true},
		{"no cookie, none made", `{"cookie": {"name": "sid"}}`, "/", nil, 0, false},
		{"address", `{"source_ip": {}}`, "/", nil, h("192.0.2.7"), true},
		{"two", `{"header": {"header_name": "a"}}, {"header": {"header_name": "b"}}`, "/", []string{"a: 1", "b: 2"}, both("1", "2"), true},
		{"the second alone", `{"header": {"header_name": "a"}}, {"header": {"header_name": "b"}}`, "/", []string{"b: 2"}, h("2"), true},
		{"terminal", `{"header": {"header_name": "a"}, "terminal": true}, {"source_ip": {}}`, "/", []string{"a: 1"}, h("1"), true},
		{"terminal without", `{"header": {"header_name": "a"}, "terminal": true}, {"source_ip": {}}`, "/", nil, h("192.0.2.7"), true},
	} {
		table := compileRoutes(t, `{"match": {"prefix": "/"}, "route": {"cluster": "c1", "hash_policy": [`+tt.policy+`]}}`)
		in := request("GET a.com"+tt.path, tt.fields...)
		in.RemoteIP = netip.MustParseAddr("192.0.2.7")
		r := table.Match(in)
		if !r.Hashes() {
			t.Fatalf("%s: the route does not hash", tt.name)
		}
		if got, ok, made := r.RequestHash(in, 1); got != tt.want || ok != tt.ok || made != nil {
			t.Errorf("%s: hash %#x, %t, cookie %v; want %#x, %t", tt.name, got, ok, made, tt.want, tt.ok)
		}
		if n := testing.AllocsPerRun(100, func() { r.RequestHash(in, 1) }); n != 0 && !raceEnabled {
			t.Errorf("%s: RequestHash allocates %v times", tt.name, n)
		}
	}
}

// TestMadeCookie: the next request of the client, with the cookie, has the same hash.
func TestMadeCookie(t *testing.T) {
	t.Parallel()
	table := compileRoutes(t, `{"match": {"prefix": "/"}, "route": {"cluster": "c1", "hash_policy": [
		{"cookie": {"name": "sid", "ttl": "90s", "path": "/x", "attributes": [{"name": "SameSite", "value": "Lax"}, {"name": "Secure"}]}}]}}`)
	in := request("GET a.com/")
	r := table.Match(in)
	first, ok, made := r.RequestHash(in, 0xabc)
	if !ok || made == nil {
		t.Fatal("no cookie is made")
	}
	set := string(made.AppendSetCookie(nil, 0xabc))
	if want := `sid="0000000000000abc"; Max-Age=90; Path=/x; SameSite=Lax; Secure; HttpOnly`; set != want {
		t.Errorf("Set-Cookie: %s, want %s", set, want)
	}
	pair, _, _ := strings.Cut(set, ";")
	again := request("GET a.com/", "cookie: "+pair)
	if second, ok, made := r.RequestHash(again, 0xdef); !ok || made != nil || second != first {
		t.Errorf("with the cookie the hash is %#x (cookie made: %t), want %#x", second, made != nil, first)
	}
}
