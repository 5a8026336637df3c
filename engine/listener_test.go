package engine_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// acceptAll makes a Recorder of each accepted conn.
type acceptAll struct {
	recs  []*enginetest.Recorder
	conns []*engine.Conn
	setup func(c *engine.Conn, r *enginetest.Recorder)
}

func (a *acceptAll) OnAccept(c *engine.Conn) engine.Handler {
	r := enginetest.NewRecorder()
	a.recs = append(a.recs, r)
	a.conns = append(a.conns, c)
	if a.setup != nil {
		a.setup(c, r)
	}
	return r
}

// abstract returns an abstract unix address of this process's own.
func abstract(name string) string { return fmt.Sprintf("unix:@millrace-%s-%d", name, os.Getpid()) }

func mustAddr(t testing.TB, s string) engine.Addr {
	t.Helper()
	a, err := engine.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func listen(t testing.TB, tl *enginetest.Loop, addr string, a engine.Acceptor) *engine.Listener {
	t.Helper()
	fd, err := engine.Listen(mustAddr(t, addr), engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ls, err := tl.AddListener(fd, engine.ListenerOptions{}, a)
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

// dial connects a Recorder to ls and turns until both ends are open.
func dial(t testing.TB, tl *enginetest.Loop, ls *engine.Listener, acc *acceptAll) (*engine.Conn, *enginetest.Recorder) {
	t.Helper()
	rec := enginetest.NewRecorder()
	addr := ls.Addr()
	n := len(acc.recs)
	c, err := tl.Dial(&addr, rec)
	if err != nil {
		t.Fatal(err)
	}
	tl.Until(func() bool { return len(rec.Calls) > 0 && len(acc.recs) > n })
	rec.Want(t, "connect")
	return c, rec
}

func TestDialAndAccept(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", ":0", "unix:" + filepath.Join(t.TempDir(), "s"), abstract("dial")} {
		t.Run(addr, func(t *testing.T) {
			tl := enginetest.NewLoop(t)
			acc := &acceptAll{}
			ls := listen(t, tl, addr, acc)
			if strings.HasPrefix(addr, ":") { // reach the dual-stack listener over IPv4
				fd, err := engine.LocalAddr(ls.Fd())
				if err != nil {
					t.Fatal(err)
				}
				v4 := mustAddr(t, fmt.Sprintf("127.0.0.1:%d", fd.Port()))
				rec := enginetest.NewRecorder()
				if _, err := tl.Dial(&v4, rec); err != nil {
					t.Fatal(err)
				}
				tl.Until(func() bool { return len(acc.conns) == 1 })
				if got := acc.conns[0].RemoteAddr().NetIP().String(); got != "127.0.0.1" {
					t.Errorf("the peer of a dual-stack listener is shown as %q", got)
				}
				return
			}
			c, rec := dial(t, tl, ls, acc)
			down, up := acc.recs[0], acc.conns[0]
			c.Write([]byte("hello"))
			tl.Until(func() bool { return len(down.Calls) > 0 })
			down.Want(t, `data "hello"`)
			up.Write([]byte("bye"))
			up.CloseLinger(time.Second)
			tl.Until(func() bool { return len(rec.Calls) > 1 })
			rec.Want(t, `data "bye"`, "eof")
			if got, want := c.RemoteAddr(), ls.Addr(); got != want {
				t.Errorf("RemoteAddr = %v, want %v", got, want)
			}
			if got, want := c.LocalAddr(), up.RemoteAddr(); got != want && !got.IsUnix() {
				t.Errorf("LocalAddr = %v, the other end says %v", got, want)
			}
			c.Close()
			tl.Until(func() bool { return tl.Conns() == 0 })
		})
	}
}

// TCP_NODELAY of the listening socket is inherited: it costs no call per connection.
func TestAcceptInheritsNoDelay(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	c, _ := dial(t, tl, ls, acc)
	for _, c := range []*engine.Conn{c, acc.conns[0]} {
		v, err := unix.GetsockoptInt(c.Fd(), unix.IPPROTO_TCP, unix.TCP_NODELAY)
		if err != nil || v == 0 {
			t.Errorf("TCP_NODELAY = %d, %v; want on", v, err)
		}
		fl, err := unix.FcntlInt(uintptr(c.Fd()), unix.F_GETFL, 0)
		if err != nil || fl&unix.O_NONBLOCK == 0 {
			t.Errorf("flags = %#x, %v; want O_NONBLOCK", fl, err)
		}
	}
}

func TestDialRefused(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	addr := ls.Addr()
	engine.CloseFd(ls.Detach())
	for _, a := range []engine.Addr{addr, mustAddr(t, "unix:"+filepath.Join(t.TempDir(), "none"))} {
		rec := enginetest.NewRecorder()
		var errno syscall.Errno
		c, err := tl.Dial(&a, rec)
		if err != nil {
			t.Fatal(err)
		}
		rec.CloseFunc = func(engine.CloseReason) { errno = c.Errno() }
		rec.Want(t) // never synchronously
		c.Write([]byte("into the void"))
		tl.Until(func() bool { return len(rec.Calls) > 0 })
		rec.Want(t, "close connect_failed")
		if errno != unix.ECONNREFUSED && errno != unix.ENOENT {
			t.Errorf("Errno = %v inside OnClose", errno)
		}
	}
	if tl.Conns() != 0 {
		t.Errorf("%d conns left", tl.Conns())
	}
}

// What is written before the connection is there leaves when it is.
func TestDialWriteEarly(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	addr := ls.Addr()
	rec := enginetest.NewRecorder()
	c, err := tl.Dial(&addr, rec)
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("early"))
	c.CloseWrite()
	tl.Until(func() bool { return len(acc.recs) > 0 && len(acc.recs[0].Calls) == 2 })
	acc.recs[0].Want(t, `data "early"`, "eof")
}

func TestPeerReset(t *testing.T) {
	t.Parallel()
	for _, paused := range []bool{false, true} {
		tl := enginetest.NewLoop(t)
		acc := &acceptAll{}
		ls := listen(t, tl, "127.0.0.1:0", acc)
		c, _ := dial(t, tl, ls, acc)
		if paused {
			acc.conns[0].PauseRead()
		}
		c.Reset()
		rec := acc.recs[0]
		tl.Until(func() bool { return len(rec.Calls) > 0 })
		rec.Want(t, "close reset")
	}
}

// A reset behind unread bytes is told after they have been read.
func TestPeerResetBehindData(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	acc := &acceptAll{setup: func(c *engine.Conn, _ *enginetest.Recorder) { c.PauseRead() }}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	c, _ := dial(t, tl, ls, acc)
	c.Write([]byte("last words"))
	tl.Settle()
	c.Reset()
	for range 20 {
		tl.Step()
	}
	rec := acc.recs[0]
	rec.Want(t)
	acc.conns[0].ResumeRead()
	tl.Until(func() bool { return len(rec.Calls) > 1 })
	rec.Want(t, `data "last words"`, "close reset")
}

func TestAcceptsPerTurn(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.AcceptsPerTurn = 4 })
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	addr := ls.Addr()
	client := enginetest.NewLoop(t)
	for range 40 {
		if _, err := client.Dial(&addr, enginetest.NewRecorder()); err != nil {
			t.Fatal(err)
		}
	}
	client.Until(func() bool { return client.Stats().Events.Load() >= 40 })
	most := 0
	for len(acc.conns) < 40 {
		before := len(acc.conns)
		tl.Until(func() bool { return len(acc.conns) > before })
		most = max(most, len(acc.conns)-before)
	}
	if most != 4 {
		t.Errorf("%d connections accepted in one turn, want at most, and in the end, 4", most)
	}
}

func TestConnsMax(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.ConnsMax = 2 })
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	addr := ls.Addr()
	client := enginetest.NewLoop(t)
	for range 3 {
		if _, err := client.Dial(&addr, enginetest.NewRecorder()); err != nil {
			t.Fatal(err)
		}
	}
	client.Until(func() bool { return client.Stats().Events.Load() >= 3 })
	tl.Until(func() bool { return tl.Stats().ConnsMaxHit.Load() > 0 })
	if len(acc.conns) != 2 {
		t.Errorf("%d connections accepted, want 2", len(acc.conns))
	}
	if _, err := tl.Dial(&addr, enginetest.NewRecorder()); err != engine.ErrConnsMax {
		t.Errorf("Dial = %v, want ErrConnsMax", err)
	}
	hits := tl.Stats().ConnsMaxHit.Load()
	for range 50 {
		tl.Step()
	}
	if got := tl.Stats().ConnsMaxHit.Load(); got != hits {
		t.Errorf("the full loop tried to accept %d more times", got-hits)
	}
	acc.conns[0].Close()
	tl.Until(func() bool { return len(acc.conns) == 3 })
}

func TestListenerPauseDetachDrain(t *testing.T) {
	t.Parallel()
	tl, client := enginetest.NewLoop(t), enginetest.NewLoop(t)
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	addr := ls.Addr()
	connect := func() {
		rec := enginetest.NewRecorder()
		if _, err := client.Dial(&addr, rec); err != nil {
			t.Fatal(err)
		}
		client.Until(func() bool { return len(rec.Calls) > 0 })
		rec.Want(t, "connect")
	}
	ls.Pause()
	connect()
	for range 20 {
		tl.Step()
	}
	if len(acc.conns) != 0 {
		t.Error("a paused listener accepted")
	}
	ls.Resume()
	tl.Until(func() bool { return len(acc.conns) == 1 })

	// Handed over: what is queued is the successor's.
	ls.Pause()
	connect()
	fd := ls.Detach()
	next := &acceptAll{}
	ls2, err := tl.AddListener(fd, engine.ListenerOptions{}, next)
	if err != nil {
		t.Fatal(err)
	}
	tl.Until(func() bool { return len(next.conns) == 1 })
	ls2.SetAcceptor(acc)
	connect()
	tl.Until(func() bool { return len(acc.conns) == 2 })

	// Drained: what is queued is accepted before the close.
	connect()
	connect()
	ls2.DrainAndClose(0)
	if len(acc.conns) != 4 {
		t.Errorf("%d connections accepted, want 4", len(acc.conns))
	}
	rec := enginetest.NewRecorder()
	if _, err := client.Dial(&addr, rec); err != nil {
		t.Fatal(err)
	}
	client.Until(func() bool { return len(rec.Calls) > 0 })
	rec.Want(t, "close connect_failed")
}

// Out of file descriptors, in a process of its own with a low limit: accepting pauses,
// does not spin, and goes on when one is freed.
//
// Not parallel: until a forked child has called exec it holds all our sockets, and a test that
// closes one would wait for the other end in vain.
func TestAcceptOutOfFds(t *testing.T) {
	const child = "MILLRACE_TEST_OUT_OF_FDS"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAcceptOutOfFds$")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	tl := enginetest.NewLoop(t)
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	addr := ls.Addr()
	var clients []*engine.Conn
	for range 4 {
		c, err := tl.Dial(&addr, enginetest.NewRecorder())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	fd, err := unix.Dup(2)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	limit := unix.Rlimit{Cur: uint64(fd + 1), Max: uint64(fd + 1)}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	tl.Until(func() bool { return tl.Stats().AcceptsPaused.Load() == 1 })
	if len(acc.conns) != 1 {
		t.Fatalf("%d accepted with room for 1", len(acc.conns))
	}
	for range 100 {
		tl.Step()
	}
	if n := tl.Stats().AcceptsPaused.Load(); n != 1 {
		t.Errorf("loop_accepts_paused = %d without an fd being freed, want 1", n)
	}
	tl.Advance(150 * time.Millisecond) // tried again, in vain
	tl.Until(func() bool { return tl.Stats().AcceptsPaused.Load() == 2 })
	acc.conns[0].Close()
	tl.Until(func() bool { return len(acc.conns) == 2 })
	clients[0].Close()
	tl.Until(func() bool { return len(acc.conns) == 3 })
}

func TestListenUnix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	addr := mustAddr(t, "unix:"+path)
	fd, err := engine.Listen(addr, engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Listen(addr, engine.ListenerOptions{}); err == nil {
		t.Error("Listen took over a socket that is in use")
	}
	engine.CloseFd(fd) // the file stays behind
	fd, err = engine.Listen(addr, engine.ListenerOptions{UnixMode: 0o600})
	if err != nil {
		t.Fatalf("Listen on a stale socket: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	engine.CloseFd(fd)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Listen(mustAddr(t, "unix:"+file), engine.ListenerOptions{}); err == nil {
		t.Error("Listen replaced a file that is no socket")
	}
}

// One unix socket on two loops: each connection is accepted once.
func TestListenUnixShared(t *testing.T) {
	t.Parallel()
	fd, err := engine.Listen(mustAddr(t, "unix:"+filepath.Join(t.TempDir(), "s")), engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dup, err := engine.DupFd(fd)
	if err != nil {
		t.Fatal(err)
	}
	var tls [2]*enginetest.Loop
	var accs [2]acceptAll
	var ls *engine.Listener
	for i, fd := range []int{fd, dup} {
		tls[i] = enginetest.NewLoop(t)
		if ls, err = tls[i].AddListener(fd, engine.ListenerOptions{}, &accs[i]); err != nil {
			t.Fatal(err)
		}
	}
	addr := ls.Addr()
	client := enginetest.NewLoop(t)
	for range 20 {
		if _, err := client.Dial(&addr, enginetest.NewRecorder()); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; len(accs[0].conns)+len(accs[1].conns) < 20 && i < 1000; i++ {
		tls[i%2].Step()
	}
	if a, b := len(accs[0].conns), len(accs[1].conns); a+b != 20 || a == 0 || b == 0 {
		t.Errorf("the loops accepted %d and %d, want 20 together", a, b)
	}
	ls.Pause()
	ls.Resume()
}

// Each loop binds a socket of its own to one port.
func TestListenReusePort(t *testing.T) {
	t.Parallel()
	opts := engine.ListenerOptions{ReusePort: true}
	a, err := engine.Listen(mustAddr(t, "127.0.0.1:0"), opts)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := engine.LocalAddr(a)
	if err != nil {
		t.Fatal(err)
	}
	b, err := engine.Listen(addr, opts)
	if err != nil {
		t.Errorf("second Listen on %v: %v", addr, err)
	} else {
		engine.CloseFd(b)
	}
	if _, err := engine.Listen(addr, engine.ListenerOptions{}); err == nil {
		t.Error("Listen without ReusePort shared the port")
	} else if !strings.Contains(err.Error(), addr.String()) {
		t.Errorf("error %q does not name the address", err)
	}
	engine.CloseFd(a)
}
