package transport

import (
	"sync/atomic"
	"time"

	"millrace/engine"
	"millrace/engine/timer"
)

const (
	// restAfter is how long a connection on the own record layer does nothing before it rests: what its AEADs have made of
	// their keys is let go, more than half of what it holds. Its next record makes it anew, in about two microseconds.
	restAfter = 5 * time.Second
	// restStep is how exact that is, and how often it is looked for connections that rest.
	restStep = time.Second
)

// awake is the connections of a loop that do not rest, by when they were used, to within restStep.
type awake struct {
	loop           *engine.Loop
	timer          timer.Timer
	newest, oldest *conn
	rested         *atomic.Uint64 // of all loops
}

func (a *awake) init(l *engine.Loop, rested *atomic.Uint64) {
	a.loop, a.rested = l, rested
	a.timer.Init(a)
}

// use notes that c is used.
//
// Hot path: BenchmarkRecords.
func (a *awake) use(c *conn) {
	now := a.loop.Now()
	if c.usedAt == 0 || now-c.usedAt >= int64(restStep) {
		a.renew(c, now)
	}
}

// renew puts c in front.
func (a *awake) renew(c *conn, now int64) {
	a.forget(c)
	if a.newest == nil {
		a.oldest = c
		a.loop.Wheel().Set(&a.timer, now+int64(restAfter))
	} else {
		a.newest.newer = c
	}
	c.older, c.usedAt = a.newest, now
	a.newest = c
}

// forget takes c out. It may not be in.
func (a *awake) forget(c *conn) {
	if c.usedAt == 0 {
		return
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		a.newest = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		a.oldest = c.newer
	}
	c.newer, c.older, c.usedAt = nil, nil, 0
}

// OnTimer implements timer.Firer: what has not been used rests.
func (a *awake) OnTimer(now int64) {
	for c := a.oldest; c != nil && now-c.usedAt >= int64(restAfter); c = a.oldest {
		a.forget(c)
		c.rec.Rest()
		a.rested.Add(1)
	}
	if c := a.oldest; c != nil {
		a.loop.Wheel().Set(&a.timer, max(c.usedAt+int64(restAfter), now+int64(restStep)))
	}
}
