package route

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// bigConfig has n routes: services by prefix, and the same again as exact paths below.
func bigConfig(n int) *Config {
	cfg := &Config{Routes: make([]RouteConfig, 0, n)}
	for i := range n {
		r := RouteConfig{Name: fmt.Sprintf("route-%d", i)}
		r.Match.CaseSensitive = true
		r.Route = &ForwardConfig{Cluster: fmt.Sprintf("c%d", i%1000), Timeout: 15 * time.Second, ClusterNotFoundResponseCode: 503}
		if i%2 == 0 {
			r.Match.Path = fmt.Sprintf("/team%d/service%d/health", i%97, i+1)
		} else {
			r.Match.Prefix = fmt.Sprintf("/team%d/service%d/", (i-1)%97, i)
		}
		cfg.Routes = append(cfg.Routes, r)
	}
	return cfg
}

func mustCompile(t testing.TB, cfg *Config) *Table {
	t.Helper()
	table, problems := Compile(cfg, clusters, nil)
	if table == nil {
		t.Fatalf("Compile: %v", problems[0])
	}
	return table
}

const smallConfig = `{"virtual_hosts": [{"name": "shop", "domains": ["shop.example.com", "*.example.org"], "routes": [
    {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": "ok"}},
    {"match": {"prefix": "/ws"}, "route": {"cluster": "chat"}},
    {"match": {"prefix": "/api/", "headers": [{"name": "x-canary", "exact": "1"}]}, "route": {"cluster": "api-canary"}},
    {"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}]}`

func BenchmarkMatch(b *testing.B) {
	headers := []string{"User-Agent: curl/8.5.0", "Accept: */*"}
	big := mustCompile(b, bigConfig(10_000))
	var manyHosts []string
	for i := range 1000 {
		manyHosts = append(manyHosts, fmt.Sprintf("host%d.example.com *.h%d.example.net", i, i))
	}
	many := compileDomains(b, "", manyHosts...)
	for _, bb := range []struct {
		name  string
		table *Table
		in    *Input
	}{
		{"small", compile(b, smallConfig), request("GET shop.example.com/index.html?x=1", headers...)},
		{"small-suffix", compile(b, smallConfig), request("GET www.example.org/index.html?x=1", headers...)},
		{"one", compileRoutes(b, `{"match": {"prefix": "/"}, "route": {"cluster": "c1"}}`), request("GET shop.example.com/", headers...)},
		{"10k-prefix", big, request("GET shop.example.com/"+fmt.Sprintf("team%d/service%d/some/page", 5000%97, 5001), headers...)},
		{"10k-path", big, request("GET shop.example.com/"+fmt.Sprintf("team%d/service%d/health", 5000%97, 5001), headers...)},
		{"10k-none", big, request("GET shop.example.com/nothing/here", headers...)},
		{"1k-hosts-exact", many, request("GET host500.example.com/", headers...)},
		{"1k-hosts-suffix", many, request("GET www.h500.example.net/", headers...)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs() // TestMatchAllocs holds this at zero
			for b.Loop() {
				bb.table.Match(bb.in)
			}
		})
	}
}

// BenchmarkMatchSpread asks a big table for a different route each time, so that it is not all in the nearest cache.
func BenchmarkMatchSpread(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		table := mustCompile(b, bigConfig(n))
		inputs := make([]*Input, 1<<14)
		for i := range inputs {
			k := (i*7919)%(n/2)*2 + 1
			inputs[i] = request(fmt.Sprintf("GET shop.example.com/team%d/service%d/some/page", (k-1)%97, k))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if table.Match(inputs[i&(len(inputs)-1)]) == nil {
					b.Fatal("no match")
				}
			}
		})
	}
}

// BenchmarkIndexMin finds the number of routes from which the index is worth it.
func BenchmarkIndexMin(b *testing.B) {
	for _, n := range []int{4, 8, 12, 16, 24} {
		cfg := bigConfig(n)
		scan := mustCompile(b, cfg)
		scan.vhosts[0].index = nil
		index := mustCompile(b, cfg)
		routes := index.routes
		for len(routes) < indexMin {
			routes = append(routes, Route{path: pathMatch{kind: pathRegex}})
		}
		index.vhosts[0].index = newPathIndex(routes, 0)
		index.vhosts[0].index.rest = nil
		in := request(fmt.Sprintf("GET h/team%d/service%d/x", (n-2)%97, n-1))
		for name, table := range map[string]*Table{"scan": scan, "index": index} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if table.Match(in) == nil {
						b.Fatal("no match")
					}
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		cfg := bigConfig(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			table := mustCompile(b, cfg)
			runtime.GC()
			runtime.ReadMemStats(&after)
			for b.Loop() {
				table = mustCompile(b, cfg)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "table-B/route")
			b.ReportMetric(float64(after.HeapObjects-before.HeapObjects), "table-objects")
			runtime.KeepAlive(table)
		})
	}
}

// BenchmarkCollect is the time of a whole collection with nothing and with a table of
// 100,000 routes on the heap: the difference is what the table costs.
func BenchmarkCollect(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := mustCompile(b, bigConfig(n))
			runtime.GC()
			for b.Loop() {
				runtime.GC()
			}
			runtime.KeepAlive(table)
		})
	}
}
