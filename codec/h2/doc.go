// Package h2 is HTTP/2, RFC 9113, with extended CONNECT (RFC 8441) and priorities (RFC 9218): bytes to events and
// back, for either side of a connection.
//
//	bytes ──Feed──▶ frames ──▶ header blocks, data, windows ──▶ Event
//	bytes ◀── AppendX, AppendControl ◀── heads, data, trailers; what the protocol itself has to say
//
// Besides what it is asked to append, a connection has frames of its own to send: SETTINGS, acknowledgements, window
// updates, resets. They wait until the caller takes them with AppendControl, which it does after every round of
// Feed, and before whatever it appends otherwise.
//
// # Streams
//
//	idle ── HEADERS ──▶ open ── END_STREAM of one side ──▶ half closed ── of the other ──▶ closed
//	                     └───────── RST_STREAM, either side ─────────────────────────────────▲
//
// A stream that is closed is forgotten: its slot is free for the next one, and the caller must not use its id any
// more. That happens in Feed (EventReset, or the second END_STREAM), in the AppendX that ends the second side, and in
// Reset.
//
// # Ownership
//
// Streams and windows belong to the connection; decoded heads lie in the [Scratch] of the loop until the next
// Feed. There is no clock: SetNow tells the time.
//
// # Limits
//
// [Options] names them. A peer that breaks the protocol for one stream loses that stream, with the error code of the
// RFC; one that breaks it for the connection, or exceeds a limit on frames, loses the connection. Either is reported as a
// codec.Error after the answer to it is ready in AppendControl.
package h2
