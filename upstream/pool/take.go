package pool

import (
	"time"

	"millrace/engine"
	"millrace/engine/timer"
	"millrace/upstream"
)

const (
	// spareAfter is how long a connection lies idle before another loop may have it: longer than loops under load leave one
	// idle that they need, so that they do not take each other's to and fro.
	spareAfter = int64(100 * time.Millisecond)
	// answerWithin is how long the loop that was asked may take, which is a turn of it. Then a connection is opened.
	answerWithin = int64(time.Millisecond)
	// asksMax is how many answers a pool waits for. Beyond that connections are opened.
	asksMax = 64
)

// sharing is what a pool has to do with those of the same host on other loops.
//
//	taker:  miss ── ask ──▶ asked ── taken ──────────────▶ serve
//	                          └── denied, answerWithin ──▶ dial
//	giver:           answer: the connection that lies idle longest, or no
type sharing struct {
	pool   *Pool
	share  upstream.IdleShare
	joined bool

	asked  int    // answers that are waited for
	epoch  uint32 // of those asks: later answers change asked no more
	timer  timer.Timer
	denied bool // the answer was no: dial
}

// sharing returns p's, which it makes on first use. Nil: connections are not shared.
func (p *Pool) sharing() *sharing {
	if !p.settings.shares {
		return nil
	}
	if p.shared == nil {
		s := &sharing{pool: p, share: upstream.IdleShare{
			Loop: p.cluster.loop, Budget: p.breaker.budget, ServerName: p.sni, Owner: p,
		}}
		s.timer.Init(s)
		p.shared = s
	}
	return p.shared
}

// publish tells the siblings that another connection lies idle longest, or none.
func (p *Pool) publish() {
	if p.oldest == nil {
		if p.shared != nil {
			p.shared.share.Since.Set(0)
		}
		return
	}
	s := p.sharing()
	if s == nil || p.draining { // one that drains would stay on the list
		p.unshare()
		return
	}
	if !s.joined {
		s.joined = true
		p.host.Idle.Join(&s.share)
	}
	s.share.Since.Set(p.oldest.idleSince)
}

// unshare takes p off the siblings' list.
func (p *Pool) unshare() {
	if s := p.shared; s != nil && s.joined {
		s.joined = false
		s.share.Since.Set(0)
		p.host.Idle.Leave(&s.share)
	}
}

// ask asks a sibling for an idle connection in place of opening one. It reports whether one was asked that has one to spare.
func (p *Pool) ask() bool {
	list := p.host.Idle.List()
	if len(list) == 0 || p.draining || !p.settings.shares || !p.speaksHTTP1() {
		return false
	}
	s := p.sharing()
	if s.denied || s.asked >= min(asksMax, p.pending.count-p.pending.fresh) {
		return false
	}
	l := p.cluster.loop
	for i, start := 0, l.Rand().IntN(len(list)); i < len(list); i++ {
		o := list[(start+i)%len(list)]
		if o.Loop == l || o.Budget != s.share.Budget || o.ServerName != p.sni {
			continue
		}
		if since := o.Since.Load(); since == 0 || l.Now()-since < spareAfter {
			continue
		}
		if s.asked == 0 {
			l.Wheel().Set(&s.timer, l.Now()+answerWithin)
		}
		s.asked++
		a := &ask{pool: p, loop: l, epoch: s.epoch, config: p.cluster.shared.Config}
		giver := o.Owner.(*Pool)
		o.Loop.Post(func() { giver.answer(a) }) // if it ends, the timer comes
		return true
	}
	return false
}

// ask is a question to a sibling. It is immutable.
type ask struct {
	pool   *Pool // for loop alone
	loop   *engine.Loop
	epoch  uint32
	config *upstream.Config
}

// answer gives the connection that lies idle longest to another loop, if there is one to spare.
func (p *Pool) answer(a *ask) {
	c := p.spare(a.config)
	if c == nil {
		a.loop.Post(func() { a.pool.deny(a) })
		return
	}
	p.unpark(c)
	c.countBytes()
	c.state, c.pool = connClosed, nil
	g := &given{conn: c, d: c.ec.Detach(), config: p.cluster.shared.Config, host: p.host, budget: p.breaker.budget}
	p.conns--
	if p.root != nil {
		p.root.inNames--
	}
	p.cluster.Stats.CxActive.Dec()
	p.cluster.Stats.CxGiven.Inc()
	p.settle()
	a.loop.PostOr(func() { a.pool.take(a, g) }, g.end)
}

// spare returns the connection that may go to a loop whose config is cfg, or nil.
func (p *Pool) spare(cfg *upstream.Config) *conn {
	c, now := p.oldest, p.cluster.loop.Now()
	if c == nil || p.draining || !p.settings.shares || now-c.idleSince < spareAfter || !cfg.SameConnections(p.cluster.shared.Config) {
		return nil
	}
	if at := c.expiry(p.settings); at != 0 && at <= now {
		return nil
	}
	if !c.ec.Quiet() { // something comes: not to be asked again and again for it
		p.shared.share.Since.Set(now)
		return nil
	}
	return c
}

// given is a connection on its way to another loop. It still counts for host and budget.
type given struct {
	conn   *conn
	d      *engine.Detached
	config *upstream.Config // under which it was opened
	host   *upstream.Host
	budget *upstream.Budget
}

// end closes it. It may be called from anywhere.
func (g *given) end() {
	g.d.Close()
	g.host.ReleaseConnection()
	g.budget.ReleaseConnection()
}

// asked returns how many answers are waited for.
func (p *Pool) asked() int {
	if p.shared == nil {
		return 0
	}
	return p.shared.asked
}

// answered notes that an answer has come.
func (p *Pool) answered(a *ask) {
	s := p.shared
	if a.epoch != s.epoch {
		return
	}
	if s.asked--; s.asked == 0 {
		s.timer.Stop()
	}
}

// deny opens what a sibling had not to give.
func (p *Pool) deny(a *ask) {
	p.cluster.Stats.CxTakeRefused.Inc()
	p.answered(a)
	p.goOn()
}

// goOn opens connections without asking.
func (p *Pool) goOn() {
	p.shared.denied = true
	p.settle()
	p.shared.denied = false
}

// OnTimer implements timer.Firer: the sibling's turn takes long. What it gives late is for the next request.
func (s *sharing) OnTimer(int64) {
	s.pool.cluster.Stats.CxTakeRefused.Add(uint64(s.asked))
	s.asked = 0
	s.epoch++
	s.pool.goOn()
}

// take takes up a connection that a sibling has given.
func (p *Pool) take(a *ask, g *given) {
	p.answered(a)
	st := &p.cluster.Stats
	if !p.mayTake(g) || !p.join(g) {
		st.CxTakeLost.Inc()
		st.CxDestroy.Inc()
		st.CxDestroyLocal.Inc()
		g.end()
		p.goOn()
		return
	}
	c := g.conn
	p.conns++
	if p.root != nil {
		p.root.inNames++
	}
	st.CxActive.Inc()
	st.CxTaken.Inc()
	p.serve(c)
	p.settle()
}

// mayTake reports whether a connection may go on under the settings of now.
func (p *Pool) mayTake(g *given) bool {
	return !p.draining && !p.cluster.table.ended && g.config.SameConnections(p.cluster.shared.Config)
}

// join puts the connection on the loop.
func (p *Pool) join(g *given) bool {
	if t := g.d.Transport(); t != nil {
		p.settings.tls.http.Adopt(t)
	}
	c := g.conn
	ec, err := p.cluster.loop.Join(g.d, c)
	if err != nil { // the loop is full
		return false
	}
	c.pool, c.ec, c.id, c.state = p, ec, p.cluster.table.nextConn(), connReturning
	c.client.Reset(&p.settings.limits)
	return true
}
