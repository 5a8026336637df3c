package engine

// queueMemory returns about how much memory the write queues take: their bytes, and for each queue half a
// node at either end.
func (l *Loop) queueMemory() int64 {
	return l.stats.QueuedBytes.Load() + int64(l.queuesUsed)*queueNodeBytes
}

// queueGrew looks after the limit of all write queues together.
func (l *Loop) queueGrew() {
	if l.queueMemory() > l.cfg.QueuedBytesMax && !l.shedding {
		l.shedding = true
		l.Later((*shedTask)(l)) // not now: this is the middle of some handler's write
	}
}

// shedTask is a Loop that has too much in its write queues.
type shedTask Loop

// RunTask implements [Task]. It ends the conns with the longest queues, until an eighth of what may be queued
// is free again. Their peers read too slowly for what they ask for; whoever reads keeps a short queue.
func (t *shedTask) RunTask() {
	l := (*Loop)(t)
	l.shedding = false
	enough := l.cfg.QueuedBytesMax - l.cfg.QueuedBytesMax/8
	for over := l.queueMemory() - enough; over > 0 && l.queuesUsed > 0; over = l.queueMemory() - enough {
		// At least one conn has the mean length or more, and mostly few have much more.
		mean := int(l.stats.QueuedBytes.Load() / int64(l.queuesUsed))
		l.slab.each(func(c *Conn) {
			if over > 0 && c.out != nil && c.out.Len() >= mean {
				over -= int64(c.out.Len() + queueNodeBytes)
				l.stats.QueuedMaxHit.Inc()
				c.flags |= flagReset // what has left must not be taken for the whole
				c.dropQueue()
				c.fail(CloseNoMemory, 0)
			}
		})
	}
}
