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
	s.deps.Stats.Each(func(m *stats.Metric) bool {
		if m.Kind != stats.KindHistogram || !q.wants(m) {
			return !q.gone()
		}
		p.str(m.Scope.Prefix)
		p.str(m.Name)
		p.str(": ")
		p.B = h.append(p.B, m, q.buckets)
		p.str("\n")
		return p.spill()
	})
}

// histogramText is scratch for lines of histograms.
type histogramText struct {
	quantiles []float64
	counts    []uint64
	bounds    []float64
}

// append appends what stands after the name of a histogram. Of each pair in parentheses the
// first belongs to the last flush interval; we keep none, so it is what Envoy writes when nothing
// was recorded in the interval: nan, or 0 in a bucket.
func (h *histogramText) append(b []byte, m *stats.Metric, buckets string) []byte {
	if m.Hist.Count == 0 {
		return append(b, "No recorded values"...)
	}
	if buckets == "cumulative" || buckets == "disjoint" {
		h.cumulative(m)
		for i, bound := range stats.DefaultBounds {
			n := h.counts[i]
			if buckets == "disjoint" && i > 0 {
				n -= h.counts[i-1]
			}
			b = separate(b, i)
			b = append(strconv.AppendFloat(append(b, 'B'), bound, 'g', -1, 64), "(0,"...)
			b = append(strconv.AppendUint(b, n, 10), ')')
		}
		return b
	}
	h.quantiles = m.Hist.Quantiles(h.quantiles[:0], stats.DefaultQuantiles)
	for i, v := range h.quantiles {
		b = separate(b, i)
		b = append(strconv.AppendFloat(append(b, 'P'), stats.DefaultQuantiles[i], 'g', -1, 64), "(nan,"...)
		b = append(appendFloat(b, v/m.Scale), ')')
	}
	return b
}

func separate(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ' ')
	}
	return b
}

// cumulative fills counts for the bounds shown, which are in the unit shown.
func (h *histogramText) cumulative(m *stats.Metric) {
	h.bounds = h.bounds[:0]
	for _, bound := range stats.DefaultBounds {
		h.bounds = append(h.bounds, bound*m.Scale)
	}
	h.counts = m.Hist.Cumulative(h.counts[:0], h.bounds)
}

// appendFloat appends v with at most five significant digits: more than a bucket knows.
func appendFloat(b []byte, v float64) []byte {
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
		if q.buckets == "cumulative" || q.buckets == "disjoint" {
			s.bucketsJSON(j, q)
		} else {
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

// quantilesJSON writes the "histograms" member with computed quantiles.
func (s *Server) quantilesJSON(j *jsonPage, q *statsQuery) {
	j.object("histograms")
	j.array("supported_quantiles")
	for _, v := range stats.DefaultQuantiles {
		j.float("", v)
	}
	j.end()
	j.array("computed_quantiles")
	var values []float64
	s.deps.Stats.Each(func(m *stats.Metric) bool {
		if m.Kind != stats.KindHistogram || !q.wants(m) {
			return !q.gone()
		}
		j.object("")
		j.name(m)
		j.array("values")
		values = m.Hist.Quantiles(values[:0], stats.DefaultQuantiles)
		for _, v := range values {
			j.object("")
			j.null("interval")
			j.float("cumulative", v/m.Scale)
			j.end()
		}
		j.end()
		j.end()
		return j.spill()
	})
	j.end()
	j.end()
}

// bucketsJSON writes the "histograms" member with counts at Envoy's bounds.
func (s *Server) bucketsJSON(j *jsonPage, q *statsQuery) {
	j.array("histograms")
	h := histogramText{}
	s.deps.Stats.Each(func(m *stats.Metric) bool {
		if m.Kind != stats.KindHistogram || !q.wants(m) {
			return !q.gone()
		}
		h.cumulative(m)
		j.object("")
		j.name(m)
		j.array("buckets")
		for i, bound := range stats.DefaultBounds {
			n := h.counts[i]
			if q.buckets == "disjoint" && i > 0 {
				n -= h.counts[i-1]
			}
			j.object("")
			j.float("upper_bound", bound)
			j.uint("interval", 0)
			j.uint("cumulative", n)
			j.end()
		}
		j.end()
		j.end()
		return j.spill()
	})
	j.end()
}
