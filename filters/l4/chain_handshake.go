package l4

import (
	"errors"

	"millrace/engine"
	"millrace/engine/transport"
	"millrace/filters/accesslog"
)

// setTransport puts what decrypts, and what read and write filters need, between the connection and its
// terminal filter. It reports whether the connection is established already.
func (c *conn) setTransport() bool {
	var t engine.Transport
	if c.chain.transport != nil {
		t = c.chain.transport(&c.Connection)
	}
	if len(c.chain.reads)+len(c.chain.writes) > 0 {
		c.data = newFilterTransport(&c.Connection, c.chain.reads, c.chain.writes, t)
		t = c.data
	}
	if t == nil {
		c.phase = phaseEstablished
		return true
	}
	c.phase = phaseHandshake
	c.IO.SetTransport(&handshake{Transport: t, c: c})
	c.resumeRead()
	return false
}

// A handshake is a transport that tells when it is complete: then it is read for the first time.
type handshake struct {
	engine.Transport
	c *conn // nil when it has told
}

// Read implements engine.Transport.
func (h *handshake) Read(w *engine.Wire, dst []byte) (int, error) {
	if c := h.c; c != nil {
		h.c = nil
		c.established()
		if c.Ended() || c.IO.ReadPaused() {
			return 0, nil // the conn looks at its state, and comes back when it may read
		}
	}
	return h.Transport.Read(w, dst)
}

// Movable implements engine.Mover, for a transport that does.
func (h *handshake) Movable() bool {
	m, ok := h.Transport.(engine.Mover)
	return ok && h.c == nil && m.Movable()
}

// Leave implements engine.Mover.
func (h *handshake) Leave() { h.Transport.(engine.Mover).Leave() }

// MayOffload implements engine.Offloader, for a transport that does.
func (h *handshake) MayOffload() bool {
	o, ok := h.Transport.(engine.Offloader)
	return ok && o.MayOffload()
}

// Offload implements engine.Offloader.
func (h *handshake) Offload(w *engine.Wire) bool {
	o, ok := h.Transport.(engine.Offloader)
	return ok && o.Offload(w)
}

// established goes on with a connection whose transport is ready.
func (c *conn) established() {
	if c.phase != phaseHandshake {
		return
	}
	c.phase, c.at = phaseEstablished, 0
	c.step()
	if c.flags&connHeld != 0 {
		c.pauseRead()
	}
}

// transportFailed reports whether TLS has ended a connection, rather than a filter.
func transportFailed(io *engine.Conn) bool {
	err := io.TransportError()
	return err != nil && !errors.Is(err, errFilterClosed) && !errors.Is(err, errHoldMemory)
}

// noteTransportError keeps why TLS has ended the connection, for its log.
func (c *conn) noteTransportError() {
	if c.chain == nil || c.chain.transport == nil {
		return
	}
	err := c.IO.TransportError()
	if errors.Is(err, errFilterClosed) || errors.Is(err, errHoldMemory) {
		return // a filter has, and its words are in Details
	}
	c.TransportFailure = transport.ReasonOf(err)
	switch c.TransportFailure {
	case transport.ReasonNone:
		return
	case transport.ReasonClosed, transport.ReasonReset, transport.ReasonTruncated:
		c.Flags |= accesslog.FlagDownstreamConnectionTermination
	case transport.ReasonShed, transport.ReasonMemory:
		c.Flags |= accesslog.FlagOverloadManager
	default:
		c.Flags |= accesslog.FlagDownstreamProtocolError
	}
	if c.phase == phaseHandshake && c.Details == "" {
		c.Details = "tls_handshake_failed"
	}
}
