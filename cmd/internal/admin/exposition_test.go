package admin

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"millrace/engine/stats"
)

var (
	headLine   = regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN|[+-]Inf)$`)
)

// checkExposition checks what Prometheus asks of a page: every line well-formed, one TYPE a
// family, the samples of a family together, no sample twice, buckets that only grow.
func checkExposition(t *testing.T, page string) (samples map[string]float64) {
	t.Helper()
	samples = map[string]float64{}
	typed, closed := map[string]string{}, map[string]bool{}
	current := ""
	for n, line := range strings.Split(strings.TrimSuffix(page, "\n"), "\n") {
		if m := headLine.FindStringSubmatch(line); m != nil {
			if m[2] != current {
				if closed[m[2]] {
					t.Errorf("line %d: family %s is torn apart", n+1, m[2])
				}
				closed[current], current = true, m[2]
			}
			if m[1] == "TYPE" {
				if typed[m[2]] != "" {
					t.Errorf("line %d: second TYPE of %s", n+1, m[2])
				}
				typed[m[2]] = m[3]
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("line %d: malformed: %s", n+1, line)
			continue
		}
		family := m[1]
		if typed[current] == "histogram" {
			family = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(family, "_bucket"), "_sum"), "_count")
		}
		if family != current {
			t.Errorf("line %d: sample of %s in the family %s", n+1, family, current)
		}
		key := m[1] + "{" + m[3] + "}"
		if _, twice := samples[key]; twice {
			t.Errorf("line %d: sample %s twice", n+1, key)
		}
		v, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			t.Errorf("line %d: %v", n+1, err)
		}
		samples[key] = v
	}
	return samples
}

func TestExposition(t *testing.T) {
	t.Parallel()
	f := newFixture()
	samples := checkExposition(t, f.want(t, 200, "GET", "/stats/prometheus?text_readouts"))
	for key, want := range map[string]float64{
		`envoy_cluster_upstream_rq_total{envoy_cluster_name="web"}`:                            5,
		`envoy_cluster_upstream_rq{envoy_cluster_name="web",envoy_response_code="200"}`:        2,
		`envoy_cluster_upstream_rq_xx{envoy_cluster_name="web",envoy_response_code_class="5"}`: 1,
		`envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="edge",le="0.5"}`: 1,
		`envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="edge",le="250"}`: 2,
		`envoy_http_downstream_rq_time_sum{envoy_http_conn_manager_prefix="edge"}`:             250.4,
		`envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="edge"}`:           2,
		`envoy_server_live{}`: 1,
	} {
		if got, ok := samples[key]; !ok || got != want {
			t.Errorf("%s = %v (%v), want %v", key, got, ok, want)
		}
	}
}

// TestExpositionHostile: names and texts of the user's cannot forge a sample.
func TestExpositionHostile(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for i, name := range []string{"a\"} 1\nenvoy_forged 2", `back\`, "ü", "new\nline", "a.b", "", " ", "bad\xff"} {
		set := new(clusterSet)
		set.Codes.Inc(200 + i)
		f.deps.Stats.Add(stats.ClusterScope(name), set)
		f.deps.Stats.Text(fmt.Sprintf("server.t%d", i), func() string { return name })
	}
	samples := checkExposition(t, f.want(t, 200, "GET", "/stats/prometheus?text_readouts"))
	if _, forged := samples["envoy_forged{}"]; forged {
		t.Error("a cluster's name became a sample")
	}
	text := f.want(t, 200, "GET", "/stats")
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if name, _, ok := strings.Cut(line, ": "); !ok || !strings.Contains(name, ".") {
			t.Errorf("/stats has the line %q", line)
		}
	}
}

// FuzzExposition: whatever names and texts the config holds, the page stays well-formed.
func FuzzExposition(f *testing.F) {
	for _, seed := range []string{"web", "a\"} 1", "\n# TYPE x counter", "\\", "\xff", "a:b"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		reg := new(stats.Registry)
		set := new(clusterSet)
		set.Codes.Inc(len(text))
		reg.Add(stats.ListenerHTTPScope(name, text), set)
		reg.Add(stats.Scope{Prefix: "x." + name + ".", Labels: []stats.Label{{Name: "n", Value: name}}}, new(clusterSet))
		reg.Text("server.text", func() string { return text })
		fx := &fixture{srv: New(Deps{Stats: reg})}
		checkExposition(t, fx.want(t, 200, "GET", "/stats/prometheus?text_readouts"))
	})
}
