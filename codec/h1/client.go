package h1

import (
	"bytes"
	"math"

	"millrace/codec"
	"millrace/codec/ascii"
)

// Client writes requests and reads responses. It implements [codec.Client] for one stream at a time, without
// pipelining. The zero value is not usable: see NewClient. Stream arguments are not looked at.
type Client struct {
	reader
	writer
	informational uint16 // 1xx responses so far
	method        codec.Method
	upgrade       bool // the request asks for an upgrade
	closing       bool // SetClose
}

// NewClient returns a Client for a new connection. l is shared and not changed.
func NewClient(l *codec.Limits) Client {
	return Client{reader: reader{limits: l, state: stateIdle}}
}

// Reset makes c as good as new.
func (c *Client) Reset(l *codec.Limits) { *c = NewClient(l) }

// Feed implements [codec.Client]. Bytes that come when no response is awaited are an error: whoever
// sent them, they must not become the response to the next request.
func (c *Client) Feed(b []byte, ev *codec.Event) (n int, err *codec.Error) {
	clearEvent(ev)
	if len(b) == 0 {
		return 0, nil
	}
	var why codec.Reason
	switch c.state {
	case stateStart, stateFields:
		n, why = c.feedHead(b, ev)
	case stateDone, stateIdle:
		why = codec.ReasonUnsolicited
	case stateFailed:
		why = c.failed
	default:
		n, why = c.body(b, ev, true)
	}
	if why != codec.ReasonNone {
		if ev.Kind = codec.EventNone; ev.Response != nil && c.state <= stateFields {
			ev.Response.Reset() // nobody is to look at half a head
		}
		c.fail(why)
		return n, &responseErrors[why]
	}
	return n, nil
}

// feedHead handles the bytes of a head.
func (c *Client) feedHead(b []byte, ev *codec.Event) (n int, why codec.Reason) {
	h := ev.Response
	whole := c.state == stateStart && c.scanned == 0
	end, why := c.parseHead(b, h)
	if end == 0 || why != codec.ReasonNone {
		h.Reset()
		return 0, why
	}
	if !whole { // the lines that came earlier are known to be good, but not in h
		c.begin()
		end, _ = c.parseHead(b, h)
	}
	h.SetBuffer(b[:end])
	if h.ContentLength, h.Chunked, why = framing(&h.Fields, h.Version); why != codec.ReasonNone {
		return 0, why
	}
	if h.Status < 200 {
		why = c.onInformational(h)
	} else {
		ev.End = c.onFinal(h)
	}
	if why == codec.ReasonNone {
		ev.Kind = codec.EventHead
	}
	return end, why
}

// parseHead parses the lines of b that are complete and were not parsed before. It returns the length of
// the head, 0 if there is no end to it yet.
func (c *Client) parseHead(b []byte, h *codec.ResponseHead) (end int, why codec.Reason) {
	if c.state == stateStart {
		h.Reset()
		if why = c.statusLine(b, h); why != codec.ReasonNone || c.state == stateStart {
			return 0, why
		}
	}
	return c.fields(b, &h.Fields, &sectionLimits{
		bytes: c.limits.HeadBytes, whyBytes: codec.ReasonHeadTooLarge,
		count: c.limits.FieldCount, whyCount: codec.ReasonTooManyFields, response: true,
	})
}

// statusLine parses
//
//	status-line = HTTP-version SP status-code SP [ reason-phrase ]
//
// at b[0], if it is complete: the reader is in stateFields then. RFC 9112 section 4.
func (c *Client) statusLine(b []byte, h *codec.ResponseHead) codec.Reason {
	if b[0] != 'H' { // no need to wait for the line of whatever this is
		return codec.ReasonStatusLine
	}
	lf, ok := c.nextLine(b, c.limits.HeadBytes)
	if lf < 0 {
		if !ok {
			return codec.ReasonHeadTooLarge
		}
		return codec.ReasonNone
	}
	line := b[:lf]
	if line[lf-1] != '\r' { // b[0] is no LF, so lf > 0
		return codec.ReasonLineEnd
	}
	line = line[:lf-1]
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' {
		return codec.ReasonStatusLine
	}
	version, _ := parseVersion(line[:8])
	if version == 0 {
		return codec.ReasonStatusLine
	}
	status, ok := ascii.ParseInt(line[9:12])
	// Deviation: RFC 9110 section 15 calls codes from 600 on invalid. They are in use, and their class
	// changes nothing about the framing, so they are passed on.
	if !ok || status < 100 {
		return codec.ReasonStatusLine
	}
	if why := setReason(h, line[12:]); why != codec.ReasonNone {
		return why
	}
	h.Version, h.Status = version, int(status)
	c.state, c.lines = stateFields, 0
	c.line, c.scanned = int32(lf+1), int32(lf+1)
	return codec.ReasonNone
}

// setReason takes what follows the status code.
//
// Deviation: the space in front of an absent reason is often left out.
func setReason(h *codec.ResponseHead, reason []byte) codec.Reason {
	switch {
	case bytes.IndexByte(reason, '\r') >= 0:
		return codec.ReasonLineEnd
	case len(reason) > 0 && reason[0] != ' ', !ascii.IsValue(reason):
		return codec.ReasonStatusLine
	case len(reason) > 1:
		h.SetReasonSpan(codec.Span{Off: uint32(len("HTTP/1.1 200 ")), Len: uint32(len(reason) - 1)})
	}
	return codec.ReasonNone
}

// onInformational handles a 1xx head: another head follows, or a tunnel.
func (c *Client) onInformational(h *codec.ResponseHead) codec.Reason {
	h.ContentLength, h.Chunked, h.KeepAlive = -1, false, true // a 1xx has no body, whatever it says
	if h.Status == 101 {
		// "A server MUST NOT switch to a protocol that was not indicated by the client"
		// RFC 9110 section 7.8
		if !c.upgrade || !c.done || h.Version < codec.Version11 || !wantsUpgrade(&h.Fields) {
			return codec.ReasonSwitching
		}
		c.enterTunnel()
		return codec.ReasonNone
	}
	if c.informational++; int(c.informational) > c.limits.InformationalCount {
		return codec.ReasonInformational
	}
	c.begin()
	return codec.ReasonNone
}

// onFinal handles a final head and enters the body: RFC 9112 section 6.3, in its order.
func (c *Client) onFinal(h *codec.ResponseHead) (end bool) {
	h.KeepAlive = parseConnection(&h.Fields).persists(h.Version)
	switch {
	case c.method == codec.MethodHEAD || h.Status == 304:
		c.enterBody(0, false)
		end = true
	case h.Status == 204:
		h.ContentLength, h.Chunked = -1, false
		c.enterBody(0, false)
		end = true
	case c.method == codec.MethodCONNECT && h.Status < 300:
		// "any 2xx (Successful) response to a CONNECT request implies that the connection will become a tunnel
		// ... A client MUST ignore any Content-Length or Transfer-Encoding header fields"
		// RFC 9110 section 9.3.6
		h.ContentLength, h.Chunked = -1, false
		c.enterTunnel()
	case h.Chunked || h.ContentLength >= 0:
		end = c.enterBody(h.ContentLength, h.Chunked)
	default:
		c.state, h.CloseDelimited, h.KeepAlive = stateUntilClose, true, false
	}
	c.keep = c.keep && h.KeepAlive
	return end
}

// enterTunnel makes both directions opaque.
func (c *Client) enterTunnel() {
	c.state = stateTunnel
	c.start(modeTunnel, -1, false)
	c.keep = false
}

// EOF implements [codec.Client].
func (c *Client) EOF(ev *codec.Event) *codec.Error {
	clearEvent(ev)
	why := c.eof(ev)
	if c.state == stateStart { // a response is awaited
		why = codec.ReasonHeadIncomplete
	}
	if why != codec.ReasonNone {
		c.fail(why)
		return &responseErrors[why]
	}
	c.keep = false
	return nil
}

// Skip implements [codec.Client].
func (c *Client) Skip(_ codec.StreamID, n int64) { c.skip(n) }

// Consume implements [codec.Client]. HTTP/1 has no flow control of its own.
func (c *Client) Consume(codec.StreamID, int) {}

// Writable implements [codec.Client].
func (c *Client) Writable(codec.StreamID) int { return math.MaxInt }

// SetClose makes the next request, if its head is not written yet, say that it is the last; no other follows it.
func (c *Client) SetClose() { c.closing = true }

// Started reports whether a byte of the response has come. Until then the request may not
// have been looked at.
func (c *Client) Started() bool {
	return c.state != stateIdle && (c.state != stateStart || c.scanned > 0 || c.informational > 0)
}

// RequestDone reports whether the request is complete.
func (c *Client) RequestDone() bool { return c.done }

// ResponseDone reports whether the response is complete.
func (c *Client) ResponseDone() bool { return c.state == stateDone }

// Reusable implements [codec.Client]. A new connection is reusable.
func (c *Client) Reusable() bool { return c.free() && !c.closing }

// free reports whether a request can be written: after SetClose one more can, which is the last.
func (c *Client) free() bool {
	return c.state == stateIdle || c.state == stateDone && c.done && c.keep
}

// Tunnel reports whether the connection has become a tunnel: after a 101 to an upgrade
// request, or a 2xx to CONNECT, what is fed comes back as opaque data.
func (c *Client) Tunnel() bool { return c.mode == modeTunnel }
