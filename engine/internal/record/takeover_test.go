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

// read waits for bytes; limit says how many of those that are there to take, at least one.
func (s *stream) read(p []byte, limit func(b []byte) int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.b) == 0 {
		if s.closed {
			return 0, io.EOF
		}
		s.cond.Wait()
	}
	n := copy(p, s.b[:limit(s.b)])
	s.b = s.b[n:]
	return n, nil
}

// take returns what is there, without waiting.
func (s *stream) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.b
	s.b = nil
	return b
}

// endpoint is one end of a wire in memory. With whole it gives no more than one record for each two reads, and so never
// more than a tls.Conn asks for; it keeps all that went through it.
type endpoint struct {
	net.Conn
	in, out *stream
	whole   bool
	left    int // of the record that is being read
	head    []byte
	read    []byte
	written []byte
}

func newWire() (a, b *endpoint) {
	x, y := newStream(), newStream()
	return &endpoint{in: x, out: y}, &endpoint{in: y, out: x}
}

func (e *endpoint) Read(p []byte) (int, error) {
	n, err := e.in.read(p, func(b []byte) int {
		switch {
		case !e.whole:
			return len(b)
		case e.left > 0:
			return min(len(b), e.left)
		default:
			return min(len(b), HeaderLen-len(e.head))
		}
	})
	if e.whole && e.left > 0 {
		e.left -= n
	} else if e.whole {
		e.head = append(e.head, p[:n]...)
		if len(e.head) == HeaderLen {
			e.left, e.head = int(e.head[3])<<8|int(e.head[4]), nil
		}
	}
	if e.whole {
		e.read = append(e.read, p[:n]...)
	}
	return n, err
}

func (e *endpoint) Write(p []byte) (int, error) {
	if e.whole {
		e.written = append(e.written, p...)
	}
	e.out.write(p)
	return len(p), nil
}

func (e *endpoint) Close() error {
	e.out.close()
	return nil
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

func tlsConfig(version, suite uint16) *tls.Config {
	c := &tls.Config{
		Certificates: certificates(), InsecureSkipVerify: true, ServerName: "localhost",
		MinVersion: version, MaxVersion: version, CurvePreferences: []tls.CurveID{tls.X25519},
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	if version == VersionTLS12 {
		c.CipherSuites = []uint16{suite}
	}
	return c
}

// established is a connection whose one side is ours, after the handshake.
type established struct {
	c    *Conn
	end  *endpoint // of c
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

// establish makes a handshake, and puts ours in the place of the client or the server.
func establish(t testing.TB, version, suite uint16, client bool) *established {
	t.Helper()
	x := &established{}
	x.end, x.far = newWire()
	x.end.whole = true
	var log KeyLog
	mine := tlsConfig(version, suite)
	mine.KeyLogWriter = &log
	var own *tls.Conn
	if client {
		own, x.peer = tls.Client(x.end, mine), tls.Server(x.far, tlsConfig(version, suite))
	} else {
		own, x.peer = tls.Server(x.end, mine), tls.Client(x.far, tlsConfig(version, suite))
	}
	done := make(chan error, 1)
	go func() { done <- x.peer.Handshake() }()
	if err := errors.Join(own.Handshake(), <-done); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	fromServer := x.end.written
	if client {
		fromServer = x.end.read
	}
	var err error
	if x.p, err = params(own.ConnectionState(), &log, client, fromServer); err != nil {
		t.Fatal(err)
	}
	if x.c, err = New(&x.p); err != nil {
		t.Fatalf("New: %v", err)
	}
	if version == VersionTLS13 {
		if x.tickets, err = x.c.CountWritten(x.end.written, make([]byte, RecordLenMax)); err != nil {
			t.Fatalf("CountWritten: %v", err)
		}
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
	x.end.out.write(out)
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
		x.end.out.write(out)
		if err != nil || len(got) >= n {
			if err == nil && len(held) > 0 {
				t.Fatalf("%d bytes left behind %d of data", len(held), len(got))
			}
			return got, err
		}
		if m > 0 {
			continue // dst may have been full
		}
		m, err = x.end.in.read(buf, func(b []byte) int { return len(b) })
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

// handshakeKinds are the kinds that crypto/tls can be made to agree on here: its choice among those of TLS 1.3 cannot be set.
func handshakeKinds() (list []kind) {
	for _, k := range kinds() {
		if k.version == VersionTLS12 {
			list = append(list, k)
		}
	}
	return append(list, kind{"1.3", VersionTLS13, 0})
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	for _, k := range handshakeKinds() {
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/client=%t", k.name, client), func(t *testing.T) {
				t.Parallel()
				x := establish(t, k.version, k.suite, client)
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
	x.end.out.write(out)
	if err := <-echo; err != nil {
		t.Errorf("the peer: %v", err)
	}
	if got, err := x.pump(t, 1); len(got) != 0 || err != io.EOF {
		t.Errorf("after the peer's close_notify: %d bytes, %v; want EOF", len(got), err)
	}
}
