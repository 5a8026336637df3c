package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/engine/enginetest"
	"millrace/engine/internal/record"
)

// needKernel skips a test where the kernel has no TLS; bench/ktls has a machine where it must.
func needKernel(t testing.TB) *Kernel {
	t.Helper()
	k := ProbeKernel()
	if err := k.Err(); err != nil {
		if os.Getenv("MILLRACE_KTLS") != "" {
			t.Fatalf("no kernel TLS: %v", err)
		}
		t.Skipf("no kernel TLS: %v; see make test-ktls", err)
	}
	return k
}

// eachKernelSuite runs f for all pairs of version and cipher.
func eachKernelSuite(t *testing.T, f func(t *testing.T, version, suite uint16)) {
	needKernel(t)
	for _, s := range kernelSuites {
		t.Run(fmt.Sprintf("%s/%s", VersionName(s.version), tls.CipherSuiteName(s.suite)), func(t *testing.T) { f(t, s.version, s.suite) })
	}
}

// kernelPair is an established connection of a loop that the test steps, and the record layer of its client. Nothing blocks.
type kernelPair struct {
	t     testing.TB
	loop  *enginetest.Loop
	stats Stats
	conn  *engine.Conn
	tr    *conn
	rec   *enginetest.Recorder

	fd   int // of the client
	peer *record.Conn
	in   []byte // ciphertext
	got  []byte
	err  error // how reading ended: io.EOF is close_notify
	fin  bool  // the socket has ended
}

type pairOptions struct {
	bytesMax uint64  // that the kernel may seal
	seq      uint64  // of the first record of the server
	kernel   *Kernel // that the connection believes to have; nil: the one there is
	unix     bool    // a socket that the kernel refuses
	small    bool    // small buffers in the kernel
	change   func(*engine.LoopConfig)
}

func newKernelPair(t testing.TB, version, suite uint16, opt pairOptions) *kernelPair {
	t.Helper()
	change := opt.change
	if change == nil {
		change = func(*engine.LoopConfig) {}
	}
	p := &kernelPair{t: t, loop: enginetest.NewLoop(t, change), rec: enginetest.NewRecorder()}
	p.rec.Quiet = true
	params := probeParams(version, suite)
	params.OutSeq = opt.seq
	server, err := record.New(params)
	if err != nil {
		t.Fatal(err)
	}
	params.Client, params.In, params.Out, params.InSeq, params.OutSeq = true, params.Out, params.In, opt.seq, 0
	if p.peer, err = record.New(params); err != nil {
		t.Fatal(err)
	}
	hs := NewHandshakes(Limits{})
	t.Cleanup(hs.Close)
	acc := NewAcceptor(p.loop.Loop, hs, newServer(t, serverConfig()), &p.stats, AcceptorOptions{})
	if acc.side.kernel = opt.kernel; opt.kernel == nil {
		acc.side.kernel = ProbeKernel()
	}
	p.tr = &conn{side: &acc.side, rec: server}
	fd := p.sockets(opt)
	if p.conn, err = p.loop.Attach(fd, nil, p.rec); err != nil {
		t.Fatal(err)
	}
	if opt.bytesMax > 0 {
		p.conn.SetTransport(cappedConn{p.tr, opt.bytesMax})
	} else {
		p.conn.SetTransport(p.tr)
	}
	p.loop.Settle()
	return p
}

// cappedConn has a key that the kernel may use for little.
type cappedConn struct {
	*conn
	bytesMax uint64
}

func (c cappedConn) Offload(w *engine.Wire) bool {
	s, ok := c.rec.Sealer()
	s.BytesMax = c.bytesMax
	if !ok || w.Seal(kernelSeal(&s)) != 0 {
		return false
	}
	c.rec.Give()
	return true
}

// sockets makes the connection, and returns the server's end.
func (p *kernelPair) sockets(opt pairOptions) (fd int) {
	p.t.Helper()
	check := func(err error) {
		if err != nil {
			p.t.Helper()
			p.t.Fatal(err)
		}
	}
	if opt.unix {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		check(err)
		fd, p.fd = pair[0], pair[1]
	} else {
		l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(err)
		defer unix.Close(l)
		if opt.small {
			check(unix.SetsockoptInt(l, unix.SOL_TCP, unix.TCP_MAXSEG, 1400)) // that of loopback takes a whole record
		}
		check(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		check(unix.Listen(l, 1))
		addr, err := unix.Getsockname(l)
		check(err)
		p.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(err)
		if opt.small {
			check(unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10))
		}
		check(unix.Connect(p.fd, addr))
		check(unix.SetNonblock(p.fd, true))
		fd, _, err = unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		check(err)
		if opt.small {
			check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10)) // less than a record
		}
	}
	p.t.Cleanup(func() { unix.Close(p.fd) })
	return fd
}

// splice begins to splice n bytes to the connection, and returns what brings them.
func (p *kernelPair) splice(n int) (src *engine.Conn, from *enginetest.Peer, rec *enginetest.Recorder) {
	p.t.Helper()
	rec = enginetest.NewRecorder()
	rec.Quiet = true
	src, from = p.loop.Pair(rec)
	if !src.Splice(p.conn, int64(n)) {
		p.t.Fatal("Splice = false")
	}
	return src, from, rec
}

// offload makes the kernel seal.
func (p *kernelPair) offload() {
	p.t.Helper()
	_, from, rec := p.splice(1)
	from.Write("x")
	p.until(func() bool { return len(p.got) > 0 })
	rec.Want(p.t, "splice done")
	if p.got = p.got[:0]; !p.tr.rec.Given() {
		p.t.Fatal("the kernel does not seal")
	}
}

// read opens what has arrived, at most n bytes of it.
func (p *kernelPair) read(n int) {
	p.t.Helper()
	buf := make([]byte, n)
	k, err := unix.Read(p.fd, buf)
	if err == unix.EAGAIN {
		return
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if k == 0 {
		p.fin = true
		return
	}
	p.in = append(p.in, buf[:k]...)
	dst := make([]byte, len(p.in))
	for p.err == nil {
		m, used, err := p.peer.Read(dst, p.in)
		p.got, p.in, p.err = append(p.got, dst[:m]...), p.in[used:], err
		if errors.Is(err, io.ErrShortBuffer) {
			p.err = nil
			dst = make([]byte, len(dst)+record.MaxPlaintext+1)
			continue
		}
		if m == 0 {
			return
		}
	}
}

// send makes records of b.
func (p *kernelPair) send(b []byte) {
	p.t.Helper()
	out, err := p.peer.AppendData(nil, b)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(out)
}

// write writes b as it is.
func (p *kernelPair) write(b []byte) {
	p.t.Helper()
	for end := time.Now().Add(waitMax); len(b) > 0; {
		n, err := unix.Write(p.fd, b)
		if err != nil && err != unix.EAGAIN || time.Now().After(end) {
			p.t.Fatal(err)
		}
		b = b[max(n, 0):]
		p.turn()
	}
}

// turn lets everything go on.
func (p *kernelPair) turn() {
	p.t.Helper()
	if err := p.loop.Turn(0); err != nil {
		p.t.Fatal(err)
	}
}

// until turns, and reads as a client does, until done.
func (p *kernelPair) until(done func() bool) {
	p.t.Helper()
	p.untilReading(64<<10, done)
}

// untilReading is until with a client that reads n bytes at a time.
func (p *kernelPair) untilReading(n int, done func() bool) {
	p.t.Helper()
	for end := time.Now().Add(waitMax); !done(); {
		if time.Now().After(end) {
			p.t.Fatalf("still waiting: %d bytes have come, %v, FIN %t", len(p.got), p.err, p.fin)
		}
		p.turn()
		p.read(n)
		p.loop.Advance(100 * time.Microsecond)
	}
}

// wantEnd reads on to the end: data in all, how TLS ended, and a FIN.
func (p *kernelPair) wantEnd(data string, err error) {
	p.t.Helper()
	p.until(func() bool { return p.fin })
	if string(p.got) != data {
		p.t.Errorf("%d bytes have come that are not the %d expected", len(p.got), len(data))
	}
	if p.err != err || len(p.in) > 0 {
		p.t.Errorf("the end is %v, want %v; %d bytes are left", p.err, err, len(p.in))
	}
}

// pattern returns n bytes that tell their place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// kernelConfig is a configuration with kernel TLS.
func kernelConfig() *certs.DownstreamConfig {
	return serverConfig(func(c *certs.DownstreamConfig) { c.KernelTLS = certs.KernelTLSAuto })
}
