package transport

import (
	"crypto/tls"
	"crypto/x509"
	"net"

	"millrace/engine"
	"millrace/engine/certs"
)

// Established says what carries a server's connections after the handshake.
type Established uint8

const (
	// EstablishedOwn is the own record layer, where it knows version and suite; else crypto/tls. The default.
	EstablishedOwn Established = iota
	// EstablishedCryptoTLS is crypto/tls for all: for comparisons.
	EstablishedCryptoTLS
	// EstablishedOwnParked is the own record layer after crypto/tls has finished the handshake: it waits for the client's Finished on its
	// goroutine, which TLS 1.3 can do without. For comparisons.
	EstablishedOwnParked
)

// AcceptorOptions are what an Acceptor may be told besides.
type AcceptorOptions struct {
	// PlainReply is written to clients that begin as HTTP does, before they are closed: a whole response such as
	// "HTTP/1.1 400 Bad Request\r\n...". It is not changed. Empty: they are closed.
	PlainReply []byte
	// Established is for comparisons.
	Established Established
}

// An Acceptor makes the transports of one filter chain on one loop.
type Acceptor struct {
	side  side
	ctx   *certs.Server
	extra func(*tls.Config) // tests: changes the config of a handshake
}

// NewAcceptor makes the Acceptor of l. stats is that of the listener on this loop.
func NewAcceptor(l *engine.Loop, h *Handshakes, ctx *certs.Server, stats *Stats, opt AcceptorOptions) *Acceptor {
	var kernel *Kernel
	if ctx.Config().KernelTLS == certs.KernelTLSAuto && opt.Established != EstablishedCryptoTLS {
		kernel = ProbeKernel()
	}
	return &Acceptor{ctx: ctx, side: side{
		kernel:      kernel,
		certificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return ctx.TLS().GetCertificate(hello) },
		loop:        l, hs: h, stats: stats, buf: h.buffersOf(l), timeout: ctx.Config().HandshakeTimeout,
		own: opt.Established != EstablishedCryptoTLS, awaits: opt.Established == EstablishedOwn, plain: opt.PlainReply, verified: ctx.Verified,
	}}
}

// Transport returns the transport of one accepted connection, for Conn.SetTransport. o hears of the session.
func (a *Acceptor) Transport(o Owner) engine.Transport {
	if extra := a.extra; extra != nil {
		return a.side.newConn(o, func(s *shake) *tls.Config {
			cfg := a.config(s)
			extra(cfg)
			return cfg
		})
	}
	return a.side.newConn(o, a.config)
}

// config is the configuration of one handshake. It is called on the goroutine of the handshake.
func (a *Acceptor) config(s *shake) *tls.Config {
	base := a.ctx.TLS()
	cfg := base.Clone()
	cfg.DynamicRecordSizingDisabled = true
	also := a.ctx.KeyLog()
	switch {
	case s.side.own:
		cfg.KeyLogWriter = keyWriter{s, also}
		if cfg.MinVersion <= tls.VersionTLS12 && !cfg.SessionTicketsDisabled {
			s.remember(cfg, base)
		}
	case also != nil:
		cfg.KeyLogWriter = also
	}
	s.mutual = cfg.ClientAuth != tls.NoClientCert
	if get := cfg.GetCertificate; get != nil {
		cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := get(hello)
			if cert != nil {
				s.leaf = cert.Leaf
			}
			return cert, err
		}
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			s.asks = hello
			if base.GetConfigForClient == nil {
				return nil, nil
			}
			other, err := base.GetConfigForClient(hello)
			if other != nil {
				other.KeyLogWriter, other.DynamicRecordSizingDisabled = cfg.KeyLogWriter, true
				s.mutual = other.ClientAuth != tls.NoClientCert
			}
			return other, err
		}
	}
	return cfg
}

// local finds out which certificate the connection has. In a resumed session none is shown; it is that which would be.
func (s *shake) local() *x509.Certificate {
	if s.leaf != nil || s.asks == nil || !s.session.Resumed {
		return s.leaf
	}
	asks := *s.asks
	asks.Extensions = nil // so that no staple is chosen, and counted
	cert, err := s.side.certificate(&asks)
	if err != nil || cert == nil {
		return nil
	}
	return cert.Leaf
}

// A Dialer makes the transports of one cluster on one loop.
type Dialer struct {
	side  side
	ctx   *certs.Client
	offer []string // ALPN, unless the config says so
}

// NewDialer makes the Dialer of l. stats is that of the cluster on this loop.
func NewDialer(l *engine.Loop, h *Handshakes, ctx *certs.Client, stats *Stats) *Dialer {
	return &Dialer{ctx: ctx, side: side{
		loop: l, hs: h, stats: stats, buf: h.buffersOf(l), timeout: ctx.Config().HandshakeTimeout, client: true, verified: ctx.Verified,
	}}
}

// Offer makes the connections offer protocols by ALPN, best first, unless the config says which. It is called before the first
// Transport, and returns d.
func (d *Dialer) Offer(protocols []string) *Dialer {
	d.offer = protocols
	return d
}

// Transport returns the transport of one dialled connection, for Conn.SetTransport. sni is the name asked for and verified; "" is
// that of the config. An IP address is verified, and not sent. o hears of the session.
func (d *Dialer) Transport(sni string, o Owner) engine.Transport {
	return d.side.newConn(o, func(s *shake) *tls.Config {
		cfg := d.ctx.TLS().Clone()
		cfg.DynamicRecordSizingDisabled = true
		cfg.KeyLogWriter = d.ctx.KeyLog()
		if sni != "" {
			cfg.ServerName = sni
		}
		if len(cfg.NextProtos) == 0 {
			cfg.NextProtos = d.offer
		}
		verifyAddress(cfg)
		return cfg
	})
}

// verifyAddress makes cfg verify a ServerName that is an IP address: it is not sent, so crypto/tls does not pass it on.
func verifyAddress(cfg *tls.Config) {
	name, verify := cfg.ServerName, cfg.VerifyConnection
	if verify == nil || net.ParseIP(name) == nil {
		return
	}
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		cs.ServerName = name
		return verify(cs)
	}
}
