package config

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"address", "name", "filters", "filter_chains", "lb_policy", "id", "least_request"}
	for _, tt := range []struct{ in, want string }{
		{"adress", "address"}, {"addresses", "address"}, {"Address", "address"}, {"addrses", "address"},
		{"nmae", "name"}, {"nam", "name"}, {"filter", "filters"}, {"filterchains", "filter_chains"},
		{"lbpolicy", "lb_policy"}, {"leastrequst", "least_request"}, {"ID", "id"},
		{"xx", ""}, {"no", ""}, {"", ""}, {"listener", ""}, {"policy", ""},
	} {
		if got := nearest(tt.in, known); got != tt.want {
			t.Errorf("nearest(%q) = %q; want %q", tt.in, got, tt.want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abcd", "badc", 2}, {"kitten", "sitting", 3},
	} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("editDistance(%q, %q) = %d; want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
