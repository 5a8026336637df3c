package router_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// TestRetryHosts: which hosts the attempts of a request go to when all answer 503. Hosts are letters, in the order in which they are
// asked first; a digit follows if their priority is not 0. With stages they are these. A * is any host.
func TestRetryHosts(t *testing.T) {
	t.Parallel()
	previous := []string{"previous_hosts"}
	for _, tt := range []struct {
		name       string
		priorities []uint8 // of the hosts
		stages     string  // a letter for each host: c is a canary, t has the stage "test", - neither
		lb         string
		policy     route.RetryPolicyConfig
		want       string
	}{
		{"the hash decides", []uint8{0, 0, 0}, "", "maglev", route.RetryPolicyConfig{NumRetries: 2}, "a a a"},
		{"previous hosts", []uint8{0, 0, 0}, "", "maglev", route.RetryPolicyConfig{NumRetries: 2, RetryHostPredicate: previous, HostSelectionRetryMaxAttempts: 1000}, "a b c"},
		{"no other host", []uint8{0, 0}, "", "maglev", route.RetryPolicyConfig{NumRetries: 2, RetryHostPredicate: previous, HostSelectionRetryMaxAttempts: 1000}, "a b *"},
		{"one host", []uint8{0}, "", "round_robin", route.RetryPolicyConfig{NumRetries: 1, RetryHostPredicate: previous, HostSelectionRetryMaxAttempts: 1000}, "a a"},
		{"no canaries", []uint8{0, 0, 0}, "-cc", "round_robin",
			route.RetryPolicyConfig{NumRetries: 2, RetryHostPredicate: []string{"omit_canary_hosts"}, HostSelectionRetryMaxAttempts: 2}, "* - -"},
		{"none for tests", []uint8{0, 0, 0}, "-tt", "round_robin",
			route.RetryPolicyConfig{NumRetries: 2, OmitHostMetadata: map[string]string{"stage": "test"}, HostSelectionRetryMaxAttempts: 2}, "* - -"},
		{"nothing else is left", []uint8{0, 0}, "tc", "round_robin", route.RetryPolicyConfig{
			NumRetries: 1, RetryHostPredicate: []string{"omit_canary_hosts"}, OmitHostMetadata: map[string]string{"stage": "test"}}, "* *"},
		{"in turns", []uint8{0, 0}, "", "round_robin", route.RetryPolicyConfig{NumRetries: 1, RetryHostPredicate: previous, HostSelectionRetryMaxAttempts: 1}, "a b"},
		{"priorities count by health", []uint8{0, 1}, "", "round_robin", route.RetryPolicyConfig{NumRetries: 2}, "a a a"},
		{"previous priorities", []uint8{0, 1, 2}, "", "round_robin",
			route.RetryPolicyConfig{NumRetries: 5, RetryPriority: &route.RetryPriorityConfig{UpdateFrequency: 1}}, "a b1 c2 a b1 c2"},
		{"every other time", []uint8{0, 1, 2}, "", "round_robin",
			route.RetryPolicyConfig{NumRetries: 4, RetryPriority: &route.RetryPriorityConfig{UpdateFrequency: 2}}, "a a b1 b1 c2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var asked []string
			letters := map[int]string{}
			m := newMix(t, false, func(_ *httpconn.Config, f *route.ForwardConfig, c *upstream.Config) {
				f.RetryPolicy = &tt.policy
				f.RetryPolicy.RetryOn = "5xx"
				f.RetryPolicy.RetryBackOff.BaseInterval = time.Millisecond
				f.HashPolicy = []route.HashPolicyConfig{{Header: &route.HashHeaderConfig{HeaderName: "x-key"}}}
				c.LbPolicy, c.Hosts = tt.lb, nil
				for i, p := range tt.priorities {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					origin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						mu.Lock()
						defer mu.Unlock()
						if letters[i] == "" {
							letters[i] = string(rune('a' + len(letters)))
							if p > 0 {
								letters[i] += fmt.Sprint(p)
							}
						}
						if tt.stages != "" {
							asked = append(asked, tt.stages[i:i+1])
						} else {
							asked = append(asked, letters[i])
						}
						w.WriteHeader(503)
					})}
					go func() { _ = origin.Serve(l) }()
					t.Cleanup(func() { _ = origin.Close() })
					host := upstream.HostConfig{Address: l.Addr().String(), Weight: 1, Priority: p}
					if tt.stages != "" {
						host.Metadata = map[string]map[string]string{
							"c": {"canary": "true", "stage": "live"}, "t": {"canary": "false", "stage": "test"}, "-": {"stage": "live"},
						}[tt.stages[i:i+1]]
					}
					c.Hosts = append(c.Hosts, host)
				}
			})
			rq, err := http.NewRequest("GET", "http://"+m.addr+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			rq.Header.Set("x-key", "1")
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			rs, err := transport.RoundTrip(rq)
			if err != nil {
				t.Fatal(err)
			}
			_ = rs.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			got, want := asked, strings.Fields(tt.want)
			for i := range want {
				if len(got) != len(want) || want[i] != "*" && got[i] != want[i] {
					t.Fatalf("the hosts asked are %q, want %q", got, tt.want)
				}
			}
		})
	}
}
