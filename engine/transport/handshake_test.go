package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/engine/enginetest"
	"millrace/engine/internal/record"
	"millrace/engine/stats"
)

// TestHandshakeTimeout: a client that says nothing, or half a ClientHello, or nothing after our flight, is let go.
func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(func(c *certs.DownstreamConfig) { c.HandshakeTimeout = 50 * time.Millisecond }), Limits{}, AcceptorOptions{}, nil)
	hello := clientHello(t)
	for _, sent := range [][]byte{nil, hello[:1], hello[:len(hello)-1], hello} {
		c := r.dialPlain()
		c.Write(sent)
		io.Copy(io.Discard, c)
		e := wait(t, r.ends)
		if err := wait(t, e.closed); err != ErrHandshakeTimeout || e.reason != engine.CloseTransport {
			t.Errorf("%d bytes: closed with %v, %v", len(sent), e.reason, err)
		}
	}
	r.on(func() {
		if n := r.stats.HandshakeTimeout.Load(); n != 4 {
			t.Errorf("handshake_timeout = %d", n)
		}
	})
	r.idle()
	if s := r.hs.Snapshot(); s.Timeouts != 4 || s.Started != 1 {
		t.Errorf("%+v", s)
	}
}

// until waits for a state of the handshakes.
func (r *runner) until(what string, reached func(s Snapshot) bool) {
	r.t.Helper()
	for end := time.Now().Add(waitMax); ; time.Sleep(time.Millisecond) {
		s := r.hs.Snapshot()
		if reached(s) {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("waited in vain for %s: %+v", what, s)
		}
	}
}

// idle waits until no handshake is under way.
func (r *runner) idle() {
	r.t.Helper()
	r.until("the end of all handshakes", func(s Snapshot) bool { return s.UnderWay == 0 && s.Computing == 0 && s.Queued == 0 })
}

func TestPlainRequest(t *testing.T) {
	t.Parallel()
	const reply = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
	r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{PlainReply: []byte(reply)}, nil)
	c := r.dialPlain()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100000))
	got, err := io.ReadAll(c)
	if string(got) != reply || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	e := wait(t, r.ends)
	if err := wait(t, e.closed); err != ErrPlain {
		t.Errorf("closed with %v", err)
	}
	r.on(func() {
		if n := r.stats.PlainRequests.Load(); n != 1 {
			t.Errorf("plain_requests = %d", n)
		}
	})
}

func TestHelloRefused(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{}, nil)
	for in, alert := range map[string]byte{"\x80\x2e\x01\x03\x01": 70, "\x00\x01": 10, "\x16\x03\x01\xff\xff": 22, "\x16\x03\x01\x00\x04\x01\x7f\x00\x00": 50} {
		c := r.dialPlain()
		io.WriteString(c, in)
		got, err := io.ReadAll(c)
		if string(got) != "\x15\x03\x01\x00\x02\x02"+string([]byte{alert}) || err != nil {
			t.Errorf("%x was answered with %x, %v", in, got, err)
		}
		want := ErrHello
		if alert == byte(record.DecodeError) {
			want = ErrHelloLong
		}
		if err := wait(t, wait(t, r.ends).closed); err != want {
			t.Errorf("closed with %v", err)
		}
	}
	// What crypto/tls refuses has its alert too: no version in common.
	_, err := tls.Dial("tcp", r.addr, dialConfig(tls.VersionTLS11))
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
	e := wait(t, r.ends)
	if err := wait(t, e.closed); err == nil || e.reason != engine.CloseTransport {
		t.Errorf("closed with %v, %v", e.reason, err)
	}
	r.on(func() {
		if n, long := r.stats.ConnectionError.Load(), r.stats.HelloTooLong.Load(); n != 4 || long != 1 {
			t.Errorf("connection_error = %d, client_hello_too_long = %d", n, long)
		}
	})
}

// TestPanic: a panic during a handshake ends that connection alone.
func TestPanic(t *testing.T) {
	t.Parallel()
	panics := make(chan any, 1)
	r := newRunner(t, serverConfig(), Limits{OnPanic: func(v any, _ []byte) { panics <- v }}, AcceptorOptions{}, nil)
	r.on(func() {
		r.acc.extra = func(cfg *tls.Config) {
			cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("no certificate today") }
		}
	})
	if _, err := tls.Dial("tcp", r.addr, dialConfig(tls.VersionTLS13)); err == nil {
		t.Error("the handshake went well")
	}
	if err := wait(t, wait(t, r.ends).closed); err != ErrPanic {
		t.Errorf("closed with %v", err)
	}
	if v := wait(t, panics); v != "no certificate today" {
		t.Errorf("panic with %v", v)
	}
	r.on(func() { r.acc.extra = nil })
	r.dial(dialConfig(tls.VersionTLS13))
	r.idle()
}

// gate holds handshakes back in the choice of a certificate.
func (r *runner) gate() (arrived <-chan struct{}, open func()) {
	in, out := make(chan struct{}, 100), make(chan struct{})
	r.on(func() {
		r.acc.extra = func(cfg *tls.Config) {
			cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				in <- struct{}{}
				<-out
				return nil, nil
			}
		}
	})
	return in, func() { close(out) }
}

// TestShed: handshakes beyond the limits are refused, queued ones come to their turn, and who is established is not disturbed.
func TestShed(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(), Limits{MaxComputing: 1, MaxQueued: 2}, AcceptorOptions{}, nil)
	old := r.dial(dialConfig(tls.VersionTLS13))
	wait(t, r.ends)
	arrived, open := r.gate()
	results := make(chan error, 10)
	dial := func() {
		c, err := tls.Dial("tcp", r.addr, dialConfig(tls.VersionTLS13))
		if err == nil {
			defer c.Close()
		}
		results <- err
	}
	go dial()
	wait(t, arrived)
	for queued := 1; queued <= 2; queued++ {
		go dial()
		r.until("the queue", func(s Snapshot) bool { return s.Queued == queued })
	}
	for range 3 {
		go dial()
		if err := wait(t, results); err == nil {
			t.Error("a handshake over the limit went well")
		}
	}
	old.Write([]byte("still here"))
	if n, err := io.ReadFull(old, make([]byte, 10)); err != nil {
		t.Errorf("established connection: %d, %v", n, err)
	}
	open()
	for range 3 {
		if err := wait(t, results); err != nil {
			t.Error(err)
		}
	}
	r.idle()
	if s := r.hs.Snapshot(); s.Shed != 3 || s.Started != 4 {
		t.Errorf("%+v", s)
	}
	r.on(func() {
		if n := r.stats.HandshakeShed.Load(); n != 3 {
			t.Errorf("handshake_shed = %d", n)
		}
	})
}

// setPatience sets how long a handshake must have waited for its client to be evicted.
func (h *Handshakes) setPatience(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.patience = d
}

// TestEvict: a new handshake takes the place of the one that has waited longest for its client, if that is long.
func TestEvict(t *testing.T) {
	t.Parallel()
	for _, mode := range []Established{EstablishedOwn, EstablishedOwnParked} {
		r := newRunner(t, serverConfig(), Limits{MaxUnderWay: 2}, AcceptorOptions{Established: mode}, nil)
		r.hs.setPatience(time.Hour)
		hello := clientHello(t)
		var held []net.Conn
		var ends []*testEnd
		for range 2 {
			c := r.dialPlain()
			c.Write(hello)
			held = append(held, c)
			io.ReadFull(c, make([]byte, 100)) // of our flight
			ends = append(ends, wait(t, r.ends))
		}
		if _, err := tls.Dial("tcp", r.addr, dialConfig(tls.VersionTLS13)); err == nil {
			t.Error("a third handshake went well while the others have not waited long")
		}
		r.hs.setPatience(0)
		r.dial(dialConfig(tls.VersionTLS13))
		if err := wait(t, ends[0].closed); !errors.Is(err, ErrEvicted) {
			t.Errorf("mode %d: the oldest ended with %v", mode, err)
		}
		r.until("one under way", func(s Snapshot) bool { return s.UnderWay == 1 && s.Shed == 1 && s.Evicted == 1 })
		held[1].Close()
		r.until("none under way", func(s Snapshot) bool { return s.UnderWay == 0 })
		r.on(func() {
			if n := r.stats.HandshakeEvicted.Load(); n != 1 {
				t.Errorf("mode %d: %d evictions counted", mode, n)
			}
		})
	}
}

// TestMaxUnderWay: those that wait for their clients count.
func TestMaxUnderWay(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(), Limits{MaxUnderWay: 2}, AcceptorOptions{}, nil)
	r.hs.setPatience(time.Hour)
	hello := clientHello(t)
	var held []net.Conn
	for range 2 {
		c := r.dialPlain()
		c.Write(hello)
		held = append(held, c)
		io.ReadFull(c, make([]byte, 100)) // of our flight
	}
	if _, err := tls.Dial("tcp", r.addr, dialConfig(tls.VersionTLS13)); err == nil {
		t.Error("a third handshake went well")
	}
	held[0].Close()
	r.until("one under way", func(s Snapshot) bool { return s.UnderWay == 1 })
	r.dial(dialConfig(tls.VersionTLS13))
}

// TestAbandoned: clients that go away, whenever they do, leave neither goroutines nor memory behind.
func TestAbandoned(t *testing.T) {
	r := newRunner(t, serverConfig(), Limits{MaxComputing: 2}, AcceptorOptions{}, nil) // not parallel: it counts goroutines
	running := goleak.IgnoreCurrent()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for limit := 0; limit < 500; limit += 1 + limit/8 {
			for _, reset := range []bool{false, true} {
				c := r.dialPlain()
				if reset {
					c.SetLinger(0)
				}
				cut := &cutConn{TCPConn: c, left: limit}
				tc := tls.Client(cut, dialConfig(version))
				if tc.Handshake() == nil {
					tc.Write([]byte("x"))
				}
				c.Close()
				e := wait(t, r.ends)
				select {
				case err := <-e.closed:
					if err == nil {
						t.Errorf("cut after %d: closed with %v and no error", limit, e.reason)
					}
				case <-time.After(waitMax):
					t.Fatalf("cut after %d: not closed", limit)
				}
			}
		}
	}
	r.idle()
	r.hs.Close()
	goleak.VerifyNone(t, running)
	r.on(func() {
		if n := r.loop.Arena().Leased(); n > 256<<10 {
			t.Errorf("%d bytes leased", n)
		}
	})
}

// cutConn passes left bytes, and then nothing.
type cutConn struct {
	*net.TCPConn
	left int
}

var errCut = errors.New("cut")

func (c *cutConn) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.left -= n
	if _, err := c.TCPConn.Write(b[:n]); err != nil {
		return 0, err
	}
	if n < len(b) {
		return n, errCut
	}
	return n, nil
}

// dribble writes byte by byte.
type dribble struct{ net.Conn }

func (c dribble) Write(b []byte) (int, error) {
	for i := range b {
		if n, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(b), nil
}

// TestDribble: handshake and records arrive byte by byte, and the socket takes and gives little at a time.
func TestDribble(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		for _, f := range []enginetest.Faults{{}, {ReadChunk: 1}, {WriteChunk: 7}, {ReadChunk: 3, WriteChunk: 100, EAGAIN: true}} {
			faults := f
			r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, nil, func(c *engine.LoopConfig) { c.Faults = &faults })
			raw := r.dialPlain()
			raw.SetNoDelay(true)
			c := tls.Client(dribble{raw}, dialConfig(version))
			in := strings.Repeat("abcdefg", 700)
			go func() {
				for at := 0; at < len(in); at += 100 {
					io.WriteString(c, in[at:at+100])
				}
				c.CloseWrite()
			}()
			out, err := io.ReadAll(c)
			if string(out) != in || err != nil {
				t.Errorf("%+v: echo of %d bytes gave %d, %v", f, len(in), len(out), err)
			}
		}
	})
}

// TestHalfOpen: 10,000 clients that do not go on hold bounded memory, and others are served.
func TestHalfOpen(t *testing.T) {
	clients := 10_000
	if raceEnabled || testing.Short() {
		clients = 500
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	clients = min(clients, int(files.Cur)/2-100)                        // both ends are ours
	r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{}, nil) // not parallel: it measures
	hello := clientHello(t)
	before := memory(r)
	for i := range clients {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatalf("after %d clients: %v", i, err)
		}
		defer c.Close()
		c.Write(hello[:len(hello)/2])
	}
	for n := 0; n < clients; {
		r.on(func() { n = r.loop.Conns() })
	}
	if s := r.hs.Snapshot(); s.Started != 0 {
		t.Errorf("%+v", s)
	}
	each := (memory(r) - before) / int64(clients)
	t.Logf("%d bytes for each half-open client", each)
	if each > 6<<10 && !raceEnabled {
		t.Errorf("%d bytes for each half-open client", each)
	}
	c := r.dial(dialConfig(tls.VersionTLS13))
	io.WriteString(c, "served")
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Error(err)
	}
}

// TestDropQueued: clients that go away while their handshake waits for its turn leave the queue.
func TestDropQueued(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := newRunner(t, serverConfig(), Limits{MaxComputing: 1}, AcceptorOptions{Established: EstablishedOwnParked}, nil)
		// One waits for its client with a goroutine, and then for a token.
		early := r.dialPlain()
		hold := &afterFirst{holdConn: &holdConn{Conn: early}}
		tc := tls.Client(hold, dialConfig(version))
		second := make(chan struct{})
		go func() {
			tc.Handshake() // it does not end with TLS 1.2: the answer to what is held does not come
			close(second)
		}()
		r.until("the first to be held", func(s Snapshot) bool { return hold.holds.Load() > 0 && s.Computing == 0 })
		arrived, open := r.gate()
		other := r.dialPlain()
		go tls.Client(other, dialConfig(version)).Handshake()
		wait(t, arrived)
		queued := r.dialPlain()
		queued.Write(clientHello(t))
		early.Write([]byte{22})
		r.until("the queue", func(s Snapshot) bool { return s.Queued == 2 })
		queued.SetLinger(0)
		queued.Close()
		early.SetLinger(0)
		early.Close()
		r.until("an empty queue", func(s Snapshot) bool { return s.Queued == 0 && s.UnderWay == 1 })
		open()
		wait(t, second)
		other.Close()
		r.idle()
		r.on(func() { r.acc.extra = nil })
		r.dial(dialConfig(version))
	}
}

// TestHandshakesStats: the names of the counters of the process.
func TestHandshakesStats(t *testing.T) {
	t.Parallel()
	h := NewHandshakes(Limits{})
	defer h.Close()
	h.shed.Add(3)
	var reg stats.Registry
	reg.Add(stats.Root("tls"), h.StatsSet())
	got := map[string]int64{}
	reg.Each(func(m *stats.Metric) bool {
		got[m.Scope.Prefix+m.Name] = m.Value
		return true
	})
	for name, want := range map[string]int64{
		"tls.handshakes_active": 0, "tls.handshakes_computing": 0, "tls.handshakes_queued": 0, "tls.handshakes_started": 0,
		"tls.handshakes_shed": 3, "tls.handshakes_evicted": 0, "tls.handshakes_timeouts": 0, "tls.handshakes_panics": 0,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s = %d, %v; want %d", name, n, ok, want)
		}
	}
	if d := DefaultLimits(1000); d.MaxComputing != 1 || d.MaxUnderWay != underWayMax || d.MaxQueued != queuedMax {
		t.Errorf("DefaultLimits(1000) = %+v", d)
	}
}

// TestStatsNames: versions, suites and groups have Envoy's names.
func TestStatsNames(t *testing.T) {
	t.Parallel()
	var s Stats
	for range 2 {
		s.established(&Session{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Curve: tls.X25519})
	}
	s.established(&Session{Version: tls.VersionTLS13, Suite: tls.TLS_AES_256_GCM_SHA384, Curve: tls.CurveP256, Resumed: true})
	for n := range numbersMax + 3 {
		s.Ciphers.inc(suite(0xffe0 + n))
	}
	var reg stats.Registry
	reg.Add(stats.ListenerScope("a").Name("ssl"), &s)
	got := map[string]int64{}
	reg.Each(func(m *stats.Metric) bool {
		got[m.Name] = m.Value
		return true
	})
	for name, want := range map[string]int64{
		"handshake": 3, "session_reused": 1, "no_certificate": 3, "versions.TLSv1.2": 2, "versions.TLSv1.3": 1, "curves.X25519": 2, "curves.P-256": 1,
		"ciphers.ECDHE-RSA-AES128-GCM-SHA256": 2, "ciphers.TLS_AES_256_GCM_SHA384": 1, "ciphers.other": 5,
	} {
		if got[name] != want {
			t.Errorf("%s = %d, want %d; of %v", name, got[name], want, got)
		}
	}
	for v, want := range map[uint16]string{tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", 0x1234: "0x1234"} {
		if got := VersionName(v); got != want {
			t.Errorf("VersionName(%#x) = %q", v, got)
		}
	}
}

// TestAddresses: the choice of a certificate may look at the addresses.
func TestAddresses(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{}, nil)
	seen := make(chan [2]string, 1)
	r.on(func() {
		r.acc.extra = func(cfg *tls.Config) {
			cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				seen <- [2]string{h.Conn.LocalAddr().String(), h.Conn.RemoteAddr().String()}
				return nil, nil
			}
		}
	})
	c := r.dial(dialConfig(tls.VersionTLS13))
	if got := wait(t, seen); got != [2]string{r.addr, c.LocalAddr().String()} {
		t.Errorf("addresses %v", got)
	}
}

// TestLongHello: a ClientHello of several blocks that comes byte by byte.
func TestLongHello(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{}, nil)
	leased := func() (n int64) {
		r.on(func() { n = r.loop.Arena().Leased() })
		return n
	}
	before := leased()
	for _, protocols := range []int{120, 400} { // 6 KiB, 20 KiB: two records
		cfg := dialConfig(tls.VersionTLS13)
		for i := range protocols {
			cfg.NextProtos = append(cfg.NextProtos, fmt.Sprintf("%050d", i))
		}
		cfg.NextProtos = append(cfg.NextProtos, "http/1.1")
		raw := r.dialPlain()
		raw.SetNoDelay(true)
		c := tls.Client(dribble{raw}, cfg)
		io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("%d protocols: %v", protocols, err)
		}
		e := wait(t, r.ends)
		wait(t, e.made)
		if e.session.ALPN != "http/1.1" || !e.session.Own {
			t.Errorf("%d protocols: session %+v", protocols, e.session)
		}
		c.Close()
		for n := 1; n > 0; {
			r.on(func() { n = r.loop.Conns() })
		}
		if n := leased() - before; n != 0 {
			t.Errorf("%d protocols: %d bytes leased after the end", protocols, n)
		}
	}
}

// TestLateResult: a handshake that ends when its connection is gone does nothing to the connection that has its place by then.
func TestLateResult(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(), Limits{MaxComputing: 2}, AcceptorOptions{}, nil)
	arrived, open := r.gate()
	first := r.dialPlain()
	first.Write(clientHello(t))
	wait(t, arrived)
	gone := wait(t, r.ends)
	first.SetLinger(0)
	first.Close()
	if err := wait(t, gone.closed); err == nil {
		t.Error("closed without an error")
	}
	r.on(func() { r.acc.extra = nil })
	second := r.dialPlain()
	next := wait(t, r.ends)
	if next.conn != gone.conn {
		t.Fatal("the place was not used again")
	}
	open()
	r.idle()
	c := tls.Client(second, dialConfig(tls.VersionTLS13))
	io.WriteString(c, "mine")
	if b, err := io.ReadAll(io.LimitReader(c, 4)); string(b) != "mine" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	if gone.session != nil {
		t.Error("the owner of a connection that is gone heard of a session")
	}
}
