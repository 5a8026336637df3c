// Reads the page with Prometheus' own parser. It has a build tag as long as go.mod does not
// carry the modules that parser imports: go test -tags expfmt.

package admin

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"millrace/engine/stats"
)

func TestExpfmt(t *testing.T) {
	t.Parallel()
	f := newFixture()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(f.want(t, 200, "GET", "/stats/prometheus?text_readouts")))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"envoy_cluster_upstream_rq_total":     "COUNTER",
		"envoy_cluster_upstream_rq":           "COUNTER",
		"envoy_cluster_upstream_rq_xx":        "COUNTER",
		"envoy_http_downstream_rq_active":     "GAUGE",
		"envoy_http_downstream_rq_time":       "HISTOGRAM",
		"envoy_server_version_text":           "GAUGE",
		"envoy_cluster_upstream_cx_length_ms": "HISTOGRAM",
	} {
		if got := families[name].GetType().String(); families[name] == nil || got != want {
			t.Errorf("family %s is a %s, want %s", name, got, want)
		}
	}
	h := families["envoy_http_downstream_rq_time"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 2 || h.GetSampleSum() != 250.4 || len(h.GetBucket()) != len(stats.DefaultBounds)+1 {
		t.Errorf("histogram has count %d, sum %v, %d buckets", h.GetSampleCount(), h.GetSampleSum(), len(h.GetBucket()))
	}
}
