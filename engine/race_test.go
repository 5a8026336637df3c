package engine_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// refusing is an address where nobody listens.
func refusing(t *testing.T) engine.Addr {
	t.Helper()
	fd, err := engine.Listen(mustAddr(t, "127.0.0.1:0"), engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := engine.LocalAddr(fd)
	engine.CloseFd(fd)
	return a
}

// openFds counts the descriptors of the process. The tests that use it do not run beside others.
func openFds(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Whichever address accepts first has the conn: at once, after the delay, or when the others have failed. Its owner sees one conn.
func TestDialAny(t *testing.T) {
	tl := enginetest.NewLoop(t)
	quiet, refused := mustAddr(t, enginetest.Silent(t)), refusing(t)
	nowhere := mustAddr(t, "unix:@millrace-nobody-listens-here")
	for _, tt := range []struct {
		name    string
		addrs   []engine.Addr // the zero one is the listener's
		opts    *engine.DialOptions
		advance int    // delays that have to pass
		want    string // "" if none accepts
	}{
		{"the first", []engine.Addr{{}, quiet}, nil, 0, "connect"},
		{"the second, after a delay", []engine.Addr{quiet, {}}, nil, 1, "connect"},
		{"the third, after two", []engine.Addr{quiet, quiet, {}}, nil, 2, "connect"},
		{"the second, as the first refuses", []engine.Addr{refused, {}}, nil, 0, "connect"},
		{"the second, as the first fails at once", []engine.Addr{nowhere, {}}, nil, 0, "connect"},
		{"the last, as all others refuse", []engine.Addr{refused, nowhere, refused, {}}, nil, 0, "connect"},
		{"the third, as the second refuses", []engine.Addr{quiet, refused, {}}, nil, 1, "connect"},
		{"one of the other family", []engine.Addr{mustAddr(t, "[::1]:9"), {}}, &engine.DialOptions{Source: mustAddr(t, "127.0.0.1:0")}, 0, "connect"},
		{"none", []engine.Addr{refused, refused}, nil, 0, "close connect_failed"},
		{"none, at once", []engine.Addr{nowhere, nowhere}, nil, 0, "close connect_failed"},
	} {
		acc := &acceptAll{}
		ls := listen(t, tl, "127.0.0.1:0", acc)
		for i, a := range tt.addrs {
			if a.IsZero() {
				tt.addrs[i] = ls.Addr()
			}
		}
		conns, fds := tl.Conns(), openFds(t)
		r := enginetest.NewRecorder()
		c, err := tl.DialAny(&tt.addrs[0], tt.addrs[1:], tt.opts, r)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		errno := syscall.Errno(0)
		r.CloseFunc = func(engine.CloseReason) { errno = c.Errno() }
		token := c.Token()
		c.Write([]byte("hello")) // waits
		for range tt.advance {
			tl.Settle()
			if len(r.Calls) > 0 {
				t.Errorf("%s: %q before the delay is over", tt.name, r.Calls)
			}
			tl.Advance(310 * time.Millisecond)
		}
		tl.Until(func() bool { return len(r.Calls) > 0 })
		tl.Settle()
		r.Want(t, tt.want)
		if tt.want != "connect" {
			if tl.Conns() != conns || errno != unix.ECONNREFUSED {
				t.Errorf("%s: %d conns are left, errno %v", tt.name, tl.Conns()-conns, errno)
			}
			continue
		}
		tl.Until(func() bool { return len(acc.recs) == 1 && len(acc.recs[0].Data) == 5 })
		if c.RemoteAddr() != ls.Addr() || c.LocalAddr() != acc.conns[0].RemoteAddr() || c.Token() != token || !c.Connected() {
			t.Errorf("%s: from %s to %s, want to %s", tt.name, c.LocalAddr(), c.RemoteAddr(), ls.Addr())
		}
		acc.conns[0].Write([]byte("answer"))
		tl.Until(func() bool { return len(r.Calls) > 0 })
		r.Want(t, `data "answer"`)
		tl.Advance(time.Minute) // no attempt begins any more
		if got := tl.Conns() - conns; got != 2 {
			t.Errorf("%s: %d conns, want both ends", tt.name, got)
		}
		c.Close()
		acc.conns[0].Close()
		tl.Settle()
		if got := openFds(t); got != fds {
			t.Errorf("%s: %d descriptors are open, were %d", tt.name, got, fds)
		}
	}
}

// A conn that is closed, or times out, while its addresses are tried leaves nothing behind.
func TestDialAnyClosed(t *testing.T) {
	quiet, refused := mustAddr(t, enginetest.Silent(t)), refusing(t)
	for _, first := range []engine.Addr{quiet, refused} {
		tl := enginetest.NewLoop(t)
		fds := openFds(t)
		r := enginetest.NewRecorder()
		c, err := tl.DialAny(&first, []engine.Addr{quiet, quiet, quiet}, nil, r)
		if err != nil {
			t.Fatal(err)
		}
		r.TimeoutFunc = c.Close
		c.SetDeadline(tl.Now() + int64(time.Second))
		tl.Until(func() bool { return first == quiet || tl.Conns() == 2 })
		tl.Advance(400 * time.Millisecond)
		if n := tl.Conns(); n < 2 {
			t.Errorf("%d conns after a delay", n)
		}
		tl.Advance(time.Second)
		r.Want(t, "timeout")
		tl.Advance(time.Second)
		if n, open := tl.Conns(), openFds(t); n != 0 || open != fds {
			t.Errorf("%d conns and %d descriptors are left", n, open-fds)
		}
	}
}

// The end of the loop ends a race.
func TestDialAnyLoopEnd(t *testing.T) {
	quiet := mustAddr(t, enginetest.Silent(t))
	fds := openFds(t)
	tl := enginetest.NewLoop(t)
	r := enginetest.NewRecorder()
	if _, err := tl.DialAny(&quiet, []engine.Addr{quiet, quiet}, nil, r); err != nil {
		t.Fatal(err)
	}
	tl.Advance(400 * time.Millisecond)
	tl.Close()
	r.Want(t, "close loop_end")
	if open := openFds(t); open != fds {
		t.Errorf("%d descriptors are left", open-fds)
	}
}

// Many races at once, some won by the first address, some by another one, some by none.
func TestDialAnyMany(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	quiet, refused := mustAddr(t, enginetest.Silent(t)), refusing(t)
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	good := ls.Addr()
	connected, failed := 0, 0
	lists := [][]engine.Addr{{good, quiet}, {refused, good}, {quiet, good}, {refused, refused}, {refused, quiet, good}, {quiet, refused, good}}
	for i := range 120 {
		list := lists[i%len(lists)]
		r := enginetest.NewRecorder()
		r.ConnectFunc = func() { connected++ }
		r.CloseFunc = func(engine.CloseReason) { failed++ }
		c, err := tl.DialAny(&list[0], list[1:], nil, r)
		if err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			c.Write(fmt.Appendf(nil, "%d", i))
		}
	}
	for range 4 {
		tl.Advance(310 * time.Millisecond)
	}
	tl.Until(func() bool { return connected+failed == 120 && len(acc.conns) >= 100 })
	if failed != 20 {
		t.Errorf("%d connected, %d failed; want 100 and 20", connected, failed)
	}
	tl.Settle()
	if n := tl.Conns(); n != 200 {
		t.Errorf("%d conns, want 100 with both ends", n)
	}
}
