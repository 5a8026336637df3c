package l4

import (
	"strconv"

	"millrace/filters/accesslog"
)

// udpTotals is what a udpProxy has seen, for its own log: counters are shared with other filters of the
// same name.
type udpTotals struct {
	udpCounts
	sessions, noRoute, idle uint64
	rxErrors, txErrors      uint64
}

// The namespaces of the metadata in the records of sessions, and of the filter, are Envoy's.
const (
	udpSessionMetadata = "udp.proxy.session"
	udpProxyMetadata   = "udp.proxy.proxy"
)

// logSession writes a session that ends to the access logs.
func (p *udpProxy) logSession(se *udpSession, why string) {
	if !p.log.Enabled() {
		return
	}
	r, name := p.newRecord(se.start, &se.counts), p.shared.routes[se.route].name
	r.Type, r.ConnID = accesslog.TypeUDPSessionEnd, se.id
	r.Remote, r.Local = se.key.flow.Remote(), se.key.flow.Local()
	r.DirectRemote = r.Remote
	h := se.up.Host()
	r.Cluster, r.UpstreamHost, r.Attempts = name, h.Name, 1
	r.UpstreamRemote, r.UpstreamLocal = h.Addr, se.up.LocalAddr()
	r.UpstreamWireSent, r.UpstreamWireReceived = se.counts.rxBytes, se.counts.txBytes
	r.CloseReason = why
	values := udpMetadata(&se.counts)
	values["cluster_name"] = name
	r.Metadata = map[string]map[string]string{udpSessionMetadata: values}
	p.log.Log(r)
}

// logProxy writes the sums of the filter on this loop to its log.
func (p *udpProxy) logProxy() {
	if !p.proxyLog.Enabled() {
		return
	}
	t := &p.totals
	r := p.newRecord(p.start, &t.udpCounts)
	r.Type = accesslog.TypeNotSet
	values := udpMetadata(&t.udpCounts)
	for _, v := range [...]struct {
		name string
		n    uint64
	}{
		{"session_total", t.sessions}, {"no_route", t.noRoute}, {"idle_timeout", t.idle},
		{"errors_received", t.rxErrors}, {"errors_sent", t.txErrors},
	} {
		values[v.name] = strconv.FormatUint(v.n, 10)
	}
	r.Metadata = map[string]map[string]string{udpProxyMetadata: values}
	p.proxyLog.Log(r)
}

// newRecord returns the record of the loop with what sessions and filter have in common.
func (p *udpProxy) newRecord(start int64, c *udpCounts) *accesslog.Record {
	r := &p.record
	r.Reset()
	now := p.loop.Now()
	r.Start, r.End = start, now
	r.StartUnix = p.loop.Unix() - (now - start)
	r.RequestBytes, r.ResponseBytes = c.rxBytes, c.txBytes
	r.WireReceived, r.WireSent = c.rxBytes, c.txBytes
	r.FilterChain = p.chain
	return r
}

func udpMetadata(c *udpCounts) map[string]string {
	text := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return map[string]string{
		"bytes_received": text(c.rxBytes), "datagrams_received": text(c.rxDatagrams),
		"bytes_sent": text(c.txBytes), "datagrams_sent": text(c.txDatagrams),
	}
}
