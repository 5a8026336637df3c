package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A cutter is a relay in front of a server, which decides how the bytes of a connection are cut.
type cutter struct {
	target string
	at     atomic.Int64 // of both directions: the offset of the one cut, or -1 for one after every byte
	up     atomic.Int64 // bytes of the last connection towards the target, and back
	down   atomic.Int64
}

// startCutter starts a relay to target and returns its address.
func startCutter(t *testing.T, target string) (*cutter, string) {
	t.Helper()
	k := &cutter{target: target}
	return k, rawOrigin(t, func(c *rawConn) {
		s, err := net.Dial("tcp", k.target)
		if err != nil {
			return
		}
		defer s.Close()
		at := k.at.Load()
		var both sync.WaitGroup
		both.Go(func() { k.pass(s, c.Conn, at, &k.up) })
		both.Go(func() { k.pass(c.Conn, s, at, &k.down) })
		both.Wait()
	})
}

// cutPause is how long a cut lasts. It need not be long enough: a reader that is late meets the cut of another round.
const cutPause = 500 * time.Microsecond

// pass copies one direction, its end too.
func (k *cutter) pass(to, from net.Conn, at int64, count *atomic.Int64) {
	b := make([]byte, 16<<10)
	sum := int64(0)
	for {
		n, err := from.Read(b)
		for rest := b[:n]; len(rest) > 0; {
			piece := len(rest)
			if at < 0 {
				piece = 1
			} else if left := at - sum; left > 0 && left < int64(piece) {
				piece = int(left)
			}
			if _, err := to.Write(rest[:piece]); err != nil {
				_ = from.Close()
				return
			}
			sum += int64(piece)
			rest = rest[piece:]
			if sum == at {
				pause := time.NewTimer(cutPause)
				<-pause.C
			}
		}
		if err != nil {
			count.Store(sum)
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// cutStep leaves offsets out where the binary is slow.
func cutStep() int64 {
	if raceEnabled {
		return 23
	}
	return 1
}

// TestTLSCuts: what is sent to the proxy by a client, and by a host, is cut at every byte, handshake and records. Nothing comes of it.
func TestTLSCuts(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(fmt.Sprintf("client %x", version), func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.issue("shop", "shop.example.com")
			p := tlsEdge{host: origin(t, echo), tls: fmt.Sprintf(`{"certificates": [%s], "ecdh_curves": ["X25519"]}`, a.pair("shop"))}.start(t)
			k, addr := startCutter(t, p.addr(""))
			client := a.tlsClient(addr, "shop.example.com", func(c *tls.Config) {
				c.MinVersion, c.MaxVersion, c.CurvePreferences = version, version, []tls.CurveID{tls.X25519}
			})
			client.Transport.(*http.Transport).DisableKeepAlives = true
			k.run(t, &k.up, func() error { return exchange(client, "https://shop.example.com/") })
			p.wantStat("listener.edge.ssl.connection_error", 0)
			p.wantStat("listener.edge.ssl.truncated", 0)
		})
		t.Run(fmt.Sprintf("host %x", version), func(t *testing.T) {
			t.Parallel()
			c := newCertificate(t, "web.internal")
			host := serveHTTPS(t, &tls.Config{Certificates: []tls.Certificate{c.pair}, MinVersion: version, MaxVersion: version, SessionTicketsDisabled: true},
				func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Connection", "close")
					echo(w, r)
				})
			k, addr := startCutter(t, host)
			p := startProxy(t, oneRoute(addr, "", "", tlsOf(c, "")))
			client := &http.Client{Transport: &http.Transport{}, Timeout: waitMax}
			t.Cleanup(client.CloseIdleConnections)
			k.run(t, &k.down, func() error { return exchange(client, p.url("/")) })
			p.wantStat("cluster.web.ssl.truncated", 0)
			p.wantStat("cluster.web.upstream_rq_retry", 0)
		})
	}
}

// run makes one exchange whole, then with a cut at each of its bytes, and once with all of them.
func (k *cutter) run(t *testing.T, length *atomic.Int64, once func() error) {
	t.Helper()
	if err := once(); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return length.Load() > 0 }) {
		t.Fatal("nothing came through the relay")
	}
	for at := int64(1); at < length.Load(); at += cutStep() {
		k.at.Store(at)
		if err := once(); err != nil {
			t.Errorf("cut at byte %d of about %d: %v", at, length.Load(), err)
		}
	}
	k.at.Store(-1)
	if err := once(); err != nil {
		t.Errorf("cut at every byte: %v", err)
	}
}

// exchange sends a body and wants it back, behind what the origin tells.
func exchange(client *http.Client, url string) error {
	const text = "a body of some bytes"
	resp, err := client.Post(url, "text/plain", strings.NewReader(text))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(string(b), text) {
		return fmt.Errorf("status %d, %q, %w", resp.StatusCode, b, err)
	}
	return nil
}

// TestTLSTinySegments: a body of several records, both ways, in segments of a few bytes, and through a relay that writes bytes singly.
func TestTLSTinySegments(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEcho(a, echoServer(t), "").start(t)
	k, relayed := startCutter(t, p.addr(""))
	k.at.Store(-1)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, addr := range map[string]string{"small segments": p.addr(""), "single bytes": relayed} {
			d := net.Dialer{Timeout: waitMax, Control: func(_, _ string, c syscall.RawConn) error {
				return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 88) })
			}}
			c, err := tls.DialWithDialer(&d, "tcp", addr, &tls.Config{RootCAs: a.pool, ServerName: "shop.example.com", MinVersion: version, MaxVersion: version})
			if err != nil {
				t.Fatalf("%s, %x: %v", name, version, err)
			}
			_ = c.SetDeadline(time.Now().Add(2 * waitMax))
			sent := body(11, 50000)
			go func() { _, _ = c.Write(sent); _ = c.CloseWrite() }()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%s, %x: %d bytes of %d came back, %v", name, version, len(got), len(sent), err)
			}
			_ = c.Close()
		}
	}
}

// TestTLSStalledReader: 100 MiB through a tunnel with TLS on both sides, to a client that stops for a while. Memory stays bounded, and every
// byte comes.
func TestTLSStalledReader(t *testing.T) {
	t.Parallel()
	size := 100 << 20
	if raceEnabled {
		size = 20 << 20
	}
	a := newAuthority(t)
	pair := a.issue("shop", "shop.example.com")
	piece := body(12, 1<<20)
	sent := new(atomic.Int64)
	host := rawTLS(t, &tls.Config{Certificates: []tls.Certificate{pair}}, func(c *tls.Conn, _ *bufio.Reader) {
		_ = c.SetDeadline(time.Now().Add(3 * waitMax))
		for n := 0; n < size; n += len(piece) {
			if _, err := c.Write(piece); err != nil {
				return
			}
			sent.Add(int64(len(piece)))
		}
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	cfg := tlsEcho(a, host, "")
	cfg.cluster = fmt.Sprintf(`"tls": {"sni": "shop.example.com", "ca_file": %q}`, a.path("ca.crt"))
	p := cfg.start(t)
	c := a.rawTLS(p.addr(""), "shop.example.com", nil)
	_ = c.SetDeadline(time.Now().Add(3 * waitMax))
	before, last, still := p.rss(), int64(-1), 0
	if !eventually(func() bool { // until the host is held up: a hundred looks without a byte
		if now := sent.Load(); now != last {
			last, still = now, 0
		} else {
			still++
		}
		return still == 100
	}) {
		t.Errorf("the host goes on: %d bytes", sent.Load())
	}
	if int(last) >= size {
		t.Errorf("all %d bytes were taken from the host", size)
	}
	if grown := p.rss() - before; grown > 32<<20 && !raceEnabled {
		t.Errorf("memory grew by %d bytes", grown)
	}
	got := make([]byte, len(piece))
	for n := 0; n < size; n += len(piece) {
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, piece) {
			t.Fatalf("at %d: %v, or other bytes", n, err)
		}
	}
	if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
		t.Errorf("%d bytes more, %v; want close_notify", n, err)
	}
}
