package transport

import (
	"crypto/tls"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"millrace/engine/enginetest"
	"millrace/engine/internal/record"
)

// TestRest: a connection that does nothing lets go of its ciphers, and goes on as if it had not.
func TestRest(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := newStepped(t, version, EstablishedOwn)
		echo := s.echoes(100)
		echo()
		a := &s.side.buf.awake
		c := a.oldest
		if c == nil || c.rec.Rests() {
			t.Fatalf("%s: a connection in use is not awake", VersionName(version))
		}
		a.OnTimer(c.usedAt + int64(restAfter) - 1)
		if c.rec.Rests() {
			t.Errorf("%s: it rests too early", VersionName(version))
		}
		for range 3 {
			a.OnTimer(c.usedAt + int64(restAfter))
			if !c.rec.Rests() || a.oldest != nil {
				t.Fatalf("%s: it does not rest", VersionName(version))
			}
			echo()
			if c.rec.Rests() || a.oldest != c {
				t.Fatalf("%s: it rests while it is used", VersionName(version))
			}
		}
		if n := s.side.hs.Rested(); n != 3 {
			t.Errorf("%s: %d rests counted, want 3", VersionName(version), n)
		}
		s.conn.Close()
		s.loop.Settle()
		if a.oldest != nil || a.newest != nil {
			t.Errorf("%s: a closed connection is still listed", VersionName(version))
		}
	}
}

// TestAwakeOrder uses, forgets and lets rest at random: the list is by the time of use, and has each once.
func TestAwakeOrder(t *testing.T) {
	t.Parallel()
	var rested atomic.Uint64
	a := &awake{}
	a.init(enginetest.NewLoop(t).Loop, &rested)
	conns := make([]conn, 20)
	for i := range conns {
		conns[i].rec = &record.Conn{}
	}
	var want []*conn // the one used last at the end
	now := int64(1)
	for range 10_000 {
		now += rand.Int64N(int64(restAfter) / 8)
		c := &conns[rand.IntN(len(conns))]
		switch rand.IntN(10) {
		case 0:
			a.forget(c)
			want = slices.DeleteFunc(want, func(o *conn) bool { return o == c })
		case 1:
			a.OnTimer(now)
			for len(want) > 0 && now-want[0].usedAt >= int64(restAfter) {
				want = want[1:]
			}
			want = slices.DeleteFunc(want, func(o *conn) bool { return o.usedAt == 0 })
		default:
			a.renew(c, now)
			want = append(slices.DeleteFunc(want, func(o *conn) bool { return o == c }), c)
		}
		var up, down []*conn
		for c := a.oldest; c != nil; c = c.newer {
			up = append(up, c)
		}
		for c := a.newest; c != nil; c = c.older {
			down = append(down, c)
		}
		slices.Reverse(down)
		if !slices.Equal(up, want) || !slices.Equal(down, want) {
			t.Fatalf("the list is %p from one end, %p from the other, want %p", up, down, want)
		}
	}
	if rested.Load() == 0 {
		t.Error("nothing has come to rest")
	}
}
