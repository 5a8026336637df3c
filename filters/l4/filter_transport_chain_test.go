package l4

import (
	"testing"
	"time"

	"millrace/engine/enginetest"
	"millrace/filters"
)

// accept brings a connection through a real chain.
func (p *fakeProcess) accept(t *testing.T, l *Listener) *enginetest.Peer {
	t.Helper()
	io, peer := p.loop.Pair(enginetest.NewRecorder())
	io.SetRemoteAddr(mustAddr(t, "10.0.0.1:1000"))
	if h := l.OnAccept(io); h == nil {
		io.Close()
	} else {
		io.SetHandler(h)
	}
	p.loop.Settle()
	return peer
}

// chain makes a listener with one chain of these filters in front of echo. The slots are as the process gives them.
func (p *fakeProcess) chain(t *testing.T, configs ...any) (*Listener, *Chain) {
	t.Helper()
	var fs []Named
	add := func(name string, cfg any) any {
		p.env.Slot = len(fs)
		return p.build(t, name, cfg)
	}
	for _, cfg := range configs {
		name := ""
		switch cfg.(type) {
		case *RateLimitConfig:
			name = "ratelimit"
		case *ConnectionLimitConfig:
			name = "connection_limit"
		case *RBACConfig:
			name = "rbac"
		case filters.ReadFilter:
			fs = append(fs, Named{"sniff", cfg})
			continue
		}
		fs = append(fs, Named{name, add(name, cfg)})
	}
	p.env.Gate = ChainGate{}
	ch, err := NewChain("main", fs, add("echo", &EchoConfig{}).(filters.NetworkTerminal))
	if err != nil {
		t.Fatal(err)
	}
	return NewListener(Options{Loop: p.loop.Loop, Chains: []*Chain{ch}}), ch
}

// TestChainOfNetworkFilters: filters of all kinds one behind the other, each with a say of its own.
func TestChainOfNetworkFilters(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	service := &fakeRateLimiter{}
	p.env.RateLimit = service
	sniff := &sniffFilter{onRead: pausing(p.loop, p.loop.Rand())}
	l, ch := p.chain(t, &ConnectionLimitConfig{StatPrefix: "x", MaxConnections: 1, Delay: time.Second, RuntimeEnabled: true}, rateLimitConfig(true), sniff,
		&RBACConfig{StatPrefix: "x", EnforcementType: "continuous", Rules: rbacOf("allow", RBACPermission{Any: true}, RBACPrincipal{RemoteIP: "10.0.0.0/8"})})

	first, second := p.accept(t, l), p.accept(t, l)
	first.Write("early")
	second.Write("in vain")
	p.loop.Settle()
	if got := first.Read() + second.Read(); got != "" || len(service.waiting) != 1 || ch.Conns() != 2 {
		t.Fatalf("%q came back before the answer; %d questions, %d connections", got, len(service.waiting), ch.Conns())
	}
	service.waiting[0](filters.RateLimitOK)
	if got := exchange(t, p.loop, first, " and late"); got != "early and late" {
		t.Errorf("echo gave %q", got)
	}
	p.loop.Advance(1100 * time.Millisecond)
	if !second.AtEOF() && second.TryWrite([]byte("x")) == 1 {
		t.Error("the connection beyond the limit is open")
	}
	if sniff.read.String() != "early and late" || sniff.written.String() != "early and late" {
		t.Errorf("passed %q and %q", &sniff.read, &sniff.written)
	}
	for prefix, want := range map[string]string{"connection_limit.x.": "limited_connections=1", "ratelimit.db.": "ok=1 total=1"} {
		if got := p.stats(prefix); got != want {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
	}
	if ch.Conns() != 0 || p.loop.Conns() != 0 || p.loop.Wheel().Len() != 0 {
		t.Errorf("%d connections, %d conns, %d timers are left", ch.Conns(), p.loop.Conns(), p.loop.Wheel().Len())
	}
}

// TestChainEndsWhileAsking: the peer goes, or the process, while a filter waits for an answer.
func TestChainEndsWhileAsking(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"peer", "process", "over limit", "timeout"} {
		p := newFakeProcess(t)
		service := &fakeRateLimiter{}
		p.env.RateLimit = service
		l, ch := p.chain(t, &ConnectionLimitConfig{StatPrefix: "x", MaxConnections: 1, RuntimeEnabled: true}, rateLimitConfig(true))
		peer := p.accept(t, l)
		switch who {
		case "peer":
			peer.Write("x")
			peer.Close()
			p.loop.Settle()
			ch.Close() // it may wait for the answer, as nobody reads
		case "process":
			ch.Close()
		case "over limit":
			service.waiting[0](filters.RateLimitOver)
		case "timeout":
			p.loop.Advance(30 * time.Millisecond)
		}
		p.loop.Settle()
		service.waiting[0](filters.RateLimitOK) // late
		p.loop.Settle()
		if ch.Conns() != 0 || p.loop.Conns() != 0 || p.stats("connection_limit.x.") != "" {
			t.Errorf("%s: %d connections, %d conns, stats %q", who, ch.Conns(), p.loop.Conns(), p.stats("connection_limit.x."))
		}
		if again := p.accept(t, l); again.AtEOF() {
			t.Errorf("%s: the next one is refused", who)
		}
	}
}
