package route

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naiveMatch is what Match must do: the first route that fits, by the definition.
func naiveMatch(cfg *Config, path string, header bool) int {
	path, _, _ = strings.Cut(path, "?")
	for i := range cfg.Routes {
		m := &cfg.Routes[i].Match
		fold := func(s string) string {
			if m.CaseSensitive {
				return s
			}
			return strings.ToLower(s)
		}
		fits := false
		switch p := fold(path); {
		case m.Prefix != "":
			fits = strings.HasPrefix(p, fold(m.Prefix))
		case m.Path != "":
			fits = p == fold(m.Path)
		case m.PathSeparatedPrefix != "":
			fits = p == fold(m.PathSeparatedPrefix) || strings.HasPrefix(p, fold(m.PathSeparatedPrefix)+"/")
		case m.SafeRegex != "":
			fits = strings.HasPrefix(path, strings.TrimSuffix(m.SafeRegex, ".*"))
		}
		if fits && (len(m.Headers) == 0 || header) {
			return i
		}
	}
	return -1
}

// unreachable reports the routes Validate calls unreachable.
func unreachable(cfg *Config) map[string]string {
	found := map[string]string{}
	checkRoutes(cfg.Routes, func(path, problem, hint string) {
		i := strings.Index(path, "]")
		found[path[:i+1]] = problem
	})
	return found
}

var drawRoute = rapid.Custom(func(t *rapid.T) RouteConfig {
	text := rapid.StringMatching(`/[abAB/]{0,5}`).Draw(t, "text")
	r := RouteConfig{Route: &ForwardConfig{Cluster: "c1"}}
	r.Match.CaseSensitive = rapid.IntRange(0, 3).Draw(t, "case") > 0
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0, 1, 2:
		r.Match.Prefix = text
	case 3, 4:
		r.Match.Path = text
	case 5:
		r.Match.PathSeparatedPrefix = "/s" + strings.TrimRight(text, "/")
	case 6:
		r.Match.CaseSensitive = true
		r.Match.SafeRegex = text + ".*"
	}
	if rapid.Bool().Draw(t, "conditional") {
		r.Match.Headers = []HeaderMatchConfig{{Name: "x"}}
	}
	return r
})

var drawPath = rapid.StringMatching(`/s?[abAB/]{0,7}(\?[ab/]{0,2})?`)

// TestIndexProperty: Match, Explain and the definition agree, and a route called unreachable is never taken.
func TestIndexProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := &Config{Routes: rapid.SliceOfN(drawRoute, 1, 60).Draw(rt, "routes")}
		dead := unreachable(cfg)
		table := compileAll(rt, cfg)
		for range 20 {
			path := drawPath.Draw(rt, "path")
			header := rapid.Bool().Draw(rt, "header")
			in := request("GET h" + path)
			if header {
				in.Head.AddString("x", "1")
			}
			got, want := -1, naiveMatch(cfg, path, header)
			r := table.Match(in)
			if r != nil {
				got = r.Index()
			}
			if e, trail := table.Explain(in); e != r {
				rt.Fatalf("Match(%s) = %d, but Explain says\n%s", path, got, trail)
			}
			if got != want {
				rt.Fatalf("Match(%s) = %d; want %d", path, got, want)
			}
			if problem := dead[fmt.Sprintf("routes[%d]", got)]; problem != "" {
				rt.Fatalf("Match(%s) = %d, of which was said: %s", path, got, problem)
			}
		}
	})
}

// compileAll compiles a configuration although some of its routes are unreachable.
func compileAll(t *rapid.T, cfg *Config) *Table {
	c := newCompiler(cfg, clusters, nil)
	c.compile()
	if len(c.problems) > 0 {
		t.Fatalf("Compile: %v", c.problems)
	}
	return c.table
}

// FuzzPaths: routes are separated by spaces, their kind is the first letter. The
// index must agree with the definition for any path.
func FuzzPaths(f *testing.F) {
	f.Add("p/a/b e/a/b/c P/A s/a p/ e/", "/a/b/c")
	f.Add("p/aaaaaaaaaaaaaaaaaaaaaaa p/aaaaaaaaaaaaaaaaaaaaaab s/aaaaaaaaaaaaaaaaaaaaaaa", "/aaaaaaaaaaaaaaaaaaaaaaa/b")
	f.Add("E/Q e/q S/q", "/q?x=/q")
	f.Fuzz(func(t *testing.T, routes, path string) {
		var cfg Config
		for _, text := range strings.Fields(routes) {
			r := RouteConfig{Route: &ForwardConfig{Cluster: "c1"}}
			kind := text[0]
			text = text[1:]
			r.Match.CaseSensitive = kind >= 'a'
			switch kind | 0x20 {
			case 'p':
				r.Match.Prefix = text
			case 'e':
				r.Match.Path = text
			case 's':
				r.Match.PathSeparatedPrefix = text
			default:
				continue
			}
			bad := false
			r.Match.Validate(func(string, string, string) { bad = true })
			if !bad {
				cfg.Routes = append(cfg.Routes, r)
			}
		}
		in := request("GET h/")
		in.Head.SetPath([]byte(path))
		path, _, _ = strings.Cut(string(in.Head.Path()), "#")
		if cfg.Routes == nil || path == "" || path[0] != '/' {
			t.Skip()
		}
		for len(cfg.Routes) < indexMin {
			cfg.Routes = append(cfg.Routes, cfg.Routes[0])
		}
		c := newCompiler(&cfg, clusters, nil)
		c.compile()
		got := -1
		if r := c.table.Match(in); r != nil {
			got = r.Index()
		}
		if want := naiveMatch(&cfg, path, false); got != want {
			t.Errorf("Match(%q) among %s = %d; want %d", path, routes, got, want)
		}
	})
}
