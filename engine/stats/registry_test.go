package stats

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

type testSet struct {
	Total  Counter   `stat:"upstream_rq_total" help:"requests"`
	Active Gauge     `stat:"upstream_rq_active" help:"requests now"`
	Time   Histogram `stat:"upstream_rq_time" unit:"us" help:"time"`
	Codes  Codes     `stat:"upstream_rq_" help:"by code"`
	_      int       // no tag, no stat
}

type otherSet struct {
	Total Counter `stat:"upstream_rq_total"`
	Cx    Counter `stat:"upstream_cx_total"`
}

// lines renders what visit yields, one line each.
func lines(visit func(func(*Metric) bool)) []string {
	var out []string
	visit(func(m *Metric) bool {
		switch m.Kind {
		case KindHistogram:
			out = append(out, fmt.Sprintf("%s%s: %d values", m.Scope.Prefix, m.Name, m.Hist.Count))
		case KindText:
			out = append(out, fmt.Sprintf("%s%s: %q", m.Scope.Prefix, m.Name, m.Text))
		default:
			out = append(out, fmt.Sprintf("%s%s: %d", m.Scope.Prefix, m.Name, m.Value))
		}
		return true
	})
	return out
}

func wantLines(t *testing.T, visit func(func(*Metric) bool), want string) {
	t.Helper()
	if got := strings.Join(lines(visit), "\n"); got != strings.TrimSpace(want) {
		t.Errorf("visit gives\n%s\nwant\n%s", got, strings.TrimSpace(want))
	}
}

func TestRegistrySums(t *testing.T) {
	t.Parallel()
	var reg Registry
	var a, b testSet
	reg.Add(ClusterScope("web").OnLoop(0), &a)
	reg.Add(ClusterScope("web").OnLoop(1), &b)
	reg.Add(ClusterScope("web").OnLoop(1), &b) // again: nothing
	a.Total.Add(3)
	b.Total.Add(4)
	a.Active.Inc()
	b.Active.Dec()
	a.Time.Record(1)
	b.Time.Record(2)
	a.Codes.Inc(200)
	b.Codes.Inc(200)
	b.Codes.Inc(503)
	b.Codes.Inc(999)
	reg.Func("server.live", KindGauge, func() int64 { return 1 })
	reg.Text("server.version", func() string { return "x" })
	wantLines(t, reg.Each, `
cluster.web.upstream_rq_200: 2
cluster.web.upstream_rq_2xx: 2
cluster.web.upstream_rq_503: 1
cluster.web.upstream_rq_5xx: 1
cluster.web.upstream_rq_active: 0
cluster.web.upstream_rq_completed: 4
cluster.web.upstream_rq_time: 2 values
cluster.web.upstream_rq_total: 7
server.live: 1
server.version: "x"`)

	reg.Remove(ClusterScope("web"), &a)
	reg.Text("server.version", nil)
	reg.ResetCounters()
	b.Total.Inc()
	b.Codes.Inc(503)
	wantLines(t, reg.Each, `
cluster.web.upstream_rq_200: 0
cluster.web.upstream_rq_2xx: 0
cluster.web.upstream_rq_503: 1
cluster.web.upstream_rq_5xx: 1
cluster.web.upstream_rq_active: -1
cluster.web.upstream_rq_completed: 1
cluster.web.upstream_rq_time: 1 values
cluster.web.upstream_rq_total: 1
server.live: 1`)

	reg.Remove(ClusterScope("web"), &b)
	reg.Func("server.live", KindGauge, nil)
	wantLines(t, reg.Each, "")
	if len(reg.groups) != 0 {
		t.Errorf("%d groups left", len(reg.groups))
	}
}

// TestRegistryTypes: sets of several types under one prefix are one group of names.
func TestRegistryTypes(t *testing.T) {
	t.Parallel()
	var reg Registry
	a, b, c := &testSet{}, &otherSet{}, &otherSet{}
	reg.Add(ClusterScope("web"), a)
	reg.Add(ClusterScope("web"), b)
	reg.Add(ClusterScope("api"), c)
	a.Total.Inc()
	b.Total.Inc()
	c.Cx.Inc()
	a.Codes.Inc(404)
	wantLines(t, reg.EachFamily, `
cluster.api.upstream_cx_total: 1
cluster.web.upstream_cx_total: 0
cluster.web.upstream_rq_404: 1
cluster.web.upstream_rq_active: 0
cluster.web.upstream_rq_completed: 1
cluster.web.upstream_rq_time: 0 values
cluster.api.upstream_rq_total: 0
cluster.web.upstream_rq_total: 2
cluster.web.upstream_rq_4xx: 1`)
}

func TestMax(t *testing.T) {
	t.Parallel()
	type turnSet struct {
		Longest Gauge `stat:"longest" agg:"max"`
	}
	var reg Registry
	for i, n := range []int64{-7, -3, -5} {
		s := new(turnSet)
		s.Longest.Set(n)
		reg.Add(Root("x").OnLoop(i), s)
	}
	wantLines(t, reg.Each, "x.longest: -3")
}

func TestGaugeFunc(t *testing.T) {
	t.Parallel()
	type breakerSet struct {
		Open  GaugeFunc `stat:"cx_open"`
		Other GaugeFunc `stat:"rq_open"`
	}
	var reg Registry
	for i := range 2 {
		reg.Add(ClusterScope("web").Name("circuit_breakers").Name("default").OnLoop(i), &breakerSet{Open: func() int64 { return int64(i + 1) }})
	}
	wantLines(t, reg.EachFamily, "cluster.web.circuit_breakers.default.cx_open: 3\ncluster.web.circuit_breakers.default.rq_open: 0")
	reg.EachFamily(func(m *Metric) bool {
		if m.Scope.Root != "cluster.circuit_breakers.default." || len(m.Scope.Labels) != 1 {
			t.Errorf("scope %+v", m.Scope)
		}
		return true
	})
}

func TestRegister(t *testing.T) {
	t.Parallel()
	var reg Registry
	known := &testSet{}
	if got := Register[testSet](func(s Scope, set any) any { reg.Add(s, known); return known }, Root("x")); got != known {
		t.Errorf("Register gives %p, want the set already known, %p", got, known)
	}
	if got := Register[testSet](nil, Root("x")); got == nil || got == known {
		t.Errorf("Register without a registrar gives %p", got)
	}
}

// TestStaticBeforeDynamic: a name that a field and a group of counters both have is shown once.
func TestStaticBeforeDynamic(t *testing.T) {
	t.Parallel()
	set := &struct {
		OK    Counter `stat:"rq_2xx"`
		Codes Codes   `stat:"rq_"`
	}{}
	set.OK.Add(7)
	set.Codes.Inc(200)
	var reg Registry
	reg.Add(Root("x"), set)
	want := "x.rq_200: 1\nx.rq_2xx: 7\nx.rq_completed: 1"
	wantLines(t, reg.Each, want)
	wantLines(t, reg.EachFamily, want)
}

// TestOldVersion: a walk that has begun sees the group as it was then.
func TestOldVersion(t *testing.T) {
	t.Parallel()
	var reg Registry
	sets := make([]otherSet, 9)
	for i := range 5 {
		sets[i].Cx.Add(1)
		reg.Add(Root("x").OnLoop(i), &sets[i])
	}
	before := reg.list()[0]
	for i := 5; i < 9; i++ {
		sets[i].Cx.Add(1)
		reg.Add(Root("x").OnLoop(i), &sets[i])
	}
	reg.Remove(Root("x"), &sets[0])
	v := newVisit()
	var got int64
	v.group(before, func(m *Metric) bool { got = max(got, m.Value); return true })
	if got != 5 {
		t.Errorf("the old version sums to %d, want 5", got)
	}
	wantLines(t, reg.Each, "x.upstream_cx_total: 8\nx.upstream_rq_total: 0")
}

// TestEachFamilyTogether: the samples of a family stand together, over clusters and codes.
func TestEachFamilyTogether(t *testing.T) {
	t.Parallel()
	var reg Registry
	for i := range 20 {
		s := &testSet{}
		s.Codes.Inc(200 + i%3*100)
		s.Codes.Inc(100 + i)
		reg.Add(ClusterScope(fmt.Sprintf("c%02d", i)), s)
		reg.Add(HTTPScope(fmt.Sprintf("h%02d", i)), &otherSet{})
	}
	seen, last, count := map[string]bool{}, "", 0
	reg.EachFamily(func(m *Metric) bool {
		if fam := m.Scope.Root + m.Family; fam != last {
			if seen[fam] {
				t.Errorf("family %s is torn apart", fam)
			}
			seen[fam], last = true, fam
		}
		count++
		return true
	})
	if n := len(lines(reg.Each)); n != count {
		t.Errorf("EachFamily yields %d values, Each %d", count, n)
	}
}

func TestVisitStops(t *testing.T) {
	t.Parallel()
	var reg Registry
	s := &testSet{}
	s.Codes.Inc(200)
	reg.Add(ClusterScope("web"), s)
	total := len(lines(reg.Each))
	for _, visit := range []func(func(*Metric) bool){reg.Each, reg.EachFamily} {
		for stop := 1; stop <= total; stop++ {
			n := 0
			visit(func(*Metric) bool { n++; return n < stop })
			if n != stop {
				t.Errorf("told to stop at %d, went on to %d", stop, n)
			}
		}
	}
}

func TestFamily(t *testing.T) {
	for _, tt := range []struct{ in, base, label, value string }{
		{"upstream_rq_200", "upstream_rq", "envoy_response_code", "200"},
		{"upstream_rq_5xx", "upstream_rq_xx", "envoy_response_code_class", "5"},
		{"external.upstream_rq_503", "external.upstream_rq", "envoy_response_code", "503"},
		{"upstream_rq_total", "upstream_rq_total", "", ""},
		{"upstream_rq_6xx", "upstream_rq_6xx", "", ""},
		{"upstream_rq_2x0", "upstream_rq_2x0", "", ""},
		{"_rq_", "_rq_", "", ""},
		{"", "", "", ""},
	} {
		base, label := family(tt.in)
		if base != tt.base || label != (Label{tt.label, tt.value}) {
			t.Errorf("family(%q) = %q, %v; want %q, %q %q", tt.in, base, label, tt.base, tt.label, tt.value)
		}
	}
}

func TestScope(t *testing.T) {
	for _, tt := range []struct {
		scope        Scope
		prefix, root string
	}{
		{ClusterScope("web"), "cluster.web.", "cluster."},
		{ClusterScope("cluster"), "cluster.cluster.", "cluster."},
		{ClusterScope("a\nb"), "cluster.a_b.", "cluster."},
		{ListenerHTTPScope("0.0.0.0:80", "edge"), "listener.0.0.0.0_80.http.edge.", "listener.http."},
		{Scope{Prefix: "cluster.a.b.", Labels: []Label{{"n", "a.b"}}}, "cluster.a.b.", "cluster."},
		{Scope{Prefix: "cluster.cluster.", Labels: []Label{{"n", "cluster"}}}, "cluster.cluster.", "cluster."},
		{Scope{Prefix: "x.y.", Labels: []Label{{"n", "z"}}}, "x.y.", "x.y."},
		{Scope{Prefix: "x.y."}, "x.y.", "x.y."},
		{Scope{Prefix: "x.a:b\n\xff.", Labels: []Label{{"n", "a:b\n\xff"}}}, "x.a_b_\uFFFD.", "x."},
		{Scope{}, "", ""},
	} {
		got := tt.scope.derive()
		if got.Prefix != tt.prefix || got.Root != tt.root {
			t.Errorf("%+v derives %q, %q; want %q, %q", tt.scope, got.Prefix, got.Root, tt.prefix, tt.root)
		}
	}
	base := Root("a").Tag("l", "1")
	x, y := base.Tag("m", "2"), base.Tag("m", "3")
	if x.Labels[1].Value != "2" || y.Labels[1].Value != "3" {
		t.Errorf("scopes made from one share labels: %v, %v", x.Labels, y.Labels)
	}
}

type withHidden struct {
	_ Counter `stat:"n"`
}
type withInt struct {
	N int `stat:"n"`
}
type withTwice struct {
	A Counter `stat:"n"`
	B Counter `stat:"n"`
}
type embedding struct {
	otherSet
	More Counter `stat:"more"`
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	for _, set := range []any{nil, 1, otherSet{}, new(int), &withHidden{}, &withInt{}, &withTwice{}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Add of %T did not panic", set)
				}
			}()
			new(Registry).Add(Scope{}, set)
		}()
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	var names []string
	for _, f := range Fields(&embedding{}) {
		names = append(names, f.Name)
	}
	if want := []string{"more", "upstream_cx_total", "upstream_rq_total"}; !slices.Equal(names, want) {
		t.Errorf("Fields = %v, want %v", names, want)
	}
	var reg Registry
	s := &embedding{}
	s.Cx.Inc()
	reg.Add(Root("x"), s)
	wantLines(t, reg.Each, "x.more: 0\nx.upstream_cx_total: 1\nx.upstream_rq_total: 0")
}

// TestConcurrent is for the race detector: loops write while pages read and the control side changes.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	var reg Registry
	stop := make(chan struct{})
	done := make(chan struct{})
	set := &testSet{}
	reg.Add(ClusterScope("web"), set)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				reg.Each(func(*Metric) bool { return true })
			}
		}
	}()
	go func() {
		defer close(done)
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			set.Total.Inc()
			set.Active.Inc()
			set.Time.Record(i * i)
			set.Codes.Inc(100 + int(i%500))
		}
	}()
	last := int64(-1)
	for i := range 200 {
		other := &testSet{}
		reg.Add(ClusterScope(fmt.Sprint(i)), other)
		reg.Each(func(m *Metric) bool {
			if m.Name == "upstream_rq_total" && m.Scope.Prefix == "cluster.web." {
				if m.Value < last {
					t.Errorf("upstream_rq_total went from %d to %d", last, m.Value)
				}
				last = m.Value
			}
			return true
		})
		reg.EachFamily(func(m *Metric) bool { return true })
		reg.Remove(ClusterScope(fmt.Sprint(i)), other)
		reg.Add(ClusterScope("web").OnLoop(i), &otherSet{}) // grows a group that is being read
		if i == 100 {
			reg.ResetCounters()
			last = -1
		}
	}
	close(stop)
	<-done
}
