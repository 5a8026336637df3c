package pool

import (
	"millrace/codec"
	"millrace/engine"
	"millrace/engine/certs"
	"millrace/engine/transport"
	"millrace/upstream"
)

// security is how the connections of a cluster on one loop become encrypted.
type security struct {
	client    *certs.Client
	http, tcp *transport.Dialer // for connections that carry HTTP, which offer it by ALPN, and for others
	auto      bool              // auto_sni or auto_san_validation: names come from requests
	addresses bool              // of them, IP addresses too: they are verified, and not sent
}

// secure makes the security of c's settings, if the cluster has TLS.
func (c *Cluster) secure(next *upstream.Cluster) {
	if next.TLS == nil {
		return
	}
	t := c.table
	if t.handshakes == nil {
		t.handshakes = transport.NewHandshakes(transport.Limits{})
	}
	if c.TLSStats == nil {
		c.TLSStats = &transport.Stats{}
	}
	cfg := next.Config.TLS
	c.settings.tls = &security{
		client: next.TLS,
		http:   transport.NewDialer(c.loop, t.handshakes, next.TLS, c.TLSStats).Offer(next.Config.ALPN()),
		tcp:    transport.NewDialer(c.loop, t.handshakes, next.TLS, c.TLSStats),
		auto:   cfg.AutoSNI || cfg.AutoSANValidation, addresses: cfg.AutoSANValidation,
	}
}

// HasTLS reports whether connections to the hosts are encrypted.
func (c *Cluster) HasTLS() bool { return c.settings.tls != nil }

// WantsServerName reports whether the TLS of connections takes its name from what they are for. addresses says that
// IP addresses are wanted too.
func (c *Cluster) WantsServerName() (wants, addresses bool) {
	s := c.settings.tls
	return s != nil && s.auto, s != nil && s.addresses
}

// encrypt puts TLS between a connection that begins to open and its socket, if the cluster wants that. What was written
// before goes to the socket as it is.
func (p *Pool) encrypt(ec *engine.Conn, o transport.Owner) {
	if s := p.settings.tls; s != nil {
		ec.SetTransport(s.http.Transport(p.sni, o))
	}
}

// dedicate makes a connection whose PROXY header goes before its TLS handshake, and has to be known by then, one for
// the exchange that has waited longest of those that have none on the way.
func (c *conn) dedicate() {
	p := c.pool
	if p.settings.tls == nil || p.settings.proxy == nil {
		return
	}
	for x := p.pending.head; x != nil; x = x.next {
		if x.meant == nil {
			x.meant, c.meant = c, x
			c.sendProxyHeader(x)
			return
		}
	}
}

// serveMeant gives c to the one it was opened for.
func (p *Pool) serveMeant(c *conn) {
	x := c.meant
	x.meant, c.meant = nil, nil
	if p.admitNext(x) {
		c.attach(x)
		x.Owner.OnReady()
		return
	}
	c.close(closeLocal)
}

// abandon ends a connection that is not open yet, since whom it was meant for waits no more.
func (c *conn) abandon() {
	c.ec.Close()
	c.forget()
}

// timeoutText says what connect_timeout has ended.
func timeoutText(ec *engine.Conn) string {
	if ec.Transport() != nil && ec.Connected() {
		return "TLS handshake not complete within connect_timeout"
	}
	return ""
}

// noHTTP2Text says why a connection that has to be HTTP/2 is none.
func noHTTP2Text(s *transport.Session) string {
	if s.ALPN == "" {
		return "the host agreed on no protocol by ALPN, but HTTP/2 is required"
	}
	return "the host agreed on " + s.ALPN + " by ALPN, but HTTP/2 is required"
}

// opening is a connection of protocol "auto" until ALPN has said what it speaks. Then a conn or a mux takes it over.
type opening struct {
	pool      *Pool
	ec        *engine.Conn
	session   *transport.Session
	createdAt int64 // loop clock, ns
	id        uint32
	over      bool
}

// dialOpening opens an admitted connection.
func (p *Pool) dialOpening() {
	o := &opening{pool: p, id: p.cluster.table.nextConn(), createdAt: p.cluster.loop.Now()}
	p.countConn()
	ec, err := p.cluster.loop.DialAny(p.host.Target(), p.host.Others(), p.settings.dial, o)
	if err != nil { // no descriptor left, or the kernel knows no way
		o.forget()
		p.dialFailed(err)
		return
	}
	o.ec = ec
	p.prepare(ec, o.createdAt)
	p.encrypt(ec, o)
}

// OnSession implements [transport.Owner].
func (o *opening) OnSession(s *transport.Session) { o.session = s }

// OnConnect implements [engine.Handler]: the handshake is complete.
func (o *opening) OnConnect() {
	p := o.pool
	o.over = true
	if o.session.ALPN == upstream.ALPNHTTP2 {
		p.host.SetSpoke(codec.Version20)
		m := p.addMux(o.id, o.createdAt)
		m.ec, m.session = o.ec, o.session
		m.ec.SetBatch(true)
		m.ec.SetHandler(m)
		m.connected()
		return
	}
	p.host.SetSpoke(codec.Version11)
	p.addConn(o).OnConnect()
	p.grow() // for those who hoped for streams of this one
}

// addConn makes the HTTP/1.1 side of a connection that is counted.
func (p *Pool) addConn(o *opening) *conn {
	c := &conn{pool: p, id: o.id, createdAt: o.createdAt, ec: o.ec, session: o.session}
	c.client.Reset(&p.settings.limits)
	p.cluster.Stats.CxHTTP1Total.Inc()
	c.ec.SetHandler(c)
	return c
}

// OnTimeout implements [engine.Handler].
func (o *opening) OnTimeout() {
	o.pool.cluster.Stats.CxConnectTimeout.Inc()
	text := timeoutText(o.ec)
	o.ec.Close()
	o.fail(ConnectTimeout, text)
}

// OnClose implements [engine.Handler].
func (o *opening) OnClose(why engine.CloseReason) {
	switch {
	case o.over:
	case why == engine.CloseLoopEnd:
		o.pool.cluster.table.ended = true
		o.forget()
		o.pool.failPending(LocalClose, "")
		o.pool.settle()
	default:
		o.fail(ConnectFailure, errorText(o.ec))
	}
}

// fail ends a connection that did not open, and the wait of all that wait for its host.
func (o *opening) fail(why ResetReason, text string) {
	p := o.pool
	p.countConnectFail()
	o.forget()
	p.failPending(why, text)
	p.settle()
}

// forget takes the connection out of every count.
func (o *opening) forget() {
	o.over = true
	o.pool.opened()
	o.pool.uncountConn()
}

// OnData implements [engine.Handler]. Nothing is read before OnConnect, after which another handler reads.
func (o *opening) OnData(b []byte) int { return len(b) }

// OnEOF implements [engine.Handler].
func (o *opening) OnEOF() {}

// OnWriteLow implements [engine.Handler].
func (o *opening) OnWriteLow() {}

// OnSplice implements [engine.Handler].
func (o *opening) OnSplice(int64, bool, bool) {}
