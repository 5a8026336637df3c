package pool

import (
	"testing"

	"millrace/upstream"
)

// TestHostFails: of a host that becomes ill idle connections close at once, and the others when they are returned. What is
// leased from it in a panic is kept like any other.
func TestHostFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	host := c.Shared().Hosts()[0]
	var owners [2]*owner
	var peers [2]*peer
	for i := range owners {
		owners[i] = newOwner()
		w.lease(c, owners[i])
		peers[i] = o.accept()
		peers[i].wantHead("GET / HTTP/1.1")
	}
	peers[0].send(ok) // idle; peers[1] is leased
	refresh := func(failed bool) {
		host.SetHealth(upstream.FailedActiveCheck, failed)
		c.Shared().Rebuild()
		w.do(func() { w.table.Refresh(0) })
	}
	w.settle()
	refresh(true)
	peers[0].wantClosed()
	peers[1].wantOpen()
	peers[1].send(ok)
	w.wantLog(owners[1], "ready", "head 200", "end")
	peers[1].wantClosed()
	w.wantIdle(c, 0)
	p := w.exchange(c, o, nil) // in a panic
	refresh(true)
	p.wantOpen()
	refresh(false)
	p.wantOpen()
	refresh(true)
	p.wantClosed()
}
