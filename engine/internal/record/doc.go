// Package record is the record layer of an established TLS connection: TLS 1.3 with its three suites, and TLS
// 1.2 with AEAD suites. It takes over when the handshake is done, from the secrets that crypto/tls writes to a
// key log.
//
// It does no handshake, knows no sockets, clocks or goroutines, and keeps no buffers: bytes in, bytes out.
// engine/transport has the buffers and the wire; crypto/tls makes the handshake, and drives what this package
// has no keys for (CBC suites, TLS 1.1).
//
//	            Conn.Read(dst, src)                            Conn.SealData(buf, n)
//	ciphertext ───────▶ in Half ──▶ data       data ──▶ out Half ───────▶ ciphertext
//	                        │                                ▲
//	                        └── alerts, KeyUpdate ──▶ Conn.AppendReplies
//
// # Ownership
//
// A [Conn] belongs to who uses it; nothing is shared. Nothing is allocated per record; a KeyUpdate makes a new
// key, which allocates.
//
// # Limits
//
// A record has at most 2^14 bytes of data. [UselessMax] records in a row may carry none. A handshake message
// has at most 64 KiB. A key seals [RekeyRecords] records, then TLS 1.3 takes the next; TLS 1.2 has no next, and
// ends at [SealedBytesMax].
package record
