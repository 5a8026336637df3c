// Package transport holds the TLS of connections: engine.Transport for those that are accepted and those that are dialled.
//
// It does not know where certificates come from and what a peer has to show: see engine/certs. What a record
// looks like once keys are agreed is engine/internal/record's.
//
//	                 loop                                  goroutine of Handshakes
//	bytes ─▶ whole ClientHello? ──────────── start ──────▶ tls.Conn.Handshake
//	         flush to the wire  ◀─────────── Post ──────── first flight, then it waits without a token
//	         client's Finished  ──────────── ready ──────▶ goes on; TLS 1.3: compared here, without a goroutine
//	         Session, Established ◀───────── Post ──────── done
//	records ─▶ own record layer, or the same tls.Conn, on the loop only
//
// # Handshakes
//
// crypto/tls computes on a goroutine, because a signature takes as long as a hundred requests. [Handshakes] hands out a few
// tokens for computing; a handshake that waits for its peer has none. Nothing is started before a whole
// ClientHello is there: until then a client holds a block of the arena, and no goroutine.
//
// # Established
//
// A server's connection leaves tls.Conn behind and goes on with the record layer of this project, which holds less and allocates
// nothing. Where that lacks the suite, and for all dialled connections (crypto/tls alone can store their sessions), the
// tls.Conn stays and is driven by the loop.
//
// # Ends
//
// close_notify is honoured both ways. A peer that just closes has truncated its data: that is [ErrTruncated], not an end.
//
// # Ownership
//
// An [Acceptor], a [Dialer] and their transports belong to one loop. [Handshakes] belongs to the process.
//
// # Limits
//
// [Limits] bounds the handshakes; helloBytesMax what a client may send before one begins, inputBytesMax what it may
// send ahead in one; the deadline is certs' handshake_timeout.
package transport
