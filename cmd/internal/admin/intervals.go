package admin

import (
	"sync"
	"time"

	"millrace/engine/stats"
)

const (
	// flushIntervalDefault is Envoy's.
	flushIntervalDefault = 5 * time.Second
	// intervalsKept is how long intervals are kept up after the last page that showed them.
	intervalsKept = 10 * time.Minute
)

// intervals keeps what each histogram recorded in the last whole interval, as long as somebody looks at pages that
// show it. It costs the loops nothing: a goroutine reads their histograms.
type intervals struct {
	registry *stats.Registry
	every    func() time.Duration // stats_flush_interval

	mu     sync.Mutex
	of     map[string]*kept // by full name; nil while nobody looks
	round  uint64
	asked  time.Time // last
	timer  *time.Timer
	closed bool
	name   []byte // scratch
}

// kept is the interval of one histogram.
type kept struct {
	stats.Interval
	round uint64 // in which it was seen last
}

// ask tells that a page is about to show intervals. The first one will have to do without.
func (v *intervals) ask() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = time.Now()
	if v.of != nil || v.closed {
		return
	}
	v.of = map[string]*kept{}
	v.advance(true)
	v.timer = time.AfterFunc(v.every(), v.tick)
}

// tick ends an interval.
func (v *intervals) tick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.of == nil {
		return
	}
	if time.Since(v.asked) > intervalsKept {
		v.of = nil
		return
	}
	v.advance(false)
	v.timer.Reset(v.every())
}

// advance goes over all histograms that have values, and forgets those that are gone. first begins the first interval.
func (v *intervals) advance(first bool) {
	v.round++
	v.registry.EachHistogram(func(m *stats.Metric) bool {
		if m.Hist.Count == 0 {
			return true
		}
		k := v.find(m)
		if k == nil {
			k = new(kept)
			v.of[string(v.name)] = k
		}
		if k.round = v.round; first {
			k.Begin(m.Hist)
		} else {
			k.Advance(m.Hist)
		}
		return true
	})
	for name, k := range v.of {
		if k.round != v.round {
			delete(v.of, name)
		}
	}
}

// find returns the interval of m, nil if there is none. The name stays in v.name.
func (v *intervals) find(m *stats.Metric) *kept {
	v.name = append(append(v.name[:0], m.Scope.Prefix...), m.Name...)
	return v.of[string(v.name)]
}

// read makes s the last interval of m; it is empty if there is none.
func (v *intervals) read(m *stats.Metric, s *stats.Snapshot) {
	s.Reset()
	v.mu.Lock()
	defer v.mu.Unlock()
	if k := v.find(m); k != nil {
		k.AddTo(s)
	}
}

// close ends it for good.
func (v *intervals) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed = true; v.timer != nil {
		v.timer.Stop()
	}
	v.of = nil
}
