// Package hpack compresses and expands header lists, RFC 7541.
//
// It knows fields as two byte strings and nothing of what they mean: that is codec/h2.
//
//	Decoder.Next   one representation of a header block ─▶ name and value, appended to a buffer of the caller
//	Encoder.Append name and value ─▶ one representation, appended to a block
//
// # Ownership
//
// A Decoder and an Encoder each belong to one connection. They allocate their dynamic table when the first
// entry goes into it, so an idle connection that never got a request has none.
//
// # Limits
//
// The dynamic tables are bounded by the sizes given to NewDecoder and Encoder.SetMax; a string by the room the
// caller gives: see Decoder.Next.
package hpack
