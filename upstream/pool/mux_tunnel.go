package pool

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // what RFC 6455 asks for
	"encoding/base64"

	"millrace/codec"
	"millrace/codec/h2"
)

// tunnelState says whether an exchange of a multiplexed connection is, or may become, a tunnel.
type tunnelState uint8

const (
	tunnelNone    tunnelState = iota
	tunnelConnect             // a CONNECT was sent as such
	tunnelAsked               // an upgrade was sent as extended CONNECT
	tunnelOpen                // data is that of the tunnel
)

// askTunnel notes what a request may become. It reports false for an upgrade that the host does not offer.
//
// "A client MUST NOT [use extended CONNECT] … before receiving a SETTINGS_ENABLE_CONNECT_PROTOCOL parameter with a value
// of 1"
// RFC 8441 section 3
func (st *stream) askTunnel(h *codec.RequestHead) bool {
	switch {
	case h.Upgrade:
		if !st.mux.client.ConnectProtocol() {
			return false
		}
		st.tunnel = tunnelAsked
		st.handshake = &handshake{
			protocol: bytes.Clone(h.Get(codec.FieldUpgrade)), accept: acceptOf(h.Lookup("sec-websocket-key")),
		}
	case h.Method() == codec.MethodCONNECT:
		st.tunnel = tunnelConnect
	}
	return true
}

// handshake is what the 101 says that an upgrade is answered with.
type handshake struct {
	protocol []byte
	accept   string // Sec-WebSocket-Accept, or ""
}

// acceptOf returns the answer to a Sec-WebSocket-Key, which over HTTP/2 the host does not give (RFC 8441 section 5).
func acceptOf(key []byte) string {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 4.2.2
	if len(key) == 0 {
		return ""
	}
	sum := sha1.Sum(append(bytes.Clone(key), guid...)) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}

// appendExtended appends the head of an upgrade as an extended CONNECT. The fields of the handshake that are about the
// connection are left out by the codec.
//
// "The :method pseudo-header field is CONNECT … The :protocol pseudo-header field … contains a value from the "Hypertext
// Transfer Protocol (HTTP) Upgrade Token Registry""
// RFC 8441 section 4
func appendExtended(c *h2.Client, dst []byte, id codec.StreamID, h *codec.RequestHead) []byte {
	m := h.Method()
	name := string(h.MethodBytes())
	h.SetProtocol(h.Get(codec.FieldUpgrade))
	h.SetMethod(codec.MethodCONNECT)
	dst = c.AppendRequestHead(dst, id, h, false)
	h.SetProtocol(nil)
	if m == codec.MethodOther {
		h.SetMethodName(name)
	} else {
		h.SetMethod(m)
	}
	return dst
}

// answerTunnel turns the final head of an answer into what was asked for: a 2xx opens the tunnel, and stands for a 101 where
// the request was an upgrade. After any other the request ends, since it had no body.
func (st *stream) answerTunnel(h *codec.ResponseHead) {
	asked := st.tunnel == tunnelAsked
	if h.Status/100 != 2 {
		st.tunnel = tunnelNone
		if st.mayPush() {
			st.frame(nil, true)
		}
		return
	}
	st.tunnel = tunnelOpen
	if !asked {
		return
	}
	h.Status, h.ContentLength, h.Chunked = 101, -1, false
	h.Remove(codec.FieldContentLength)
	h.Set(codec.FieldConnection, []byte("upgrade"))
	h.Set(codec.FieldUpgrade, st.handshake.protocol)
	if len(st.handshake.accept) > 0 {
		h.SetString("Sec-WebSocket-Accept", st.handshake.accept)
	}
}
