package server

import (
	"time"

	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/filters/httpconn"
	"millrace/filters/l4"
)

// transfer is a client connection on its way from one loop to another. It still counts for the limits of connections.
type transfer struct {
	x     *httpconn.Moving
	from  *worker
	chain *chain         // it came from
	of    *control.Chain // what that was then
	birth uint32
}

// handOut hands a share of the requests of all connection managers to another loop.
func (w *worker) handOut(to *worker, share float64, d time.Duration) {
	until := w.loop.Now() + int64(d)
	for _, sv := range w.serving {
		for _, ch := range sv.chains {
			if ch.manager != nil {
				ch.manager.HandOut(share, until, l4.Movable, func(x *httpconn.Moving) { w.send(ch, x, to) })
			}
		}
	}
}

// send sends a connection that has left the manager of ch.
func (w *worker) send(ch *chain, x *httpconn.Moving, to *worker) {
	t := &transfer{x: x, from: w, chain: ch, of: ch.of, birth: w.born[x.Slot]}
	ch.serving.gate.stats.CxActive.Dec()
	to.loop.PostOr(func() { to.arrive(t) }, t.lost)
}

// lost ends a connection whose loop has ended before it came. It may be called from anywhere.
func (t *transfer) lost() {
	t.x.Conn.Close()
	g := t.chain.serving.gate
	g.open.Add(-1)
	g.total.Add(-1)
	t.from.server.even.Lost.Add(1)
}

// arrive takes a connection up, or sends it back.
func (w *worker) arrive(t *transfer) {
	if ch := w.sameChain(t); ch != nil {
		if ch.join(t, ch.manager.Adopt) {
			w.server.even.Moved.Add(1)
			t.from.loop.Post(t.chain.manager.HandedOver)
			return
		}
		if m, ok := t.x.Conn.Transport().(engine.Mover); ok {
			m.Leave()
		}
	}
	w.server.even.Refused.Add(1)
	t.from.loop.PostOr(func() { t.from.takeBack(t) }, t.lost)
}

// sameChain returns the chain that a connection is of, on this loop; nil while a reload is under way, or if it drains.
func (w *worker) sameChain(t *transfer) *chain {
	sv := w.serving[t.chain.serving.listener.Name]
	if sv == nil {
		return nil
	}
	if ch := sv.chains[t.of.Key]; ch != nil && ch.of == t.of {
		return ch
	}
	return nil
}

// takeBack takes up a connection that nobody wanted.
func (w *worker) takeBack(t *transfer) {
	if !t.chain.join(t, t.chain.manager.TakeBack) {
		t.chain.manager.Lost(t.x)
		t.chain.serving.gate.stats.CxDestroy.Inc()
		t.lost()
	}
}

// join makes a connection one of ch.
func (ch *chain) join(t *transfer, take func(*httpconn.Moving) bool) bool {
	ch.serving.front.Adopt(t.x.Net, ch.l4, t.x.Conn)
	if !take(t.x) {
		return false
	}
	g := ch.serving.gate
	g.stats.CxActive.Inc()
	g.w.born.put(t.x.Slot, t.birth)
	return true
}
