package admin

import (
	"math"
	"net/http"
	"strconv"

	jsoniter "github.com/json-iterator/go"

	"millrace/engine/stats"
)

// statsPage is /stats.
func (s *Server) statsPage(w http.ResponseWriter, r *http.Request) {
	q, err := newStatsQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if q.wantsKind(stats.KindHistogram) && choice(r, "format", "text") != "prometheus" {
		s.intervals.ask()
	}
	switch choice(r, "format", "text") {
	case "json":
		s.statsJSON(w, r, q)
	case "prometheus":
		s.statsPrometheus(w, r, q)
	default:
		s.statsText(w, r, q)
	}
}

// statsText writes "name: value" lines, histograms after the rest as Envoy does.
func (s *Server) statsText(w http.ResponseWriter, r *http.Request, q *statsQuery) {
	p := newPage(w, r, textType)
	defer p.end()
	s.deps.Stats.Each(func(m *stats.Metric) bool {
		if m.Kind == stats.KindHistogram || !q.wants(m) {
			return !q.gone()
		}
		p.str(m.Scope.Prefix)
		p.str(m.Name)
		p.str(": ")
		if m.Kind == stats.KindText {
			p.B = strconv.AppendQuote(p.B, m.Text)
		} else {
			p.B = strconv.AppendInt(p.B, m.Value, 10)
		}
		p.str("\n")
		return p.spill()
	})
	h := histogramText{}
	s.deps.Stats.EachHistogram(func(m *stats.Metric) bool {
		if !q.wants(m) {
			return !q.gone()
		}
		p.str(m.Scope.Prefix)
		p.str(m.Name)
		p.B = h.append(p.B, m, s.intervalOf(m, &h.interval), q.buckets)
		p.str("\n")
		return p.spill()
	})
}

// intervalOf fills s with the last interval of a histogram and returns it.
func (s *Server) intervalOf(m *stats.Metric, to *stats.Snapshot) *stats.Snapshot {
	s.intervals.read(m, to)
	return to
}

// histogramText is scratch for histograms.
type histogramText struct {
	interval  stats.Snapshot
	quantiles [2][]float64 // of the interval, and of all
	counts    [2][]uint64  // likewise
	bounds    []float64
}

// append appends what stands after the name of a histogram. Of each pair in parentheses the
// first belongs to the last flush interval.
func (h *histogramText) append(b []byte, m *stats.Metric, interval *stats.Snapshot, buckets string) []byte {
	if m.Hist.Count == 0 {
		return append(b, ": No recorded values"...)
	}
	switch buckets {
	case "cumulative", "disjoint":
		return h.appendBuckets(append(b, ": "...), m, interval, buckets == "disjoint")
	case "detailed":
		b = appendDetail(append(b, ":\n  totals="...), m.Hist, m.Scale)
		b = appendDetail(append(b, "\n  intervals="...), interval, m.Scale)
		return h.appendQuantiles(append(b, "\n  summary="...), m, interval)
	}
	return h.appendQuantiles(append(b, ": "...), m, interval)
}

// appendBuckets appends counts at Envoy's bounds.
func (h *histogramText) appendBuckets(b []byte, m *stats.Metric, interval *stats.Snapshot, disjoint bool) []byte {
	h.atBounds(m, interval, disjoint)
	for i, bound := range stats.DefaultBounds {
		b = separate(b, i)
		b = append(strconv.AppendFloat(append(b, 'B'), bound, 'g', -1, 64), '(')
		b = append(strconv.AppendUint(b, h.counts[0][i], 10), ',')
		b = append(strconv.AppendUint(b, h.counts[1][i], 10), ')')
	}
	return b
}

// appendQuantiles appends the quantiles.
func (h *histogramText) appendQuantiles(b []byte, m *stats.Metric, interval *stats.Snapshot) []byte {
	h.quantile(m, interval)
	for i, pct := range stats.DefaultQuantiles {
		b = separate(b, i)
		b = append(strconv.AppendFloat(append(b, 'P'), pct, 'g', -1, 64), '(')
		b = append(appendFloat(b, h.quantiles[0][i]/m.Scale), ',')
		b = append(appendFloat(b, h.quantiles[1][i]/m.Scale), ')')
	}
	return b
}

// appendDetail appends the buckets that hold values: lower bound, width and count.
func appendDetail(b []byte, s *stats.Snapshot, scale float64) []byte {
	n := 0
	s.EachBucket(func(lower, upper float64, count uint64) {
		if n++; n > 1 {
			b = append(b, ", "...)
		}
		b = append(appendFloat(b, lower/scale), ',')
		b = append(appendFloat(b, (upper-lower)/scale), ':')
		b = strconv.AppendUint(b, count, 10)
	})
	return b
}

func separate(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ' ')
	}
	return b
}

// quantile fills quantiles, in the unit recorded.
func (h *histogramText) quantile(m *stats.Metric, interval *stats.Snapshot) {
	for i, s := range [...]*stats.Snapshot{interval, m.Hist} {
		h.quantiles[i] = s.Quantiles(h.quantiles[i][:0], stats.DefaultQuantiles)
	}
}

// atBounds fills counts for the bounds shown, which are in the unit shown. disjoint counts are those since the bound
// before.
func (h *histogramText) atBounds(m *stats.Metric, interval *stats.Snapshot, disjoint bool) {
	h.cumulative(m)
	h.counts[0] = interval.Cumulative(h.counts[0][:0], h.bounds)
	if !disjoint {
		return
	}
	for _, counts := range h.counts {
		for i := len(counts) - 1; i > 0; i-- {
			counts[i] -= counts[i-1]
		}
	}
}

// cumulative fills bounds, and the counts of all values.
func (h *histogramText) cumulative(m *stats.Metric) {
	h.bounds = h.bounds[:0]
	for _, bound := range stats.DefaultBounds {
		h.bounds = append(h.bounds, bound*m.Scale)
	}
	h.counts[1] = m.Hist.Cumulative(h.counts[1][:0], h.bounds)
}

// appendFloat appends v with at most five significant digits, more than a bucket knows, or nan.
func appendFloat(b []byte, v float64) []byte {
	if math.IsNaN(v) {
		return append(b, "nan"...)
	}
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'g', 5, 64)
}

// writeFloat writes v, or null for what JSON has no number for.
func writeFloat(s *jsoniter.Stream, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		s.WriteNil()
		return
	}
	s.SetBuffer(strconv.AppendFloat(s.Buffer(), v, 'f', -1, 64))
}

// statsJSON writes Envoy's JSON: {"stats":[{"name":…,"value":…},…,{"histograms":{…}}]}.
func (s *Server) statsJSON(w http.ResponseWriter, r *http.Request, q *statsQuery) {
	j := newJSON(w, r, compact)
	defer j.done()
	j.object("")
	j.array("stats")
	s.deps.Stats.Each(func(m *stats.Metric) bool {
		if m.Kind == stats.KindHistogram || !q.wants(m) {
			return !q.gone()
		}
		j.object("")
		j.name(m)
		if m.Kind == stats.KindText {
			j.str("value", m.Text)
		} else {
			j.int("value", m.Value)
		}
		j.end()
		return j.spill()
	})
	if q.kind == "all" || q.kind == "histograms" {
		j.object("")
		switch q.buckets {
		case "cumulative", "disjoint":
			s.bucketsJSON(j, q)
		case "detailed":
			s.detailsJSON(j, q)
		default:
			s.quantilesJSON(j, q)
		}
		j.end()
	}
	j.end()
	j.end()
}

// name writes the full name of m. The registry has taken control characters out of it, so
// that the escapes of Prometheus are those of JSON.
func (j *jsonPage) name(m *stats.Metric) {
	j.key("name")
	b := append(j.s.Buffer(), '"')
	b = appendEscaped(b, m.Scope.Prefix, true)
	b = appendEscaped(b, m.Name, true)
	j.s.SetBuffer(append(b, '"'))
}

// eachHistogramJSON writes an object with a name for each histogram wanted; f adds to it.
func (s *Server) eachHistogramJSON(j *jsonPage, q *statsQuery, f func(m *stats.Metric, interval *stats.Snapshot)) {
	var interval stats.Snapshot
	s.deps.Stats.EachHistogram(func(m *stats.Metric) bool {
		if !q.wants(m) {
			return !q.gone()
		}
		j.object("")
		j.name(m)
		f(m, s.intervalOf(m, &interval))
		j.end()
		return j.spill()
	})
}

// quantilesJSON writes the "histograms" member with computed quantiles.
func (s *Server) quantilesJSON(j *jsonPage, q *statsQuery) {
	j.object("histograms")
	j.array("supported_quantiles")
	for _, v := range stats.DefaultQuantiles {
		j.float("", v)
	}
	j.end()
	j.array("computed_quantiles")
	h := histogramText{}
	s.eachHistogramJSON(j, q, func(m *stats.Metric, interval *stats.Snapshot) {
		j.array("values")
		j.quantiles(&h, m, interval)
		j.end()
	})
	j.end()
	j.end()
}

// quantiles writes the elements of an array.
func (j *jsonPage) quantiles(h *histogramText, m *stats.Metric, interval *stats.Snapshot) {
	h.quantile(m, interval)
	for i := range stats.DefaultQuantiles {
		j.object("")
		j.float("interval", h.quantiles[0][i]/m.Scale)
		j.float("cumulative", h.quantiles[1][i]/m.Scale)
		j.end()
	}
}

// bucketsJSON writes the "histograms" member with counts at Envoy's bounds.
func (s *Server) bucketsJSON(j *jsonPage, q *statsQuery) {
	j.array("histograms")
	h := histogramText{}
	s.eachHistogramJSON(j, q, func(m *stats.Metric, interval *stats.Snapshot) {
		h.atBounds(m, interval, q.buckets == "disjoint")
		j.array("buckets")
		for i, bound := range stats.DefaultBounds {
			j.object("")
			j.float("upper_bound", bound)
			j.uint("interval", h.counts[0][i])
			j.uint("cumulative", h.counts[1][i])
			j.end()
		}
		j.end()
	})
	j.end()
}

// detailsJSON writes the "histograms" member with the buckets as they are.
func (s *Server) detailsJSON(j *jsonPage, q *statsQuery) {
	j.object("histograms")
	j.array("supported_percentiles")
	for _, v := range stats.DefaultQuantiles {
		j.float("", v)
	}
	j.end()
	j.array("details")
	h := histogramText{}
	s.eachHistogramJSON(j, q, func(m *stats.Metric, interval *stats.Snapshot) {
		j.array("percentiles")
		j.quantiles(&h, m, interval)
		j.end()
		j.detail("totals", m.Hist, m.Scale)
		j.detail("intervals", interval, m.Scale)
	})
	j.end()
	j.end()
}

// detail writes the buckets that hold values.
func (j *jsonPage) detail(key string, s *stats.Snapshot, scale float64) {
	j.array(key)
	s.EachBucket(func(lower, upper float64, n uint64) {
		j.object("")
		j.float("lower_bound", lower/scale)
		j.float("width", (upper-lower)/scale)
		j.uint("count", n)
		j.end()
	})
	j.end()
}
