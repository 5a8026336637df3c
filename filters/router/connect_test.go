package router_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// connectMix makes a mix that terminates CONNECT, and whose host serves each connection by serve.
func connectMix(t *testing.T, edit func(*httpconn.Config, *route.ForwardConfig, *upstream.Config), serve func(*net.TCPConn)) *mix {
	t.Helper()
	m := newMix(t, false, func(c *httpconn.Config, f *route.ForwardConfig, u *upstream.Config) {
		f.ConnectConfig = &route.ConnectConfig{AllowPost: true}
		if edit != nil {
			edit(c, f, u)
		}
	})
	go func() {
		for {
			c, err := m.origins.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(c.(*net.TCPConn))
				_ = c.Close()
			}()
		}
	}()
	return m
}

// connect opens a tunnel over HTTP/1.1. early goes right behind the head.
func (m *mix) connect(early string) (*net.TCPConn, *bufio.Reader, *http.Response) {
	m.t.Helper()
	c, err := net.Dial("tcp", m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "CONNECT host.example:443 HTTP/1.1\r\nHost: host.example:443\r\n\r\n"+early)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
	if err != nil {
		m.t.Fatal(err)
	}
	return c.(*net.TCPConn), r, resp
}

// wantStats checks counters of which each is given as name=value.
func (m *mix) wantStats(want ...string) {
	m.t.Helper()
	names := make([]string, len(want))
	for i, w := range want {
		name, _, _ := strings.Cut(w, "=")
		names[i] = name[strings.LastIndexByte(name, '.')+1:]
	}
	var got string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got = m.active(names...)
		all := true
		for _, w := range want {
			all = all && strings.Contains(" "+got+" ", w+" ")
		}
		if all {
			return
		}
	}
	m.t.Errorf("counters are %q, want %q", got, want)
}

// echo sends back what comes, and then ends.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
}

// TestConnectTerminated: bytes go both ways, early ones too, each direction ends by itself, and it is counted.
func TestConnectTerminated(t *testing.T) {
	t.Parallel()
	m := connectMix(t, nil, echo)
	c, r, resp := m.connect("early ")
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	_, _ = io.WriteString(c, "late")
	_ = c.CloseWrite()
	got, err := io.ReadAll(r)
	if string(got) != "early late" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	m.wantQuiet()
	m.wantStats("downstream_cx_upgrades_total=1", "cluster.web.upstream_cx_total=1", "upstream_cx_rx_bytes_total=10", "upstream_cx_tx_bytes_total=10",
		"upstream_cx_destroy=1", "cluster.web.upstream_rq_200=1")
}

// TestConnectLarge: more than any buffer holds goes both ways at once, and whole.
func TestConnectLarge(t *testing.T) {
	t.Parallel()
	const size = 6 << 20
	m := connectMix(t, nil, func(c *net.TCPConn) {
		done := make(chan error)
		go func() { done <- check(c, 1, size) }()
		_, _ = io.Copy(c, &noise{seed: 2, left: size})
		_ = c.CloseWrite()
		if err := <-done; err != nil {
			t.Error("at the host:", err)
		}
	})
	c, r, _ := m.connect("")
	go func() {
		_, _ = io.Copy(c, &noise{seed: 1, left: size})
		_ = c.CloseWrite()
	}()
	if err := check(r, 2, size); err != nil {
		t.Error("at the client:", err)
	}
	m.wantQuiet()
	m.wantStats(fmt.Sprintf("upstream_cx_rx_bytes_total=%d", size), fmt.Sprintf("upstream_cx_tx_bytes_total=%d", size))
}

// TestConnectHostEndsFirst: the client may go on when the host has said all, and the host gets all of it.
func TestConnectHostEndsFirst(t *testing.T) {
	t.Parallel()
	const size = 2 << 20
	seen := make(chan error, 1)
	m := connectMix(t, nil, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.CloseWrite()
		seen <- check(c, 3, size)
	})
	c, r, _ := m.connect("")
	if got, err := io.ReadAll(r); string(got) != "bye" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := io.Copy(c, &noise{seed: 3, left: size}); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if err := <-seen; err != nil {
		t.Error(err)
	}
	m.wantQuiet()
}

// TestConnectBroken: a reset of either side is one for the other.
func TestConnectBroken(t *testing.T) {
	t.Parallel()
	lost := make(chan error, 1)
	m := connectMix(t, nil, func(c *net.TCPConn) {
		b := make([]byte, 1)
		if _, err := io.ReadFull(c, b); err == nil && b[0] == 'r' {
			_ = c.SetLinger(0)
			return
		}
		_, err := io.ReadFull(c, b)
		lost <- err
	})
	_, r, _ := m.connect("r")
	if _, err := r.ReadByte(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the host's reset: %v", err)
	}
	c, _, _ := m.connect("x")
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-lost; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the client's reset: %v", err)
	}
	m.wantQuiet()
}

// TestConnectRefused: what cannot be opened is answered as any request, and is not tried again.
func TestConnectRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, stat string
		edit             func(*httpconn.Config, *route.ForwardConfig, *upstream.Config)
		close            bool
	}{
		{"closed", "remote connection failure", "upstream_cx_connect_fail=1", nil, true},
		{"breaker", "overflow", "upstream_cx_overflow=1", func(_ *httpconn.Config, _ *route.ForwardConfig, u *upstream.Config) {
			none := uint32(0)
			u.CircuitBreakers.MaxConnections = none
		}, false},
		{"no host", "no healthy upstream", "upstream_rq_503=1", func(_ *httpconn.Config, _ *route.ForwardConfig, u *upstream.Config) {
			u.Hosts = nil
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := connectMix(t, func(c *httpconn.Config, f *route.ForwardConfig, u *upstream.Config) {
				f.RetryPolicy = &route.RetryPolicyConfig{RetryOn: "connect-failure", NumRetries: 3}
				if tt.edit != nil {
					tt.edit(c, f, u)
				}
			}, echo)
			if tt.close {
				_ = m.origins.Close()
			}
			_, _, resp := m.connect("")
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 503 || !strings.Contains(string(body), tt.body) {
				t.Errorf("%s %q", resp.Status, body)
			}
			m.wantStats(tt.stat)
			m.wantQuiet()
		})
	}
}

// TestConnectPost: a POST is a tunnel with a response that streams, if the route wants it.
func TestConnectPost(t *testing.T) {
	t.Parallel()
	m := connectMix(t, nil, echo)
	for _, size := range []int{0, 5, 3 << 20} {
		resp, err := http.Post("http://"+m.addr+"/x", "application/octet-stream", io.LimitReader(&noise{seed: 4, left: size}, 1<<30))
		if err != nil {
			t.Fatal(err)
		}
		if err := check(resp.Body, 4, size); err != nil || resp.StatusCode != 200 {
			t.Errorf("%d: %s, %v", size, resp.Status, err)
		}
		_ = resp.Body.Close()
	}
	m.wantQuiet()
}

// TestConnectProxyHeader: the host is told who it is.
func TestConnectProxyHeader(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v2"} {
		m := connectMix(t, func(_ *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) {
			f.ConnectConfig.ProxyProtocolConfig = &route.ConnectProxyConfig{Version: version}
		}, echo)
		c, r, _ := m.connect("hello")
		_ = c.CloseWrite()
		got, _ := io.ReadAll(r)
		want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d ", c.LocalAddr().(*net.TCPAddr).Port)
		if version == "v2" {
			want = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01"
		}
		if !strings.HasPrefix(string(got), want) || !strings.HasSuffix(string(got), "hello") {
			t.Errorf("%s: the host got %q", version, got)
		}
		m.wantQuiet()
	}
}

// TestConnectIdle: a tunnel in which nothing moves ends after the idle timeout of its route, not after its timeout.
func TestConnectIdle(t *testing.T) {
	t.Parallel()
	m := connectMix(t, func(_ *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) {
		idle := 300 * time.Millisecond
		f.Timeout, f.IdleTimeout = time.Millisecond, &idle
	}, echo)
	c, r, resp := m.connect("")
	if _, _ = io.WriteString(c, "a"); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	if b, err := r.ReadByte(); b != 'a' || err != nil {
		t.Fatal(b, err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	m.wantStats("downstream_rq_idle_timeout=1")
	m.wantQuiet()
}

// TestConnectHTTP2: a stream of HTTP/2 is a tunnel of its own, which each side ends by itself.
func TestConnectHTTP2(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	hostSaw := make(chan error, 2)
	m := connectMix(t, nil, func(c *net.TCPConn) {
		b := make([]byte, 1)
		_, _ = io.ReadFull(c, b)
		if b[0] == 'e' { // the host ends first
			_, _ = io.WriteString(c, "bye")
			_ = c.CloseWrite()
			hostSaw <- check(c, 6, size)
			return
		}
		echo(c)
	})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	t.Cleanup(tr.CloseIdleConnections)
	open := func(first string) (*io.PipeWriter, *http.Response) {
		r, w := io.Pipe()
		req, err := http.NewRequest(http.MethodConnect, "http://"+m.addr, r)
		if err != nil {
			t.Fatal(err)
		}
		req.Host, req.ContentLength = "host.example:443", -1
		go func() { _, _ = io.WriteString(w, first) }() // before the answer
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
			t.Fatal(resp.Proto, resp.Status)
		}
		return w, resp
	}
	w, resp := open("x")
	w2, resp2 := open("e")
	if got, err := io.ReadAll(resp2.Body); string(got) != "bye" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	go func() {
		_, _ = io.Copy(w, &noise{seed: 5, left: size})
		_ = w.Close()
	}()
	if err := check(resp.Body, 5, size); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(w2, &noise{seed: 6, left: size})
	_ = w2.Close()
	if err := <-hostSaw; err != nil {
		t.Error("at the host:", err)
	}
	m.wantQuiet()
	m.wantStats("downstream_cx_upgrades_total=2", "cluster.web.upstream_cx_total=2")
}

// fullListener returns the address of a host whose queue of connections is full: another one does not open.
func fullListener(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return addr
}

// TestConnectTimeout: connect_timeout is that of the cluster, and a client may leave before.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	addr := fullListener(t)
	full := func(timeout time.Duration) *mix {
		return connectMix(t, func(_ *httpconn.Config, _ *route.ForwardConfig, u *upstream.Config) {
			u.Hosts = []upstream.HostConfig{{Address: addr, Weight: 1}}
			u.ConnectTimeout = timeout
		}, echo)
	}
	m := full(100 * time.Millisecond)
	_, _, resp := m.connect("early")
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 503 || !strings.Contains(string(body), "connection timeout") {
		t.Errorf("%s %q", resp.Status, body)
	}
	m.wantStats("upstream_cx_connect_timeout=1", "upstream_cx_connect_fail=1")
	m.wantQuiet()
	m = full(time.Hour)
	c, err := net.Dial("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "CONNECT host.example:443 HTTP/1.1\r\nHost: host.example:443\r\n\r\n")
	m.wantStats("cluster.web.upstream_cx_total=1")
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	m.wantStats("upstream_rq_cancelled=1")
	m.wantQuiet()
}
