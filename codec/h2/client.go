package h2

import "millrace/codec"

// Client sends requests and reads responses. It implements [codec.Client] for many streams. See NewClient.
type Client struct{ conn }

// NewClient returns a Client for a new connection. The preface and its SETTINGS wait in AppendControl.
func NewClient(opt *Options, scratch *Scratch) *Client {
	c := &Client{newConn(opt, scratch, true)}
	c.room()
	c.out = append(c.out, Preface...)
	c.sendSettings()
	return c
}

// Feed implements [codec.Client]. Errors are as for [Server.Feed].
func (c *Client) Feed(b []byte, ev *codec.Event) (n int, err *codec.Error) { return c.feed(b, ev) }

// EOF implements [codec.Client].
func (c *Client) EOF(ev *codec.Event) *codec.Error { return c.eof(ev) }

// Reusable implements [codec.Client]: it reports whether Open would give a stream.
func (c *Client) Reusable() bool {
	return c.phase != phaseFailed && !c.peerAway && c.lastLocal < windowMax-1 &&
		c.streams.count < int(min(c.peer.streams, c.opt.ConcurrentStreams))
}

// Away reports whether no stream can be opened any more: the peer sent GOAWAY, or the ids are used up.
func (c *Client) Away() bool {
	return c.phase == phaseFailed || c.peerAway || c.lastLocal >= windowMax-1
}

// Settled reports whether the server's SETTINGS have come: StreamsMax and ConnectProtocol are what it says.
func (c *Client) Settled() bool { return c.peer.known }

// StreamsMax is how many streams may be open at once.
func (c *Client) StreamsMax() int { return int(min(c.peer.streams, c.opt.ConcurrentStreams)) }

// ConnectProtocol reports whether the server takes extended CONNECT.
func (c *Client) ConnectProtocol() bool { return c.peer.connectProtocol }

// Open gives the id and slot for the next request, for which AppendRequestHead must follow.
//
// Precondition: Reusable.
func (c *Client) Open() (id codec.StreamID, slot uint32) {
	next := c.lastLocal + 2
	if c.lastLocal == 0 {
		next = 1
	}
	c.lastLocal = next
	s, slot := c.streams.open(next)
	s.sendWindow, s.recvWindow = c.peer.initialWindow, int32(c.opt.StreamWindow)
	return codec.StreamID(next), slot
}

// onResponseBlock handles the header block of a response, or of its trailers.
func (c *conn) onResponseBlock(id uint32, block []byte, ev *codec.Event) *codec.Error {
	slot, open := c.streams.find(id)
	if !open {
		if err := c.decode(block, &section{}); err != nil {
			return err
		}
		if c.isLate(id) {
			return nil
		}
		return &errClosedConn
	}
	if c.streams.slots[slot].state&recvHead != 0 {
		return c.onTrailers(id, slot, block, ev)
	}
	ev.Response.Reset()
	x := section{fields: &ev.Response.Fields}
	if err := c.decode(block, &x); err != nil {
		return err
	}
	s := &c.streams.slots[slot]
	if x.err == nil {
		x.err = x.finishResponse(ev.Response, s, c.blockEnds, c.opt.Limits)
	}
	if x.err != nil {
		ev.Response.Reset()
		return c.resetStream(id, x.err, ev)
	}
	ev.Kind, ev.Stream, ev.Slot, ev.End = codec.EventHead, codec.StreamID(id), slot, c.blockEnds
	if c.blockEnds {
		c.ended(s)
	}
	return nil
}

// finishResponse applies what holds for the head of a response as a whole, and completes h.
func (x *section) finishResponse(h *codec.ResponseHead, s *stream, ends bool, l *codec.Limits) *codec.Error {
	// "a response ... MUST include the ":status" pseudo-header field; otherwise malformed. ... HTTP/2 does not support the
	// 101 (Switching Protocols) informational status code."
	// RFC 9113 sections 8.3.2, 8.6
	if x.pseudo&pseudoStatus == 0 || x.status == 101 {
		return &errPseudo
	}
	h.SetBuffer(x.dst)
	h.Status, h.Version, h.KeepAlive, h.ContentLength = x.status, codec.Version20, true, x.length
	if x.status < 200 {
		// "a HEADERS frame with the END_STREAM flag set that carries an informational status code is malformed." RFC 9113 section 8.1
		if s.informs++; ends || int(s.informs) > l.InformationalCount {
			return &errInformational
		}
		return nil
	}
	s.state |= recvHead
	switch {
	case s.state&connectMethod != 0 && x.status < 300:
		s.bodyLeft = bodyTunnel
	case s.state&headMethod != 0, x.status == 204, x.status == 304:
		s.bodyLeft = 0 // whatever Content-Length says
	case x.length < 0:
	case ends && x.length > 0:
		return &errBodyLength
	default:
		s.bodyLeft = x.length
	}
	h.Chunked = !ends && x.length < 0
	return nil
}
