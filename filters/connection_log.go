package filters

import (
	"millrace/engine"
	"millrace/filters/accesslog"
)

// Describe fills what is known of the connection into the record of a stream on it.
func (c *Connection) Describe(r *accesslog.Record) {
	r.DirectRemote, r.DirectLocal = c.DirectRemote, c.DirectLocal
	r.Remote, r.Local = c.IO.RemoteAddr(), c.IO.LocalAddr()
	r.FilterChain = c.ChainName
	r.RequestedServerName, r.JA3 = c.ServerName, c.JA3
	r.TLS, r.TransportFailure = c.Session, c.TransportFailure.String()
	r.Metadata = c.Metadata
	r.Flags |= c.Flags
	r.ConnectionDetails = c.Details
}

// DescribeConnection makes r the record of a whole connection as of now: its addresses, times and bytes, and what
// else is known of it, if c is not nil. start is when it was accepted, on the loop's clock.
func DescribeConnection(r *accesslog.Record, t accesslog.Type, loop *engine.Loop, io *engine.Conn, c *Connection, start int64) {
	r.Reset()
	r.Type = t
	r.Start, r.End = start, loop.Now()
	r.StartUnix = loop.Unix() - (r.End - start)
	r.RequestBytes, r.ResponseBytes = io.BytesIn(), io.BytesOut()
	r.WireReceived, r.WireSent = r.RequestBytes, r.ResponseBytes
	if c != nil {
		c.Describe(r)
		return
	}
	r.Remote, r.Local = io.RemoteAddr(), io.LocalAddr()
	r.DirectRemote, r.DirectLocal = r.Remote, r.Local
}
