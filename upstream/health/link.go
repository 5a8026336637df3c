package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/upstream"
)

// A dialer opens the connections of the checks of one cluster.
type dialer struct {
	net  net.Dialer
	port uint16    // in place of that of the host; 0 is that of the host
	tls  *security // nil: plain text
}

func newDialer(cfg *upstream.Config, client *certs.Client, alpn []string) *dialer {
	h := cfg.HealthCheck()
	d := &dialer{port: h.Port}
	d.net.KeepAlive = -1 // checks are probes enough
	if b := cfg.UpstreamBindConfig; b != nil {
		d.bind(b)
	}
	if client != nil {
		if len(h.ALPN) > 0 {
			alpn = h.ALPN
		}
		d.tls = &security{client: client, alpn: alpn, name: serverName(cfg)}
	}
	return d
}

// bind sets where connections come from.
func (d *dialer) bind(b *upstream.BindConfig) {
	a, err := engine.ParseAddr(b.SourceAddress)
	if err != nil || a.IsUnix() {
		return // Validate has seen it
	}
	d.net.LocalAddr = net.TCPAddrFromAddrPort(addrPort(a))
	if b.Freebind {
		d.net.Control = func(_, _ string, c syscall.RawConn) error {
			var set error
			err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
			return errors.Join(err, set)
		}
	}
}

// open connects to a host, its TLS handshake included.
func (d *dialer) open(ctx context.Context, host engine.Addr, deadline time.Time) (net.Conn, error) {
	network, address := "tcp", ""
	if host.IsUnix() {
		network, address = "unix", host.Path()
	} else {
		if d.port != 0 {
			host = host.WithPort(d.port)
		}
		address = host.String()
	}
	dialer := d.net
	dialer.Deadline = deadline
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil || d.tls == nil {
		return conn, err
	}
	return d.tls.handshake(conn, deadline)
}

// security is how the connections of checks become encrypted.
type security struct {
	client *certs.Client
	alpn   []string
	name   string // to ask for in place of that of the config, or ""

	mu         sync.Mutex
	base, made *tls.Config // made is base with what is above; a new certificate brings a new base
}

// serverName returns the name that the checks of a cluster ask for where requests would bring their own.
func serverName(cfg *upstream.Config) string {
	t, h := cfg.TLS, cfg.HealthCheck()
	name := h.Host + h.Authority // one of them
	if t == nil || name == "" || !t.AutoSNI && !t.AutoSANValidation {
		return ""
	}
	if host, _, err := net.SplitHostPort(name); err == nil {
		return host
	}
	return name
}

func (s *security) config() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if base := s.client.TLS(); s.base != base {
		s.base, s.made = base, base.Clone()
		s.made.NextProtos = s.alpn
		s.made.KeyLogWriter = s.client.KeyLog()
		if s.name != "" {
			s.made.ServerName = s.name
		}
	}
	return s.made
}

func (s *security) handshake(conn net.Conn, deadline time.Time) (net.Conn, error) {
	_ = conn.SetDeadline(deadline) // of an open socket
	c := tls.Client(conn, s.config())
	if err := c.Handshake(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return c, nil
}

// speaksHTTP2 reports whether a connection may carry HTTP/2: plain text is taken to.
func speaksHTTP2(c net.Conn) bool {
	t, ok := c.(*tls.Conn)
	return !ok || slices.Contains([]string{upstream.ALPNHTTP2, ""}, t.ConnectionState().NegotiatedProtocol)
}

// A link is the connection of one probe, which end may cut off from another goroutine.
type link struct {
	ctx    context.Context // ends the dialling
	cancel context.CancelFunc
	dialer *dialer
	host   *upstream.Host

	mu    sync.Mutex
	conn  net.Conn     // nil: none
	to    *engine.Addr // that conn goes to; only valid if there is one
	ended bool
}

func newLink(ctx context.Context, d *dialer, host *upstream.Host) *link {
	l := &link{dialer: d, host: host}
	l.ctx, l.cancel = context.WithCancel(ctx)
	return l
}

// open returns the connection, a fresh one if there is none, or none to where the host is now.
func (l *link) open(deadline time.Time) (conn net.Conn, fresh bool, err error) {
	to := l.host.Target()
	l.mu.Lock()
	conn = l.conn
	moved := conn != nil && *l.to != *to
	l.mu.Unlock()
	if moved {
		l.drop()
		conn = nil
	}
	if conn == nil {
		fresh = true
		if conn, err = l.dialer.open(l.ctx, *to, deadline); err != nil {
			return nil, true, err
		}
		if !l.keep(conn, to) {
			return nil, true, net.ErrClosed
		}
	}
	return conn, fresh, conn.SetDeadline(deadline)
}

// keep notes a connection. It reports false, and closes it, if the link has ended meanwhile.
func (l *link) keep(conn net.Conn, to *engine.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		_ = conn.Close()
		return false
	}
	l.conn, l.to = conn, to
	return true
}

// drop closes the connection.
func (l *link) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// end closes the connection for good, in the middle of a check too.
func (l *link) end() {
	l.cancel()
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.drop()
}

// failure makes a result of what went wrong with a connection.
func failure(err error) Result {
	var ne net.Error
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return Result{Outcome: Timeout}
	}
	return Result{Outcome: Network}
}
