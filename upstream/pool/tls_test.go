package pool

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/codec"
	"millrace/upstream"
)

// hello answers with what the request came by.
func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s", r.Proto, r.TLS.ServerName, r.TLS.NegotiatedProtocol)
}

// TestTLSProtocols: each protocol of a cluster meets each kind of host.
func TestTLSProtocols(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		protocol string
		offered  []string
		want     string // the body, or the reset
		spoke    uint8
	}{
		{"http1", []string{"h2", "http/1.1"}, "HTTP/1.1 host.test http/1.1", 0},
		{"http1", nil, "HTTP/1.1 host.test ", 0},
		{"http2", []string{"h2", "http/1.1"}, "HTTP/2.0 host.test h2", 0},
		{"http2", []string{"http/1.1"}, "reset connect_failure", 0},
		{"http2", nil, "reset connect_failure", 0},
		{"auto", []string{"h2", "http/1.1"}, "HTTP/2.0 host.test h2", codec.Version20},
		{"auto", []string{"http/1.1"}, "HTTP/1.1 host.test http/1.1", codec.Version11},
		{"auto", nil, "HTTP/1.1 host.test ", codec.Version11},
	} {
		t.Run(tt.protocol+" to "+strings.Join(tt.offered, ","), func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), newAuthority(t)
			addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}, tt.offered, hello)
			c := w.set(config(ca.secured(func(c *upstream.Config) { c.Protocol = tt.protocol }), addr), nil)
			for range 2 { // the second on the same connection
				o := w.fetch(c)
				if got := string(o.body); got != tt.want && !slices.Contains(o.log, tt.want) {
					t.Fatalf("the exchange brought %q, %q; want %q", got, o.log, tt.want)
				}
				if o.body == nil {
					if w.wantIdle(c, 0); len(o.log) < 2 {
						t.Errorf("a connection that failed was told as %q, want a text", o.log)
					}
					return
				}
				if s := o.x.Session(); s == nil || s.ServerName != "host.test" || o.x.IsHTTP2() != strings.HasPrefix(tt.want, "HTTP/2") {
					t.Errorf("the session is %+v, HTTP/2 %v", s, o.x.IsHTTP2())
				}
			}
			if n := c.Stats.CxTotal.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
			if got := c.Shared().Hosts()[0].Spoke(); got != tt.spoke {
				t.Errorf("the host spoke %d, want %d", got, tt.spoke)
			}
			w.wantIdle(c, 1)
		})
	}
}

// TestAutoOpens: before a host of protocol "auto" has spoken, one connection finds out for all that wait; then as many are
// opened as it needs.
func TestAutoOpens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		offered string
		conns   uint64
	}{{"h2", 1}, {"http/1.1", 8}} {
		t.Run(tt.offered, func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), newAuthority(t)
			var all sync.WaitGroup // of the requests, each of which waits for the others
			all.Add(8)
			addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}, []string{tt.offered},
				func(w http.ResponseWriter, r *http.Request) { all.Done(); all.Wait(); hello(w, r) })
			c := w.set(config(ca.secured(func(c *upstream.Config) { c.Protocol = "auto" }), addr), nil)
			owners := make([]*owner, 8)
			for i := range owners {
				owners[i] = newOwner()
				w.lease(c, owners[i])
			}
			if n := c.Stats.CxTotal.Load(); n != 1 {
				t.Errorf("%d connections before the first has agreed on anything, want 1", n)
			}
			w.until("the answers", func() bool {
				return !slices.ContainsFunc(owners, func(o *owner) bool { return !o.done })
			})
			if n := c.Stats.CxTotal.Load(); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
			w.wantIdle(c, int64(tt.conns))
		})
	}
}

// TestAutoChanges: a host that agrees on something else from one connection to the next.
func TestAutoChanges(t *testing.T) {
	t.Parallel()
	w, ca := newWorld(t), newAuthority(t)
	var n atomic.Int32
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := &tls.Config{Certificates: cfg.Certificates, NextProtos: []string{"http/1.1"}}
		if n.Add(1)%2 == 1 {
			c.NextProtos = []string{"h2"}
		}
		return c, nil
	}
	addr := serveTLS(t, cfg, []string{"h2", "http/1.1"}, hello)
	c := w.set(config(ca.secured(func(c *upstream.Config) { c.Protocol, c.MaxRequestsPerConnection = "auto", 1 }), addr), nil)
	for i := range 6 {
		want := "HTTP/2.0 host.test h2"
		if i%2 == 1 {
			want = "HTTP/1.1 host.test http/1.1"
		}
		if o := w.fetch(c); string(o.body) != want {
			t.Fatalf("request %d brought %q, %q; want %q", i, o.body, o.log, want)
		}
	}
}

// TestTLSHandshakeFails: whatever goes wrong is a connection that did not open, and is told in words.
func TestTLSHandshakeFails(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	good := &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}
	for _, tt := range []struct {
		name  string
		serve func(net.Conn)
		says  string // part of what the owner is told
	}{
		{"another name", withTLS(&tls.Config{Certificates: []tls.Certificate{ca.issue("other.test")}}), "certificate is for other.test"},
		{"another CA", withTLS(&tls.Config{Certificates: []tls.Certificate{other.issue("host.test")}}), "unknown authority"},
		{"closed", func(c net.Conn) { c.Close() }, ""}, // or reset, if it had not read the ClientHello
		{"closed after the hello", func(c net.Conn) { _, _ = c.Read(make([]byte, 100)); c.Close() }, ""},
		{"reset", func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() }, ""},
		{"plain HTTP", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, "TLS"},
		{"alert", func(c net.Conn) { _, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 40}) }, "handshake failure"},
		{"wants a client certificate", withTLS(&tls.Config{
			Certificates: good.Certificates, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12,
		}), ""},
	} {
		for _, protocol := range []string{"http1", "http2", "auto"} {
			t.Run(tt.name+" by "+protocol, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				c := w.set(config(ca.secured(func(c *upstream.Config) { c.Protocol = protocol }), rawOrigin(t, tt.serve)), nil)
				o := w.fetch(c)
				if len(o.log) < 2 || o.log[0] != "reset connect_failure" || !strings.Contains(o.log[1], tt.says) {
					t.Errorf("the owner was told %q, want connect_failure and %q", o.log, tt.says)
				}
				if n := c.Stats.CxConnectFail.Load(); n != 1 {
					t.Errorf("upstream_cx_connect_fail = %d, want 1", n)
				}
				w.wantIdle(c, 0)
			})
		}
	}
}

// withTLS answers the handshake and then nothing.
func withTLS(cfg *tls.Config) func(net.Conn) {
	return func(c net.Conn) {
		tc := tls.Server(c, cfg)
		if tc.Handshake() == nil {
			_, _ = tc.Read(make([]byte, 1))
		}
		c.Close()
	}
}

// TestTLSConnectTimeout: connect_timeout bounds the handshake too.
func TestTLSConnectTimeout(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http1", "http2", "auto"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), newAuthority(t)
			heard := make(chan struct{}, 1)
			addr := rawOrigin(t, func(c net.Conn) {
				if _, err := c.Read(make([]byte, 100)); err == nil {
					heard <- struct{}{}
				}
			})
			c := w.set(config(ca.secured(func(c *upstream.Config) { c.Protocol = protocol }), addr), nil)
			o := newOwner()
			w.lease(c, o)
			w.until("the ClientHello", func() bool { return len(heard) > 0 })
			w.advance(c.Config().ConnectTimeout + time.Second)
			w.wantLog(o, "reset connect_timeout", "TLS handshake not complete within connect_timeout")
			if n := c.Stats.CxConnectTimeout.Load(); n != 1 {
				t.Errorf("upstream_cx_connect_timeout = %d, want 1", n)
			}
			w.wantIdle(c, 0)
		})
	}
}

// TestTLSTruncation: a body that ends with its connection ends with close_notify; without it something is missing.
func TestTLSTruncation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		close func(*tls.Conn)
		want  []string
	}{
		{"close_notify", func(c *tls.Conn) { c.Close() }, []string{"ready", "head 200", "end"}},
		{"closed", func(c *tls.Conn) { c.NetConn().Close() }, []string{"ready", "head 200", "reset connection_termination"}},
		{"inside a record", func(c *tls.Conn) { _, _ = c.NetConn().Write([]byte{23, 3, 3, 1}); c.NetConn().Close() },
			[]string{"ready", "head 200", "reset connection_termination"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), newAuthority(t)
			addr := tlsOrigin(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}, func(c *tls.Conn) {
				if _, err := readHead(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nhello")
					tt.close(c)
				}
			})
			c := w.set(config(ca.secured(nil), addr), nil)
			o := w.fetch(c)
			if string(o.body) != "hello" || len(o.log) < len(tt.want) || !slices.Equal(o.log[:len(tt.want)], tt.want) {
				t.Errorf("the owner was told %q with body %q, want %q", o.log, o.body, tt.want)
			}
			w.wantIdle(c, 0)
		})
	}
}

// TestTLSIdleClose: a connection that its host closes while it is idle is not used again.
func TestTLSIdleClose(t *testing.T) {
	t.Parallel()
	for _, orderly := range []bool{true, false} {
		t.Run(fmt.Sprintf("orderly %v", orderly), func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), newAuthority(t)
			addr := tlsOrigin(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}, func(c *tls.Conn) {
				if _, err := readHead(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = io.WriteString(c, ok)
				if orderly {
					c.Close()
				} else {
					c.NetConn().Close()
				}
			})
			c := w.set(config(ca.secured(nil), addr), nil)
			for i := range 3 {
				if o := w.fetch(c); string(o.body) != "ok" || o.x.Reused() {
					t.Fatalf("exchange %d: %q", i, o.log)
				}
				w.until("the end of the connection", func() bool { return c.Stats.CxActive.Load() == 0 })
			}
			if n := c.Stats.CxDestroyRemote.Load(); n != 3 || c.Stats.CxProtocolError.Load() != 0 {
				t.Errorf("upstream_cx_destroy_remote = %d, want 3; protocol errors %d, want 0", n, c.Stats.CxProtocolError.Load())
			}
		})
	}
}

// watched notes whether the end of a connection was read.
type watched struct {
	net.Conn
	ended atomic.Bool
}

func (c *watched) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.ended.Store(true)
	}
	return n, err
}

// TestTLSCloseNotify: what we close in order we end with close_notify.
func TestTLSCloseNotify(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http1", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), newAuthority(t)
			ended := make(chan bool, 1) // without close_notify
			cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}, NextProtos: []string{"h2", "http/1.1"}}
			addr := rawOrigin(t, func(raw net.Conn) {
				c := &watched{Conn: raw}
				tc := tls.Server(c, cfg)
				r := bufio.NewReader(tc)
				if protocol == "http1" {
					_, _ = readHead(r)
					_, _ = io.WriteString(tc, ok)
				} else { // SETTINGS are enough
					_, _ = tc.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0})
				}
				_, _ = io.Copy(io.Discard, r)
				ended <- c.ended.Load() // with close_notify nothing is read behind it
			})
			c := w.set(config(ca.secured(func(c *upstream.Config) { c.Protocol = protocol }), addr), nil)
			o := newOwner()
			w.lease(c, o)
			if protocol == "http1" {
				w.until("the response", func() bool { return o.done })
			} else {
				w.until("the connection", func() bool { return o.x.Active() })
				w.do(o.x.Cancel)
			}
			w.advance(c.Config().IdleTimeout + time.Second)
			w.until("the end", func() bool { return len(ended) > 0 })
			if <-ended {
				t.Error("the connection ended without close_notify")
			}
			w.wantIdle(c, 0)
		})
	}
}

// TestTLSMeant: a connection whose PROXY header names one client is for nobody else.
func TestTLSMeant(t *testing.T) {
	t.Parallel()
	w, ca := newWorld(t), newAuthority(t)
	accepted, first := make(chan net.Conn, 4), make(chan struct{})
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}
	addr := rawOrigin(t, func(c net.Conn) {
		accepted <- c
		<-first // until both wait
		r := bufio.NewReader(c)
		if line, err := r.ReadString('\n'); err != nil || line != "PROXY UNKNOWN\r\n" {
			t.Errorf("the connection begins with %q, %v", line, err)
			return
		}
		tc := tls.Server(&buffered{c, r}, cfg)
		if _, err := readHead(bufio.NewReader(tc)); err == nil {
			_, _ = io.WriteString(tc, ok)
		}
	})
	c := w.set(config(ca.secured(func(c *upstream.Config) { c.ProxyProtocol = &upstream.ProxyProtocolConfig{Version: "v1"} }), addr), nil)
	a, b := newOwner(), newOwner()
	w.lease(c, a)
	w.lease(c, b)
	w.until("both connections", func() bool { return len(accepted) == 2 })
	w.do(a.x.Cancel)
	if n := c.Stats.CxActive.Load(); n != 1 {
		t.Errorf("%d connections when one of two exchanges is cancelled, want 1", n)
	}
	close(first)
	w.until("the exchange", func() bool { return b.done })
	if string(b.body) != "ok" || len(a.log) > 0 {
		t.Errorf("the one was told %q, the other %q", a.log, b.log)
	}
	w.settle()
	w.wantIdle(c, 0) // the header spoke for one request
	if n := c.Stats.CxTotal.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// buffered is a connection that is read through a buffer.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// TestAutoSNIBreaker: the one connection that is always allowed is one for a host, not one for each name.
func TestAutoSNIBreaker(t *testing.T) {
	t.Parallel()
	w, ca := newWorld(t), newAuthority(t)
	addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("*.test")}}, nil, hello)
	c := w.set(config(ca.secured(func(c *upstream.Config) { c.TLS.AutoSNI, c.CircuitBreakers.MaxConnections = true, 1 }), addr), nil)
	for i := range 6 {
		name := fmt.Sprintf("n%d.test", i%3)
		if o, _ := w.leaseNamed(c, name); !strings.Contains(string(o.body), name) { // the idle one makes room
			t.Fatalf("name %q brought %q, %q", name, o.body, o.log)
		}
		if n := c.Stats.CxActive.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	}
	w.wantIdle(c, 1)
}

// TestTLSResumption: the next connection resumes the session, up to max_session_keys.
func TestTLSResumption(t *testing.T) {
	t.Parallel()
	for _, keys := range []int{0, 1} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), newAuthority(t)
			addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}, nil, hello)
			c := w.set(config(ca.secured(func(c *upstream.Config) { c.TLS.MaxSessionKeys, c.MaxRequestsPerConnection = keys, 1 }), addr), nil)
			for i := range 4 {
				if o := w.fetch(c); o.x.Session() == nil || o.x.Session().Resumed != (keys > 0 && i > 0) {
					t.Errorf("connection %d: session %+v", i, o.x.Session())
				}
			}
			if n := c.TLSStats.SessionReused.Load(); n != uint64(3*keys) {
				t.Errorf("session_reused = %d, want %d", n, 3*keys)
			}
		})
	}
}

// leaseNamed runs one GET on a connection that asks for name.
func (w *world) leaseNamed(c *Cluster, name string) (o *owner, r LeaseResult) {
	w.t.Helper()
	o = newOwner()
	w.do(func() {
		o.onReady = func() { o.x.SendHead(get("/"), true) }
		if r = c.LeaseNamed([]byte(name), c.Shared().Hosts()[0], upstream.Default, &o.x, false); r == LeaseReady {
			o.onReady()
		}
	})
	if r != LeaseOverflow {
		w.until("the exchange", func() bool { return o.done })
	}
	return o, r
}

// TestAutoSNI: connections are shared by those that ask for the same name, and by no others.
func TestAutoSNI(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http1", "http2", "auto"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w, ca := newWorld(t), newAuthority(t)
			cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue("a.test", "b.test", "host.test")}}
			addr := serveTLS(t, cfg, []string{"h2", "http/1.1"}, hello)
			c := w.set(config(ca.secured(func(c *upstream.Config) { c.Protocol, c.TLS.AutoSNI = protocol, true }), addr), nil)
			for range 2 {
				for _, name := range []string{"a.test", "b.test", ""} {
					want := name
					if name == "" {
						want = "host.test"
					}
					if o, _ := w.leaseNamed(c, name); !strings.Contains(string(o.body), " "+want+" ") {
						t.Fatalf("name %q brought %q, %q", name, o.body, o.log)
					}
				}
			}
			if n := c.Stats.CxTotal.Load(); n != 3 {
				t.Errorf("%d connections, want 3", n)
			}
			w.wantIdle(c, 3)
			w.do(func() { w.table.Remove(0) })
			w.settle()
			if n := c.Stats.CxActive.Load(); n != 0 {
				t.Errorf("%d connections are left when the cluster is removed", n)
			}
		})
	}
}

// TestAutoSNILimit: the number of names is bounded; those that are not in use make room.
func TestAutoSNILimit(t *testing.T) {
	t.Parallel()
	w, ca := newWorld(t), newAuthority(t)
	var hold atomic.Bool
	addr := tlsOrigin(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("*.test")}}, func(c *tls.Conn) {
		r := bufio.NewReader(c)
		for {
			if _, err := readHead(r); err != nil || hold.Load() {
				return
			}
			_, _ = io.WriteString(c, ok)
		}
	})
	c := w.set(config(ca.secured(func(c *upstream.Config) { c.TLS.AutoSNI = true }), addr), nil)
	p := c.pool(c.Shared().Hosts()[0], upstream.Default)
	for i := range namesMax + 2 { // the first two make room
		if o, _ := w.leaseNamed(c, fmt.Sprintf("n%d.test", i)); string(o.body) != "ok" {
			t.Fatalf("name %d: %q", i, o.log)
		}
	}
	if len(p.names.pools) != namesMax || p.names.pools["n1.test"] != nil || c.Stats.CxActive.Load() != namesMax {
		t.Errorf("%d names with %d connections, want %d of each", len(p.names.pools), c.Stats.CxActive.Load(), namesMax)
	}
	// Those that were leased longest ago are busy now: there is no room for another name.
	hold.Store(true)
	busy := make([]*owner, namesProbed)
	q := p.names.oldest
	for i := range busy {
		busy[i] = newOwner()
		w.do(func() {
			q.Lease(&busy[i].x, false)
			busy[i].x.SendHead(get("/"), true)
		})
		q = q.newerName
	}
	if _, r := w.leaseNamed(c, "one-more.test"); r != LeaseOverflow || c.Stats.CxPoolOverflow.Load() != 1 {
		t.Errorf("lease beyond the limit = %d, upstream_cx_pool_overflow %d; want overflow, 1", r, c.Stats.CxPoolOverflow.Load())
	}
	w.do(func() {
		for _, o := range busy {
			o.x.Cancel()
		}
	})
}
