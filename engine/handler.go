package engine

// A Handler is what a [Conn] calls: the owner of the bytes that pass through it.
//
// All methods are called on the conn's loop. The loop never calls a handler from
// inside a method of its own Conn: a write that fails, a queue that drains or a
// resumed read is reported later in the same turn, so a handler never has to
// expect to be re-entered.
type Handler interface {
	// OnConnect is called once for a dialled conn, when the peer has accepted.
	OnConnect()

	// OnData takes the bytes not yet consumed: what the last call left, followed by
	// what was just read. It returns how many bytes it is done with; the rest is kept
	// and shown again with the next bytes, or after ResumeRead. b is only valid during the call,
	// and what was given to Conn.WriteRef until the end of the event.
	OnData(b []byte) (consumed int)

	// OnEOF tells that the peer has finished sending. Bytes before it have been offered
	// to OnData first. The other direction stays open until the handler closes it.
	OnEOF()

	// OnWriteLow tells that the write queue, which had reached the high watermark
	// (Conn.Full), has drained to the low one.
	OnWriteLow()

	// OnSplice reports n bytes moved by Splice since the last call. done is set when the
	// span asked for has moved whole, or the source ended (eof). After eof, OnEOF follows. n may be 0
	// when the other conn begins to hold bytes up, or ceases to: see Conn.SpliceBuffered.
	OnSplice(n int64, done, eof bool)

	// OnTimeout is called when the deadline set by SetDeadline has passed. The deadline is then clear.
	OnTimeout()

	// OnClose is the last call: the fd is closed. It is not called after the handler's own Close
	// or CloseLinger.
	OnClose(why CloseReason)
}

// An Acceptor decides who handles a connection that a [Listener] accepted.
type Acceptor interface {
	// OnAccept returns the handler of c, or nil to close it at once. It runs before any byte is read.
	OnAccept(c *Conn) Handler
}

// A Task is given to [Loop.Later].
type Task interface {
	// RunTask runs once, at the end of the turn, before what was written leaves.
	RunTask()
}

// CloseReason tells a handler why its connection is gone.
type CloseReason uint8

const (
	CloseNone          CloseReason = iota
	CloseConnectFailed             // connect was refused or unreachable; Conn.Errno has the error
	CloseReset                     // ECONNRESET, EPIPE and their kin, reading or writing
	CloseLoopEnd                   // the loop ends
	ClosePanic                     // the handler panicked; the loop closed its conn
	CloseNoMemory                  // no block was left to keep unconsumed bytes in, or its write queue was too long
	CloseTransport                 // the transport (TLS) failed; it knows why
)

// String returns the reason in lower snake case.
func (r CloseReason) String() string {
	names := [...]string{"none", "connect_failed", "reset", "loop_end", "panic", "no_memory", "transport"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}
