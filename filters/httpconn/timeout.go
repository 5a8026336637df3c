package httpconn

import (
	"time"

	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
)

// armIdle sets the deadline to the earliest of the stream's. Moving it later
// costs one store, so it is set once and checked when it has passed.
func (s *stream) armIdle() {
	at := s.deadlineAfter(s.active, s.idleTimeout())
	at = earlier(at, s.deadlineAfter(s.Info.Start, s.lasts))
	if !s.Received(filters.Request) && !s.tunnel {
		at = earlier(at, s.deadlineAfter(s.Info.Start, s.m.cfg.RequestTimeout))
	}
	s.wire.setDeadline(s, at)
}

// deadlineAfter returns from + d, or 0 if there is no such deadline.
func (s *stream) deadlineAfter(from int64, d time.Duration) int64 {
	if d == 0 {
		return 0
	}
	return from + int64(d)
}

// earlier returns the earlier of two deadlines, of which 0 is none.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// idleTimeout returns how long nothing may move on the stream.
func (s *stream) idleTimeout() time.Duration {
	if s.Route != nil && s.Route.Action == route.ActionForward && s.Route.IdleTimeout != route.IdleTimeoutUnset {
		return s.Route.IdleTimeout
	}
	return s.m.cfg.StreamIdleTimeout
}

// onTimeout is called when the deadline has passed with the stream under way.
func (s *stream) onTimeout() {
	s.endOverdue()
	if s.wire != nil && s.replied && !s.outgoing { // a filter holds the reply, but not for ever
		s.wire.setDeadline(s, s.m.loop.Now()+int64(s.quietMax()))
	}
}

// quietMax bounds how long nobody has to answer for a stream that has its answer, also where stream_idle_timeout is off.
func (s *stream) quietMax() time.Duration {
	if idle := s.m.cfg.StreamIdleTimeout; idle > 0 {
		return idle
	}
	return discardIdleMax
}

// endOverdue ends the stream for the first of its limits that is over, or arms the next one.
func (s *stream) endOverdue() {
	cfg, st := s.m.cfg, s.m.stats
	switch {
	case s.discarding:
		st.RqIdleTimeout.Inc()
		s.closing = true
		s.wire.release(s)
	case !s.headSeen:
		s.headSeen, s.refused = true, true
		st.RqTotal.Inc()
		st.RqHeaderTimeout.Inc()
		s.SendLocalReply(filters.LocalReply{
			Status: 408, Body: "request header timeout", Details: "request_header_timeout", Close: true,
		})
	case s.overdue(s.Info.Start, s.lasts):
		st.RqMaxDuration.Inc()
		s.timeOut("downstream duration timeout", "max_duration_timeout", accesslog.FlagDurationTimeout)
	case !s.Received(filters.Request) && !s.tunnel && s.overdue(s.Info.Start, cfg.RequestTimeout):
		st.RqTimeout.Inc()
		s.timeOut("request timeout", "request_overall_timeout", 0)
	case s.overdue(s.active, s.idleTimeout()):
		st.RqIdleTimeout.Inc()
		s.timeOut("stream timeout", "stream_idle_timeout", accesslog.FlagStreamIdleTimeout)
	default:
		s.armIdle()
	}
}

// overdue reports whether more than d has passed since from.
func (s *stream) overdue(from int64, d time.Duration) bool {
	return d > 0 && s.m.loop.Now()-from >= int64(d)
}

// timeOut answers 408 while the request is incomplete, else 504; a response that has begun is
// broken off, and a tunnel just ends.
func (s *stream) timeOut(body, details string, flags accesslog.Flags) {
	s.Info.Flags |= flags
	if s.tunnel {
		s.Info.Details = details
		s.finish()
		return
	}
	if s.replied { // a filter holds the reply
		s.abort(details)
		return
	}
	status := 504
	if !s.Received(filters.Request) {
		status = 408
	}
	s.SendLocalReply(filters.LocalReply{Status: status, Body: body, Details: details, Flags: flags, Close: true})
}
