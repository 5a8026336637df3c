package server

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// bigConfig writes a configuration with many clusters, and routes over several listeners, of which
// mark goes into one route.
func bigConfig(clusters, listeners, routes int, mark string) []byte {
	var b bytes.Buffer
	b.WriteString(`{"concurrency": 2, "listeners": [`)
	for l := range listeners {
		fmt.Fprintf(&b, `{"name": "l%d", "address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"route_config": {"virtual_hosts": [`, l)
		n := routes / listeners
		for v := 0; v < n; v += 10 {
			fmt.Fprintf(&b, `{"name": "v%d", "domains": ["v%d.example.com"], "routes": [`, v, v)
			for r := v; r < min(v+10, n); r++ {
				fmt.Fprintf(&b, `{"match": {"prefix": "/r%d/"}, "route": {"cluster": "c%d", "prefix_rewrite": "/x%d/"}},`, r, (l*n+r)%clusters, r)
			}
			fmt.Fprintf(&b, `]},`)
		}
		if l == 0 {
			fmt.Fprintf(&b, `{"name": "mark", "domains": ["mark"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": %q}}]}`, mark)
		}
		b.WriteString(`]}}}]},`)
	}
	b.WriteString(`], "clusters": [`)
	for c := range clusters {
		fmt.Fprintf(&b, `{"name": "c%d", "hosts": ["127.0.0.1:%d", "127.0.0.2:%d"]},`, c, 1000+c, 1000+c)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// reloadBig changes one route and returns how long that took, and the longest turn of a loop meanwhile.
func reloadBig(t testing.TB, s *Server, text []byte) (took, turn time.Duration) {
	t.Helper()
	s.opt.Text = text
	each(s, func(w *worker) error { w.loop.Stats().TurnLongest.Set(0); return nil })
	begun := time.Now()
	rep := s.Reload(t.Context())
	took = time.Since(begun)
	if !rep.Applied || len(rep.Changes) != 1 || rep.Changes[0].Kind != "route_table" {
		t.Fatalf("report %+v", rep)
	}
	for _, n := range each(s, func(w *worker) int64 { return w.loop.Stats().TurnLongest.Load() }) {
		turn = max(turn, time.Duration(n))
	}
	return took, turn
}

// TestReloadOneRoute: in a large configuration, only the table that changed is compiled, and no loop
// is held up. The bound on a turn is a promise of the design; the best of several tries is held to it,
// since the machine may take the loop's processor away. Where there is one processor for all, whoever compiles has it
// for 10 ms at a time, and there is nothing to hold.
func TestReloadOneRoute(t *testing.T) {
	const clusters, listeners, routes = 1000, 5, 10_000
	s, err := Start(Options{ConfigPath: "big.json", Text: bigConfig(clusters, listeners, routes, "0")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const promised, triesMin, triesMax = time.Millisecond, 5, 30
	best := time.Hour
	for i := 0; i < triesMin || i < triesMax && best >= promised && runtime.GOMAXPROCS(0) > 1; i++ {
		before := s.snapshot.Load()
		_, turn := reloadBig(t, s, bigConfig(clusters, listeners, routes, fmt.Sprint(i+1)))
		best = min(best, turn)
		after := s.snapshot.Load()
		if after.Listeners[0].Chains[0].Routes == before.Listeners[0].Chains[0].Routes {
			t.Error("the table that changed is the old one")
		}
		for j := 1; j < listeners; j++ {
			if after.Listeners[j] != before.Listeners[j] {
				t.Errorf("listener %d was made anew", j)
			}
		}
		if after.Clusters[0] != before.Clusters[0] || len(after.Clusters) != clusters {
			t.Error("clusters were made anew")
		}
	}
	if best >= promised && runtime.GOMAXPROCS(0) > 1 {
		t.Errorf("the longest turn of a loop during a reload is %v at best, want less than %v", best, promised)
	}
}

// TestReloadManyClusters: a reload that changes every cluster does so in steps.
func TestReloadManyClusters(t *testing.T) {
	const clusters = 1000
	s, err := Start(Options{ConfigPath: "big.json", Text: bigConfig(clusters, 1, 100, "0")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	posted := func() (n uint64) {
		for _, w := range s.workers {
			n += w.loop.Stats().Posted.Load()
		}
		return n
	}
	before := posted()
	s.opt.Text = bytes.ReplaceAll(bigConfig(clusters, 1, 100, "0"), []byte(`"127.0.0.2:`), []byte(`"127.0.0.3:`))
	rep := s.Reload(t.Context())
	if !rep.Applied || len(rep.Changes) != clusters || rep.Changes[0].Detail != "hosts: 1 added, 1 removed" {
		t.Fatalf("%d changes, errors %q", len(rep.Changes), rep.Errors)
	}
	if n, want := posted()-before, uint64(len(s.workers)*clusters/clustersPerTurn); n < want {
		t.Errorf("%d functions were posted to the loops, want at least %d", n, want)
	}
}

// BenchmarkReload is the promise of the design: one route of 100,000 changes, among 10,000 clusters.
func BenchmarkReload(b *testing.B) {
	for _, listeners := range []int{1, 10} {
		b.Run(fmt.Sprintf("listeners=%d", listeners), func(b *testing.B) {
			s, err := Start(Options{ConfigPath: "big.json", Text: bigConfig(10_000, listeners, 100_000, "start")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			longest, i := time.Duration(0), 0
			for b.Loop() {
				b.StopTimer()
				text := bigConfig(10_000, listeners, 100_000, fmt.Sprint(i))
				i++
				b.StartTimer()
				_, turn := reloadBig(b, s, text)
				longest = max(longest, turn)
			}
			b.ReportMetric(float64(longest.Microseconds()), "µs-turn")
		})
	}
}
