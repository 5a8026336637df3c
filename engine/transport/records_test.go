package transport

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/engine/internal/record"
)

// stepped is a connection of a loop that the test steps by hand, and the client at its other end, whose socket does not block.
type stepped struct {
	t      testing.TB
	loop   *enginetest.Loop
	side   *side
	conn   *engine.Conn
	rec    *enginetest.Recorder
	client *tls.Conn
	fd     int // of the client
	keys   record.KeyLog
	read   []byte // by the client, in the handshake
	cut    cutter

	complete atomic.Bool
}

// newStepped makes a connection and its handshake.
func newStepped(t testing.TB, version uint16, mode Established) *stepped {
	t.Helper()
	s := &stepped{t: t, loop: enginetest.NewLoop(t), rec: enginetest.NewRecorder()}
	hs := NewHandshakes(Limits{})
	t.Cleanup(hs.Close)
	acc := NewAcceptor(s.loop.Loop, hs, newServer(t, serverConfig()), &Stats{}, AcceptorOptions{Established: mode})
	s.side = &acc.side
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.fd = pair[1]
	t.Cleanup(func() { unix.Close(s.fd) })
	s.rec.Quiet = true
	if s.conn, err = s.loop.Attach(pair[0], nil, s.rec); err != nil {
		t.Fatal(err)
	}
	e := &testEnd{made: make(chan struct{})}
	s.conn.SetTransport(acc.Transport(e))
	cfg := dialConfig(version)
	cfg.KeyLogWriter = &s.keys
	s.client = tls.Client(&fdConn{s: s}, cfg)
	done := make(chan error, 1)
	go func() {
		err := s.client.Handshake()
		s.complete.Store(true)
		done <- err
	}()
	s.loop.Until(func() bool {
		select {
		case <-e.made:
			return len(done) == 1
		default:
			return false
		}
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.loop.Settle()
	return s
}

// fdConn is the client's socket. While it waits, in the handshake, it sleeps; afterwards the test turns the loop.
type fdConn struct {
	net.Conn
	s *stepped
}

func (c *fdConn) Read(b []byte) (int, error) {
	handshake := !c.s.complete.Load()
	for end := time.Now().Add(waitMax); time.Now().Before(end); {
		p := b
		if handshake { // at most one record: who goes on may not be crypto/tls
			p = b[:min(len(b), c.s.cut.left())]
		}
		n, err := unix.Read(c.s.fd, p)
		switch {
		case n > 0:
			if handshake {
				c.s.cut.advance(p[:n])
				c.s.read = append(c.s.read, p[:n]...)
			}
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err != syscall.EAGAIN:
			return 0, err
		case !handshake:
			return 0, engine.ErrWouldBlock
		}
		time.Sleep(50 * time.Microsecond)
	}
	return 0, io.ErrNoProgress
}

func (c *fdConn) Write(b []byte) (int, error) { return unix.Write(c.s.fd, b) }

// TestSmallReads: whatever room a handler's leftovers leave for a read, and however records are cut, the bytes are those that were sent.
func TestSmallReads(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		s := newStepped(t, version, mode)
		rng := rand.New(rand.NewPCG(1, uint64(version)))
		var sent []byte
		s.rec.DataFunc = func(b []byte) int {
			if len(b) > 100_000 {
				return len(b)
			}
			return rng.IntN(len(b) + 1)
		}
		for range 300 {
			s.loop.Faults.ReadChunk = rng.IntN(20_000)
			b := make([]byte, rng.IntN(1<<rng.IntN(16)))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			sent = append(sent, b...)
			if _, err := s.client.Write(b); err != nil {
				t.Fatal(err)
			}
			s.loop.Step()
		}
		s.rec.DataFunc = nil
		s.client.Write([]byte("end"))
		s.loop.Settle()
		if !bytes.Equal(s.rec.Data, append(sent, "end"...)) {
			t.Errorf("%d bytes arrived, %d were sent", len(s.rec.Data), len(sent)+3)
		}
		s.rec.Want(t)
	})
}

// TestReadRoom: Read with any room for the data, and with any part of the records there.
func TestReadRoom(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		s := newStepped(t, version, mode)
		s.conn.PauseRead()
		tr, rng := s.conn.Transport().(*conn), rand.New(rand.NewPCG(2, uint64(version)))
		in := make([]byte, 100_000)
		for i := range in {
			in[i] = byte(rng.Uint32())
		}
		var out []byte
		room := make([]byte, 40_000)
		for rest := in; len(out) < len(in); {
			s.loop.Faults.ReadChunk = 1 + rng.IntN(6000)
			if k := min(len(rest), rng.IntN(20_000)); k > 0 {
				s.client.Write(rest[:k])
				rest = rest[k:]
			}
			s.loop.Step()
			for {
				n, err := tr.Read(tr.wire, room[:1+rng.IntN(1<<rng.IntN(15))])
				out = append(out, room[:n]...)
				if err == engine.ErrWouldBlock {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if !bytes.Equal(in, out) {
			t.Error("the bytes are others")
		}
		if !tr.in.block.IsZero() || !tr.plain.block.IsZero() {
			t.Error("an idle connection holds a block")
		}
	})
}

// TestStalledReader: a client that does not read makes the queue full, not longer, and gets all when it does.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		s := newStepped(t, version, mode)
		sent, piece := 0, bytes.Repeat([]byte("0123456789"), 3_333)
		fill := func() {
			for sent < 8<<20 && !s.conn.Full() {
				s.conn.Write(piece)
				sent += len(piece)
			}
		}
		s.rec.LowFunc = fill
		fill()
		s.loop.Settle()
		if got := s.conn.Buffered(); got > 1<<20+len(piece)*11/10 {
			t.Errorf("%d bytes are queued", got)
		}
		got, buf := 0, make([]byte, 64<<10)
		for {
			n, err := s.client.Read(buf)
			for i, b := range buf[:n] {
				if want := byte('0' + (got+i)%len(piece)%10); b != want {
					t.Fatalf("byte %d is %q, want %q", got+i, b, want)
				}
			}
			if got += n; got == sent && sent >= 8<<20 {
				break
			}
			if err != nil && err.Error() != engine.ErrWouldBlock.Error() {
				t.Fatalf("after %d of %d bytes: %v", got, sent, err)
			}
			s.loop.Step()
		}
	})
}

// ownClient is the client on the own record layer, so that it does not allocate either.
type ownClient struct {
	s   *stepped
	rec *record.Conn
	out []byte
	in  []byte // ciphertext
	n   int    // of in
	dst []byte
}

func (s *stepped) ownClient() *ownClient {
	s.t.Helper()
	cs := s.client.ConnectionState()
	p := record.Params{Version: cs.Version, Suite: cs.CipherSuite, Client: true}
	if p.Version == tls.VersionTLS12 {
		p.InSeq, p.OutSeq = 1, 1
		p.ServerRandom, _ = record.ServerRandom(s.read)
	}
	if !s.keys.Fill(&p) {
		s.t.Fatal("no keys")
	}
	rec, err := record.New(&p)
	if err != nil {
		s.t.Fatal(err)
	}
	return &ownClient{s: s, rec: rec, in: make([]byte, 256<<10), dst: make([]byte, 256<<10)}
}

// send writes b.
func (c *ownClient) send(b []byte) {
	var err error
	if c.out, err = c.rec.AppendData(c.out[:0], b); err != nil {
		c.s.t.Fatal(err)
	}
	if n, err := unix.Write(c.s.fd, c.out); n != len(c.out) {
		c.s.t.Fatalf("wrote %d of %d bytes: %v", n, len(c.out), err)
	}
}

// receive turns the loop until n bytes have come.
func (c *ownClient) receive(n int) {
	for got := 0; got < n; {
		if err := c.s.loop.Turn(0); err != nil {
			c.s.t.Fatal(err)
		}
		k, err := unix.Read(c.s.fd, c.in[c.n:])
		if err == syscall.EAGAIN {
			continue
		}
		if err != nil || k == 0 {
			c.s.t.Fatalf("read %d, %v", k, err)
		}
		c.n += k
		m, used, err := c.rec.Read(c.dst, c.in[:c.n])
		if err != nil {
			c.s.t.Fatal(err)
		}
		got += m
		c.n = copy(c.in, c.in[used:c.n])
	}
}

// echoes makes the handler an echo that allocates nothing, and returns what sends size bytes and waits for them.
func (s *stepped) echoes(size int) func() {
	s.rec.DataFunc = func(b []byte) int {
		s.rec.Data = s.rec.Data[:0]
		s.conn.Write(b)
		return len(b)
	}
	c, data := s.ownClient(), make([]byte, size)
	return func() {
		c.send(data)
		c.receive(size)
	}
}

// TestNoAllocation: records cost no memory with the own record layer.
func TestNoAllocation(t *testing.T) { // not parallel: it counts allocations
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, size := range []int{1, 200, 16 << 10, 60_000} {
			echo := newStepped(t, version, EstablishedOwn).echoes(size)
			for range 20 {
				echo()
			}
			if n := testing.AllocsPerRun(100, echo); n != 0 {
				t.Errorf("%s, %d bytes: %v allocations", VersionName(version), size, n)
			}
		}
	}
}

// BenchmarkRecords is an echo through a loop: a read, a write and the client's share.
func BenchmarkRecords(b *testing.B) {
	for _, mode := range []Established{EstablishedOwn, EstablishedCryptoTLS} {
		for _, size := range []int{200, 16 << 10, 60_000} {
			b.Run(fmt.Sprintf("mode=%d/size=%d", mode, size), func(b *testing.B) {
				echo := newStepped(b, tls.VersionTLS13, mode).echoes(size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				cpu := cpuTime(b)
				for b.Loop() {
					echo()
				}
				b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-µs/echo")
			})
		}
	}
}

// left returns how much of the header, or else of the record, is left.
func (c *cutter) left() int {
	if c.at < len(c.head) {
		return len(c.head) - c.at
	}
	return len(c.head) + int(c.head[3])<<8 + int(c.head[4]) - c.at
}
