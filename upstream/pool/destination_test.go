package pool

import (
	"fmt"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/upstream"
)

// byDestination edits a config into one of type "original_dst" whose hosts a field may name.
func byDestination(edit func(*upstream.OriginalDstConfig)) func(*upstream.Config) {
	return func(c *upstream.Config) {
		c.Type, c.LbPolicy, c.OriginalDst.UseHTTPHeader = upstream.OriginalDst, upstream.ClusterProvided, true
		if edit != nil {
			edit(&c.OriginalDst)
		}
	}
}

// down is a connection on the loop, whose client wanted to reach an address, "" if that is not known.
func (w *world) down(wanted string) (c *engine.Conn) {
	w.t.Helper()
	o := newOrigin(w)
	to, err := engine.ParseAddr(o.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(func() {
		if c, err = w.loop.Dial(&to, &enginetest.Recorder{}); err == nil && wanted != "" {
			var a engine.Addr
			if a, err = engine.ParseAddr(wanted); err == nil {
				c.SetLocalAddr(a)
			}
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestPickDestination(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	redirected, direct := w.down("192.0.2.7:443"), w.down("")
	for _, tt := range []struct {
		name    string
		down    *engine.Conn
		field   string
		port    uint16
		want    string // "" for none
		invalid bool
	}{
		{"where the client wanted to go", redirected, "", 0, "192.0.2.7:443", false},
		{"a connection that was not redirected", direct, "", 0, "", false},
		{"the field comes first", redirected, "10.0.0.1:80", 0, "10.0.0.1:80", false},
		{"the field is enough", direct, "[2001:db8::1]:80", 0, "[2001:db8::1]:80", false},
		{"mapped", direct, "[::ffff:10.0.0.1]:80", 0, "10.0.0.1:80", false},
		{"another port", redirected, "", 8443, "192.0.2.7:8443", false},
		{"another port for the field", direct, "10.0.0.1:80", 8443, "10.0.0.1:8443", false},
		{"a port where there is none", direct, "10.0.0.1:0", 8443, "10.0.0.1:8443", false},
		{"a bad field, and a destination", redirected, "shop.example:80", 0, "192.0.2.7:443", true},
		{"a name", direct, "shop.example:80", 0, "", true},
		{"no port", direct, "10.0.0.1", 0, "", true},
		{"port 0", direct, "10.0.0.1:0", 0, "", true},
		{"port 65536", direct, "10.0.0.1:65536", 0, "", true},
		{"all addresses, which would be us", direct, "0.0.0.0:80", 0, "", true},
		{"all addresses, in the other family", direct, "[::]:80", 0, "", true},
		{"many", direct, "224.0.0.1:80", 0, "", true},
		{"an interface", direct, "[fe80::1%lo]:80", 0, "", true},
		{"a socket", direct, "unix:/run/app.sock", 0, "", true},
		{"two", direct, "10.0.0.1:80,10.0.0.2:80", 0, "", true},
		{"long", direct, strings.Repeat("0", 65) + "10.0.0.1:80", 0, "", true},
		{"leading zeros in an address", direct, "010.0.0.1:80", 0, "", true},
		{"a space", direct, " 10.0.0.1:80", 0, "", true},
	} {
		c := w.set(config(byDestination(func(o *upstream.OriginalDstConfig) { o.UpstreamPortOverride = tt.port })), nil)
		invalid, none := c.Stats.OriginalDstInvalid.Load(), c.Stats.CxNoneHealthy.Load()
		for range 2 { // the second time it is known
			h, full := c.PickDestination(tt.down, []byte(tt.field))
			got := ""
			if h != nil {
				got = h.Name
			}
			if got != tt.want || full {
				t.Errorf("%s: host %q, full %v; want %q", tt.name, got, full, tt.want)
			}
		}
		wantInvalid, wantNone := uint64(0), uint64(0)
		if tt.invalid {
			wantInvalid = 2
		}
		if tt.want == "" {
			wantNone = 2
		}
		if n := c.Stats.OriginalDstInvalid.Load() - invalid; n != wantInvalid {
			t.Errorf("%s: %d fields counted as invalid, want %d", tt.name, n, wantInvalid)
		}
		if n := c.Stats.CxNoneHealthy.Load() - none; n != wantNone {
			t.Errorf("%s: %d requests counted as without a host, want %d", tt.name, n, wantNone)
		}
	}
}

// The first requests use a host that no set lists so far, the next ones its connection; when the host is swept the connection
// closes, and a request in flight ends in order.
func TestDestinationLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, direct := newOrigin(w), w.down("")
	c := w.set(config(byDestination(nil)), nil)
	d := c.Shared().Destinations
	lease := func() (*upstream.Host, *owner) {
		h, _ := c.PickDestination(direct, []byte(o.addr))
		a := newOwner()
		w.leaseTo(c, h, a, false)
		return h, a
	}
	serve := func(p *peer, a *owner) {
		t.Helper()
		p.wantHead("GET / HTTP/1.1")
		p.send(ok)
		w.until("response", func() bool { return a.done })
	}
	first, a := lease()
	p := o.accept()
	serve(p, a)
	_, a = lease()
	serve(p, a) // on the same connection, still before the set lists the host
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	_, a = lease()
	serve(p, a) // and after it does
	p.wantOpen()
	d.Sweep()
	if !d.Sweep() {
		t.Fatal("the host stays")
	}
	if h, b := lease(); h != first { // the loop has not heard of it
		t.Error("a host is made before the loop has heard that the one it knows is gone")
	} else {
		p.wantHead("GET / HTTP/1.1")
		c.Shared().Rebuild()
		w.do(func() { w.table.Refresh(0) })
		p.send(ok)
		w.until("response", func() bool { return b.done })
	}
	p.wantClosed()
	if second, b := lease(); second == first {
		t.Error("a host that is gone is picked")
	} else {
		serve(o.accept(), b)
	}
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	w.wantIdle(c, 1)
}

// A loop that has not heard yet that a host is gone may be asked for another one with its slot: the pool there drains.
func TestDestinationSlotReused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second, direct := newOrigin(w), newOrigin(w), w.down("")
	c := w.set(config(byDestination(nil)), nil)
	d := c.Shared().Destinations
	get := func(o *origin) (*upstream.Host, *peer) {
		h, _ := c.PickDestination(direct, []byte(o.addr))
		a := newOwner()
		w.leaseTo(c, h, a, false)
		p := o.accept()
		p.wantHead("GET / HTTP/1.1")
		p.send(ok)
		w.until("response", func() bool { return a.done })
		return h, p
	}
	old, p := get(first)
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	d.Sweep()
	d.Sweep()
	d.Sweep() // the slot is free; the loop knows of nothing
	h, q := get(second)
	if h.Slot() != old.Slot() {
		t.Fatalf("slots %d and %d", old.Slot(), h.Slot())
	}
	p.wantClosed()
	q.wantOpen()
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	q.wantOpen()
	w.wantIdle(c, 1)
}

// Ten thousand destinations within one cleanup_interval: there are max_hosts of them, and the loop remembers no more.
func TestDestinationsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	direct := w.down("")
	const most = 1000
	c := w.set(config(byDestination(func(o *upstream.OriginalDstConfig) { o.MaxHosts = most })), nil)
	for i := range 10_000 {
		h, full := c.PickDestination(direct, fmt.Appendf(nil, "10.0.%d.%d:80", i>>8, i&255))
		if (h == nil) != full || full != (i >= most) {
			t.Fatalf("destination %d: host %v, full %v", i, h, full)
		}
	}
	for i := range 10_000 { // one host in many spellings
		text := fmt.Sprintf("[::%x]:80", 0x0a000000)
		c.PickDestination(direct, append([]byte(text[:1]+strings.Repeat("0:", i%5)), text[1:]...))
		c.PickDestination(direct, fmt.Appendf(nil, "10.0.0.0:%0*d", 2+i%20, 80))
	}
	if d := &c.destinations; len(d.hosts) != most || len(d.texts) > 2*most {
		t.Errorf("the loop remembers %d hosts by %d texts", len(d.hosts), len(d.texts))
	}
	if n := c.Stats.OriginalDstOverflow.Load(); n < 9000 {
		t.Errorf("%d requests counted as too many", n)
	}
	c.Shared().Destinations.Sweep()
	c.Shared().Destinations.Sweep()
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	if d := &c.destinations; len(d.hosts)+len(d.texts) != 0 {
		t.Errorf("the loop remembers %d hosts that are gone by %d texts", len(d.hosts), len(d.texts))
	}
}

func TestDestinationAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := newWorld(t)
	redirected, direct := w.down("192.0.2.7:443"), w.down("")
	c := w.set(config(byDestination(nil)), nil)
	for name, pick := range map[string]func(){
		"by connection": func() { c.PickDestination(redirected, nil) },
		"by field":      func() { c.PickDestination(direct, []byte("10.0.0.1:80")) },
		"by IPv6":       func() { c.PickDestination(direct, []byte("[2001:db8::1]:80")) },
	} {
		pick()
		if n := testing.AllocsPerRun(1000, pick); n != 0 {
			t.Errorf("%s: a pick allocates %v times, want 0", name, n)
		}
	}
}

func BenchmarkPickDestination(b *testing.B) {
	w := newWorld(b)
	direct := w.down("")
	c := w.set(config(byDestination(nil)), nil)
	b.ReportAllocs()
	for b.Loop() {
		c.PickDestination(direct, []byte("10.0.0.1:80"))
	}
}
