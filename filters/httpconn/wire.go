package httpconn

import (
	"time"

	"millrace/codec"
	"millrace/engine"
	"millrace/engine/transport"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// wire is what a stream asks of the connection it came on, whatever the version of HTTP. conn implements it for
// HTTP/1.1 and 1.0, conn2 for HTTP/2.
type wire interface {
	// socket returns the connection of the engine.
	socket() *engine.Conn
	// facts returns what is known of the connection beside, nil if there is nothing.
	facts() *filters.Connection
	// describe fills what is known of the connection into the record of a stream on it.
	describe(r *accesslog.Record)
	// onRequest notes that the head of a request is complete.
	onRequest(s *stream)
	// sendContinue sends a 100 of our own.
	sendContinue(s *stream)
	// sendInformational sends a 1xx head of the upstream.
	sendInformational(s *stream, h *codec.ResponseHead)
	// sendHead sends the head of the final response, stream.Response, and returns its length on the wire.
	sendHead(s *stream, end bool) (n int)
	// sendData sends a piece of the body, or keeps it and pauses the response. When the last has gone it
	// calls stream.endResponse.
	sendData(s *stream, b []byte, end bool)
	// sendTrailers sends the trailers likewise.
	sendTrailers(s *stream, t *codec.Fields)
	// closeWrite follows the end of the response of a tunnel whose request goes on.
	closeWrite()
	// room returns how many bytes of a body the peer takes now.
	room(s *stream) int
	// pauseRequest stops that more of the request is passed on; counted. resumeRequest takes one back.
	pauseRequest(s *stream)
	resumeRequest(s *stream)
	// setDeadline calls stream.onTimeout at that time of the loop's clock; with 0 never.
	setDeadline(s *stream, at int64)
	// finished takes a stream that is over off the connection.
	finished(s *stream)
	// release takes a stream off the connection whose rest was waited for after it was over.
	release(s *stream)
}

// link is what connections of all versions have in common.
type link struct {
	// Immutable.
	m   *Manager
	io  *engine.Conn
	net *filters.Connection // what listener and network filters know of it; nil if there are none
	id  uint64              // its number, told apart from those of other loops by the low byte

	// Owned by the loop.
	startMs   uint32 // when it was accepted, in ms of the loop's clock; wraps
	requests  uint32 // requests begun
	flushed   uint32 // bytes sent when the response was last seen to move, in an idle connection; wraps
	eof       bool   // the peer has ended its direction
	flushSeen bool   // the peer has taken the last response, or there is no telling
	piped     bool   // reading is paused because the next request is here already
	closed    bool   // the connection is ending; nothing more is read
	known     bool   // which version of HTTP the peer speaks
}

func (c *link) socket() *engine.Conn       { return c.io }
func (c *link) facts() *filters.Connection { return c.net }

// session returns the TLS session of the connection, nil without TLS.
func (c *link) session() *transport.Session {
	if c.net == nil {
		return nil
	}
	return c.net.Session
}

// version returns which versions of HTTP may be spoken. What TLS has agreed on is all that the peer will speak.
func (c *link) version() versions {
	s := c.session()
	if c.m.opt.version != versionAuto || s == nil {
		return c.m.opt.version
	}
	switch s.ALPN {
	case "h2":
		return versionHTTP2
	case "http/1.1", "http/1.0":
		return versionHTTP1
	}
	return versionAuto
}

// describe implements wire.
func (c *link) describe(r *accesslog.Record) {
	r.ConnID = c.id
	if c.net != nil {
		c.net.Describe(r)
		return
	}
	r.FilterChain = c.m.filterChain
	r.Remote, r.Local = c.io.RemoteAddr(), c.io.LocalAddr()
	r.DirectRemote, r.DirectLocal = r.Remote, r.Local
}

// withinLife shortens a wait, of which 0 is for ever, to what max_connection_duration leaves.
func (c *link) withinLife(d time.Duration) time.Duration {
	life := c.m.cfg.MaxConnectionDuration
	if life == 0 {
		return d
	}
	rest := life - c.age() + time.Millisecond // age is in whole milliseconds
	if d == 0 || rest < d {
		return rest
	}
	return d
}

// isOld reports whether max_connection_duration is over.
func (c *link) isOld() bool {
	d := c.m.cfg.MaxConnectionDuration
	return d > 0 && c.age() >= d
}

// age returns how long the connection lives. It wraps after 49 days.
func (c *link) age() time.Duration {
	return time.Duration(loopMs(c.m.loop)-c.startMs) * time.Millisecond
}

func loopMs(l *engine.Loop) uint32 { return uint32(l.Now() / int64(time.Millisecond)) }

// wait arms the connection's deadline d from now; 0 disarms it.
func (c *link) wait(d time.Duration) {
	if d == 0 {
		c.io.SetDeadline(0)
		return
	}
	c.io.SetDeadline(c.m.loop.Now() + int64(d))
}
