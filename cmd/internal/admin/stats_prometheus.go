package admin

import (
	"net/http"
	"strconv"

	"millrace/engine/stats"
)

// prometheus is /stats/prometheus.
func (s *Server) prometheus(w http.ResponseWriter, r *http.Request) {
	q, err := newStatsQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.statsPrometheus(w, r, q)
}

// statsPrometheus writes the text exposition format, version 0.0.4, with Envoy's names:
// the variable parts of a name are labels.
func (s *Server) statsPrometheus(w http.ResponseWriter, r *http.Request, q *statsQuery) {
	e := exposition{page: newPage(w, r, prometheusType), seen: map[string]bool{}}
	defer e.page.end()
	s.deps.Stats.EachFamily(func(m *stats.Metric) bool {
		if m.Kind == stats.KindText && !q.texts || !q.wants(m) {
			return !q.gone()
		}
		e.metric(m)
		return e.page.spill()
	})
}

// exposition is the state of a page between metrics.
type exposition struct {
	*page
	root, family string // of the last metric
	kind         stats.Kind
	name         []byte // the family's name
	seen         map[string]bool
	scratch      histogramText
}

// metric writes the samples of m, after the head of its family if it is the first of it.
func (e *exposition) metric(m *stats.Metric) {
	if e.name == nil || m.Scope.Root != e.root || m.Family != e.family || m.Kind != e.kind {
		e.begin(m)
	}
	switch m.Kind {
	case stats.KindHistogram:
		e.histogram(m)
	case stats.KindText:
		e.sample(m, "", "text_value", m.Text)
		e.str("0\n")
	default:
		e.sample(m, "", "", "")
		e.B = append(strconv.AppendInt(e.B, m.Value, 10), '\n')
	}
}

// begin writes the HELP and TYPE lines of m's family. Two scopes can clash in one name once
// dots are underscores; the second has no head then.
func (e *exposition) begin(m *stats.Metric) {
	e.root, e.family, e.kind = m.Scope.Root, m.Family, m.Kind
	e.name = appendName(append(e.name[:0], "envoy_"...), e.root)
	e.name = appendName(e.name, e.family)
	if e.seen[string(e.name)] {
		return
	}
	e.seen[string(e.name)] = true
	if m.Help != "" {
		e.str("# HELP ")
		e.B = append(append(e.B, e.name...), ' ')
		e.B = append(appendEscaped(e.B, m.Help, false), '\n')
	}
	e.str("# TYPE ")
	e.B = append(append(e.B, e.name...), ' ')
	switch m.Kind {
	case stats.KindCounter:
		e.str("counter\n")
	case stats.KindHistogram:
		e.str("histogram\n")
	default:
		e.str("gauge\n")
	}
}

// histogram writes the cumulative buckets, the sum and the count of m.
func (e *exposition) histogram(m *stats.Metric) {
	e.scratch.cumulative(m)
	var num [24]byte
	for i, bound := range stats.DefaultBounds {
		e.sample(m, "_bucket", "le", string(strconv.AppendFloat(num[:0], bound, 'f', -1, 64)))
		e.B = append(strconv.AppendUint(e.B, e.scratch.counts[1][i], 10), '\n')
	}
	e.sample(m, "_bucket", "le", "+Inf")
	e.B = append(strconv.AppendUint(e.B, m.Hist.Count, 10), '\n')
	e.sample(m, "_sum", "", "")
	e.B = append(strconv.AppendFloat(e.B, float64(m.Hist.Sum)/m.Scale, 'f', -1, 64), '\n')
	e.sample(m, "_count", "", "")
	e.B = append(strconv.AppendUint(e.B, m.Hist.Count, 10), '\n')
}

// sample writes name, labels and a space; label, if not empty, is one more label.
func (e *exposition) sample(m *stats.Metric, suffix, label, value string) {
	e.B = append(append(e.B, e.name...), suffix...)
	n := 0
	for _, l := range m.Scope.Labels {
		n = e.label(n, l.Name, l.Value)
	}
	if m.Label.Name != "" {
		n = e.label(n, m.Label.Name, m.Label.Value)
	}
	if label != "" {
		n = e.label(n, label, value)
	}
	if n > 0 {
		e.B = append(e.B, '}')
	}
	e.B = append(e.B, ' ')
}

// label writes the n-th label of a sample and returns n+1.
func (e *exposition) label(n int, name, value string) int {
	if n == 0 {
		e.B = append(e.B, '{')
	} else {
		e.B = append(e.B, ',')
	}
	e.B = appendName(e.B, name)
	e.B = append(e.B, '=', '"')
	e.B = append(appendEscaped(e.B, value, true), '"')
	return n + 1
}

// appendName appends s with everything but letters, digits and '_' made '_'.
func appendName(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			b = append(b, c)
		} else {
			b = append(b, '_')
		}
	}
	return b
}

// appendEscaped appends s with backslash, newline and, in label values, quote escaped.
func appendEscaped(b []byte, s string, quoted bool) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\':
			b = append(b, `\\`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '"' && quoted:
			b = append(b, `\"`...)
		default:
			b = append(b, c)
		}
	}
	return b
}
