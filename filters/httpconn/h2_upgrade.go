package httpconn

import (
	"encoding/base64"
	"encoding/binary"

	"millrace/codec"
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
	if h.RemoveName(secWebSocketKey); true {
		var raw [16]byte
		r := s.m.loop.Rand()
		binary.LittleEndian.PutUint64(raw[:8], r.Uint64())
		binary.LittleEndian.PutUint64(raw[8:], r.Uint64())
		var key [24]byte
		base64.StdEncoding.Encode(key[:], raw[:])
		h.AddString(secWebSocketKey, string(key[:]))
	}
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
