package main

import (
	"encoding/json"
	"encoding/xml"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSuiteIsSound(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, s := range suite("0") {
		if names[s.name] || s.name == "" || s.about == "" {
			t.Errorf("scenario %q: the name is taken, or name or description are missing", s.name)
		}
		names[s.name] = true
		if s.conns <= 0 || s.body <= 0 || len(s.entries) == 0 {
			t.Errorf("%s: %d connections, %d bytes, %d entries; want some of each", s.name, s.conns, s.body, len(s.entries))
		}
		for _, e := range s.entries {
			if e.loops < 1 || !slices.Contains([]string{millrace, nginx, nginxStock, nginxLarge, haproxy, haproxyAuto, floorRelay}, e.peer) {
				t.Errorf("%s: entry %+v names no peer or no loops", s.name, e)
			}
		}
		for _, tg := range s.targets {
			if !s.has(tg.of) || tg.against != "" && !s.has(tg.against) {
				t.Errorf("%s: target %+v names an entry that does not take part", s.name, tg)
			}
			if !slices.Contains(s.measure.metrics(), tg.metric) || tg.limit <= 0 {
				t.Errorf("%s: target %+v bounds nothing that is measured", s.name, tg)
			}
		}
	}
}

func TestEveryMetricHasAName(t *testing.T) {
	t.Parallel()
	for _, m := range []measure{cpuPerRequest, idleMemory, latency, cpuPerMiB, callLatency} {
		for _, metric := range m.metrics() {
			if metricName(metric) == metric {
				t.Errorf("metric %s has no name for its column", metric)
			}
		}
		if _, ok := chartOf[m]; !ok {
			t.Errorf("measure %d has no chart", m)
		}
	}
}

// fake is an outcome of two rounds and a third in which the peer failed.
func fake() outcome {
	s := suite("0")[0]
	s.entries = each(millrace, nginx)
	s.targets = []target{atMost(metricCPU, nginx, 0.85), atMost(metricUser, "", 1.5), atMost(metricCPU, haproxy, 0.7)}
	return outcome{scenario: s, rounds: map[string][]sample{
		millrace: {{metricCPU: 8, metricUser: 1, metricSystem: 7}, {metricCPU: 9, metricUser: 2, metricSystem: 7}, {metricCPU: 8}},
		nginx:    {{metricCPU: 10, metricUser: 2, metricSystem: 8}, {metricCPU: 10, metricUser: 2, metricSystem: 8}, {}},
	}, notes: []string{"round 3, nginx: out of order"}}
}

func TestOutcomeFigures(t *testing.T) {
	t.Parallel()
	o := fake()
	if got := o.figures(nginx, metricCPU); got[0] != 10 || !math.IsNaN(got[2]) {
		t.Errorf("figures = %v; want a hole in round 3", got)
	}
	if sp := o.ratio(metricCPU, millrace, nginx); sp.Count != 2 || math.Abs(sp.Median-0.85) > 1e-9 {
		t.Errorf("ratio = %+v; want 0.85 of two rounds", sp)
	}
	if sp := o.spread(nginx, metricCPU); sp.Count != 2 || sp.Median != 10 {
		t.Errorf("spread = %+v; want 10 of two rounds", sp)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	o := fake()
	vs := o.verdicts()
	if len(vs) != 2 {
		t.Fatalf("%d verdicts, want 2: a target without its peer has none", len(vs))
	}
	o.rounds[millrace][0][metricCPU] = 2
	o.rounds[millrace][1][metricCPU] = 2
	if w := o.verdicts()[0].word(); w != "pass" {
		t.Errorf("verdict of 0.2 under 0.85 = %q", w)
	}
	o.rounds[millrace][0][metricCPU] = 9
	o.rounds[millrace][1][metricCPU] = 9
	if w := o.verdicts()[0].word(); w != "FAIL" {
		t.Errorf("verdict of 0.9 under 0.85 = %q", w)
	}
	o.rounds[millrace][0][metricCPU] = 7
	if w := o.verdicts()[0].word(); w != "pass (interval holds the limit)" {
		t.Errorf("verdict of 0.7 and 0.9 under 0.85 = %q", w)
	}
	least := verdict{target{metric: metricRate, of: "two", against: "one", limit: 1.8, atLeast: true}, vs[0].spread}
	if least.word() != "FAIL" || !strings.Contains(least.claim(), "at least 1.80") {
		t.Errorf("%s: %s; want FAIL", least.claim(), least.word())
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &finished{
		opts:    options{rounds: 3, duration: time.Second, out: filepath.Join(dir, "docs", "benchmarks.md"), results: filepath.Join(dir, "results")},
		machine: []string{"machine: a test"}, started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), command: "go run ./bench",
		outcomes: []outcome{fake(), {scenario: suite("0")[5], notes: []string{"skipped"}}},
	}
	var stdout strings.Builder
	if err := f.publish(&stdout); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"machine: a test", "http1-128", "CPU µs/request", "out of order", "targets", "skipped"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, stdout.String())
		}
	}
	doc := read(t, f.opts.out)
	for _, want := range []string{"# Benchmarks", "## Targets", "| millrace |", "(benchmarks-cpu.svg)", "Incomplete: round 3, nginx: out of order."} {
		if !strings.Contains(doc, want) {
			t.Errorf("document lacks %q:\n%s", want, doc)
		}
	}
	if strings.Contains(doc, "benchmarks-memory.svg") || strings.Contains(doc, "NaN") {
		t.Errorf("document tells of what was not measured:\n%s", doc)
	}
	if err := xml.Unmarshal([]byte(read(t, filepath.Join(dir, "docs", "benchmarks-cpu.svg"))), new(struct{})); err != nil {
		t.Errorf("chart: %v", err)
	}
	_, samples, _ := strings.Cut(read(t, filepath.Join(dir, "results", "2026-01-02T0304Z.txt")), "\nsamples\n")
	lines := strings.Split(strings.TrimSpace(samples), "\n")
	if len(lines) != 6 {
		t.Errorf("%d samples, want 6:\n%s", len(lines), samples)
	}
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Errorf("sample %q is not JSON", l)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseFlags(t *testing.T) {
	t.Parallel()
	o, err := parseFlags([]string{"-quick", "-peers", "nginx,floor", "-run", "^http1"})
	if err != nil || o.rounds != 3 || o.duration != time.Second || len(o.peers) != 2 || !o.run.MatchString("http1-128") {
		t.Errorf("parseFlags = %+v, %v", o, err)
	}
	for _, args := range [][]string{{"-run", "("}, {"-rounds", "0"}, {"-duration", "10ms"}, {"-origin", "apache"}} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("parseFlags(%q): no error", args)
		}
	}
}

func TestParseCores(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in    string
		count int
	}{{"0", 1}, {"0,2-3", 3}, {"", 0}, {"3-1", 0}, {"x", 0}, {"-1", 0}, {"0-5000", 0}} {
		set, err := parseCores(tt.in)
		if (err != nil) != (tt.count == 0) || err == nil && set.Count() != tt.count {
			t.Errorf("parseCores(%q) = %v, %v; want %d cores", tt.in, set, err, tt.count)
		}
	}
}

func TestRunChildLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"bench"}, {"bench", "-quick", "x"}, {"bench", childOpen}} {
		if was, err := runChild(args); was || err != nil {
			t.Errorf("runChild(%q) = %v, %v; want false, nil", args, was, err)
		}
	}
	if was, err := runChild([]string{"bench", childIdle, "{"}); !was || err == nil {
		t.Errorf("runChild with a bad config = %v, %v; want true and an error", was, err)
	}
}

func TestFreePorts(t *testing.T) {
	t.Parallel()
	ports, err := freePorts(5)
	slices.Sort(ports)
	if err != nil || len(slices.Compact(ports)) != 5 {
		t.Errorf("freePorts(5) = %v, %v", ports, err)
	}
}
