package l4

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// listenerWorld is a Listener on a loop stepped by the test, with a chain whose terminal filter records.
type listenerWorld struct {
	t        testing.TB
	loop     *enginetest.Loop
	opt      Options
	l        *Listener
	registry stats.Registry
	in, left int // calls of the gate
	deny     bool
	calls    []string // what filters and terminal filters were called with
	leased   int64    // what the loop itself has leased
	log      *accesslog.Log
	logPath  string
}

func newListenerWorld(t testing.TB, listenerFilters ...any) *listenerWorld {
	t.Helper()
	w := &listenerWorld{t: t}
	w.loop = enginetest.NewLoop(t, func(c *engine.LoopConfig) {
		c.OnPanic = func(v any, stack []byte) {
			if v != "as the test wants" {
				t.Errorf("panic on the loop: %v\n%s", v, stack)
			}
		}
	})
	w.leased = w.loop.Arena().Leased()
	w.opt = Options{Loop: w.loop.Loop, Timeout: 15 * time.Second, Gate: w, Stats: new(Stats)}
	for _, f := range listenerFilters {
		w.opt.Filters = append(w.opt.Filters, Named{fmt.Sprintf("%T", f), f})
	}
	return w
}

// Admit implements Gate.
func (w *listenerWorld) Admit(*engine.Conn) bool {
	w.in++
	return !w.deny
}

// Left implements Gate.
func (w *listenerWorld) Left(_ *engine.Conn, c *filters.Connection) {
	w.left++
	if c != nil && !c.Ended() {
		w.t.Error("the gate heard of the end before the connection was ended")
	}
}

func (w *listenerWorld) note(format string, args ...any) {
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
}

// want checks the calls since the last want.
func (w *listenerWorld) want(calls ...string) {
	w.t.Helper()
	if !slices.Equal(w.calls, calls) {
		w.t.Errorf("called with\n%q\nwant\n%q", w.calls, calls)
	}
	w.calls = nil
}

// chain adds a chain with a recording terminal filter.
func (w *listenerWorld) chain(name string, fs ...any) (*Chain, *fakeTerminal) {
	w.t.Helper()
	var named []Named
	for _, f := range fs {
		named = append(named, Named{fmt.Sprintf("%T", f), f})
	}
	term := &fakeTerminal{w: w, gate: ChainGate{w}}
	ch, err := NewChain(name, named, term)
	if err != nil {
		w.t.Fatal(err)
	}
	w.opt.Chains = append(w.opt.Chains, ch)
	return ch, term
}

// match sets the table of the chains.
func (w *listenerWorld) match(matches ...*MatchConfig) {
	w.t.Helper()
	table, problems := CompileChains(matches)
	if problems != nil {
		w.t.Fatalf("CompileChains: %+v", problems)
	}
	w.opt.Table = table
}

// logTo makes the listener write an access log.
func (w *listenerWorld) logTo(format string) {
	w.t.Helper()
	w.logPath = filepath.Join(w.t.TempDir(), "access.log")
	log, err := accesslog.NewFiles(nil).Open(&accesslog.Config{Path: w.logPath, Format: format})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = log.Close() })
	w.log, w.opt.Log = log, accesslog.NewLogger([]*accesslog.Log{log}, 0)
}

// lines returns what was logged.
func (w *listenerWorld) lines() string {
	w.t.Helper()
	w.log.Writer().Flush()
	b, err := os.ReadFile(w.logPath)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// connect makes a connection as engine.Listener would. before changes it first.
func (w *listenerWorld) connect(before ...func(*engine.Conn)) (*engine.Conn, *enginetest.Peer) {
	w.t.Helper()
	if w.l == nil {
		w.l = NewListener(w.opt)
	}
	io, peer := w.loop.Pair(enginetest.NewRecorder())
	for _, f := range before {
		f(io)
	}
	h := w.l.OnAccept(io)
	if h == nil {
		io.Close()
	}
	io.SetHandler(h)
	w.loop.Settle()
	return io, peer
}

// wantDone checks that nothing is left of the connections.
func (w *listenerWorld) wantDone() {
	w.t.Helper()
	w.loop.Settle()
	if w.loop.Conns() != 0 || w.loop.Arena().Leased() != w.leased || w.in != w.left || w.l.Pending() != 0 {
		w.t.Errorf("%d conns, %d bytes leased, %d admitted, %d left, %d pending",
			w.loop.Conns(), w.loop.Arena().Leased()-w.leased, w.in, w.left, w.l.Pending())
	}
	if n := w.opt.Stats.PreCxActive.Load(); n != 0 {
		w.t.Errorf("downstream_pre_cx_active = %d", n)
	}
	for _, ch := range w.opt.Chains {
		if ch.Conns() != 0 {
			w.t.Errorf("chain %q has %d connections", ch.Name(), ch.Conns())
		}
	}
}

// listen lets the listener accept connections from the loopback, and returns its address.
func (w *listenerWorld) listen() string {
	w.t.Helper()
	w.l = NewListener(w.opt)
	fd, err := engine.Listen(tcpLoopback, engine.ListenerOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	ls, err := w.loop.AddListener(fd, engine.ListenerOptions{}, w.l)
	if err != nil {
		w.t.Fatal(err)
	}
	return ls.Addr().String()
}

// register implements stats.Registrar.
func (w *listenerWorld) register(scope stats.Scope, set any) any {
	w.registry.Add(scope, set)
	return set
}

// values returns the values of filters that are not 0.
func (w *listenerWorld) values() string {
	var all []string
	w.registry.Each(func(m *stats.Metric) bool {
		if m.Value != 0 {
			all = append(all, fmt.Sprintf("%s%s=%d", m.Scope.Prefix, m.Name, m.Value))
		}
		return true
	})
	return strings.Join(all, " ")
}

// fakeTerminal records what its connections do. It consumes everything.
type fakeTerminal struct {
	w      *listenerWorld
	gate   filters.Gate
	refuse bool // Accept returns nil
	onData func(tc *fakeConn, b []byte)
	conns  []*fakeConn
}

type fakeConn struct {
	*enginetest.Recorder
	term *fakeTerminal
	io   *engine.Conn
	c    *filters.Connection
	gone bool
}

func (f *fakeTerminal) Accept(io *engine.Conn, c *filters.Connection) engine.Handler {
	f.w.note("accept")
	if f.refuse {
		return nil
	}
	tc := &fakeConn{Recorder: enginetest.NewRecorder(), term: f, io: io, c: c}
	tc.Quiet = true
	tc.CloseFunc = func(engine.CloseReason) { tc.left() }
	tc.EOFFunc = func() {
		io.Close()
		tc.left()
	}
	if f.onData != nil {
		tc.DataFunc = func(b []byte) int {
			f.onData(tc, b)
			return len(b)
		}
	}
	f.conns = append(f.conns, tc)
	return tc
}

func (tc *fakeConn) left() {
	if tc.gone {
		tc.term.w.t.Error("a connection ended twice")
	}
	tc.gone = true
	tc.term.gate.Left(tc.io, tc.c)
}

func (f *fakeTerminal) Conns() (n int) {
	for _, tc := range f.conns {
		if !tc.gone {
			n++
		}
	}
	return n
}

func (f *fakeTerminal) Drain() { f.w.note("drain") }

func (f *fakeTerminal) Close() {
	for _, tc := range f.conns {
		if !tc.gone {
			tc.io.Close()
			tc.left()
		}
	}
}

func (f *fakeTerminal) Release() { f.w.note("release") }

// last returns the last connection.
func (f *fakeTerminal) last() *fakeConn {
	f.w.t.Helper()
	if len(f.conns) == 0 {
		f.w.t.Fatal("the terminal filter has got no connection")
	}
	return f.conns[len(f.conns)-1]
}

// fakeFilter is a network filter that implements all of the contracts, and answers as told.
type fakeFilter struct {
	w             *listenerWorld
	name          string
	onNew         filters.NetworkVerdict
	onEstablished filters.NetworkVerdict
	inNew         func(*filters.Connection)
	inEstablished func(*filters.Connection)
	conns         []*filters.Connection
}

func (f *fakeFilter) OnNewConnection(c *filters.Connection) filters.NetworkVerdict {
	f.w.note("%s new", f.name)
	f.conns = append(f.conns, c)
	if f.inNew != nil {
		f.inNew(c)
	}
	return f.onNew
}

func (f *fakeFilter) OnEstablished(c *filters.Connection) filters.NetworkVerdict {
	f.w.note("%s established", f.name)
	if f.inEstablished != nil {
		f.inEstablished(c)
	}
	return f.onEstablished
}

func (f *fakeFilter) OnEnd(*filters.Connection) { f.w.note("%s end", f.name) }

func (f *fakeFilter) last() *filters.Connection { return f.conns[len(f.conns)-1] }

// fakeReader is a read filter too.
type fakeReader struct {
	fakeFilter
	onRead filters.NetworkVerdict
}

func (f *fakeReader) OnRead(_ *filters.Connection, b []byte, end bool) filters.NetworkVerdict {
	f.w.note("%s read %q %v", f.name, b, end)
	return f.onRead
}

// fakePeek is a listener filter that waits for some bytes and consumes others.
type fakePeek struct {
	w       *listenerWorld
	need    int
	consume int
	verdict filters.ListenerVerdict
	accept  filters.ListenerVerdict
}

func (f *fakePeek) OnAccept(*filters.Connection) filters.ListenerVerdict { return f.accept }

func (f *fakePeek) OnPeek(_ *filters.Connection, b []byte, end bool) (int, filters.ListenerVerdict) {
	f.w.note("peek %q %v", b, end)
	if len(b) < f.need {
		return 0, filters.ListenerWait
	}
	return f.consume, f.verdict
}
