package router_test

import (
	"strings"
	"testing"

	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// TestScheme: scheme_header_transformation says what a host without TLS sees, and x-forwarded-proto stays.
func TestScheme(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		cfg          httpconn.SchemeConfig
		client, host string
	}{
		{"as it is", httpconn.SchemeConfig{}, "https", "https"},
		{"http for all", httpconn.SchemeConfig{SchemeToOverwrite: "http"}, "https", "http"},
		{"https for all", httpconn.SchemeConfig{SchemeToOverwrite: "https"}, "http", "https"},
		{"that of the connection", httpconn.SchemeConfig{MatchUpstream: true}, "https", "http"},
		{"that of the connection is it already", httpconn.SchemeConfig{MatchUpstream: true}, "http", "http"},
		{"one for all counts for more", httpconn.SchemeConfig{SchemeToOverwrite: "https", MatchUpstream: true}, "http", "https"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnds(t, true, func(c *httpconn.Config, _ *route.ForwardConfig, _ *upstream.Config) {
				c.SchemeHeaderTransformation = tt.cfg
			})
			e.client.head(flagEnd, 1, ":method: GET", ":scheme: "+tt.client, ":path: /", ":authority: a")
			_, head := e.accept2().next()
			for _, want := range []string{":scheme: " + tt.host + "\n", "x-forwarded-proto: http\n"} {
				if !strings.Contains(head, want) {
					t.Errorf("%q has no %q", head, want)
				}
			}
		})
	}
}
