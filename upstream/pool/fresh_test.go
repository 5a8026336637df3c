package pool

import "testing"

// TestFreshIsFresh: who asked for a fresh connection does not get one that comes back from another request, which may be
// as dead as the one that failed.
func TestFreshIsFresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	first, second := newOwner(), newOwner()
	if r := w.lease(c, first); r != LeasePending {
		t.Fatalf("the first lease gives %v", r)
	}
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	first.onData = func([]byte) { // the end follows at once, while the other connection is still opening
		if r := leaseNow(c, c.Shared().Hosts()[0], second, true); r != LeasePending {
			t.Errorf("a fresh lease gives %v, want pending", r)
		}
		first.onData = nil
	}
	p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
	w.until("second exchange", func() bool { return first.done && second.x.Active() })
	if second.x.Reused() {
		t.Error("the fresh exchange is on a used connection")
	}
	p = o.accept()
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	w.until("second response", func() bool { return second.done })
	w.wantIdle(c, 2)
}
