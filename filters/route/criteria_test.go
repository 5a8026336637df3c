package route

import (
	"strings"
	"testing"

	"millrace/codec"
)

// TestCriteria: what routes demand of hosts, and weighted clusters besides.
func TestCriteria(t *testing.T) {
	t.Parallel()
	cfg := parseConfig(t, `{"routes": [
		{"match": {"prefix": "/plain"}, "route": {"cluster": "x"}},
		{"match": {"prefix": "/one"}, "route": {"cluster": "x", "metadata_match": {"version": "2", "stage": "prod"}}},
		{"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/"}},
		{"match": {"prefix": "/"}, "route": {"metadata_match": {"stage": "prod", "version": "1"},
			"weighted_clusters": [{"name": "x", "weight": 1}, {"name": "x", "weight": 1, "metadata_match": {"version": "2"}}]}}]}`)
	table, problems := Compile(cfg, func(string) (uint32, bool) { return 0, true }, nil)
	if table == nil {
		t.Fatal(problems)
	}
	for _, tt := range []struct {
		path   string
		random uint64
		want   string
	}{{"/plain", 0, ""}, {"/one", 0, "stage=prod, version=2"}, {"/redirect", 0, ""}, {"/", 0, "stage=prod, version=1"}, {"/", 1, "stage=prod, version=2"}} {
		h := new(codec.RequestHead)
		h.Reset()
		h.SetPath([]byte(tt.path))
		in := &Input{Head: h}
		got := ""
		if c := table.Match(in).Criteria(tt.random); c != nil {
			got = c.String()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.path, got, tt.want)
		}
		if _, trail := table.Explain(in); tt.path == "/one" && !strings.Contains(trail.String(), "TAKEN: route, hosts with stage=prod, version=2") {
			t.Errorf("explained as\n%s", trail)
		}
	}
}
