package transport

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"millrace/engine"
	"millrace/engine/stats"
)

// Limits bounds the handshakes of the process. Zero fields stand for the defaults.
type Limits struct {
	// MaxComputing is how many handshakes compute at once. Default: the processors that GOMAXPROCS leaves beyond
	// the loops, see DefaultLimits; at least 1.
	MaxComputing int
	// MaxUnderWay is how many handshakes may have begun, those included that wait for their peer or for their turn.
	// One more takes the place of that which has waited longest for its client, if that is a second or more; else it is shed.
	// Default 4096.
	MaxUnderWay int
	// MaxQueued is how many may wait for their turn to begin. One more is shed. Default 1024.
	MaxQueued int

	// OnPanic is given the value and the stack of each panic that was recovered in a handshake, on its goroutine. Default: none.
	OnPanic func(value any, stack []byte)
}

const (
	underWayMax = 4096
	queuedMax   = 1024
	// stalledAfter is how long a handshake must have waited for its client for another to take its place: a slow client of
	// the other side of the world answers in less.
	stalledAfter = time.Second
	// idleWorkers is how many goroutines are kept for the next handshake, for each that may compute: their stacks
	// have grown already.
	idleWorkers = 4
)

// DefaultLimits returns the defaults for a process with that many loops. Call it when GOMAXPROCS is set.
func DefaultLimits(loops int) Limits {
	return Limits{MaxComputing: max(1, runtime.GOMAXPROCS(0)-loops), MaxUnderWay: underWayMax, MaxQueued: queuedMax}
}

// Handshakes bounds the handshakes of the process, and runs them. It may be used from any loop.
type Handshakes struct {
	limits Limits // immutable

	mu        sync.Mutex
	computing int   // tokens in use
	underWay  int   // begun and not over
	queued    int   // of them, in fresh
	again     queue // have input, and wait for a token
	fresh     queue // have not begun
	stalled   queue // of servers: wait for their client, the one that has waited longest first
	idle      []*worker
	closed    bool
	patience  time.Duration // stalledAfter
	loops     map[*engine.Loop]*buffers

	// Atomic, for readers.
	started, shed, evicted, timeouts, panics, rested atomic.Uint64
}

// NewHandshakes makes the bounds of a process.
func NewHandshakes(limits Limits) *Handshakes {
	def := DefaultLimits(0)
	if limits.MaxComputing <= 0 {
		limits.MaxComputing = def.MaxComputing
	}
	if limits.MaxUnderWay <= 0 {
		limits.MaxUnderWay = def.MaxUnderWay
	}
	if limits.MaxQueued <= 0 {
		limits.MaxQueued = def.MaxQueued
	}
	return &Handshakes{limits: limits, patience: stalledAfter, loops: map[*engine.Loop]*buffers{}}
}

// Close lets the idle goroutines end. Handshakes under way go on to their ends.
func (h *Handshakes) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, w := range h.idle {
		close(w.wake)
	}
	h.idle = nil
}

// A Snapshot is what Handshakes counts.
type Snapshot struct {
	UnderWay, Computing, Queued                int    // now
	Started, Shed, Evicted, Timeouts, Panicked uint64 // since the start
}

// Snapshot returns the counts. It may be called from anywhere.
func (h *Handshakes) Snapshot() Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Snapshot{
		UnderWay: h.underWay, Computing: h.computing, Queued: h.queued + h.again.n,
		Started: h.started.Load(), Shed: h.shed.Load(), Evicted: h.evicted.Load(), Timeouts: h.timeouts.Load(), Panicked: h.panics.Load(),
	}
}

// handshakesSet is Snapshot as a set of the registry.
type handshakesSet struct {
	UnderWay  stats.GaugeFunc `stat:"handshakes_active" help:"TLS handshakes that have begun"`
	Computing stats.GaugeFunc `stat:"handshakes_computing" help:"TLS handshakes that are being computed"`
	Queued    stats.GaugeFunc `stat:"handshakes_queued" help:"TLS handshakes that wait for their turn"`
	Events    handshakeEvents `stat:"handshakes_" help:"TLS handshakes by what became of them"`
}

// handshakeEvents gives the counters.
type handshakeEvents struct{ h *Handshakes }

// EachStat implements stats.Dynamic.
func (e *handshakeEvents) EachStat(yield func(name string, n uint64)) {
	yield("started", e.h.started.Load())
	yield("shed", e.h.shed.Load())
	yield("evicted", e.h.evicted.Load())
	yield("timeouts", e.h.timeouts.Load())
	yield("panics", e.h.panics.Load())
}

// Rested returns how often a connection of any loop has let go of memory because it did nothing.
func (h *Handshakes) Rested() uint64 { return h.rested.Load() }

// StatsSet returns a set for stats.Registry, such as under the scope "tls".
func (h *Handshakes) StatsSet() any {
	gauge := func(f func(*Snapshot) int) stats.GaugeFunc {
		return func() int64 {
			s := h.Snapshot()
			return int64(f(&s))
		}
	}
	return &handshakesSet{
		UnderWay:  gauge(func(s *Snapshot) int { return s.UnderWay }),
		Computing: gauge(func(s *Snapshot) int { return s.Computing }),
		Queued:    gauge(func(s *Snapshot) int { return s.Queued }),
		Events:    handshakeEvents{h},
	}
}

// worker is a goroutine that runs one handshake after the other.
type worker struct{ wake chan *shake }

// state is where a handshake stands. Guarded by Handshakes.mu.
//
//	          start            token               input missing
//	(none) ──────────▶ fresh ─────────▶ computing ───────────────▶ parked
//	   │ token free                       │    ▲ token               │ input
//	   └──────────────────────────────────┼────┴────── again ◀───────┘
//	                                      ▼ returned, or told to close
//	                                     over
type state uint8

const (
	stateFresh state = iota
	stateComputing
	stateParked
	stateAgain
	stateAwaiting // for the client's Finished, without a goroutine
	stateOver
)

// start begins s, or queues it. It reports false when there are too many.
func (h *Handshakes) start(s *shake) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.computing >= h.limits.MaxComputing && h.queued >= h.limits.MaxQueued || h.underWay >= h.limits.MaxUnderWay && !h.evict() {
		h.shed.Add(1)
		return false
	}
	h.started.Add(1)
	h.underWay++
	if h.computing < h.limits.MaxComputing {
		h.computing++
		h.run(s)
		return true
	}
	s.state = stateFresh
	h.queued++
	h.fresh.push(s)
	return true
}

// evict ends the handshake that has waited longest for its client, and reports whether it has waited long enough for that.
// Precondition: mu is held.
func (h *Handshakes) evict() bool {
	s := h.stalled.first
	if s == nil || time.Since(s.since) < h.patience {
		return false
	}
	h.evicted.Add(1)
	s.closed = true
	s.loop.Post(s.evict)
	h.giveUp(s)
	return true
}

// stall notes that s waits for its peer from now on. Precondition: mu is held.
func (h *Handshakes) stall(s *shake, to state) {
	s.state = to
	if !s.side.client {
		s.since = time.Now()
		h.stalled.push(s)
	}
}

// unstall ends that. Precondition: mu is held.
func (h *Handshakes) unstall(s *shake) {
	if !s.side.client {
		h.stalled.remove(s)
	}
}

// giveUp ends a handshake that waits for its peer. A parked one has no token, and needs none to return an error.
// Precondition: mu is held, and s.closed is set.
func (h *Handshakes) giveUp(s *shake) {
	parked := s.state == stateParked
	h.unstall(s)
	h.over(s)
	if parked {
		s.wake <- struct{}{}
	}
}

// run gives s, and the token of the caller, to a goroutine.
func (h *Handshakes) run(s *shake) {
	s.state = stateComputing
	if n := len(h.idle); n > 0 {
		w := h.idle[n-1]
		h.idle = h.idle[:n-1]
		w.wake <- s // has room
		return
	}
	go h.work(s)
}

// work runs s, and then what comes next.
func (h *Handshakes) work(s *shake) {
	var w *worker
	for s != nil {
		s.run()
		if s = h.next(s); s != nil {
			continue
		}
		if w == nil {
			w = &worker{wake: make(chan *shake, 1)}
		}
		if !h.rest(w) {
			return
		}
		s = <-w.wake
	}
}

// next ends s and passes its token on. It returns the handshake that the caller is to run, nil when there is none.
func (h *Handshakes) next(s *shake) *shake {
	h.mu.Lock()
	defer h.mu.Unlock()
	token := s.state == stateComputing
	switch {
	case s.state == stateOver:
	case s.left && !s.closed:
		h.stall(s, stateAwaiting)
	default:
		h.over(s)
	}
	if !token {
		return nil
	}
	return h.pass(true)
}

// pass gives a token to who waits for one. Those that have begun go first: they hold more, and are done soon. With take the
// caller runs one that has not begun itself.
func (h *Handshakes) pass(take bool) *shake {
	if s := h.again.pop(); s != nil {
		s.state = stateComputing
		s.wake <- struct{}{}
		return nil
	}
	s := h.fresh.pop()
	if s == nil {
		h.computing--
		return nil
	}
	h.queued--
	if take {
		s.state = stateComputing
		return s
	}
	h.run(s)
	return nil
}

// rest makes w idle. It reports false when there are idle ones enough.
func (h *Handshakes) rest(w *worker) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.idle) >= idleWorkers*h.limits.MaxComputing {
		return false
	}
	h.idle = append(h.idle, w)
	return true
}

// over ends s.
func (h *Handshakes) over(s *shake) {
	s.state = stateOver
	h.underWay--
}

// ready makes a parked handshake go on, when there is a token. Precondition: mu is held.
func (h *Handshakes) ready(s *shake) {
	if s.state != stateParked {
		return
	}
	h.unstall(s)
	if h.computing >= h.limits.MaxComputing {
		s.state = stateAgain
		h.again.push(s)
		return
	}
	h.computing++
	s.state = stateComputing
	s.wake <- struct{}{}
}

// drop ends s because its connection is gone. One that computes notices when it next reads or writes.
func (h *Handshakes) drop(s *shake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.closed = true
	switch s.state {
	case stateAwaiting, stateParked:
		h.giveUp(s)
	case stateFresh:
		h.fresh.remove(s)
		h.queued--
		h.over(s)
	case stateAgain:
		h.again.remove(s)
		h.over(s)
		s.wake <- struct{}{}
	case stateComputing, stateOver:
	}
}

// queue is a list of handshakes, linked through them.
type queue struct {
	first, last *shake
	n           int
}

func (q *queue) push(s *shake) {
	s.prev, s.next = q.last, nil
	if q.last == nil {
		q.first = s
	} else {
		q.last.next = s
	}
	q.last = s
	q.n++
}

func (q *queue) pop() *shake {
	s := q.first
	if s != nil {
		q.remove(s)
	}
	return s
}

func (q *queue) remove(s *shake) {
	if s.prev == nil {
		q.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		q.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
	q.n--
}

// panicked counts a panic of a handshake.
func (h *Handshakes) panicked(v any, stack []byte) {
	h.panics.Add(1)
	if h.limits.OnPanic != nil {
		h.limits.OnPanic(v, stack)
	}
}
