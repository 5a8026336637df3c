package l4

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// Where nobody has anything to say the terminal filter has the connection at once, and nothing is made for it.
func TestListenerDirect(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	_, term := w.chain("")
	_, peer := w.connect()
	peer.Write("hello")
	w.loop.Settle()
	tc := term.last()
	if tc.c != nil || string(tc.Data) != "hello" {
		t.Errorf("Accept got the connection %v, data %q", tc.c, tc.Data)
	}
	peer.Close()
	w.wantDone()
	term.refuse = true
	_, peer = w.connect()
	if !peer.AtEOF() {
		t.Error("a refused connection is open")
	}
	w.wantDone()
	w.deny = true
	w.connect()
	w.left++ // who was not admitted does not leave
	w.wantDone()
}

// What makes a connection more than the terminal filter's.
func TestListenerNotDirect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		with func(w *listenerWorld) []any
	}{
		{"a network filter", func(w *listenerWorld) []any { return []any{&fakeFilter{w: w, name: "a"}} }},
		{"a match", func(w *listenerWorld) []any { w.match(nil); return nil }},
		{"a log", func(w *listenerWorld) []any { w.logTo("%DURATION%"); return nil }},
		{"a listener filter", func(w *listenerWorld) []any {
			w.opt.Filters = []Named{{"dst", originalDst{}}}
			return nil
		}},
	} {
		w := newListenerWorld(t)
		_, term := w.chain("", tt.with(w)...)
		_, peer := w.connect()
		if c := term.last().c; c == nil || c.IO == nil || c.Start != w.loop.Now() {
			t.Errorf("%s: Accept got the connection %v", tt.name, c)
		}
		peer.Close()
		w.wantDone()
	}
}

// What a filter consumes nobody else sees; what it only looks at everybody sees.
func TestListenerPeek(t *testing.T) {
	t.Parallel()
	const in = "HEADERhello, world"
	for cut := range len(in) + 1 {
		w := newListenerWorld(t)
		w.opt.Filters = []Named{
			{"a", &fakePeek{w: w, need: 6, consume: 6}}, {"b", &fakePeek{w: w, need: 5}}, {"c", &fakePeek{w: w}},
		}
		_, term := w.chain("main", &fakeFilter{w: w, name: "f"})
		_, peer := w.connect()
		if w.l.Pending() != 1 || w.opt.Stats.PreCxActive.Load() != 1 {
			t.Fatalf("%d pending, gauge %d", w.l.Pending(), w.opt.Stats.PreCxActive.Load())
		}
		peer.Write(in[:cut])
		w.loop.Settle()
		peer.Write(in[cut:])
		w.loop.Settle()
		tc := term.last()
		if got := string(tc.Data); got != "hello, world" || tc.c.ChainName != "main" {
			t.Errorf("cut at %d: the terminal filter got %q, chain %q", cut, got, tc.c.ChainName)
		}
		peer.Close()
		w.wantDone()
	}
}

// The end of the input does not get lost on the way.
func TestListenerEOFHandedOver(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"HEADER", "HEADERand more"} {
		w := newListenerWorld(t)
		w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 6, consume: 6}}}
		_, term := w.chain("")
		_, peer := w.connect()
		peer.Write(in)
		peer.CloseWrite()
		w.loop.Settle()
		if tc := term.last(); string(tc.Data) != in[6:] || !tc.gone {
			t.Errorf("%q: the terminal filter got %q, end %v", in, tc.Data, tc.gone)
		}
		w.wantDone()
	}
}

// Bytes that come after the filters were done, while the peer has ended: the last peek has them all.
func TestListenerEOFWhilePeeking(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 6}}}
	w.logTo("%CONNECTION_TERMINATION_DETAILS%")
	w.chain("")
	_, peer := w.connect()
	peer.Write("HEA")
	w.loop.Settle()
	peer.CloseWrite()
	w.loop.Settle()
	w.want(`peek "" false`, `peek "HEA" false`, `peek "HEA" true`)
	_, silent := w.connect()
	silent.CloseWrite()
	w.loop.Settle()
	w.want(`peek "" false`, `peek "" true`)
	if n := w.opt.Stats.ListenerFilterRemoteClose.Load(); n != 2 || !peer.AtEOF() {
		t.Errorf("downstream_listener_filter_remote_close = %d", n)
	}
	if got := w.lines(); got != "listener_filter_remote_close\nlistener_filter_remote_close\n" {
		t.Errorf("log %q", got)
	}
	w.wantDone()
}

func TestListenerFilterCloses(t *testing.T) {
	t.Parallel()
	for _, f := range []*fakePeek{{verdict: filters.ListenerClose}, {accept: filters.ListenerClose}, {need: 1, verdict: filters.ListenerClose, consume: 1}} {
		w := newListenerWorld(t)
		f.w = w
		w.opt.Filters = []Named{{"a", f}}
		w.chain("", &fakeFilter{w: w, name: "f"})
		_, peer := w.connect()
		peer.TryWrite([]byte("x"))
		w.loop.Settle()
		w.wantDone()
		if n := w.opt.Stats.ListenerFilterRemoteClose.Load() + w.opt.Stats.ListenerFilterError.Load(); n != 0 {
			t.Errorf("counted as ended by the peer")
		}
	}
}

func TestListenerTimeout(t *testing.T) {
	t.Parallel()
	for _, goOn := range []bool{false, true} {
		w := newListenerWorld(t)
		w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 6}}}
		w.opt.ContinueOnTimeout = goOn
		w.logTo("%CONNECTION_TERMINATION_DETAILS%")
		_, term := w.chain("")
		_, peer := w.connect()
		w.loop.Advance(14 * time.Second)
		peer.Write("HE")
		w.loop.Settle()
		w.loop.Advance(2 * time.Second)
		if n := w.opt.Stats.PreCxTimeout.Load(); n != 1 {
			t.Errorf("downstream_pre_cx_timeout = %d, want 1", n)
		}
		want := "listener_filters_timeout\n"
		if goOn {
			if got := string(term.last().Data); got != "HE" {
				t.Errorf("the terminal filter got %q", got)
			}
			w.loop.Advance(time.Hour) // the deadline is gone
			peer.Close()
			w.loop.Settle()
			want = "-\n"
		} else if !peer.AtEOF() {
			t.Error("the connection is open")
		}
		w.wantDone()
		if got := w.lines(); got != want {
			t.Errorf("log %q, want %q", got, want)
		}
	}
}

func TestListenerNoTimeout(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 6}}}
	w.opt.Timeout = 0
	w.chain("")
	_, peer := w.connect()
	w.loop.Advance(240 * time.Hour)
	if w.l.Pending() != 1 {
		t.Error("the connection has gone, without a timeout")
	}
	peer.Close()
	w.wantDone()
}

func TestListenerNoChain(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.logTo("%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME%")
	w.opt.Filters = []Named{{"name", setName("www.example.com")}}
	w.chain("other")
	w.match(&MatchConfig{ServerNames: []string{"a.example"}})
	_, peer := w.connect()
	w.want()
	if !peer.AtEOF() || w.opt.Stats.NoFilterChainMatch.Load() != 1 {
		t.Errorf("open, or no_filter_chain_match = %d", w.opt.Stats.NoFilterChainMatch.Load())
	}
	w.wantDone()

	ch, term := w.chain("default")
	w.opt.Chains, w.opt.Default = w.opt.Chains[:1], ch
	w.l.Set(w.opt)
	_, peer = w.connect()
	if c := term.last().c; c.ChainName != "default" || ch.Conns() != 1 {
		t.Errorf("chain %q, %d connections", c.ChainName, ch.Conns())
	}
	peer.Close()
	w.wantDone()
	if got, want := w.lines(), "NR filter_chain_not_found - www.example.com\n- - default www.example.com\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

// setName is a listener filter that knows the server name.
type setName string

func (s setName) OnAccept(c *filters.Connection) filters.ListenerVerdict {
	c.ServerName, c.TransportProtocol = string(s), filters.TransportTLS
	return filters.ListenerContinue
}

func TestChainOrder(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.chain("", &fakeFilter{w: w, name: "a"}, &fakeFilter{w: w, name: "b"})
	_, peer := w.connect()
	w.want("a new", "b new", "a established", "b established", "accept")
	peer.Close()
	w.wantDone()
	w.want("a end", "b end")
}

// A filter pauses in each of the calls; the connection goes on behind it, with all of its bytes.
func TestChainPause(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                string
		stage               func(f *fakeFilter) *filters.NetworkVerdict
		before, after, ends []string
	}{
		{"new", func(f *fakeFilter) *filters.NetworkVerdict { return &f.onNew },
			[]string{"a new"}, []string{"b new", "a established", "b established", "accept"}, []string{"a end"}},
		{"established", func(f *fakeFilter) *filters.NetworkVerdict { return &f.onEstablished },
			[]string{"a new", "b new", "a established"}, []string{"b established", "accept"}, []string{"a end", "b end"}},
	} {
		w := newListenerWorld(t)
		a := &fakeFilter{w: w, name: "a"}
		*tt.stage(a) = filters.NetworkPause
		ch, term := w.chain("", a, &fakeFilter{w: w, name: "b"})
		io, peer := w.connect()
		w.want(tt.before...)
		peer.Write("early ")
		w.loop.Settle()
		peer.Write("bytes")
		w.loop.Settle()
		if !io.ReadPaused() || ch.Conns() != 1 || len(w.calls) > 0 {
			t.Errorf("%s: paused %v, %d connections, calls %q", tt.name, io.ReadPaused(), ch.Conns(), w.calls)
		}
		a.last().Resume()
		a.last().Resume() // does nothing
		w.loop.Settle()
		w.want(tt.after...)
		if got := string(term.last().Data); got != "early bytes" || io.ReadPaused() {
			t.Errorf("%s: the terminal filter got %q", tt.name, got)
		}
		peer.Close()
		w.wantDone()
		w.want("a end", "b end")

		// Gone while paused: reset by the peer, closed by a filter, or by the chain.
		for _, end := range []func(){
			func() { a.last().Close(accesslog.FlagRateLimited, "later") },
			func() { ch.Close() },
		} {
			w.connect()
			end()
			w.wantDone()
			w.want(append(tt.before, tt.ends...)...)
			a.last().Resume() // too late: does nothing
			w.want()
		}
	}
}

// The peer ends while a filter has paused: the terminal filter hears of it.
func TestChainEOFWhilePaused(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "bytes"} {
		w := newListenerWorld(t)
		a := &fakeFilter{w: w, name: "a", onNew: filters.NetworkPause}
		_, term := w.chain("", a)
		_, peer := w.connect()
		peer.TryWrite([]byte(in))
		w.loop.Settle()
		peer.CloseWrite()
		w.loop.Settle()
		a.last().Resume()
		w.loop.Settle()
		if tc := term.last(); string(tc.Data) != in || !tc.gone {
			t.Errorf("%q: the terminal filter got %q, end %v", in, tc.Data, tc.gone)
		}
		w.wantDone()
	}
}

// A filter may close by its verdict or by Close, in each of the calls.
func TestChainCloses(t *testing.T) {
	t.Parallel()
	closes := func(c *filters.Connection) { c.Close(accesslog.FlagUnauthorizedExternal, "denied") }
	for _, tt := range []struct {
		name string
		set  func(f *fakeFilter)
		want []string
	}{
		{"new", func(f *fakeFilter) { f.onNew = filters.NetworkClose; f.inNew = setDenied },
			[]string{"a new", "b new", "a end", "b end"}},
		{"new by Close", func(f *fakeFilter) { f.inNew = closes },
			[]string{"a new", "b new", "a end", "b end"}},
		{"established", func(f *fakeFilter) { f.onEstablished = filters.NetworkClose; f.inEstablished = setDenied },
			[]string{"a new", "b new", "c new", "a established", "b established", "a end", "b end", "c end"}},
		{"established by Close", func(f *fakeFilter) { f.inEstablished = closes },
			[]string{"a new", "b new", "c new", "a established", "b established", "a end", "b end", "c end"}},
	} {
		w := newListenerWorld(t)
		w.logTo("%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%")
		b := &fakeFilter{w: w, name: "b"}
		tt.set(b)
		w.chain("", &fakeFilter{w: w, name: "a"}, b, &fakeFilter{w: w, name: "c"})
		_, peer := w.connect()
		w.want(tt.want...)
		if !peer.AtEOF() {
			t.Errorf("%s: the connection is open", tt.name)
		}
		w.wantDone()
		if got := w.lines(); got != "UAEX denied\n" {
			t.Errorf("%s: log %q", tt.name, got)
		}
	}
}

func setDenied(c *filters.Connection) {
	c.Flags, c.Details = accesslog.FlagUnauthorizedExternal, "denied"
}

// A terminal filter may give the connection to another handler meanwhile: that one hears of it.
func TestChainCloseAfterHandover(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	_, term := w.chain("", &fakeFilter{w: w, name: "a"})
	next := enginetest.NewRecorder()
	next.Quiet = true
	term.onData = func(tc *fakeConn, _ []byte) {
		tc.io.SetHandler(next)
		tc.c.Close(0, "denied")
	}
	next.CloseFunc = func(engine.CloseReason) { term.last().left() }
	_, peer := w.connect()
	peer.Write("x")
	w.loop.Settle()
	if !peer.AtEOF() {
		t.Error("the connection is open")
	}
	next.Want(t, "close transport")
	term.last().Want(t)
}

// Close of a connection that the terminal filter has: it hears of it at the end of the turn, once, also when it is
// itself in a call.
func TestChainCloseAfterAccept(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	a := &fakeFilter{w: w, name: "a"}
	_, term := w.chain("", a)
	term.onData = func(tc *fakeConn, _ []byte) {
		tc.c.Close(0, "first")
		tc.c.Close(0, "second")
		if tc.gone {
			t.Error("the terminal filter was called from inside its own call")
		}
	}
	_, peer := w.connect()
	peer.Write("x")
	w.loop.Settle()
	if tc := term.last(); !tc.gone || !peer.AtEOF() {
		t.Error("the connection is open")
	} else {
		tc.Want(t, "close transport")
	}
	w.wantDone()
	w.want("a new", "a established", "accept", "a end")
}

func TestChainRefusedByTerminal(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	_, term := w.chain("", &fakeFilter{w: w, name: "a"})
	term.refuse = true
	w.connect()
	w.wantDone()
	w.want("a new", "a established", "accept", "a end")
}

// A chain without a terminal filter closes.
func TestChainWithoutTerminal(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	ch, err := NewChain("empty", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.opt.Chains = []*Chain{ch}
	_, peer := w.connect()
	if !peer.AtEOF() {
		t.Error("the connection is open")
	}
	w.wantDone()
	ch.Drain()
	ch.Close()
	ch.Release()
}

func TestChainWrongFilter(t *testing.T) {
	t.Parallel()
	if _, err := NewChain("main", []Named{{"odd", struct{}{}}}, nil); err == nil || !strings.Contains(err.Error(), `filter chain "main": "odd"`) {
		t.Errorf("NewChain with no filter = %v", err)
	}
}

// Read filters see what comes before the terminal filter does, also what listener filters have kept.
func TestChainReadFilter(t *testing.T) {
	t.Parallel()
	const in = "HEADERhello"
	for cut := range len(in) + 1 {
		w := newListenerWorld(t)
		w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 6, consume: 6}}}
		_, term := w.chain("", &fakeReader{fakeFilter: fakeFilter{w: w, name: "r"}})
		_, peer := w.connect()
		peer.Write(in[:cut])
		w.loop.Settle()
		peer.Write(in[cut:])
		peer.CloseWrite()
		w.loop.Settle()
		if tc := term.last(); string(tc.Data) != "hello" || !tc.gone {
			t.Errorf("cut at %d: the terminal filter got %q, end %v", cut, tc.Data, tc.gone)
		}
		calls := strings.Join(w.calls, ";")
		if !strings.Contains(calls, "r new;r established;accept;r read ") || !strings.HasSuffix(calls, ` true;r end`) {
			t.Errorf("cut at %d: calls %q", cut, w.calls)
		}
		w.wantDone()
	}
}

// The order holds for a paused filter, and for one that is resumed with bytes and the end waiting.
func TestChainReadFilterPause(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	r := &fakeReader{fakeFilter: fakeFilter{w: w, name: "r", onNew: filters.NetworkPause, onEstablished: filters.NetworkPause}, onRead: filters.NetworkPause}
	_, term := w.chain("", r)
	_, peer := w.connect()
	peer.Write("hello")
	w.loop.Settle()
	peer.CloseWrite()
	w.loop.Settle()
	w.want("r new")
	r.last().Resume()
	w.loop.Settle()
	w.want("r established")
	r.last().Resume()
	w.loop.Settle()
	w.want("accept", `r read "hello" false`)
	r.onRead = filters.NetworkContinue
	r.last().Resume()
	w.loop.Settle()
	w.want(`r read "" true`, "r end")
	if tc := term.last(); string(tc.Data) != "hello" || !tc.gone {
		t.Errorf("the terminal filter got %q, end %v", tc.Data, tc.gone)
	}
	w.wantDone()
}

func TestChainReadFilterCloses(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	_, term := w.chain("", &fakeReader{fakeFilter: fakeFilter{w: w, name: "r"}, onRead: filters.NetworkClose})
	_, peer := w.connect()
	peer.Write("x")
	w.loop.Settle()
	if tc := term.last(); !tc.gone || len(tc.Data) > 0 {
		t.Errorf("the terminal filter got %q, end %v", tc.Data, tc.gone)
	}
	w.wantDone()
	w.want("r new", "r established", "accept", `r read "x" false`, "r end")
}

// fakeTLS is a transport whose handshake takes one line each way; then it passes bytes as they are.
type fakeTLS struct {
	got    string
	closed int
	fail   bool
}

func (f *fakeTLS) Handshake(w *engine.Wire) (bool, error) {
	var b [1]byte
	for !strings.HasSuffix(f.got, "\n") {
		n, err := w.Read(b[:])
		if err != nil {
			return false, err
		}
		f.got += string(b[:n])
	}
	if f.fail {
		return false, errors.New("no")
	}
	_, err := w.Write([]byte("welcome\n"))
	return true, err
}

func (f *fakeTLS) Read(w *engine.Wire, b []byte) (int, error) { return w.Read(b) }

func (f *fakeTLS) Write(w *engine.Wire, v [][]byte) error {
	_, err := w.Write(bytes.Join(v, nil))
	return err
}

func (f *fakeTLS) CloseWrite(*engine.Wire) {}
func (f *fakeTLS) Close()                  { f.closed++ }

// With a transport OnEstablished and the terminal filter wait for the handshake, which begins with what listener
// filters have looked at. The terminal filter may speak first.
func TestChainTransport(t *testing.T) {
	t.Parallel()
	const in = "hello tls\nsecret"
	for cut := range len(in) + 1 {
		for _, paused := range []bool{false, true} {
			w := newListenerWorld(t)
			w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 3}}}
			a := &fakeReader{fakeFilter: fakeFilter{w: w, name: "a"}}
			if paused {
				a.fakeFilter.onEstablished = filters.NetworkPause
			}
			ch, term := w.chain("", a)
			tls := &fakeTLS{}
			ch.SetTransport(func(c *filters.Connection) engine.Transport {
				w.note("transport")
				return tls
			})
			io, peer := w.connect()
			w.calls = nil
			peer.Write(in[:cut])
			w.loop.Settle()
			if done := cut >= len("hello tls\n"); done == (ch.terminal.Conns() == 0) && !paused {
				t.Errorf("cut at %d: accepted before the handshake, or not behind it", cut)
			}
			peer.Write(in[cut:])
			w.loop.Settle()
			if paused {
				if len(term.conns) > 0 {
					t.Errorf("cut at %d: accepted while a filter has paused", cut)
				}
				a.last().Resume()
				w.loop.Settle()
			}
			tc := term.last()
			if got := peer.Read(); string(tc.Data) != "secret" || got != "welcome\n" {
				t.Errorf("cut at %d: the terminal filter got %q, the peer %q", cut, tc.Data, got)
			}
			calls := strings.Join(w.calls, ";")
			if !strings.Contains(calls, "a new;transport;a established;accept;a read") {
				t.Errorf("cut at %d: calls %q", cut, w.calls)
			}
			io.CloseWrite()
			peer.Close()
			w.wantDone()
			if tls.closed != 1 {
				t.Errorf("the transport was closed %d times", tls.closed)
			}
		}
	}
}

// A terminal filter that pauses reading in Accept, as tcp_proxy does, gets what is there when it resumes.
func TestChainTransportTerminalPauses(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 16}}}
	ch, term := w.chain("")
	ch.SetTransport(func(*filters.Connection) engine.Transport { return &fakeTLS{} })
	ch.terminal = pausingTerminal{term}
	io, peer := w.connect()
	peer.Write("hello tls\nsecret")
	w.loop.Settle()
	if got := string(term.last().Data); got != "" {
		t.Errorf("a paused terminal filter got %q", got)
	}
	io.ResumeRead()
	w.loop.Settle()
	if got := string(term.last().Data); got != "secret" {
		t.Errorf("the terminal filter got %q", got)
	}
	peer.Close()
	w.wantDone()
}

type pausingTerminal struct{ *fakeTerminal }

func (p pausingTerminal) Accept(io *engine.Conn, c *filters.Connection) engine.Handler {
	io.PauseRead()
	return p.fakeTerminal.Accept(io, c)
}

func TestChainHandshakeFails(t *testing.T) {
	t.Parallel()
	for _, end := range []func(p *enginetest.Peer){
		func(p *enginetest.Peer) { p.Write("bad\n") },
		func(p *enginetest.Peer) { p.Close() },
		func(p *enginetest.Peer) { p.CloseWrite() },
	} {
		w := newListenerWorld(t)
		ch, _ := w.chain("", &fakeFilter{w: w, name: "a"})
		ch.SetTransport(func(*filters.Connection) engine.Transport { return &fakeTLS{fail: true} })
		_, peer := w.connect()
		end(peer)
		w.wantDone()
		w.want("a new", "a end")
	}
}

// Set: who is in listener filters finds a chain among the new ones; who has one keeps it.
func TestListenerSet(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	old := &fakePeek{w: w, need: 3, consume: 3}
	w.opt.Filters = []Named{{"a", old}}
	_, before := w.chain("before")
	_, first := w.connect()
	first.Write("abcdef")
	_, second := w.connect()
	w.loop.Settle()
	w.opt.Chains, w.opt.Filters = nil, []Named{{"b", &fakePeek{w: w, need: 1, consume: 1}}}
	_, after := w.chain("after")
	w.l.Set(w.opt)
	second.Write("abcdef")
	_, third := w.connect()
	third.Write("abcdef")
	w.loop.Settle()
	if len(before.conns) != 1 || len(after.conns) != 2 {
		t.Fatalf("%d connections before, %d after", len(before.conns), len(after.conns))
	}
	for i, want := range []string{"def", "bcdef"} {
		if got := string(after.conns[i].Data); got != want {
			t.Errorf("connection %d got %q, want %q", i, got, want)
		}
	}
	for _, p := range []*enginetest.Peer{first, second, third} {
		p.Close()
	}
	w.wantDone()
}

func TestListenerClose(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 3}}}
	ch, _ := w.chain("", &fakeFilter{w: w, name: "f"})
	for range 3 {
		w.connect()
	}
	_, peer := w.connect()
	peer.Write("abc")
	w.loop.Settle()
	w.l.Close()
	if w.l.Pending() != 0 || ch.Conns() != 1 {
		t.Errorf("%d pending, %d in the chain", w.l.Pending(), ch.Conns())
	}
	w.calls = nil
	ch.Drain()
	ch.Close()
	ch.Release()
	w.wantDone()
	w.want("drain", "f end", "release")
}

// The loop ends with connections everywhere.
func TestListenerLoopEnds(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.opt.Filters = []Named{{"a", &fakePeek{w: w, need: 3}}}
	a := &fakeFilter{w: w, name: "a", onNew: filters.NetworkPause}
	w.chain("", a)
	w.connect()
	_, held := w.connect()
	held.Write("abc")
	w.loop.Settle()
	w.loop.Loop.Close()
	if w.in != 2 || w.left != 2 || w.opt.Stats.ListenerFilterError.Load() != 0 {
		t.Errorf("%d admitted, %d left", w.in, w.left)
	}
}

// One entry for each connection, with the addresses that listener filters made of it.
func TestListenerLog(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	w.logTo("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %FILTER_CHAIN_NAME%")
	pp, err := newProxyProtocol(&ProxyProtocolConfig{}, nil, &filters.NetworkEnv{})
	if err != nil {
		t.Fatal(err)
	}
	w.opt.Filters = []Named{{"proxy_protocol", pp}}
	w.chain("main")
	io, peer := w.connect()
	const head = "PROXY TCP4 192.0.2.7 192.0.2.9 1234 443\r\n"
	peer.Write(head + "ping")
	w.loop.Settle()
	io.Write([]byte("answer"))
	w.loop.Advance(1500 * time.Millisecond)
	peer.Close()
	w.wantDone()
	if got, want := w.lines(), "192.0.2.7:1234 192.0.2.9:443 45 6 1500 main\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

// A listener filter of the wrong kind is our own mistake.
func TestListenerWrongFilter(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("NewListener took a struct{} for a filter")
		}
	}()
	NewListener(Options{Filters: []Named{{"odd", struct{}{}}}})
}
