package timer

import (
	"math"
	"math/bits"
)

const (
	tickShift = 20 // a tick is 1<<20 ns
	slotShift = 6  // 64 slots a level, so that one word says which are in use
	slotCount = 1 << slotShift
	slotMask  = slotCount - 1
	// levelCount levels span 2^30 ticks, about 13 days; later timers wait in the last
	// slot and are placed again when it comes up.
	levelCount = 5
	spanTicks  = 1 << (slotShift * levelCount)

	// None is what Next returns when no timer is set.
	None = int64(math.MaxInt64)
)

// A Firer is told when its timer's time has passed. The timer is then no longer set; OnTimer may set
// it again.
type Firer interface {
	OnTimer(now int64)
}

// A Timer lies inside the struct it times. It must not be copied or moved while linked.
type Timer struct {
	next, prev *Timer
	owner      Firer
	at         int64 // when to fire, 0 when stopped
	link       link
}

// link tells where in the wheel a timer is: the lower linkBits hold its place, which is
// 1 + level*slotCount + slot, the rest the tick that place stands for. 0 is not linked.
// They share a word because each connection has a Timer.
type link int64

const (
	linkBits = 10
	linkMask = 1<<linkBits - 1
)

func (k link) place() int  { return int(k & linkMask) }
func (k link) tick() int64 { return int64(k >> linkBits) }

// Init says whom the timer calls. It must be called before Set.
func (t *Timer) Init(owner Firer) { t.owner = owner }

// At returns the time the timer is set to, 0 when it is stopped.
func (t *Timer) At() int64 { return t.at }

// Stop makes sure the timer does not fire. It stays linked until its old time.
func (t *Timer) Stop() { t.at = 0 }

// A Wheel holds timers. It belongs to one loop.
type Wheel struct {
	now    int64 // the tick up to which timers have fired
	count  int   // timers linked
	inUse  [levelCount]uint64
	slots  [levelCount * slotCount]*Timer
	firing *Timer // what is left of the slot being fired
}

// NewWheel makes a wheel whose time starts at now.
func NewWheel(now int64) *Wheel { return &Wheel{now: now >> tickShift} }

// Set arms t to fire once the clock has passed at. A time in the past fires at the next
// Advance. Moving a timer to a later time costs one store.
func (w *Wheel) Set(t *Timer, at int64) {
	if at <= 0 {
		at = 1
	}
	t.at = at
	if t.link != 0 && t.link.tick() <= ticksUp(at) {
		return
	}
	w.relink(t)
}

// Unlink stops t and takes it out of the wheel at once.
func (w *Wheel) Unlink(t *Timer) {
	t.at = 0
	if t.link != 0 {
		w.remove(t)
	}
}

// Len returns the number of timers in the wheel, stopped ones that have not come up included.
func (w *Wheel) Len() int { return w.count }

// Advance fires every timer whose time is at or before now.
func (w *Wheel) Advance(now int64) {
	target := now >> tickShift
	if w.firing != nil { // a Firer panicked in the last Advance
		w.fire(now)
	}
	for w.now < target {
		if w.count == 0 {
			w.now = target
			return
		}
		w.now = w.nextTick(target)
		w.cascade()
		slot := int(w.now & slotMask)
		if w.inUse[0]&(1<<slot) != 0 {
			w.takeSlot(slot)
			w.fire(now)
		}
	}
}

// Next returns how many ns after now something comes up, 0 when it is overdue, None when no
// timer is linked. It may be early, never late.
func (w *Wheel) Next(now int64) int64 {
	if w.count == 0 {
		return None
	}
	at := w.nextTick(w.now+spanTicks) << tickShift
	return max(at-now, 0)
}

// nextTick returns the next tick after w.now, at most limit, at which a slot is due: to
// fire (level 0) or to be spread over the levels below.
func (w *Wheel) nextTick(limit int64) int64 {
	best := limit
	for level := range levelCount {
		used := w.inUse[level]
		if used == 0 {
			continue
		}
		shift := uint(level * slotShift)
		unit := w.now >> shift // the slot time stands in
		// Rotate so that bit 0 is the slot after the current one.
		first := int((unit + 1) & slotMask)
		ahead := bits.TrailingZeros64(bits.RotateLeft64(used, -first))
		if at := (unit + 1 + int64(ahead)) << shift; at < best {
			best = at
		}
	}
	return best
}

// cascade spreads the slots of higher levels whose time begins at w.now.
func (w *Wheel) cascade() {
	for level := levelCount - 1; level > 0; level-- {
		shift := uint(level * slotShift)
		if w.now&(1<<shift-1) != 0 {
			continue
		}
		slot := int(w.now>>shift) & slotMask
		i := level*slotCount + slot
		t := w.slots[i]
		w.slots[i] = nil
		w.inUse[level] &^= 1 << slot
		for t != nil {
			next := t.next
			t.next, t.prev, t.link = nil, nil, 0
			w.count--
			if t.at != 0 {
				w.insert(t, w.now) // due now: the slot of w.now has not been taken yet
			}
			t = next
		}
	}
}

// takeSlot moves the timers of a level 0 slot to the firing list.
func (w *Wheel) takeSlot(slot int) {
	w.firing = w.slots[slot]
	w.slots[slot] = nil
	w.inUse[0] &^= 1 << slot
	for t := w.firing; t != nil; t = t.next {
		t.link = placeFiring
	}
}

// placeFiring is the link of a timer in the firing list: behind all places, with a tick
// that is never after the time set.
const placeFiring = 1 + levelCount*slotCount

// fire calls the owners of the firing list. An owner may set, stop or unlink any timer.
func (w *Wheel) fire(now int64) {
	for w.firing != nil {
		t := w.firing
		w.remove(t)
		switch {
		case t.at == 0:
		case t.at > now: // moved later since it was linked
			w.insert(t, w.now+1)
		default:
			t.at = 0
			t.owner.OnTimer(now)
		}
	}
}

func (w *Wheel) relink(t *Timer) {
	if t.link != 0 {
		w.remove(t)
	}
	w.insert(t, w.now+1)
}

// insert puts t where its time belongs, not before the tick first.
func (w *Wheel) insert(t *Timer, first int64) {
	tick := max(ticksUp(t.at), first)
	delta := tick - w.now
	level := 0
	if delta >= slotCount {
		level = (bits.Len64(uint64(delta)) - 1) / slotShift
	}
	if level >= levelCount { // beyond the wheel: as late as it goes
		level = levelCount - 1
		tick = w.now + spanTicks - 1
	}
	slot := int(tick>>uint(level*slotShift)) & slotMask
	i := level*slotCount + slot
	t.prev, t.next = nil, w.slots[i]
	if t.next != nil {
		t.next.prev = t
	}
	w.slots[i] = t
	w.inUse[level] |= 1 << slot
	t.link = link(tick<<linkBits | int64(1+i))
	w.count++
}

// remove takes t out of the list it is in.
func (w *Wheel) remove(t *Timer) {
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else if t.link == placeFiring {
		w.firing = t.next
	} else {
		i := t.link.place() - 1
		w.slots[i] = t.next
		if t.next == nil {
			w.inUse[i>>slotShift] &^= 1 << (i & slotMask)
		}
	}
	t.next, t.prev, t.link = nil, nil, 0
	w.count--
}

// ticksUp converts a time to the first tick that is not before it.
func ticksUp(at int64) int64 { return (at + 1<<tickShift - 1) >> tickShift }
