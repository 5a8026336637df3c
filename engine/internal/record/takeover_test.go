package record

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for linkname
)

// stream is one direction of a wire in memory, without a bound.
type stream struct {
	mu     sync.Mutex
	cond   sync.Cond
	b      []byte
	closed bool
}

func newStream() *stream {
	s := &stream{}
	s.cond.L = &s.mu
	return s
}

func (s *stream) write(p []byte) {
	s.mu.Lock()
	s.b = append(s.b, p...)
	s.mu.Unlock()
	s.cond.Broadcast()
}

func (s *stream) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cond.Broadcast()
}

// read waits for bytes.
func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.b) == 0 {
		if s.closed {
			return 0, errWireEnd
		}
		s.cond.Wait()
	}
	n := copy(p, s.b)
	s.b = s.b[n:]
	return n, nil
}

// errWireEnd is the end of a wire without a close_notify. It is not io.EOF, so that the two can be told apart.
var errWireEnd = errors.New("end of the wire")

// endpoint is one end of a wire in memory.
type endpoint struct {
	net.Conn
	in, out *stream
}

func newWire() (a, b *endpoint) {
	x, y := newStream(), newStream()
	return &endpoint{in: x, out: y}, &endpoint{in: y, out: x}
}

func (e *endpoint) Read(p []byte) (int, error) { return e.in.read(p) }

func (e *endpoint) Write(p []byte) (int, error) {
	e.out.write(p)
	return len(p), nil
}

func (e *endpoint) Close() error {
	e.out.close()
	return nil
}

// tap is a conn that reads no more than the record that a tls.Conn asks for, so that what follows the handshake
// stays where it is, and keeps all that went through it.
type tap struct {
	net.Conn
	head    []byte // of the record that is being read
	left    int    // of its body
	read    []byte
	written []byte
}

func (c *tap) Read(p []byte) (int, error) {
	if c.left > 0 {
		p = p[:min(len(p), c.left)]
	} else {
		p = p[:min(len(p), HeaderLen-len(c.head))]
	}
	n, err := c.Conn.Read(p)
	c.read = append(c.read, p[:n]...)
	if c.left > 0 {
		c.left -= n
		return n, err
	}
	c.head = append(c.head, p[:n]...)
	if len(c.head) == HeaderLen {
		c.left, c.head = int(c.head[3])<<8|int(c.head[4]), nil
	}
	return n, err
}

func (c *tap) Write(p []byte) (int, error) {
	c.written = append(c.written, p...)
	return c.Conn.Write(p)
}

func (e *endpoint) SetDeadline(time.Time) error      { return nil }
func (e *endpoint) SetReadDeadline(time.Time) error  { return nil }
func (e *endpoint) SetWriteDeadline(time.Time) error { return nil }

// certificates are one for each kind of key.
var certificates = sync.OnceValue(func() (list []tls.Certificate) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, ec.Public(), ec)
	if err != nil {
		panic(err)
	}
	list = append(list, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ec})
	der, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, rs.Public(), rs)
	if err != nil {
		panic(err)
	}
	return append(list, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: rs})
})

func tlsConfig(k kind) *tls.Config {
	c := &tls.Config{
		Certificates: certificates(), InsecureSkipVerify: true, ServerName: "localhost",
		MinVersion: k.version, MaxVersion: k.version, CurvePreferences: []tls.CurveID{tls.X25519},
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	if k.version == VersionTLS12 {
		c.CipherSuites = []uint16{k.suite}
	}
	return c
}

// established is a connection whose one side is ours, after the handshake.
type established struct {
	c    *Conn
	end  net.Conn // of c
	peer *tls.Conn
	far  *endpoint // of peer
	p    Params
	// tickets is how many records the server sealed before c was made.
	tickets int
}

// params are what the keys of a finished handshake are made from. scratch memory is new: not a thing of the data path.
func params(state tls.ConnectionState, log *KeyLog, client bool, fromServer []byte) (p Params, err error) {
	p = Params{Version: state.Version, Suite: state.CipherSuite, Client: client}
	if !log.Fill(&p) {
		return p, errors.New("no secrets in the key log")
	}
	if p.Version == VersionTLS12 {
		random, ok := ServerRandom(fromServer)
		if !ok {
			return p, errors.New("no ServerHello")
		}
		p.ServerRandom, p.InSeq, p.OutSeq = random, 1, 1
	}
	return p, nil
}

// takeOver makes the handshake on conn and continues it as ours.
func takeOver(conn net.Conn, config *tls.Config, client bool) (x *established, err error) {
	x = &established{end: conn}
	wire := &tap{Conn: conn}
	var log KeyLog
	config.KeyLogWriter = &log
	own := tls.Server(wire, config)
	if client {
		own = tls.Client(wire, config)
	}
	if err := own.Handshake(); err != nil {
		return nil, err
	}
	fromServer := wire.written
	if client {
		fromServer = wire.read
	}
	if x.p, err = params(own.ConnectionState(), &log, client, fromServer); err != nil {
		return nil, err
	}
	if x.c, err = New(&x.p); err != nil {
		return nil, err
	}
	if x.p.Version == VersionTLS13 {
		x.tickets, err = x.c.CountWritten(wire.written, make([]byte, RecordLenMax))
	}
	return x, err
}

//go:linkname suitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var suitesTLS13 []uint16

// handshaking makes handshakes one by one: crypto/tls has no setting for the suites of TLS 1.3, other than that
// variable.
var handshaking sync.Mutex

// establish makes a handshake between two of crypto/tls, and puts ours in the place of the client or the server.
func establish(t testing.TB, k kind, client bool) *established {
	t.Helper()
	return establishWith(t, k, client, tlsConfig(k))
}

// establishWith is establish with a configuration of the peer.
func establishWith(t testing.TB, k kind, client bool, config *tls.Config) *established {
	t.Helper()
	handshaking.Lock()
	defer handshaking.Unlock()
	defer func(list []uint16) { suitesTLS13 = list }(suitesTLS13)
	if k.version == VersionTLS13 {
		suitesTLS13 = []uint16{k.suite}
	}
	end, far := newWire()
	peer := tls.Server(far, config)
	if !client {
		peer = tls.Client(far, config)
	}
	done := make(chan error, 1)
	go func() {
		err := peer.Handshake()
		if err != nil {
			far.Close()
		}
		done <- err
	}()
	x, err := takeOver(end, tlsConfig(k), client)
	if err != nil {
		end.Close()
	}
	if err := errors.Join(err, <-done); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	x.peer, x.far = peer, far
	if x.p.Suite != k.suite {
		t.Fatalf("agreed on suite %x, want %x", x.p.Suite, k.suite)
	}
	return x
}

// send writes b as ours.
func (x *established) send(t testing.TB, b []byte) {
	t.Helper()
	out, err := x.c.AppendData(nil, b)
	if err != nil {
		t.Fatalf("AppendData: %v", err)
	}
	x.end.Write(out)
}

// pump reads as ours until n bytes of data have come or the end has.
func (x *established) pump(t testing.TB, n int) ([]byte, error) {
	t.Helper()
	var got, held []byte
	dst := make([]byte, 2*RecordLenMax)
	buf := make([]byte, 64<<10)
	for {
		m, used, err := x.c.Read(dst, held)
		got, held = append(got, dst[:m]...), held[used:]
		out, rerr := x.c.AppendReplies(nil)
		if rerr != nil {
			t.Fatalf("AppendReplies: %v", rerr)
		}
		x.end.Write(out)
		if err != nil || len(got) >= n {
			if err == nil && len(held) > 0 {
				t.Fatalf("%d bytes left behind %d of data", len(held), len(got))
			}
			return got, err
		}
		if m > 0 {
			continue // dst may have been full
		}
		m, err = x.end.Read(buf)
		if err != nil {
			return got, err
		}
		held = append(held, buf[:m]...)
	}
}

type kind struct {
	name           string
	version, suite uint16
}

func kinds() (list []kind) {
	for _, s := range suites {
		v := "1.2"
		if s.version == VersionTLS13 {
			v = "1.3"
		}
		list = append(list, kind{fmt.Sprintf("%s/%s", v, tls.CipherSuiteName(s.id)), s.version, s.id})
	}
	return list
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/client=%t", k.name, client), func(t *testing.T) {
				t.Parallel()
				x := establish(t, k, client)
				if want := 1; k.version == VersionTLS13 && !client && x.tickets != want {
					t.Errorf("%d records sealed before, want %d", x.tickets, want)
				}
				x.talk(t)
			})
		}
	}
}

// talk sends data of all sizes both ways and closes both.
func (x *established) talk(t *testing.T) {
	t.Helper()
	sizes := []int{1, 2, 15, 16, 17, 200, 1000, 16383, 16384, 16385, 100_000}
	data := make([]byte, 100_000)
	rand.Read(data)
	echo := make(chan error, 1)
	go func() {
		_, err := io.Copy(x.peer, x.peer)
		echo <- errors.Join(err, x.peer.CloseWrite())
	}()
	for _, n := range sizes {
		x.send(t, data[:n])
		got, err := x.pump(t, n)
		if err != nil || !bytes.Equal(got, data[:n]) {
			t.Fatalf("echo of %d bytes: %d bytes, %v", n, len(got), err)
		}
	}
	out, err := x.c.AppendClose(nil)
	if err != nil {
		t.Fatalf("AppendClose: %v", err)
	}
	x.end.Write(out)
	if err := <-echo; err != nil {
		t.Errorf("the peer: %v", err)
	}
	if got, err := x.pump(t, 1); len(got) != 0 || err != io.EOF {
		t.Errorf("after the peer's close_notify: %d bytes, %v; want EOF", len(got), err)
	}
}
