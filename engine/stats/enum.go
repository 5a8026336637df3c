package stats

import "sync/atomic"

// enumMax is how many values an [Enum] tells apart.
const enumMax = 64

// Enum counts by a small number with a name, such as the rule that a peer broke. As a field of a set with
// the tag `stat:"cx_protocol_error."` it gives cx_protocol_error.<name> for each value seen. One goroutine
// Incs; memory comes with the first count.
type Enum[T interface {
	~uint8
	String() string
}] struct {
	counts atomic.Pointer[[enumMax]Counter]
}

// Inc counts v, which is below 64.
func (e *Enum[T]) Inc(v T) {
	p := e.counts.Load()
	if p == nil {
		p = new([enumMax]Counter)
		e.counts.Store(p)
	}
	p[v].Inc()
}

// Load returns how often v was counted.
func (e *Enum[T]) Load(v T) uint64 {
	if p := e.counts.Load(); p != nil {
		return p[v].Load()
	}
	return 0
}

// EachStat implements [Dynamic].
func (e *Enum[T]) EachStat(yield func(name string, n uint64)) {
	p := e.counts.Load()
	if p == nil {
		return
	}
	for i := range p {
		if n := p[i].Load(); n != 0 {
			yield(T(i).String(), n)
		}
	}
}
