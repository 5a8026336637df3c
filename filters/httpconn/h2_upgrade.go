package httpconn

import (
	"encoding/base64"
	"encoding/binary"

	"millrace/codec"
	"millrace/codec/h2"
)

// restoreUpgrade makes of an extended CONNECT the request that asks for the same by HTTP/1.1, which is what filters,
// routes and upstreams know:
//
// "the :protocol pseudo-header field [has] a value … that indicates the desired protocol to be spoken on the tunnel … the
// Sec-WebSocket-Key and Sec-WebSocket-Accept header fields … are not used"
// RFC 8441 sections 4 and 5
func (s *stream) restoreUpgrade() {
	h := &s.Request
	if h.Method() != codec.MethodCONNECT {
		return
	}
	s.connect = true
	protocol := h.Protocol()
	if protocol == nil {
		return
	}
	s.web = true
	h.SetMethod(codec.MethodGET)
	h.Upgrade = true
	h.Add(codec.FieldUpgrade, protocol)
	h.Add(codec.FieldConnection, connectionUpgrade)
	h.SetProtocolSpan(codec.Span{})
	var raw [16]byte
	r := s.m.loop.Rand()
	binary.LittleEndian.PutUint64(raw[:8], r.Uint64())
	binary.LittleEndian.PutUint64(raw[8:], r.Uint64())
	h.RemoveName(secWebSocketKey)
	h.AddString(secWebSocketKey, base64.StdEncoding.EncodeToString(raw[:]))
}

const (
	secWebSocketKey    = "sec-websocket-key"
	secWebSocketAccept = "sec-websocket-accept"
)

var connectionUpgrade = []byte("upgrade")

// acceptUpgrade makes of a 101 the 200 that opens a tunnel of HTTP/2.
func (s *stream) acceptUpgrade() {
	h := &s.Response
	if h.Status != 101 {
		return
	}
	h.Status, s.Info.Status = 200, 200
	h.Remove(codec.FieldUpgrade)
	h.Remove(codec.FieldConnection)
	h.RemoveName(secWebSocketAccept)
}

const (
	http2Settings = "http2-settings"
	// http2SettingsMax bounds the HTTP2-Settings field, decoded: there are not many settings.
	http2SettingsMax = 6 * 32
)

var switching = []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")

// wantsHTTP2 reports whether a request of HTTP/1.1, which is whole, asks for an answer by HTTP/2 (RFC 7540 section 3.2), which
// is not for TLS. It appends the settings of the client to dst.
func (s *stream) wantsHTTP2(dst []byte) (settings []byte, ok bool) {
	h := &s.Request
	if !h.Has(codec.FieldUpgrade) || s.m.opt.version != versionAuto || s.tls() || h.Version != codec.Version11 || h.Method() == codec.MethodCONNECT {
		return nil, false
	}
	var list [2][]byte
	values := h.Values(http2Settings, list[:0])
	if len(values) != 1 || !listHas(h.Get(codec.FieldUpgrade), "h2c") || !s.connectionHas("upgrade") || !s.connectionHas(http2Settings) {
		return nil, false
	}
	if base64.RawURLEncoding.DecodedLen(len(values[0])) > http2SettingsMax {
		return nil, false
	}
	settings, err := base64.RawURLEncoding.AppendDecode(dst, values[0])
	return settings, err == nil
}

// connectionHas reports whether the Connection fields of the request list a name.
func (s *stream) connectionHas(name string) bool {
	h := &s.Request
	for i := range h.Len() {
		id, _, value := h.At(i)
		if id == codec.FieldConnection && listHas(value, name) {
			return true
		}
	}
	return false
}

// upgrade goes on by HTTP/2 with a request that asks for it, if it may. What follows the request is of HTTP/2.
func (c *conn) upgrade(s *stream) bool {
	var buf [http2SettingsMax]byte
	settings, ok := s.wantsHTTP2(buf[:0])
	if !ok {
		return false
	}
	m := c.m
	server := h2.NewServer(&m.http2, &m.scratch2)
	id, slot, err := server.OpenUpgraded(settings, s.Request.Method())
	if err != nil {
		return false
	}
	block, ok := m.own(&s.requestBlock, s.Request.HeadBytes())
	if !ok {
		return false
	}
	s.Request.Own(block)
	base := c.link
	c.stream = nil
	m.unlink(c)
	m.stats.CxHTTP1Active.Dec()
	m.keepConn(c)
	base.io.Write(switching)
	c2 := m.newConn2(base, server)
	base.io.SetHandler(c2)
	m.stats.RqActive.Dec() // it is counted once more
	c2.enlist(s, id, slot, true)
	c2.beginFresh()
	c2.settle()
	return true
}
