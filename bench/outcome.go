package main

import (
	"fmt"
	"math"
	"strings"

	"millrace/bench/report"
)

// An outcome is every sample of a scenario, in rounds, by entry label.
type outcome struct {
	scenario scenario
	rounds   map[string][]sample
	notes    []string // what went wrong
}

// A verdict is a target beside what was measured.
type verdict struct {
	target target
	spread report.Spread
}

// figures returns one metric of an entry, round by round; NaN where a round failed.
func (o outcome) figures(label, metric string) []float64 {
	var out []float64
	for _, s := range o.rounds[label] {
		v, ok := s[metric]
		if !ok {
			v = math.NaN()
		}
		out = append(out, v)
	}
	return out
}

// spread summarizes one metric of an entry over the rounds that succeeded.
func (o outcome) spread(label, metric string) report.Spread {
	var good []float64
	for _, v := range o.figures(label, metric) {
		if !math.IsNaN(v) {
			good = append(good, v)
		}
	}
	return report.SpreadOf(good)
}

// ratio compares two entries round by round.
func (o outcome) ratio(metric, of, against string) report.Spread {
	return report.SpreadOf(report.Ratios(o.figures(of, metric), o.figures(against, metric)))
}

// base is the entry that the others are compared with.
func (o outcome) base() string {
	if len(o.scenario.entries) == 0 {
		return ""
	}
	return o.scenario.entries[0].label
}

// verdicts holds the targets against the samples. A target whose entries did not run is left out.
func (o outcome) verdicts() []verdict {
	var out []verdict
	for _, t := range o.scenario.targets {
		sp := o.spread(t.of, t.metric)
		if t.against != "" {
			sp = o.ratio(t.metric, t.of, t.against)
		}
		if sp.Count > 0 {
			out = append(out, verdict{t, sp})
		}
	}
	return out
}

// word is pass or fail by the median, or "open" when the interval holds the limit and so the rounds do not decide.
func (v verdict) word() string {
	low, high, limit := v.spread.Low, v.spread.High, v.target.limit
	met := v.spread.Median <= limit
	if v.target.atLeast {
		met = v.spread.Median >= limit
	}
	word := "FAIL"
	if met {
		word = "pass"
	}
	if v.spread.Count > 1 && low < limit && limit < high {
		word += " (interval holds the limit)"
	}
	return word
}

// claim says what the target asks for.
func (v verdict) claim() string {
	bound := "at most"
	if v.target.atLeast {
		bound = "at least"
	}
	what := v.target.of + " " + metricName(v.target.metric)
	if v.target.against != "" {
		what += " / " + v.target.against
	}
	return fmt.Sprintf("%s %s %s", what, bound, report.Figure(v.target.limit))
}

// metricNames gives the columns their heads.
var metricNames = map[string]string{
	metricCPU: "CPU µs/request", metricUser: "user µs", metricSystem: "system µs", metricRate: "requests/s", metricBusy: "proxy %", metricOthers: "others %",
	metricMiBCPU: "CPU µs/MiB", metricMiBUser: "user µs", metricMiBSystem: "system µs", metricMiBRate: "MiB/s",
	metricIdleBytes: "bytes/connection", metricBaseMiB: "MiB before", metricFullMiB: "MiB with them",
	metricAdded: "added p50 µs", metricDirect: "direct p50 µs", metricP50: "p50 µs", metricP99: "p99 µs", metricP999: "p99.9 µs", metricLate: "sent late p99 µs", metricSetAside: "set aside %", metricOffered: "offered/s", metricReconnects: "reopened",
}

func metricName(m string) string {
	if n, ok := metricNames[m]; ok {
		return n
	}
	return m
}

// table renders the medians of every entry and the ratios to the base.
func (o outcome) table() report.Table {
	m := o.scenario.measure
	t := report.Table{Head: []string{"peer"}}
	for _, metric := range m.metrics() {
		t.Head = append(t.Head, metricName(metric))
	}
	base := o.base()
	for _, metric := range m.compared() {
		t.Head = append(t.Head, fmt.Sprintf("%s / peer", base), "middle half [95 %]")
		if len(m.compared()) > 1 {
			t.Head[len(t.Head)-2] += " (" + strings.TrimSuffix(metricName(metric), " µs") + ")"
		}
	}
	for _, e := range o.scenario.entries {
		row := []string{e.label}
		for _, metric := range m.metrics() {
			row = append(row, report.Figure(o.spread(e.label, metric).Median))
		}
		for _, metric := range m.compared() {
			if sp := o.ratio(metric, base, e.label); e.label != base && sp.Count > 0 {
				row = append(row, report.Figure(sp.Median), sp.Range())
			} else {
				row = append(row, "", "")
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// verdictTable renders the targets of several scenarios.
func verdictTable(outcomes []outcome) report.Table {
	t := report.Table{Head: []string{"scenario", "target", "measured", "middle half [95 %]", "verdict"}}
	for _, o := range outcomes {
		for _, v := range o.verdicts() {
			t.Add(o.scenario.name, v.claim(), report.Figure(v.spread.Median), v.spread.Range(), v.word())
		}
	}
	return t
}
