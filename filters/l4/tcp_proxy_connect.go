package l4

import (
	"github.com/cespare/xxhash/v2"

	"millrace/codec/proxyproto"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// route finds the cluster. If there is none it reports false, and the flags say why.
func (t *tcpTunnel) route() bool {
	p := t.p
	id, ok := upstream.ClusterID(0), false
	if t.c != nil && t.c.Cluster != "" {
		if id, ok = p.byName(t.c.Cluster); !ok {
			p.stats.CxNoRoute.Inc()
			t.flags |= accesslog.FlagNoClusterFound
			return false
		}
		t.cluster, t.criteria, t.routed = id, p.shared.routes.criteria, true
		return true
	}
	if id, t.criteria, ok = p.shared.routes.find(t.ends[downstream].io); !ok {
		p.stats.CxNoRoute.Inc()
		t.flags |= accesslog.FlagNoRoute
		return false
	}
	t.cluster, t.routed = id, true
	return true
}

// holdRead leaves the bytes of downstream in the kernel until the host has accepted, if it may not be asked for them yet.
func (t *tcpTunnel) holdRead() {
	if t.p.cfg.MaxEarlyDataBytes == 0 && !t.held {
		t.held = true
		t.ends[downstream].io.PauseRead()
	}
}

// connect begins to connect to a host. If that is over before it began it reports false, and the flags say why.
func (t *tcpTunnel) connect() bool {
	p := t.p
	for {
		c := p.clusters.Cluster(t.cluster)
		if c == nil {
			p.stats.CxNoRoute.Inc()
			t.flags |= accesslog.FlagNoClusterFound
			return false
		}
		if int(t.attempts) >= p.cfg.MaxConnectAttempts {
			c.Stats.CxAttemptsExceeded.Inc()
			t.flags |= accesslog.FlagUpstreamRetryLimitExceeded
			return false
		}
		if t.attempts > 0 && p.cfg.BackoffOptions != nil && t.phase != tcpBackoff {
			t.backOff()
			return true
		}
		h := t.pickHost(c)
		if h == nil {
			return false
		}
		t.attempts++
		t.phase = tcpConnecting
		to := &p.target
		*to = pool.TCPTarget{Host: h, From: t.from(), ServerName: t.serverName(c)}
		if c.WantsProxyHeader() {
			p.preface = t.appendProxyHeader(p.preface[:0], c)
			to.Preface = p.preface
		}
		switch r, text := c.OpenTCP(&t.up, to, (*tcpUp)(t)); r {
		case pool.TCPOpening:
			return true
		case pool.TCPOverflow:
			t.flags |= accesslog.FlagUpstreamOverflow
			return false
		case pool.TCPFailed:
			t.flags |= accesslog.FlagUpstreamConnectionFailure
			t.failure = text
		}
	}
}

// pickHost returns the host to connect to. If there is none it returns nil, and the flags say why.
func (t *tcpTunnel) pickHost(c *pool.Cluster) *upstream.Host {
	p := t.p
	if c.ByDestination() {
		h, full := c.PickDestination(t.ends[downstream].io, nil)
		switch {
		case full:
			t.flags |= accesslog.FlagUpstreamOverflow
		case h == nil:
			t.flags |= accesslog.FlagNoHealthyUpstream
		}
		return h
	}
	p.pick = upstream.Pick{Tunnel: true, Random: t.random, Attempt: int(t.attempts), Criteria: t.criteria}
	if len(p.cfg.HashPolicy) > 0 {
		t.hash(&p.pick)
	}
	h := c.Pick(&p.pick)
	if h == nil {
		t.flags |= accesslog.FlagNoHealthyUpstream
		if c.Shared().Unresolved() {
			t.flags |= accesslog.FlagDNSResolutionFailed
		}
	}
	return h
}

// from returns where to connect from, nil for where the cluster says.
func (t *tcpTunnel) from() *pool.Source {
	if t.c == nil || !t.c.OriginalSource {
		return nil
	}
	s := &t.p.source
	*s = pool.Source{Addr: t.ends[downstream].io.RemoteAddr().WithPort(0), Mark: t.c.SourceMark}
	return s
}

// backOff waits before the next attempt.
func (t *tcpTunnel) backOff() {
	b := t.p.cfg.BackoffOptions
	most := 10 * b.BaseInterval
	if b.MaxInterval != nil {
		most = *b.MaxInterval
	}
	wait := b.BaseInterval
	for range t.attempts - 1 {
		if wait = 2 * wait; wait >= most {
			break
		}
	}
	wait = min(wait, most)
	t.phase = tcpBackoff
	t.retryAt = t.p.loop.Now() + 1 + t.p.loop.Rand().Int64N(int64(wait))
	t.arm()
}

// retry is called when the wait is over.
func (t *tcpTunnel) retry() {
	if t.connect() { // still in tcpBackoff, which says that it has waited
		t.arm()
		return
	}
	t.close(downstream, false)
}

// attemptFailed goes on with the next host, or gives up.
func (t *tcpTunnel) attemptFailed(text string) {
	t.flags |= accesslog.FlagUpstreamConnectionFailure
	t.failure = text
	if !t.connect() {
		t.close(downstream, false)
	}
}

// onConnected begins to forward.
func (t *tcpTunnel) onConnected() {
	p := t.p
	t.up.Connected()
	now := p.loop.Now()
	d, u := &t.ends[downstream], &t.ends[upstreamer]
	u.io = t.up.Conn()
	d.seen, u.seen, t.readyAt = now, now, now
	t.phase = tcpOpen
	t.flags &^= accesslog.FlagUpstreamConnectionFailure // of earlier attempts
	t.failure = ""
	if p.log.Enabled() {
		u.io.LocalAddr() // known from now on, also when the socket is closed
	}
	if p.cfg.AccessLogOptions.FlushAccessLogOnConnected {
		p.logTunnel(t, accesslog.TypeTCPUpstreamConnected)
	}
	u.pass(d)
	if d.pass(u); t.early || t.again {
		d.io.SetHandler((*tcpDown)(t)) // shows what has come meanwhile, and that it was the last
	}
	if t.held {
		t.held = false
		d.io.ResumeRead()
	}
	t.arm()
}

// serverName returns what TLS asks the host for, "" for what the cluster says.
func (t *tcpTunnel) serverName(c *pool.Cluster) string {
	if wants, _ := c.WantsServerName(); !wants || t.c == nil {
		return ""
	}
	return t.c.ServerName
}

// appendProxyHeader appends what tells the host whom the connection is for.
func (t *tcpTunnel) appendProxyHeader(dst []byte, c *pool.Cluster) []byte {
	d, info := t.ends[downstream].io, &t.p.info
	info.Source, info.Destination = d.RemoteAddr(), d.LocalAddr()
	info.Own, info.TLVs = t.p.shared.tlvs, info.TLVs[:0]
	if t.c != nil {
		for _, v := range t.c.TLVs {
			info.TLVs = append(info.TLVs, proxyproto.TLV(v))
		}
	}
	return c.AppendProxyHeader(dst, info)
}

// onEarlyData is called with bytes from downstream while there is no connection to a host.
func (t *tcpTunnel) onEarlyData(b []byte) int {
	switch t.phase {
	case tcpWaiting, tcpConnecting, tcpBackoff:
	default:
		return len(b)
	}
	if !t.early {
		t.early = true
		t.p.stats.EarlyData.Inc()
	}
	if !t.held && len(b) >= t.p.cfg.MaxEarlyDataBytes {
		t.held = true
		t.ends[downstream].io.PauseRead()
	}
	if t.phase == tcpWaiting {
		if !t.connect() {
			t.close(downstream, false)
			return len(b)
		}
		t.arm()
	}
	return 0
}

// onTimeout looks for what is due.
func (t *tcpTunnel) onTimeout() {
	p := t.p
	now := p.loop.Now()
	switch {
	case t.endAt != 0 && now >= t.endAt && !t.left:
		p.stats.MaxDuration.Inc()
		t.abort(accesslog.FlagDurationTimeout, "max_connection_duration_reached")
		return
	case t.phase == tcpBackoff && now >= t.retryAt:
		t.retry()
		return
	}
	if t.logAt != 0 && now >= t.logAt && !t.left {
		t.logAt = now + int64(p.cfg.AccessLogOptions.AccessLogFlushInterval)
		t.count()
		p.logTunnel(t, accesslog.TypeTCPPeriodic)
	}
	for i := range t.ends {
		t.ends[i].catchUp(now)
	}
	if at := t.idleAt(); at != 0 && now >= at {
		p.stats.IdleTimeout.Inc()
		t.abort(0, "tcp_session_idle_timeout")
		return
	}
	t.arm()
}

// catchUp finds out whether queued bytes have left since the last time.
func (e *tcpEnd) catchUp(now int64) {
	if !e.lag || e.gone {
		return
	}
	if out := e.io.BytesOut(); out != e.outAt {
		e.outAt, e.seen = out, now
	}
	e.lag = e.io.Buffered() > 0
}

// idleAt returns when the tunnel has been idle for too long, as far as is known now; 0 for never.
func (t *tcpTunnel) idleAt() int64 {
	p := t.p
	idle := int64(p.cfg.IdleTimeout)
	d, u := t.ends[downstream].seen, t.ends[upstreamer].seen
	switch t.phase {
	case tcpOpen:
	case tcpWaiting:
		d, u = t.start, t.start
	case tcpFlushing:
		if idle == 0 {
			idle = int64(tcpFlushMax)
		}
	default: // connecting has bounds of its own
		return 0
	}
	at := int64(0)
	if idle > 0 {
		at = max(d, u) + idle
	}
	if p.cfg.DownstreamIdleTimeout > 0 {
		at = earlier(at, d+int64(p.cfg.DownstreamIdleTimeout))
	}
	if p.cfg.UpstreamIdleTimeout > 0 && t.phase != tcpWaiting {
		at = earlier(at, u+int64(p.cfg.UpstreamIdleTimeout))
	}
	return at
}

// arm sets the deadline for what is due next. It is set once, and not moved when bytes pass: onTimeout looks
// at the time of the last ones.
func (t *tcpTunnel) arm() {
	at := t.idleAt()
	if !t.left {
		at = earlier(at, t.endAt)
		at = earlier(at, t.logAt)
	}
	if t.phase == tcpBackoff {
		at = earlier(at, t.retryAt)
	}
	if d := &t.ends[downstream]; !d.gone {
		d.io.SetDeadline(at)
	} else if u := &t.ends[upstreamer]; u.io != nil && !u.gone {
		u.io.SetDeadline(at)
	}
}

// earlier returns the earlier of two times, of which 0 is never.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// hash gives the balancer what the policy hashes.
func (t *tcpTunnel) hash(p *upstream.Pick) {
	a := t.ends[downstream].io.RemoteAddr()
	var buf [64]byte
	if text := a.AppendIP(buf[:0]); len(text) > 0 {
		p.Hash, p.HashSet = xxhash.Sum64(text), true
	}
}
