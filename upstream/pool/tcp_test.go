package pool

import (
	"testing"
	"time"

	"millrace/engine"
	"millrace/upstream"
)

// tcpUser owns a TCP and writes down what it hears.
type tcpUser struct {
	tcp    TCP
	heard  []string
	failed func()
}

func (u *tcpUser) OnConnect()                 { u.heard = append(u.heard, "connect"); u.tcp.Connected() }
func (u *tcpUser) OnData(b []byte) int        { return len(b) }
func (u *tcpUser) OnEOF()                     { u.heard = append(u.heard, "eof"); u.tcp.Close(true) }
func (u *tcpUser) OnWriteLow()                {}
func (u *tcpUser) OnSplice(int64, bool, bool) {}
func (u *tcpUser) OnTimeout()                 { u.heard = append(u.heard, "timeout"); u.tcp.ConnectTimedOut() }
func (u *tcpUser) OnClose(why engine.CloseReason) {
	wasOpen, text := u.tcp.Closed(why)
	if wasOpen {
		text = "open, " + text
	}
	u.heard = append(u.heard, text)
}

func (u *tcpUser) OnHostFailed() {
	u.heard = append(u.heard, "failed")
	u.tcp.Reset()
	if u.failed != nil {
		u.failed()
	}
}

// open opens a TCP to the first host.
func (w *world) open(c *Cluster, u *tcpUser) (r TCPResult, text string) {
	w.t.Helper()
	u.tcp.Owner = u
	w.do(func() {
		r, text = c.OpenTCP(&u.tcp, &TCPTarget{Host: c.Shared().Hosts()[0], Priority: upstream.Default}, u)
	})
	return r, text
}

// wantNoTCP checks that nothing is left of any connection.
func (w *world) wantNoTCP(c *Cluster) {
	w.t.Helper()
	b, h, st := c.Shared().Budgets[upstream.Default], c.Shared().Hosts()[0], &c.Stats
	if b.Active(upstream.Connections) != 0 || b.Active(upstream.Pending) != 0 || h.CxActive.Load() != 0 || h.RqActive.Load() != 0 ||
		st.CxActive.Load() != 0 || st.RqActive.Load() != 0 || st.RqPendingActive.Load() != 0 || c.tcp != nil {
		w.t.Errorf("left: budget %d and %d, host %d and %d, gauges %d, %d, %d, list %v; want nothing",
			b.Active(upstream.Connections), b.Active(upstream.Pending), h.CxActive.Load(), h.RqActive.Load(),
			st.CxActive.Load(), st.RqActive.Load(), st.RqPendingActive.Load(), c.tcp != nil)
	}
}

func TestTCPLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	for _, tt := range []struct {
		name          string
		end           func(u *tcpUser, p *peer)
		local, remote uint64
	}{
		{"closed by us", func(u *tcpUser, _ *peer) { w.do(func() { u.tcp.Close(false) }) }, 1, 0},
		{"reset by us", func(u *tcpUser, _ *peer) { w.do(func() { u.tcp.Reset() }) }, 1, 0},
		{"closed by the host", func(_ *tcpUser, p *peer) { p.close() }, 0, 1},
	} {
		u := &tcpUser{}
		before := [2]uint64{c.Stats.CxDestroyLocal.Load(), c.Stats.CxDestroyRemote.Load()}
		if r, text := w.open(c, u); r != TCPOpening || !u.tcp.Opening() {
			t.Fatalf("%s: OpenTCP = %d, %q", tt.name, r, text)
		}
		p := o.accept()
		w.until("connect", u.tcp.IsOpen)
		w.do(func() { u.tcp.Conn().Write([]byte("12345")) })
		p.wantBytes("12345")
		p.send("123")
		if u.tcp.ID() == 0 || u.tcp.Host() != c.Shared().Hosts()[0] || u.tcp.Cluster() != c || u.tcp.LocalAddr().IsZero() || u.tcp.OpenedAt() == 0 {
			t.Errorf("%s: ID %d, host %v, local %v", tt.name, u.tcp.ID(), u.tcp.Host(), u.tcp.LocalAddr())
		}
		tt.end(u, p)
		w.until("end", func() bool { return !u.tcp.IsOpen() })
		if rx, tx := u.tcp.Bytes(); rx != 3 || tx != 5 {
			t.Errorf("%s: %d bytes received, %d sent; want 3, 5", tt.name, rx, tx)
		}
		local, remote := c.Stats.CxDestroyLocal.Load()-before[0], c.Stats.CxDestroyRemote.Load()-before[1]
		if local != tt.local || remote != tt.remote {
			t.Errorf("%s: destroyed by us %d, by the host %d; want %d, %d", tt.name, local, remote, tt.local, tt.remote)
		}
		w.wantNoTCP(c)
	}
	st := &c.Stats
	if st.CxTotal.Load() != 3 || st.CxRxBytes.Load() != 9 || st.CxTxBytes.Load() != 15 || st.RqTotal.Load() != 3 || st.CxDestroyActive.Load() != 3 {
		t.Errorf("total %d, rx %d, tx %d, rq %d, with a request %d; want 3, 9, 15, 3, 3",
			st.CxTotal.Load(), st.CxRxBytes.Load(), st.CxTxBytes.Load(), st.RqTotal.Load(), st.CxDestroyActive.Load())
	}
}

func TestTCPDoesNotOpen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		edit  func(*upstream.Config)
		want  TCPResult
		heard string
		fails uint64
	}{
		{"refused", nil, TCPOpening, "connection refused", 1},
		{"no connection allowed", func(c *upstream.Config) { c.CircuitBreakers.MaxConnections = 0 }, TCPOverflow, "", 0},
		{"no wait allowed", func(c *upstream.Config) { c.CircuitBreakers.MaxPendingRequests = 0 }, TCPOverflow, "", 0},
		{"no such source", func(c *upstream.Config) { c.UpstreamBindConfig = &upstream.BindConfig{SourceAddress: "192.0.2.1:0"} }, TCPFailed, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			_ = o.ln.Close()
			c := w.set(config(tt.edit, o.addr), nil)
			u := &tcpUser{}
			if r, _ := w.open(c, u); r != tt.want {
				t.Fatalf("OpenTCP = %d, want %d", r, tt.want)
			}
			if tt.heard != "" {
				w.until("end", func() bool { return len(u.heard) > 0 })
				if u.heard[0] != tt.heard {
					t.Errorf("heard %q, want %q", u.heard, tt.heard)
				}
			}
			if n := c.Stats.CxConnectFail.Load(); n != tt.fails {
				t.Errorf("connect_fail %d, want %d", n, tt.fails)
			}
			w.wantNoTCP(c)
		})
	}
}

// TestTCPCancel: an owner may give up while it connects.
func TestTCPCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	for _, end := range []func(u *tcpUser){
		func(u *tcpUser) { u.tcp.Close(false) }, func(u *tcpUser) { u.tcp.Reset() }, func(u *tcpUser) { u.OnTimeout() },
	} {
		u := &tcpUser{}
		u.tcp.Owner = u
		w.do(func() {
			c.OpenTCP(&u.tcp, &TCPTarget{Host: c.Shared().Hosts()[0], Priority: upstream.Default}, u)
			end(u)
		})
		w.settle()
		w.wantNoTCP(c)
	}
	if st := &c.Stats; st.RqCancelled.Load() != 2 || st.CxConnectTimeout.Load() != 1 || st.CxConnectFail.Load() != 1 {
		t.Errorf("cancelled %d, timed out %d, failed %d; want 2, 1, 1", st.RqCancelled.Load(), st.CxConnectTimeout.Load(), st.CxConnectFail.Load())
	}
}

// TestTCPHostFails: the owners hear of it, and may end and open whatever they like meanwhile.
func TestTCPHostFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(func(c *upstream.Config) { c.CloseConnectionsOnHostHealthFailure = true }, o.addr), nil)
	var users [3]*tcpUser
	for i := range users {
		users[i] = &tcpUser{}
		w.open(c, users[i])
		o.accept()
		w.until("connect", users[i].tcp.IsOpen)
	}
	users[2].failed = func() { users[1].tcp.Close(false) } // the newest is told first
	w.do(func() { w.table.Refresh(0) })
	if users[0].tcp.IsOpen() == false {
		t.Fatal("closed though the host is well")
	}
	c.Shared().Hosts()[0].SetHealth(upstream.FailedActiveCheck, true)
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	for i, want := range []int{1, 0, 1} {
		failed := 0
		for _, h := range users[i].heard {
			if h == "failed" {
				failed++
			}
		}
		if failed != want {
			t.Errorf("owner %d heard %q, want %d times that the host failed", i, users[i].heard, want)
		}
	}
	w.wantNoTCP(c)
}

// TestTCPSource: a connection may come from elsewhere, beside what the cluster says.
func TestTCPSource(t *testing.T) {
	t.Parallel()
	c := &Cluster{settings: newSettings(config(func(c *upstream.Config) {
		c.UpstreamBindConfig = &upstream.BindConfig{SourceAddress: "127.0.0.9:0"}
		c.UpstreamConnectionOptions.TCPKeepalive = &upstream.TCPKeepalive{KeepaliveTime: time.Minute}
	}))}
	if o := c.dialOptions(nil); o.Source.String() != "127.0.0.9:0" || o.Transparent {
		t.Errorf("dialOptions(nil) = %+v", o)
	}
	from := &Source{Addr: endpoint("127.0.0.7:0"), Mark: 5}
	if o := c.dialOptions(from); o.Source != from.Addr || !o.Transparent || o.Mark != 5 || o.KeepAlive == nil {
		t.Errorf("dialOptions(%v) = %+v", from, o)
	}
	if o := c.dialOptions(nil); o.Transparent || o.Mark != 0 {
		t.Errorf("dialOptions(nil) afterwards = %+v", o)
	}
}

func TestTCPAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	u := &tcpUser{}
	u.tcp.Owner = u
	host := c.Shared().Hosts()[0]
	cycle := func() {
		c.OpenTCP(&u.tcp, &TCPTarget{Host: host, Priority: upstream.Default}, u)
		u.tcp.Close(false)
		if err := w.loop.Turn(0); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		cycle()
	}
	if n := testing.AllocsPerRun(200, cycle); n > 0 {
		t.Errorf("%v allocations for a connection, want 0", n)
	}
}
