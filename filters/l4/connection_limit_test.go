package l4

import (
	"testing"
	"time"

	"millrace/filters"
)

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	cfg := &ConnectionLimitConfig{StatPrefix: "db", MaxConnections: 2, RuntimeEnabled: true}
	f := p.build(t, "connection_limit", cfg).(*connectionLimit)
	open := func() (*filters.Connection, filters.NetworkVerdict) {
		c := newFakeConnection(nil)
		return c, f.OnNewConnection(c)
	}
	a, v := open()
	_, w := open()
	if v != filters.NetworkContinue || w != filters.NetworkContinue {
		t.Errorf("within the limit: %v, %v", v, w)
	}
	c, v := open()
	if v != filters.NetworkClose || c.Details != "over_connection_limit" {
		t.Errorf("beyond the limit: %v, details %q", v, c.Details)
	}
	if got, want := p.stats("connection_limit.db."), "active_connections=3 limited_connections=1"; got != want {
		t.Errorf("stats %q, want %q", got, want)
	}
	f.OnEnd(c) // what was refused does not make room
	if _, v := open(); v != filters.NetworkClose {
		t.Errorf("after the end of a refused connection: %v", v)
	}
	f.OnEnd(a)
	if _, v := open(); v != filters.NetworkContinue {
		t.Errorf("after the end of an admitted connection: %v", v)
	}
}

// TestConnectionLimitShared: two loops count together.
func TestConnectionLimitShared(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	cfg := &ConnectionLimitConfig{StatPrefix: "db", MaxConnections: 1, RuntimeEnabled: true}
	spec := specOf(t, "connection_limit")
	shared, err := spec.Share(cfg, &p.shared)
	if err != nil {
		t.Fatal(err)
	}
	var loops [2]*connectionLimit
	for i := range loops {
		f, err := spec.Build(cfg, shared, &p.env)
		if err != nil {
			t.Fatal(err)
		}
		loops[i] = f.(*connectionLimit)
	}
	c := newFakeConnection(nil)
	first, second := loops[0].OnNewConnection(c), loops[1].OnNewConnection(newFakeConnection(nil))
	loops[0].OnEnd(c)
	third := loops[1].OnNewConnection(newFakeConnection(nil))
	if first != filters.NetworkContinue || second != filters.NetworkClose || third != filters.NetworkContinue {
		t.Errorf("verdicts %v, %v, %v", first, second, third)
	}
}

func TestConnectionLimitDelay(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	cfg := &ConnectionLimitConfig{StatPrefix: "db", MaxConnections: 1, Delay: time.Second, RuntimeEnabled: true}
	f := p.build(t, "connection_limit", cfg).(*connectionLimit)
	f.OnNewConnection(newFakeConnection(nil))
	gone, c := newFakeConnection(nil), newFakeConnection(nil)
	if v, w := f.OnNewConnection(gone), f.OnNewConnection(c); v != filters.NetworkPause || w != filters.NetworkPause {
		t.Fatalf("beyond the limit: %v, %v", v, w)
	}
	gone.End()
	f.OnEnd(gone) // before the delay is over
	p.loop.Advance(900 * time.Millisecond)
	if c.Ended() {
		t.Error("closed before the delay is over")
	}
	p.loop.Advance(200 * time.Millisecond)
	if !c.Ended() || c.Details != "over_connection_limit" || gone.Chain.(*fakeChain).closed != 0 {
		t.Errorf("ended %v, details %q, the other closed %d times", c.Ended(), c.Details, gone.Chain.(*fakeChain).closed)
	}
	f.OnEnd(c)
	if got, want := p.stats("connection_limit.db."), "active_connections=1 limited_connections=2"; got != want || p.loop.Wheel().Len() != 0 {
		t.Errorf("stats %q, want %q; %d timers", got, want, p.loop.Wheel().Len())
	}
}

func TestConnectionLimitOff(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "connection_limit", &ConnectionLimitConfig{StatPrefix: "db", MaxConnections: 1}).(*connectionLimit)
	for range 3 {
		c := newFakeConnection(nil)
		if v := f.OnNewConnection(c); v != filters.NetworkContinue {
			t.Errorf("verdict %v", v)
		}
		f.OnEnd(c)
	}
	if got := p.stats("connection_limit.db."); got != "" {
		t.Errorf("stats %q", got)
	}
}
