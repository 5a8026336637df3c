// Package accesslog turns the end of a stream into one line of a log, off the data path.
//
// It compiles formats with Envoy's operators, decides which streams are worth a line, and
// writes. It does not decide when a stream ends, and fills in nothing itself: that is
// filters/httpconn and filters/router, by way of [Info] and [Record].
//
//	stream ──Info──▶ Record ──▶ Logger: filter, Format.Append ──▶ Ring (one for each loop)
//	                                                                │
//	file, stdout, stderr ◀── one write for many lines ── Writer ◀───┘
//
// # Ownership
//
// A [Logger] and its [Ring] belong to a loop; formatting and [Ring.Put] allocate nothing and
// never wait. A [Writer] is one goroutine for one file; it is the only reader of the file's
// rings and the only place that can block.
//
// # Limits
//
// Nothing here grows with traffic. A ring that is full drops the line and counts it; a
// line longer than [LineBytesMax] is dropped likewise. What an operator takes from a peer is
// escaped, so that a line stays one line and a JSON line stays JSON, whatever was sent.
package accesslog
