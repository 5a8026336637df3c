package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/internal/record"
)

// TestKernelProbe: where there is kernel TLS, it has all pairs that we know.
func TestKernelProbe(t *testing.T) {
	k := needKernel(t)
	for _, s := range kernelSuites {
		if err := probeSuite(s.kernelSuite, s.suite); err != nil || !k.ok[s.kernelSuite] {
			t.Errorf("%s, cipher %d: %v", VersionName(s.version), s.cipher, err)
		}
	}
}

// anyKernel is one that can everything, as far as the connection knows.
func anyKernel() *Kernel {
	k := &Kernel{ok: map[kernelSuite]bool{}}
	for _, s := range kernelSuites {
		k.ok[s.kernelSuite] = true
	}
	return k
}

// TestKernelRefused: a kernel that refuses one connection changes nothing for it but the way.
func TestKernelRefused(t *testing.T) {
	t.Parallel()
	for _, s := range kernelSuites {
		p := newKernelPair(t, s.version, s.suite, pairOptions{kernel: anyKernel(), unix: true})
		body := pattern(1 << 20)
		src, from, rec := p.splice(len(body))
		rest := body
		p.until(func() bool {
			rest = rest[from.TryWrite(rest):]
			return len(p.got) == len(body)
		})
		rec.Want(t, "splice done")
		if p.stats.KernelRefused.Load() != 1 || p.stats.Kernel.Load() != 0 || p.tr.rec.Given() {
			t.Errorf("kernel_tls_refused = %d, kernel_tls = %d", p.stats.KernelRefused.Load(), p.stats.Kernel.Load())
		}
		if src.Splice(p.conn, 10) {
			t.Error("a second splice, although the kernel has refused")
		}
		p.send([]byte("heard"))
		p.conn.Write([]byte("tail"))
		p.conn.CloseLinger(0)
		p.wantEnd(string(body)+"tail", io.EOF)
		if got := string(p.rec.Data); got != "heard" {
			t.Errorf("got %q", got)
		}
	}
}

// TestKernelOff: without kernel TLS nothing is spliced to TLS.
func TestKernelOff(t *testing.T) {
	t.Parallel()
	s := newStepped(t, tls.VersionTLS13, EstablishedOwn)
	src, _ := s.loop.Pair(s.rec)
	if src.Splice(s.conn, 1<<20) {
		t.Error("Splice = true")
	}
}

// TestKernelSplice: bodies by splice, what is written around them, and the other direction meanwhile.
func TestKernelSplice(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		for _, pieces := range []int{1, 1 << 30} { // all by pipe, all by copy
			p := newKernelPair(t, version, suite, pairOptions{seq: 7, change: func(c *engine.LoopConfig) { c.SpliceBytesMin = pieces }})
			p.conn.Write([]byte("head"))
			body := pattern(1 << 20)
			src, from, rec := p.splice(len(body) / 2)
			rest, asked := body, 0
			rec.SpliceFunc = func(_ int64, done, _ bool) {
				if done && asked < 1 {
					asked++
					p.conn.Write([]byte("middle"))
					if !src.Splice(p.conn, int64(len(body)/2)) {
						t.Error("the second Splice = false")
					}
				}
			}
			var up []byte
			p.until(func() bool {
				rest = rest[from.TryWrite(rest[:min(len(rest), 50_000)]):]
				if len(up) < 100_000 {
					p.send([]byte("upload"))
					up = append(up, "upload"...)
				}
				return len(p.got) == len("headmiddle")+len(body)
			})
			p.conn.Write([]byte("tail"))
			p.until(func() bool { return len(p.rec.Data) == len(up) })
			p.conn.CloseLinger(waitMax)
			p.wantEnd("head"+string(body[:len(body)/2])+"middle"+string(body[len(body)/2:])+"tail", io.EOF)
			if !bytes.Equal(p.rec.Data, up) {
				t.Errorf("%d bytes went up, %d were sent", len(p.rec.Data), len(up))
			}
			if spliced := p.loop.Stats().SplicedBytes.Load(); (spliced > 0) != (pieces == 1) || p.stats.Kernel.Load() != 1 {
				t.Errorf("spliced bytes %d, kernel_tls %d", spliced, p.stats.Kernel.Load())
			}
		}
	})
}

// TestKernelSlowReader: a client that takes little at a time gets everything, although we have closed long before.
func TestKernelSlowReader(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		for _, small := range []bool{false, true} {
			p := newKernelPair(t, version, suite, pairOptions{small: small})
			body := pattern(300 << 10)
			if !small {
				body = pattern(6 << 20)
			}
			_, from, rec := p.splice(len(body))
			closed := false
			rec.SpliceFunc = func(_ int64, done, _ bool) {
				if done {
					p.conn.CloseLinger(0)
					closed = true
				}
			}
			rest := body
			p.untilReading(2000, func() bool {
				rest = rest[from.TryWrite(rest):]
				return closed
			})
			p.wantEnd(string(body), io.EOF)
			p.until(func() bool { return p.loop.Stats().Leftovers.Load() == 0 })
		}
	})
}

// TestKernelLeftover: what the kernel has taken arrives although the connection is closed. Who takes nothing at all is reset in the
// end, and a loop that ends closes what is left.
func TestKernelLeftover(t *testing.T) {
	needKernel(t)
	for _, how := range []string{"read", "reset", "loop"} {
		p := newKernelPair(t, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, pairOptions{small: true})
		p.offload()
		for range 10 {
			if p.conn.Write(make([]byte, 20_000)); p.conn.Buffered() > 0 {
				break
			}
		}
		// The queue is lost, as Close says, and not what the kernel has taken.
		taken := p.conn.BytesOut() - 1 // that of offload
		p.conn.Close()
		p.loop.Settle()
		if n := p.loop.Stats().Leftovers.Load(); n != 1 {
			t.Fatalf("%d leftovers", n)
		}
		switch how {
		case "read":
			p.untilReading(1000, func() bool { return p.fin })
			if uint64(len(p.got)) != taken || len(p.in) > 0 {
				t.Errorf("%d bytes and a part of a record of %d arrived, the kernel had taken %d", len(p.got), len(p.in), taken)
			}
		case "reset":
			for range 400 {
				p.loop.Advance(leftoverPatience / 200)
			}
			if _, err := io.ReadAll(fdReader(p.fd)); err != unix.ECONNRESET {
				t.Errorf("the client reads %v", err)
			}
		case "loop":
			p.loop.Close()
		}
		if n := p.loop.Stats().Leftovers.Load(); n != 0 {
			t.Errorf("%d leftovers after all", n)
		}
	}
}

// fdReader reads a socket.
type fdReader int

func (fd fdReader) Read(b []byte) (int, error) {
	n, err := unix.Read(int(fd), b)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

// leftoverPatience is engine's lingerFlushMax.
const leftoverPatience = 30e9

// TestKernelQueued: what the own record layer has sealed and the socket has not taken goes before what the kernel seals.
func TestKernelQueued(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		p := newKernelPair(t, version, suite, pairOptions{small: true})
		head := pattern(200_000)
		p.conn.Write(head)
		p.loop.Settle()
		if p.conn.Buffered() == 0 {
			t.Fatal("the socket has taken all")
		}
		body := pattern(200_000)
		_, from, _ := p.splice(len(body))
		rest := body
		p.until(func() bool {
			rest = rest[from.TryWrite(rest):]
			return len(p.got) == len(head)+len(body)
		})
		p.conn.CloseWrite()
		p.until(func() bool { return p.err != nil })
		p.conn.Close()
		p.wantEnd(string(head)+string(body), io.EOF)
		if p.stats.Kernel.Load() != 1 {
			t.Error("the kernel does not seal")
		}
	})
}

// TestKernelCut: records cut anywhere on their way in, writes anywhere on their way out.
func TestKernelCut(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		for _, chunk := range []int{1, 2, 7, 1000} {
			for _, eagain := range []bool{false, true} {
				p := newKernelPair(t, version, suite, pairOptions{})
				p.offload()
				p.loop.Faults.ReadChunk, p.loop.Faults.WriteChunk, p.loop.Faults.EAGAIN = chunk, chunk, eagain
				p.rec.DataFunc = func(b []byte) int {
					p.conn.Write(b)
					return len(b)
				}
				in := pattern(300 * chunk)
				for b := in; len(b) > 0; {
					n := min(len(b), 1+len(b)/2)
					p.send(b[:n])
					b = b[n:]
				}
				p.until(func() bool { return len(p.got) == len(in) })
				p.conn.CloseLinger(0)
				p.wantEnd(string(in), io.EOF)
			}
		}
	})
}

// TestKernelStalled: a client that does not read makes the queue full, and gets all when it does.
func TestKernelStalled(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		p := newKernelPair(t, version, suite, pairOptions{small: true})
		p.offload()
		body, sent := pattern(3<<20), 0
		fill := func() {
			for sent < len(body) && !p.conn.Full() {
				n := min(33_333, len(body)-sent)
				p.conn.Write(body[sent : sent+n])
				sent += n
			}
			if sent == len(body) {
				p.conn.CloseWrite()
			}
		}
		p.rec.LowFunc = fill
		fill()
		p.loop.Settle()
		if sent == len(body) {
			t.Error("the queue was never full")
		}
		p.until(func() bool { return p.err != nil })
		p.conn.Close() // the FIN, which may have been put off for what the kernel held
		p.wantEnd(string(body), io.EOF)
	})
}

// TestKernelLast: close_notify that finds no room in the socket comes when there is some.
func TestKernelLast(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		for _, linger := range []bool{false, true} {
			p := newKernelPair(t, version, suite, pairOptions{small: true})
			p.offload()
			fd, sent := p.conn.Fd(), 0
			// To the last byte that the socket takes, so that nothing is queued, and close_notify finds no room.
			for b := make([]byte, 512); ; {
				n, err := unix.Write(fd, b)
				if err != nil {
					break
				}
				sent += n
			}
			if linger {
				p.conn.CloseLinger(waitMax)
			} else {
				p.conn.CloseWrite()
			}
			p.loop.Settle()
			p.until(func() bool { return p.err != nil })
			if p.err != io.EOF || len(p.got) != sent {
				t.Errorf("linger=%t: %d of %d bytes, %v", linger, len(p.got), sent, p.err)
			}
		}
	})
}

// TestKernelHalfClose: both ends are independent, and each close_notify comes behind the data.
func TestKernelHalfClose(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		p := newKernelPair(t, version, suite, pairOptions{})
		p.offload()
		p.conn.Write([]byte("last"))
		p.conn.CloseWrite() // nothing is held: the FIN comes at once
		p.until(func() bool { return p.err != nil })
		p.send([]byte("but I"))
		bye, err := p.peer.AppendClose(nil)
		if err != nil {
			t.Fatal(err)
		}
		p.write(bye)
		p.loop.Settle()
		p.rec.Want(t, "eof")
		if got := string(p.rec.Data); got != "but I" {
			t.Errorf("got %q", got)
		}
		p.wantEnd("last", io.EOF)

		p = newKernelPair(t, version, suite, pairOptions{})
		p.offload()
		if bye, err = p.peer.AppendClose(nil); err != nil {
			t.Fatal(err)
		}
		p.write(bye)
		p.loop.Settle()
		p.rec.Want(t, "eof")
		answer := pattern(500_000)
		p.conn.Write(answer)
		p.conn.CloseLinger(waitMax)
		p.wantEnd(string(answer), io.EOF)
	})
}

// TestKernelTruncated: a client that just closes has truncated its data.
func TestKernelTruncated(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		p := newKernelPair(t, version, suite, pairOptions{})
		p.offload()
		p.send([]byte("data"))
		p.write([]byte{23, 3, 3})
		if err := unix.Shutdown(p.fd, unix.SHUT_WR); err != nil {
			t.Fatal(err)
		}
		p.loop.Settle()
		p.rec.Want(t, "close transport")
		if got := string(p.rec.Data); got != "data" || p.stats.Truncated.Load() != 1 {
			t.Errorf("got %q, truncated %d", got, p.stats.Truncated.Load())
		}
	})
}

// TestKernelAlert: our alert is sealed by the kernel, behind what was written, and that of the client is understood.
func TestKernelAlert(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		p := newKernelPair(t, version, suite, pairOptions{})
		p.offload()
		body := pattern(100_000)
		p.conn.Write(body)
		p.write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("z", 32)))
		p.wantEnd(string(body), record.RemoteError(record.BadRecordMAC))
		p.rec.Want(t, "close transport")

		p = newKernelPair(t, version, suite, pairOptions{})
		p.offload()
		b, err := p.peer.AppendAlert(nil, record.InternalError)
		if err != nil {
			t.Fatal(err)
		}
		p.write(b)
		p.wantEnd("", nil)
		p.rec.Want(t, "close transport")
		if err := p.conn.TransportError(); err != record.RemoteError(record.InternalError) {
			t.Errorf("closed with %v", err)
		}
	})
}

// TestKernelKeyUpdate: the client may change its key; who asks for ours is told that it ends here.
func TestKernelKeyUpdate(t *testing.T) {
	eachKernelSuite(t, func(t *testing.T, version, suite uint16) {
		if version != tls.VersionTLS13 {
			return
		}
		p := newKernelPair(t, version, suite, pairOptions{})
		b, err := p.peer.AppendKeyUpdate(nil, true) // answered, before the kernel has the key
		if err != nil {
			t.Fatal(err)
		}
		p.write(b)
		p.loop.Settle()
		p.offload()
		for range 3 {
			if b, err = p.peer.AppendKeyUpdate(nil, false); err != nil {
				t.Fatal(err)
			}
			p.write(b)
			p.send([]byte("x"))
		}
		p.until(func() bool { return string(p.rec.Data) == "xxx" })
		p.conn.Write([]byte("before"))
		p.turn()
		if b, err = p.peer.AppendKeyUpdate(nil, true); err != nil {
			t.Fatal(err)
		}
		p.write(b)
		p.wantEnd("before", record.RemoteError(record.InternalError))
		p.rec.Want(t, "close transport")
		if err := p.conn.TransportError(); !errors.Is(err, record.ErrKeyUpdate) || p.stats.KernelKeyUpdate.Load() != 1 {
			t.Errorf("closed with %v; kernel_tls_key_update = %d", err, p.stats.KernelKeyUpdate.Load())
		}
	})
}

// TestKernelKeyUsedUp: a key has an end, and the connection with it.
func TestKernelKeyUsedUp(t *testing.T) {
	needKernel(t)
	for _, by := range []string{"write", "splice"} {
		p := newKernelPair(t, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, pairOptions{bytesMax: 150_000})
		var ended error
		p.rec.CloseFunc = func(engine.CloseReason) { ended = p.conn.TransportError() }
		p.offload()
		switch by {
		case "write":
			for range 40 {
				p.conn.Write(make([]byte, 10_000))
			}
		case "splice":
			_, from, _ := p.splice(4_000_000)
			rest := make([]byte, 4_000_000)
			p.until(func() bool {
				rest = rest[from.TryWrite(rest):]
				return len(p.rec.Calls) > 0
			})
		}
		p.until(func() bool { return p.fin })
		p.rec.Want(t, "close transport")
		if ended != record.ErrKeyUsedUp {
			t.Errorf("%s: closed with %v", by, ended)
		}
		if p.err == io.EOF || len(p.got) < 150_000 || len(p.got) > 1_000_000 {
			t.Errorf("%s: %d bytes came, and %v", by, len(p.got), p.err)
		}
	}
}

// TestKernelCutOff: a body that is cut off within a record ends with a reset, never with what looks like an end.
func TestKernelCutOff(t *testing.T) {
	needKernel(t)
	p := newKernelPair(t, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, pairOptions{small: true})
	src, from, _ := p.splice(10 << 20)
	for body, turns := pattern(10<<20), 0; src.SpliceBuffered() == 0; turns++ {
		body = body[from.TryWrite(body):]
		p.turn()
		if turns > 10_000 {
			t.Fatal("nothing is held up")
		}
	}
	p.write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("z", 32))) // the alert for it finds a pipe that is not empty
	for range 10_000 {
		p.turn()
		n, err := unix.Read(p.fd, make([]byte, 64<<10))
		if err == unix.ECONNRESET {
			return
		}
		if err != unix.EAGAIN && n <= 0 {
			t.Fatalf("read %d, %v", n, err)
		}
	}
	t.Error("no reset")
}

// kernelOrigin sends a body to each connection, and closes.
func kernelOrigin(t *testing.T, body []byte) *engine.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = c.Write(body)
				c.Close()
			}()
		}
	}()
	addr, err := engine.ParseAddr(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return &addr
}

// spliceOrigin answers the first data with what an origin sends.
type spliceOrigin struct {
	echo
	origin *engine.Addr
	got    int
}

func (h *spliceOrigin) OnData(b []byte) int {
	if h.got == 0 {
		up := &fromOrigin{down: h.c}
		up.c, _ = h.c.Loop().Dial(h.origin, up)
	}
	h.got += len(b)
	return len(b)
}

// fromOrigin is the connection to the origin.
type fromOrigin struct {
	echo
	down *engine.Conn
}

func (h *fromOrigin) OnConnect() {
	if !h.c.Splice(h.down, -1) {
		h.c.Reset()
	}
}
func (h *fromOrigin) OnEOF()                     { h.down.CloseLinger(waitMax); h.c.Close() }
func (h *fromOrigin) OnClose(engine.CloseReason) {}

// TestKernelCryptoTLS: a client of crypto/tls, with a handshake, gets 32 MiB, from a session that begins and one that is resumed.
func TestKernelCryptoTLS(t *testing.T) {
	needKernel(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, mode := range []Established{EstablishedOwn, EstablishedOwnParked} {
			body := pattern(8 << 20)
			origin := kernelOrigin(t, body)
			r := newRunner(t, kernelConfig(), Limits{}, AcceptorOptions{Established: mode}, func(c *engine.Conn, e *testEnd) engine.Handler {
				return &spliceOrigin{echo: echo{c: c, end: e}, origin: origin}
			})
			cfg := dialConfig(version)
			cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i := range 2 {
				c := r.dial(cfg)
				io.WriteString(c, "question")
				got, err := io.ReadAll(c)
				if !bytes.Equal(got, body) || err != nil {
					t.Errorf("%s: %d bytes, %v", VersionName(version), len(got), err)
				}
				if c.ConnectionState().DidResume != (i > 0) {
					t.Errorf("%s: connection %d resumed: %t", VersionName(version), i, i == 0)
				}
				c.Close()
			}
			r.on(func() {
				if n := r.stats.Kernel.Load(); n != 2 || r.loop.Stats().SplicedBytes.Load() == 0 {
					t.Errorf("%s: kernel_tls = %d", VersionName(version), n)
				}
			})
		}
	}
}

// TestKernelNoAllocation: what the kernel seals costs no memory of ours.
func TestKernelNoAllocation(t *testing.T) {
	needKernel(t)
	p := newKernelPair(t, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, pairOptions{})
	p.offload()
	data, sink := make([]byte, 1000), make([]byte, 64<<10)
	send := func() {
		p.conn.Write(data)
		p.turn()
		_, _ = unix.Read(p.fd, sink)
	}
	for range 20 {
		send()
	}
	if n := testing.AllocsPerRun(100, send); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
