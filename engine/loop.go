package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"millrace/engine/arena"
	"millrace/engine/internal/sys"
	"millrace/engine/timer"
)

// A Loop is one epoll instance on one locked thread. It owns every conn, timer, block and
// counter made on it.
type Loop struct {
	// Owned by the loop. First what each event touches, in few cache lines.
	now       int64 // read once a turn
	events    []sys.Event
	eventN    int // events in this turn
	eventAt   int // next one to handle
	step      step
	flushing  bool  // the flush of batch conns is on
	busy      bool  // the last wait brought several events
	current   *Conn // whose handler is being called; it answers for a panic
	blamed    *Conn // for whom it works: see Blame
	slab      slab
	scratch   []byte
	readShare int    // cfg.ReadBytesPerTurn
	faults    Faults // cfg.Faults
	stage     stage

	// Immutable after NewLoop.
	index  int
	cfg    LoopConfig
	epfd   int
	wakeFd int
	rng    *rand.Rand

	// Owned by the loop.
	wallBase int64 // wall clock at anchor
	yielded  int64 // when the loop last went through Go's scheduler
	anchor   int64
	arena    *arena.Pool
	wheel    *timer.Wheel
	scratchB arena.Block
	sockaddr sys.Sockaddr

	ready     connList // to be run this turn
	notices   connList
	dirty     connList
	nextReady []*Conn // their share of this turn is used up
	refires   []refire
	tasks     []Task
	taskAt    int
	dead      []*Conn // closed in this turn

	keptFree      *keptData
	keptFreeCount int
	queues        *Queue
	queuesFree    int
	queuesUsed    int
	shedding      bool // shedTask is due
	queueVec      [queueIovecs]sys.Iovec
	queueParts    [queueIovecs][]byte
	splicers      *splicer
	splicersFree  int
	pipes         []pipe
	leftovers     map[*leftover]struct{} // nil before the first
	pipeCount     int
	pipeRetry     int64 // when to ask the kernel for a pipe again, after it refused

	listeners      []*Listener
	listenerGen    uint32
	shortListeners int
	acceptFault    syscall.Errno // tests: what accept4 fails with

	packets *packetLoop // nil until the first UDP socket

	localAddrs []*Addr
	peerPaths  map[uint32]Addr  // by slot: peers that SetRemoteAddr says are unix sockets
	races      map[uint32]*race // by slot: conns that connect to several addresses

	panics panicBudget
	stats  LoopStats
	owner  debugOwner // with the debug tag: which thread may use the loop

	// Shared: see post.go.
	mail mailbox
	stop atomic.Bool
}

// NewLoop makes a loop. index is its number among its siblings.
func NewLoop(index int, cfg LoopConfig) (*Loop, error) {
	setNodeBytes()
	l := &Loop{
		index: index, cfg: cfg, epfd: -1, wakeFd: -1, readShare: cfg.ReadBytesPerTurn, faults: cfg.Faults,
		rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
	var errno syscall.Errno
	if l.epfd, errno = sys.EpollCreate(); errno != 0 {
		return nil, fmt.Errorf("engine: epoll_create: %w", errno)
	}
	if l.wakeFd, errno = sys.EventFD(); errno != 0 {
		sys.Close(l.epfd)
		return nil, fmt.Errorf("engine: eventfd: %w", errno)
	}
	if errno = sys.EpollAdd(l.epfd, l.wakeFd, sys.In|sys.Edge, slotWake, 0); errno != 0 {
		l.closeFds()
		return nil, fmt.Errorf("engine: epoll_ctl: %w", errno)
	}
	l.arena = arena.NewPool(cfg.BlocksMax)
	var ok bool
	if l.scratchB, ok = l.arena.Lease(cfg.ScratchBytes); !ok {
		l.closeFds()
		return nil, fmt.Errorf("engine: no memory for a scratch block of %d bytes within a budget of %d", cfg.ScratchBytes, cfg.BlocksMax)
	}
	l.scratch = l.scratchB.Bytes()[:cfg.ScratchBytes]
	l.stage.home = make([]byte, 0, cfg.StageBytes)
	l.stage.buf = l.stage.home
	l.events = make([]sys.Event, cfg.EventsMax)
	l.readClock()
	l.wheel = timer.NewWheel(l.now)
	return l, nil
}

// Index returns the number given to NewLoop.
func (l *Loop) Index() int { return l.index }

// Now returns the monotonic time in ns, as it was read at the start of the turn.
func (l *Loop) Now() int64 { return l.now }

// Unix returns the wall time in ns since 1970, of the start of the turn.
func (l *Loop) Unix() int64 { return l.wallBase + l.now - l.anchor }

// Rand returns the loop's own source of random numbers. Not for secrets.
func (l *Loop) Rand() *rand.Rand { return l.rng }

// Arena returns the loop's block pool.
func (l *Loop) Arena() *arena.Pool { return l.arena }

// Wheel returns the loop's timers.
func (l *Loop) Wheel() *timer.Wheel { return l.wheel }

// Stats returns the loop's counters.
func (l *Loop) Stats() *LoopStats { return &l.stats }

// Conns returns the number of open conns.
func (l *Loop) Conns() int { return l.slab.count - len(l.dead) }

// EachConn calls f for every open conn. f may close the conn it is given.
func (l *Loop) EachConn(f func(*Conn)) { l.slab.each(f) }

// Later runs t once, at the end of this turn, before what was written leaves.
func (l *Loop) Later(t Task) {
	l.owner.assert()
	l.tasks = append(l.tasks, t)
}

// Run turns the loop until Stop. It locks the calling goroutine to its thread and closes
// what is left at the end: each handler hears OnClose(CloseLoopEnd).
func (l *Loop) Run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.owner.own()
	for !l.stop.Load() {
		if err := l.Turn(-1); err != nil {
			l.end()
			return err
		}
	}
	l.end()
	return nil
}

// Stop ends Run after the current turn. It may be called from anywhere.
func (l *Loop) Stop() {
	l.stop.Store(true)
	l.wake()
}

// Close frees a loop that was never Run, or is stepped by Turn. Conns and listeners are closed.
func (l *Loop) Close() {
	if l.epfd >= 0 {
		l.end()
	}
}

// end closes everything.
func (l *Loop) end() {
	for i := range l.listeners {
		if ls := l.listeners[i]; ls != nil {
			sys.Close(ls.Detach())
		}
	}
	if l.packets != nil {
		l.packets.end()
	}
	l.slab.each(func(c *Conn) {
		c.flags &^= flagFailed
		c.fail(CloseLoopEnd, 0)
	})
	l.eventN, l.eventAt, l.step = 0, 0, stepSettle
	l.finishSteps()
	l.mail.refuse()
	l.slab.each(func(c *Conn) { c.closeNow() }) // opened by the handlers just now
	l.reap()
	for o := range l.leftovers {
		o.close()
	}
	for len(l.pipes) > 0 {
		n := len(l.pipes) - 1
		l.closePipe(l.pipes[n])
		l.pipes = l.pipes[:n]
	}
	l.arena.Return(l.scratchB)
	if l.arena.Leased() == 0 { // else others still hold blocks: leave them their memory
		l.arena.Close()
	}
	l.closeFds()
}

func (l *Loop) closeFds() {
	l.mail.close()
	if l.wakeFd >= 0 {
		sys.Close(l.wakeFd)
	}
	sys.Close(l.epfd)
	l.epfd, l.wakeFd = -1, -1
}

// readClock reads the clock, and sets the wall clock anew about once a second.
func (l *Loop) readClock() {
	if l.cfg.Clock != nil {
		l.now = l.cfg.Clock()
	} else {
		l.now = sys.Monotonic()
	}
	if l.anchor == 0 || l.now-l.anchor >= int64(time.Second) {
		l.anchor, l.wallBase = l.now, sys.Wall()
	}
}

// Turn runs one round of the loop: it waits for events up to wait, negative without end,
// and handles them. Run calls it; tests may step a loop by it.
//
// Hot path: guarded by BenchmarkEcho.
func (l *Loop) Turn(wait time.Duration) error {
	l.yield()
	before := l.now
	n, slept, err := l.wait(wait)
	if err != nil {
		return err
	}
	l.readClock()
	if !slept {
		l.stats.noteTurn(l.now - before)
	}
	l.stats.Turns.Inc()
	l.stats.Events.Add(uint64(n))
	l.busy = n > 1
	l.eventN, l.eventAt, l.step = n, 0, stepEvents
	l.startReady()
	l.finishSteps()
	l.reap()
	if l.packets != nil {
		l.packets.reap()
	}
	l.stats.noteArena(l.arena)
	return nil
}

// yieldEvery is how often a loop goes through Go's scheduler of its own will.
//
// A goroutine that has not for 10 ms is preempted by a signal, or loses its processor while it sleeps in
// epoll_wait; either keeps the runtime's monitor thread polling every 20 µs, which cost 4 % of the
// process at half load (November 2026, Go 1.26). A yield is some 15 µs of two threads.
const yieldEvery = int64(8 * time.Millisecond)

// yield lets the scheduler see that the loop is no runaway.
func (l *Loop) yield() {
	if l.now-l.yielded >= yieldEvery && l.cfg.Clock == nil {
		l.yielded = l.now
		runtime.Gosched()
	}
}

// wait polls epoll. While the loop is busy it only looks (RawSyscall, timeout 0) and
// sleeps when nothing was there.
func (l *Loop) wait(wait time.Duration) (n int, slept bool, err error) {
	if wait == 0 || l.Pending() {
		n, errno := sys.EpollWait(l.epfd, l.events, 0)
		return n, false, epollError(errno)
	}
	if l.busy {
		n, errno := sys.EpollWait(l.epfd, l.events, 0)
		if n > 0 || errno != 0 {
			return n, false, epollError(errno)
		}
	}
	if !l.mail.sleep(&l.stop) {
		n, errno := sys.EpollWait(l.epfd, l.events, 0)
		return n, false, epollError(errno)
	}
	l.noteSleep()
	n, errno := sys.EpollWait(l.epfd, l.events, l.timeoutMs(wait))
	l.mail.awake()
	return n, true, epollError(errno)
}

func epollError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("engine: epoll_wait: %w", errno)
}

// Pending reports whether something waits for the next turn already, besides what the
// kernel has to tell.
func (l *Loop) Pending() bool {
	return len(l.nextReady)+len(l.refires)+l.ready.len()+l.notices.len()+l.dirty.len()+len(l.tasks) > 0 ||
		l.mail.local != nil || l.packets.pending() || l.stop.Load()
}

// timeoutMs returns how long to sleep: until the next timer, at most wait.
func (l *Loop) timeoutMs(wait time.Duration) int {
	ns := l.wheel.Next(l.now)
	if wait > 0 {
		ns = min(ns, int64(wait))
	}
	if ns == timer.None {
		return -1
	}
	const msMax = 1 << 30
	return int(min((ns+999_999)/1_000_000, msMax))
}

// noteSleep records the turn that ends by sleeping. It reads the clock a second time, which a
// turn that sleeps can afford.
func (l *Loop) noteSleep() {
	l.stats.Waits.Inc()
	if l.cfg.Clock == nil {
		l.stats.noteTurn(sys.Monotonic() - l.now)
	}
}

func (s *LoopStats) noteTurn(ns int64) {
	s.BusyNs.Add(uint64(ns))
	if ns > s.TurnLongest.Load() {
		s.TurnLongest.Set(ns)
	}
}

// reap frees the slots of the conns closed in this turn.
func (l *Loop) reap() {
	for i, c := range l.dead {
		l.slab.release(c)
		l.dead[i] = nil
	}
	l.dead = l.dead[:0]
}

// exitTooManyPanics is the exit status after more panics than are survived (EX_SOFTWARE).
const exitTooManyPanics = 70

func tooManyPanics(hook func()) {
	if hook != nil {
		hook()
		return
	}
	os.Exit(exitTooManyPanics)
}
