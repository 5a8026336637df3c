// Package httpconn is the HTTP connection manager: it turns the bytes of a downstream connection
// into streams and walks each stream through its phases. Start reading here.
//
//	engine.Conn ──OnData──▶ conn ──Feed──▶ codec ──events──▶ stream.step
//	                                                          route, request filters,
//	                                                          pick host, forward (filters/router)
//	engine.Conn ◀──Stage──── conn ◀──AppendX── codec ◀─────── response filters
//
// # Who does what
//
//   - [Manager] is one filter chain of one listener on one loop: its options, its filters, its
//     streams and its connections.
//   - conn is one downstream connection and holds nothing but its codec while it is idle.
//   - stream is one request; stream.step is the life of a request.
//   - headers.go says what is added to and taken from heads on the way.
//
// # Limits
//
// Heads are bounded by max_request_headers_kb and max_headers_count, what a filter keeps of a
// body by the buffer limit, time by request_headers_timeout, request_timeout, stream_idle_timeout and idle_timeout.
// Bytes of a request that cannot go on yet stay in the kernel.
package httpconn
