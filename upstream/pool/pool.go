package pool

import (
	"millrace/engine"
	"millrace/upstream"
)

// Pool is the connections from one loop to one host, for one priority.
//
// Invariant: while a connection is idle, whatever waits asked for a fresh one.
type Pool struct {
	cluster *Cluster
	host    *upstream.Host
	breaker *breaker
	// Its places at the limits of connections; that of the host only if it has one.
	atBreaker, atHost seat
	settings          *settings

	idle, oldest *conn       // a stack: top and bottom
	ready, last  *mux        // likewise, of those with room for another exchange
	pending      queue       // exchanges without a connection, oldest first
	clock        *queueClock // nil before it was needed
	conns        int         // open or opening
	connecting   int
	active       int  // exchanges on connections
	idleCount    int  // connections in idle
	streamsMax   int  // exchanges of one connection, as the host said last; -1 before it did
	hostFailed   bool // the host was ill when that was looked at last
	draining     bool // connections close instead of becoming idle
	finished     bool // drained and empty; only valid if draining
	failing      bool // RunTask will fail what waits
	dialErr      string
	shared       *sharing // with the pools of other loops; nil until there is something to share

	sni                  string // the name that its connections ask for, "" for that of the config
	names                names  // pools of the same host for connections that ask for other names
	olderName, newerName *Pool  // in names of root
	root                 *Pool  // whose names have, or had, this one; else nil
	inNames              int    // connections of the pools that have this one as root
}

// Lease gives x the connection that was returned last, or queues it.
func (p *Pool) Lease(x *Exchange, fresh bool) LeaseResult {
	c := p.idle
	if c == nil || fresh {
		if p.settings.h2 != nil {
			return p.leaseStream(x, fresh)
		}
		return p.enqueue(x, fresh)
	}
	if !p.breaker.budget.TryRequest() {
		p.cluster.Stats.RqPendingOverflow.Inc()
		return LeaseOverflow
	}
	p.unpark(c)
	p.host.RqActive.Add(1)
	c.attach(x)
	if p.settings.perHostRatio > 0 {
		p.preconnect()
	}
	return LeaseReady
}

// enqueue makes x wait and opens a connection for it, if there is not one opening already.
func (p *Pool) enqueue(x *Exchange, fresh bool) LeaseResult {
	st := &p.cluster.Stats
	if !p.breaker.budget.TryPending() {
		st.RqPendingOverflow.Inc()
		p.settle() // one that drains from the start is done
		return LeaseOverflow
	}
	if fresh && p.full() {
		p.shedIdle() // make room
	}
	st.RqPendingTotal.Inc()
	st.RqPendingActive.Inc()
	p.host.RqActive.Add(1)
	x.wait(p, fresh)
	p.pending.push(x)
	p.watchQueue()
	p.grow()
	if p.settings.perHostRatio > 0 {
		p.preconnect()
	}
	return LeasePending
}

// full reports whether a limit keeps the pool from another connection.
func (p *Pool) full() bool {
	most := p.settings.hostConnsMax
	return p.breaker.budget.Open(upstream.Connections) || most > 0 && p.host.CxActive.Load() >= most
}

// grow opens connections until those that are opening, and those that siblings are asked for, have room for what waits.
func (p *Pool) grow() {
	for p.wantsMore() && !p.failing && !p.cluster.table.ended {
		if p.ask() {
			continue
		}
		if !p.admit() {
			return
		}
		p.dial()
	}
}

// dial opens an admitted connection.
func (p *Pool) dial() {
	switch {
	case p.settings.auto:
		p.dialOpening()
		return
	case p.settings.h2 != nil:
		p.dialMux()
		return
	}
	c := newConn(p)
	ec, err := p.cluster.loop.DialAny(p.host.Target(), p.host.Others(), p.settings.dial, c)
	if err != nil { // no descriptor left, or the kernel knows no way
		c.forget()
		p.dialFailed(err)
		return
	}
	c.open(ec)
}

// dialFailed ends the wait of what waits for a connection that could not even be begun.
func (p *Pool) dialFailed(err error) {
	p.countConnectFail()
	p.cluster.countBind(err)
	p.failLater(err.Error())
}

// failLater fails what waits at the end of the turn, since Lease answers before it calls back.
func (p *Pool) failLater(text string) {
	p.dialErr = text
	if !p.failing {
		p.failing = true
		p.cluster.loop.Later(p)
	}
}

// RunTask implements [engine.Task].
func (p *Pool) RunTask() {
	p.failing = false
	p.failPending(ConnectFailure, p.dialErr)
	p.settle()
}

// failPending ends the wait of everything that waits now: a host that refuses one connection
// is not asked again and again on behalf of a queue. What owners lease anew from their
// OnReset is of the next epoch and stays.
func (p *Pool) failPending(why ResetReason, text string) {
	p.pending.epoch++
	for {
		x := p.pending.head
		if x == nil || x.epoch == p.pending.epoch {
			return
		}
		p.endWait(x)
		p.cluster.Stats.RqPendingFailureEject.Inc()
		p.host.RqActive.Add(-1)
		x.free()
		x.Owner.OnReset(why, text)
	}
}

// endWait takes x out of the queue.
func (p *Pool) endWait(x *Exchange) {
	p.pending.remove(x)
	if c := x.meant; c != nil { // the connection is for nobody else
		x.meant, c.meant = nil, nil
		c.abandon()
	}
	p.breaker.budget.ReleasePending()
	p.cluster.Stats.RqPendingActive.Dec()
}

// next returns the exchange that has waited longest of those that may have a connection: one that was used, that is, has
// carried a request before, may be dead already, which is why some asked for a fresh one.
func (p *Pool) next(used bool) *Exchange {
	x := p.pending.head
	for used && x != nil && x.fresh {
		x = x.next
	}
	return x
}

// use puts new settings into force, under which connections may go on.
func (p *Pool) use(s *settings) {
	p.settings = s
	p.watchQueue()
	p.names.each(func(q *Pool) { q.use(s) })
}

// prepare sets what a connection that begins to open needs.
func (p *Pool) prepare(ec *engine.Conn, createdAt int64) {
	limit := p.settings.bufferLimit
	ec.SetWatermarks(limit, limit/2)
	ec.SetDeadline(createdAt + p.settings.connectTimeout)
}

// serve gives a connection that became free to the request that waits longest, or parks it.
func (p *Pool) serve(c *conn) {
	for x := p.next(c.requests > 0); x != nil; x = p.next(c.requests > 0) {
		if p.admitNext(x) {
			c.attach(x)
			x.Owner.OnReady()
			return
		}
		if c.state == connClosed { // the owner removed the cluster, say
			return
		}
	}
	if p.welcomes() {
		p.park(c)
	} else {
		c.close(closeLocal)
	}
}

// admitNext takes x out of the queue. It reports false when max_requests is reached: then x is over.
func (p *Pool) admitNext(x *Exchange) bool {
	p.endWait(x)
	if p.breaker.budget.TryRequest() {
		return true
	}
	p.cluster.Stats.RqPendingOverflow.Inc()
	p.host.RqActive.Add(-1)
	x.free()
	x.Owner.OnReset(Overflow, "")
	return false
}

// welcomes reports whether a connection may become idle.
func (p *Pool) welcomes() bool {
	return !p.draining && !p.cluster.table.draining && !p.othersWait()
}

// park makes c idle. Precondition: it is welcome.
func (p *Pool) park(c *conn) {
	c.state = connIdle
	c.older, c.newer = p.idle, nil
	if p.idle != nil {
		p.idle.newer = c
	} else {
		p.oldest = c
	}
	p.idle = c
	p.idleCount++
	p.cluster.idle++
	p.noteIdle()
	c.armIdle()
	if p.oldest == c {
		p.publish()
	}
}

// unpark takes c out of the idle ones.
func (p *Pool) unpark(c *conn) {
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.idle = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
		p.publish()
	}
	c.older, c.newer = nil, nil
	p.idleCount--
	p.cluster.idle--
	p.noteBusy()
}

// drain closes idle connections now and the others when their exchange ends. What waits is still served.
func (p *Pool) drain() {
	p.draining = true
	p.unshare()
	p.names.each((*Pool).drain)
	p.names = names{}
	p.closeIdle()
	p.settle()
}

// closeIdle closes the idle connections.
func (p *Pool) closeIdle() {
	for p.shedIdle() {
	}
}

// shedIdle closes the idle connection that lies lowest in its stack. It reports whether there was one.
func (p *Pool) shedIdle() bool {
	if p.oldest != nil {
		p.oldest.close(closeLocal)
		return true
	}
	for m := p.last; m != nil; m = m.newer {
		if m.resting {
			m.close(closeLocal)
			return true
		}
	}
	return false
}

// settle is called after something ended: waiting requests may need a new connection, and
// a draining pool without any business is done.
func (p *Pool) settle() {
	p.grow()
	if p.draining && !p.finished && p.conns == 0 && p.pending.count == 0 {
		p.finished = true
		p.atBreaker.leave()
		p.atHost.leave()
		if p.clock != nil { // it would keep the pool in memory until it wakes
			p.cluster.loop.Wheel().Unlink(&p.clock.timer)
		}
	}
}
