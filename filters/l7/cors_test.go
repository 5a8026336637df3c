package l7

import (
	"strings"
	"testing"
	"time"

	"millrace/filters"
	"millrace/filters/route"
)

func newCORSFake(t *testing.T, cfg *CORSConfig) (*fakeDownstream, *corsStats) {
	f, filter := newFake(t, "cors", cfg, nil)
	return f, filter.(*cors).stats
}

const corsForwarded = "request head length=-1 chunked=false end=true"

func TestCORSActual(t *testing.T) {
	t.Parallel()
	f, stats := newCORSFake(t, &CORSConfig{
		AllowOriginStringMatch: []CORSOrigin{{Exact: ptr("https://a.example")}}, ExposeHeaders: "x-total", AllowCredentials: true,
		AllowMethods: "GET", ForwardNotMatchingPreflights: true,
	})
	f.request("GET /", "Origin: https://a.example").Pass(filters.Request, true)
	f.respond(200)
	f.want(corsForwarded, "response 200")
	f.wantResponse("access-control-allow-origin", "https://a.example")
	f.wantResponse("access-control-allow-credentials", "true")
	f.wantResponse("access-control-expose-headers", "x-total")
	f.wantResponse("access-control-allow-methods", "")

	f.request("GET /", "Origin: https://b.example").Pass(filters.Request, true)
	f.respond(200)
	f.want(corsForwarded, "response 200")
	f.wantResponse("access-control-allow-origin", "")

	f.request("GET /").Pass(filters.Request, true)
	f.respond(200)
	f.want(corsForwarded, "response 200")
	if stats.OriginValid.Load() != 1 || stats.OriginInvalid.Load() != 1 {
		t.Errorf("origin_valid %d, origin_invalid %d; want 1, 1", stats.OriginValid.Load(), stats.OriginInvalid.Load())
	}
}

func TestCORSPreflight(t *testing.T) {
	t.Parallel()
	cfg := &CORSConfig{
		AllowOriginStringMatch: []CORSOrigin{{Suffix: ptr(".example")}}, AllowMethods: "GET, PUT", AllowHeaders: "x-a", ExposeHeaders: "x-b",
		MaxAge: ptr(90 * time.Second), AllowPrivateNetworkAccess: true, ForwardNotMatchingPreflights: true,
	}
	f, _ := newCORSFake(t, cfg)
	f.request("OPTIONS /", "Origin: https://a.example", "Access-Control-Request-Method: PUT",
		"Access-Control-Request-Private-Network: true").Pass(filters.Request, true)
	f.want("reply 200 cors_response ", "response 200")
	for name, want := range map[string]string{
		"access-control-allow-origin": "https://a.example", "access-control-allow-methods": "GET, PUT",
		"access-control-allow-headers": "x-a", "access-control-max-age": "90", "access-control-allow-private-network": "true",
		"access-control-expose-headers": "", "access-control-allow-credentials": "",
	} {
		f.wantResponse(name, want)
	}

	f.request("OPTIONS /", "Origin: https://a.example").Pass(filters.Request, true)
	f.want(corsForwarded) // no preflight without the method

	f.request("OPTIONS /", "Origin: https://evil.test", "Access-Control-Request-Method: PUT").Pass(filters.Request, true)
	f.want(corsForwarded)

	cfg.ForwardNotMatchingPreflights = false
	f, _ = newCORSFake(t, cfg)
	f.request("OPTIONS /", "Origin: https://evil.test", "Access-Control-Request-Method: PUT").Pass(filters.Request, true)
	f.want("reply 200 cors_response ", "response 200")
	f.wantResponse("access-control-allow-origin", "")
	f.wantResponse("access-control-allow-methods", "")
}

// TestCORSOtherRoutes: redirects, direct responses and requests without a route are left alone.
func TestCORSOtherRoutes(t *testing.T) {
	t.Parallel()
	f, stats := newCORSFake(t, &CORSConfig{AllowOriginStringMatch: []CORSOrigin{{Exact: ptr("*")}}})
	for _, r := range []*route.Route{nil, {Action: route.ActionRedirect}, {Action: route.ActionDirectResponse}} {
		s := f.request("OPTIONS /", "Origin: https://a.example", "Access-Control-Request-Method: PUT")
		s.Route = r
		s.Pass(filters.Request, true)
		f.want(corsForwarded)
	}
	if n := stats.OriginValid.Load(); n != 0 {
		t.Errorf("origin_valid = %d; want 0", n)
	}
}

func TestCORSOrigins(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		match  CORSOrigin
		origin string
		want   bool
	}{
		{CORSOrigin{Exact: ptr("*")}, "https://any", true},
		{CORSOrigin{Exact: ptr("https://a")}, "https://a", true},
		{CORSOrigin{Exact: ptr("https://a")}, "https://a.evil", false},
		{CORSOrigin{Prefix: ptr("https://a.")}, "https://a.b", true},
		{CORSOrigin{Suffix: ptr(".a")}, "https://b.a", true},
		{CORSOrigin{Suffix: ptr(".a")}, "https://b.a.c", false},
		{CORSOrigin{Contains: ptr("//a")}, "https://ab", true},
		{CORSOrigin{SafeRegex: ptr(`https://[ab]\.example`)}, "https://b.example", true},
		{CORSOrigin{SafeRegex: ptr(`https://a|b`)}, "xhttps://a", false},
		{CORSOrigin{SafeRegex: ptr(`https://a|b`)}, "https://a.evil", false},
	} {
		o, err := newCORSOrigin(&tt.match)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.matches([]byte(tt.origin)); got != tt.want {
			t.Errorf("%+v matches %q = %v; want %v", o, tt.origin, got, tt.want)
		}
	}
}

func TestCORSValidate(t *testing.T) {
	t.Parallel()
	var short CORSOrigin
	if err := short.DecodeConfigString("https://a"); err != nil || *short.Exact != "https://a" || problems(short.Validate) != "" {
		t.Errorf("short form = %+v, %v", short, err)
	}
	if err := short.DecodeConfigString(""); err == nil {
		t.Error("an empty origin is taken")
	}
	for _, tt := range []struct {
		match CORSOrigin
		want  string
	}{
		{CORSOrigin{}, "0 matches are given"},
		{CORSOrigin{Exact: ptr("a.example")}, `"a.example" is not an origin`},
		{CORSOrigin{SafeRegex: ptr("(")}, "missing closing )"},
		{CORSOrigin{SafeRegex: ptr(strings.Repeat("a", corsRegexBytesMax+1))}, "exceeds 1024"},
		{CORSOrigin{Exact: ptr("*"), Prefix: ptr("a")}, "2 matches are given"},
	} {
		if got := problems(tt.match.Validate); !strings.Contains(got, tt.want) {
			t.Errorf("Validate(%+v) = %q; want %q in it", tt.match, got, tt.want)
		}
	}
	all := CORSConfig{AllowOriginStringMatch: []CORSOrigin{{Exact: ptr("*")}}, AllowCredentials: true}
	if got := problems(all.Validate); !strings.Contains(got, "every site") {
		t.Errorf("Validate = %q", got)
	}
	if _, err := newCORS(&CORSConfig{AllowOriginStringMatch: []CORSOrigin{{}}}, nil); err == nil {
		t.Error("an origin without a match is taken")
	}
}
