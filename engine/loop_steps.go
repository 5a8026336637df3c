package engine

import (
	"runtime/debug"
	"time"
)

// step is how far a turn has come. After a panic the turn goes on with the step it was in,
// behind the event that failed.
type step uint8

const (
	stepEvents step = iota
	stepPosted
	stepTimers
	stepSettle // ready conns, notices, tasks, until there are none
	stepFlush  // batch conns
	stepAfter  // what the flush brought up
	stepDone
)

// settleRounds bounds how often ready conns, notices and tasks may bring each other up in
// one turn. What is left then goes on in the next turn.
const settleRounds = 16

// finishSteps runs the rest of the turn. One recover surrounds each batch, and is
// re-entered after what failed.
func (l *Loop) finishSteps() {
	for !l.guarded() {
	}
}

// guarded reports whether the turn was finished without a panic.
func (l *Loop) guarded() (done bool) {
	defer func() {
		if v := recover(); v != nil {
			l.panicked(v, debug.Stack())
		}
	}()
	l.runSteps()
	return true
}

// runSteps is the order of a turn. Replies written by any step leave before it ends.
func (l *Loop) runSteps() {
	for l.step < stepDone {
		switch l.step {
		case stepEvents:
			l.runEvents()
			if l.packets != nil {
				l.packets.run()
			}
		case stepPosted:
			l.runPosted()
		case stepTimers:
			l.current = nil
			l.wheel.Advance(l.now)
			l.endEvent()
		case stepSettle, stepAfter:
			l.settle()
		case stepFlush:
			l.flushBatches()
			if l.packets != nil {
				l.packets.flushAll()
			}
		}
		l.step++
	}
	l.current = nil
}

// runEvents hands the events of epoll to their conns.
//
// Hot path: guarded by BenchmarkEcho.
func (l *Loop) runEvents() {
	for l.eventAt < l.eventN {
		ev := &l.events[l.eventAt]
		l.eventAt++
		slot, gen := uint32(ev.Fd), uint32(ev.Pad)
		if slot&slotListener != 0 {
			l.otherEvent(slot, gen)
			continue
		}
		c := l.slab.lookup(slot, gen)
		if c == nil { // closed earlier in this batch; the fd may be someone else's now
			l.stats.StaleEvents.Inc()
			continue
		}
		l.current = c
		c.onEvent(ev.Events)
		if l.stage.owner != nil {
			l.endEvent()
		}
	}
}

// otherEvent handles the events of listeners, and the one that only wakes.
func (l *Loop) otherEvent(slot, gen uint32) {
	if slot == slotWake {
		return // the eventfd is edge-triggered and never read
	}
	if slot&slotPacket != 0 {
		l.current = nil
		l.packets.event(slot&^(slotListener|slotPacket), gen, l.events[l.eventAt-1].Events)
		return
	}
	i := slot &^ slotListener
	if i >= uint32(len(l.listeners)) || l.listeners[i] == nil || l.listeners[i].gen != gen {
		l.stats.StaleEvents.Inc()
		return
	}
	l.current = nil
	l.listeners[i].accept()
}

// settle runs what the steps so far have brought up.
func (l *Loop) settle() {
	for range settleRounds {
		if l.ready.len()+l.notices.len()+len(l.tasks) == 0 {
			return
		}
		for n := l.ready.len(); n > 0; n-- {
			if c := l.ready.pop(flagReady); c != nil {
				l.current = c
				c.runReady()
				l.endEvent()
			}
		}
		for n := l.notices.len(); n > 0; n-- {
			if c := l.notices.pop(flagNotice); c != nil {
				l.current = c
				c.runNotice()
				l.endEvent()
			}
		}
		l.current = nil
		l.runTasks()
	}
}

// runTasks runs what was given to Later.
func (l *Loop) runTasks() {
	for l.taskAt < len(l.tasks) {
		t := l.tasks[l.taskAt]
		l.tasks[l.taskAt] = nil
		l.taskAt++
		t.RunTask()
		l.endEvent()
	}
	l.tasks, l.taskAt = l.tasks[:0], 0
}

// flushBatches writes what batch conns have gathered in this turn.
func (l *Loop) flushBatches() {
	l.flushing = true
	// What is staged still was written last. Often it is a mere acknowledgement for the conn whose bytes have come, and
	// what those became is queued: somebody waits for that, so it leaves first, unless one write can carry both.
	if c := l.stage.owner; c != nil && (c.out != nil || c.wire != nil) {
		l.unstage(c)
	}
	for l.dirty.len() > 0 {
		if c := l.dirty.pop(flagDirty); c != nil && c.out != nil && c.flags&flagWritable != 0 {
			l.current = c
			c.flushQueue()
		}
	}
	if l.stage.owner != nil {
		l.unstage(l.stage.owner)
	}
	l.flushing = false
}

// connList is a list of conns with something to do, each at most once. Conns closed
// meanwhile stay in it and are passed over.
type connList struct {
	conns []*Conn
	at    int // next one to take
}

func (q *connList) len() int { return len(q.conns) - q.at }

// add appends c unless mark says that it is there already.
func (q *connList) add(c *Conn, mark flags) {
	if c.flags&(mark|flagClosed) == 0 {
		c.flags |= mark
		q.conns = append(q.conns, c)
	}
}

// pop takes the first conn; nil if it was closed meanwhile.
func (q *connList) pop(mark flags) *Conn {
	c := q.conns[q.at]
	q.conns[q.at] = nil
	q.at++
	if q.at == len(q.conns) {
		q.conns, q.at = q.conns[:0], 0
	}
	if c.flags&mark == 0 || c.flags&flagClosed != 0 {
		return nil
	}
	c.flags &^= mark
	return c
}

// markReady runs c later in this turn.
func (l *Loop) markReady(c *Conn) { l.ready.add(c, flagReady) }

// notice tells the handler of c later in this turn.
func (l *Loop) notice(c *Conn) { l.notices.add(c, flagNotice) }

// markDirty flushes c at the end of the turn.
func (l *Loop) markDirty(c *Conn) { l.dirty.add(c, flagDirty) }

// again runs c in the next turn: its share of this one is used up.
func (l *Loop) again(c *Conn) {
	if c.flags&(flagReady|flagClosed) == 0 {
		c.flags |= flagReady
		l.nextReady = append(l.nextReady, c)
	}
}

// refire stands for an event that a fault of a test or an interrupted call swallowed.
type refire struct {
	c    *Conn
	gen  uint32
	bits flags
}

// refire gives c an event in the next turn.
func (l *Loop) refire(c *Conn, bits flags) {
	l.refires = append(l.refires, refire{c, c.gen, bits})
}

// startReady brings over what the last turn left for this one.
func (l *Loop) startReady() {
	if len(l.nextReady) > 0 {
		l.ready.conns = append(l.ready.conns, l.nextReady...)
		clear(l.nextReady)
		l.nextReady = l.nextReady[:0]
	}
	for _, r := range l.refires {
		if r.c.gen == r.gen && r.c.flags&flagClosed == 0 {
			r.c.flags |= r.bits
			l.markReady(r.c)
		}
	}
	clear(l.refires)
	l.refires = l.refires[:0]
}

// panicBudget counts the panics of the last minute or so.
type panicBudget struct {
	since int64
	count int
}

// panicked ends the conn whose handler panicked, and the one it was writing to, and counts.
func (l *Loop) panicked(v any, stack []byte) {
	l.stats.Panics.Inc()
	l.flushing = false
	if l.cfg.OnPanic != nil {
		l.cfg.OnPanic(v, stack)
	}
	if l.now-l.panics.since > int64(time.Minute) {
		l.panics = panicBudget{since: l.now}
	}
	l.panics.count++
	if l.panics.count > l.cfg.PanicsPerMinuteMax {
		tooManyPanics(l.cfg.OnTooManyPanics)
		l.panics = panicBudget{since: l.now}
	}
	// What is staged is half a message, perhaps. Without it the conn it was for, which may be a third one, carries nonsense.
	staged := l.stage.owner
	if staged != nil {
		l.stage.reset()
	}
	current, blamed := l.current, l.blamed
	l.current, l.blamed = nil, nil
	for _, c := range [...]*Conn{blamed, current, staged} {
		if c != nil && c.flags&flagClosed == 0 {
			l.endPanicked(c)
		}
	}
}

// Blame names the conn for which a timer, a posted function or the handler of another conn works from now on, nil for
// none, and returns the one before. It answers for a panic, as the conn does whose handler is being called. Whoever names
// it puts back the one before.
func (l *Loop) Blame(c *Conn) (before *Conn) {
	before, l.blamed = l.blamed, c
	return before
}

// endPanicked closes c and tells its handler, which may panic once more.
func (l *Loop) endPanicked(c *Conn) {
	h := c.handler
	c.flags &^= flagInData
	c.closeNow()
	if h == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			l.stats.Panics.Inc()
			if l.cfg.OnPanic != nil {
				l.cfg.OnPanic(v, debug.Stack())
			}
		}
	}()
	h.OnClose(ClosePanic)
}

// newKept takes a keptData off the free list.
func (l *Loop) newKept() *keptData {
	k := l.keptFree
	if k == nil {
		return new(keptData)
	}
	l.keptFree = k.next
	l.keptFreeCount--
	*k = keptData{}
	return k
}

// keptFreeMax is how many keptData a loop keeps for the next that needs one.
const keptFreeMax = 1024

func (l *Loop) freeKept(k *keptData) {
	*k = keptData{}
	if l.keptFreeCount >= keptFreeMax {
		return
	}
	k.next = l.keptFree
	l.keptFree = k
	l.keptFreeCount++
}
