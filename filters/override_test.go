package filters

import (
	"fmt"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/engine/enginetest"
	"millrace/filters/route"
)

// asking writes down what its route says to it.
type asking struct {
	name string
	log  *[]string
}

func (f *asking) note(s *Stream, what string) Verdict {
	*f.log = append(*f.log, fmt.Sprint(f.name, " ", what, " ", s.PerRoute()))
	return Continue
}
func (f *asking) OnRequestHead(s *Stream, _ bool) Verdict           { return f.note(s, "head") }
func (f *asking) OnRequestData(s *Stream, _ []byte, _ bool) Verdict { return f.note(s, "data") }
func (f *asking) OnDestroy(s *Stream)                               { f.note(s, "destroy") }

// answering is a downstream side that takes everything.
type answering struct{ quietDownstream }

func (*answering) SinkData(Direction, []byte, bool) {}

// TestPerRoute: a filter gets what its own entry says, two of one name get the same, and one that is left out is not called.
func TestPerRoute(t *testing.T) {
	t.Parallel()
	forward := func(prefix string, own map[string]any) route.RouteConfig {
		return route.RouteConfig{
			Match: route.MatchConfig{Prefix: prefix}, DirectResponse: &route.DirectResponseConfig{Status: 200}, PerFilterConfig: own,
		}
	}
	table, problems := route.CompileAll(&route.Config{VirtualHosts: []route.VirtualHostConfig{{
		Name: "v", Domains: []string{"*"}, RequireTLS: "none", PerFilterConfig: map[string]any{"b": "vhost"},
		Routes: []route.RouteConfig{
			forward("/own", map[string]any{"b": "route", "c": "other"}),
			forward("/none", map[string]any{"b": false}),
			forward("/", nil),
		},
	}}}, nil, nil, func(_ string, cfg any) (route.Override, error) {
		if cfg == false {
			return route.Override{Disabled: true}, nil
		}
		return route.Override{Config: cfg}, nil
	})
	if table == nil {
		t.Fatal(problems)
	}
	var log []string
	chain := NewChain(noTerminal{})
	for _, name := range []string{"a", "b", "b"} { // not c, which the table names
		if err := chain.Add(name, &asking{name, &log}); err != nil {
			t.Fatal(err)
		}
	}
	own := chain.Overrides(table)
	if NewChain(noTerminal{}).Overrides(table) != nil || chain.Overrides(nil) != nil {
		t.Error("overrides of a chain without filters, or without a table")
	}
	loop := enginetest.NewLoop(t).Loop
	for _, tt := range []struct{ path, want string }{
		{"/x", "a <nil>, b vhost, b vhost"},
		{"/own", "a <nil>, b route, b route"},
		{"/none", "a <nil>"},
	} {
		var want []string
		for _, what := range []string{"head", "data", "destroy"} {
			for _, f := range strings.Split(tt.want, ", ") {
				name, value, _ := strings.Cut(f, " ")
				want = append(want, name+" "+what+" "+value)
			}
		}
		var s Stream
		d := &answering{quietDownstream{loop: loop}}
		s.Init(chain, d)
		s.Request.Reset()
		s.Request.SetMethod(codec.MethodGET)
		s.Request.SetPath([]byte(tt.path))
		log = nil
		s.SetRoute(table.Match(&route.Input{Head: &s.Request}), own)
		s.Pass(Request, false)
		s.PassData(Request, []byte("x"), true)
		chain.Destroy(&s)
		if g, w := strings.Join(log, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.path, g, w)
		}
	}
}
