package route

import (
	"fmt"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// Sizes are promises: see BenchmarkCompile for what they add up to.
var (
	_ [160 - unsafe.Sizeof(Route{})]byte
	_ [176 - unsafe.Sizeof(forward{})]byte
	_ [28 - unsafe.Sizeof(trieNode{})]byte
)

var drawString = rapid.Custom(func(t *rapid.T) StringMatchConfig {
	text := rapid.SampledFrom([]string{"a", "b", "ab", "A"}).Draw(t, "text")
	cfg := StringMatchConfig{IgnoreCase: rapid.Bool().Draw(t, "fold")}
	switch rapid.IntRange(0, 5).Draw(t, "test") {
	case 0:
		cfg.Exact = &text
	case 1:
		cfg.Prefix = text
	case 2:
		cfg.Suffix = text
	case 3:
		cfg.Contains = text
	case 4:
		cfg.SafeRegex, cfg.IgnoreCase = text+".?", false
	}
	return cfg
})

// drawConditions adds conditions of every kind to a match.
func drawConditions(t *rapid.T, m *MatchConfig) {
	name := rapid.SampledFrom([]string{"x", "user-agent", ":method", ":path", "host", ":scheme"})
	for range rapid.IntRange(0, 2).Draw(t, "headers") {
		h := HeaderMatchConfig{
			Name: name.Draw(t, "name"), StringMatchConfig: drawString.Draw(t, "value"),
			InvertMatch: rapid.Bool().Draw(t, "invert"), TreatMissingHeaderAsEmpty: rapid.Bool().Draw(t, "empty"),
		}
		m.Headers = append(m.Headers, h)
	}
	if rapid.Bool().Draw(t, "query") {
		m.QueryParameters = []QueryParameterMatchConfig{{Name: "a", StringMatchConfig: drawString.Draw(t, "value")}}
	}
	if rapid.Bool().Draw(t, "cookie") {
		m.Cookies = []CookieMatchConfig{{Name: "c", StringMatchConfig: drawString.Draw(t, "value"), InvertMatch: rapid.Bool().Draw(t, "invert")}}
	}
	if rapid.Bool().Draw(t, "fraction") {
		m.RuntimeFraction = &FractionConfig{Value: 50, RuntimeKey: "k"}
	}
}

// TestExplainProperty: Explain and Match agree for tables and requests of every kind, and the trail says what was chosen.
func TestExplainProperty(t *testing.T) {
	t.Parallel()
	domains := []string{"a.com", "*.com", "a.*", "*"}
	values := rapid.SampledFrom([]string{"", "a", "ab", "b", "AB"})
	rapid.Check(t, func(rt *rapid.T) {
		cfg := &Config{IgnorePortInHostMatching: rapid.Bool().Draw(rt, "ignore port")}
		for i := range rapid.IntRange(0, len(domains)).Draw(rt, "virtual hosts") {
			routes := rapid.SliceOfN(drawRoute, 0, 20).Draw(rt, "routes")
			for i := range routes {
				if rapid.Bool().Draw(rt, "with conditions") {
					drawConditions(rt, &routes[i].Match)
				}
			}
			cfg.VirtualHosts = append(cfg.VirtualHosts, VirtualHostConfig{
				Name: fmt.Sprint(i), Domains: domains[i : i+1], Routes: routes,
				RequireTLS: rapid.SampledFrom([]string{"none", "none", "external_only", "all"}).Draw(rt, "tls"),
			})
		}
		table := compileAll(rt, cfg)
		for range 20 {
			host := rapid.SampledFrom([]string{"a.com", "A.com:80", "b.com", "a.org", ""}).Draw(rt, "host")
			in := request("GET " + host + drawPath.Draw(rt, "path"))
			for _, name := range []string{"x", "user-agent", "cookie"} {
				for range rapid.IntRange(0, 2).Draw(rt, "count") {
					in.Head.AddString(name, "c="[:2*index(name == "cookie")]+values.Draw(rt, "value"))
				}
			}
			in.TLS, in.Internal = rapid.Bool().Draw(rt, "tls"), rapid.Bool().Draw(rt, "internal")
			in.Random = rapid.Uint64Range(0, fractionUnit).Draw(rt, "random")
			if rapid.Bool().Draw(rt, "runtime") {
				in.Runtime = fixedRuntime{"k", fractionUnit}
			}
			r := table.Match(in)
			e, trail := table.Explain(in)
			said := e == nil || trail.RequireTLS || trail.Chosen >= 0 && trail.Routes[trail.Chosen].Route == e
			if e != r || !said || (e == nil) != (trail.Chosen < 0 && !trail.RequireTLS) {
				rt.Fatalf("Match = %+v, Explain = %+v\n%s", r, e, trail)
			}
		}
	})
}
