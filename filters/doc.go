// Package filters is the vocabulary of the request path: what a filter sees of a
// request, what it may answer, and in which order filters run.
//
// It knows no protocol and opens no connection: filters/httpconn turns connections into
// streams and walks their phases, filters/router is the [Terminal] that talks to upstream.
//
//	downstream ──▶ httpconn ──▶ Chain: request filters, forward ──▶ Terminal ──▶ upstream
//	downstream ◀── httpconn ◀── Chain: response filters, backward ◀── Terminal ◀── upstream
//
// # Ownership
//
// A filter object belongs to one loop and serves all streams of its chain there, so it needs
// no lock. What a filter has to remember of one stream it keeps in the stream's
// [Slot]. A [Stream] is reused after it ended; a callback that may come late keeps the stream's
// [Token] and resumes with it, which does nothing when the stream is another one by then.
//
// # Two halves
//
// Request and response are independent halves: a response may begin, and end, before the
// request has. Each half can be held by a filter ([Pause], [Buffer]) without stopping the other.
//
// A filter that says so for a stream ([Stream.Rewrite]) puts another body in the place of one, and trailers with it:
// what it lets go of passes its rewriter ([RequestRewriter], [ResponseRewriter]) on the way to those behind it.
package filters
