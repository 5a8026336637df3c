package l4

import (
	"millrace/filters"
	"millrace/filters/accesslog"
)

// logTunnel writes a connection to the access logs.
func (p *tcpProxy) logTunnel(t *tcpTunnel, kind accesslog.Type) {
	if !p.log.Enabled() {
		return
	}
	r, d := &p.record, &t.ends[downstream]
	filters.DescribeConnection(r, kind, p.loop, d.io, t.c, t.start)
	r.RequestBytes, r.ResponseBytes = d.bytes, t.ends[upstreamer].bytes
	r.Flags |= t.flags
	if t.details != "" {
		r.ConnectionDetails, r.CloseReason = t.details, t.details
	}
	if r.FilterChain == "" {
		r.FilterChain = p.chain
	}
	r.ConnID, r.StreamID, r.CloseType, r.UpstreamCloseType = t.id, t.random, t.closed, t.upClosed
	if c := p.clusters.Cluster(t.cluster); c != nil && t.routed {
		r.Cluster = c.Config().Name
	}
	h := t.up.Host()
	if h == nil {
		p.log.Log(r)
		return
	}
	r.Attempts, r.UpstreamTransportFailure = uint8(min(t.attempts, 255)), t.failure
	r.UpstreamConnect, r.UpstreamReady = t.up.OpenedAt(), t.readyAt
	r.UpstreamHost, r.UpstreamRemote = h.Name, t.up.RemoteAddr()
	r.UpstreamLocal, r.UpstreamConnID = t.up.LocalAddr(), uint64(t.up.ID())
	if r.UpstreamTLS = t.up.Session(); r.UpstreamTLS != nil {
		r.UpstreamHandshake = t.readyAt
	}
	r.UpstreamWireReceived, r.UpstreamWireSent = t.up.Bytes()
	p.log.Log(r)
}
