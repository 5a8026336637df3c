// Package clienthello reads the first message of a TLS client, without taking part in the handshake: whom the client
// wants to reach (SNI), what it wants to speak (ALPN), and how it can be told from other clients (JA3, JA4).
//
//	bytes ──Parse──▶ Hello
//
// It looks at TLS 1.0 to 1.3 over TCP, RFC 8446 section 4.1.2 and RFC 5246 section 7.4.1.2. A message may be
// spread over several records. SSL 2.0, and SSL 3.0 in its form, are not TLS here. Whether a hello can be answered is the
// affair of whoever answers it; but what two readers could understand differently (a name twice, an extension
// twice, lengths that do not add up) is refused.
//
// Parse starts anew with each call. Until the message is complete it only walks the headers of records, at most
// [RecordsMax] of them, so a client that sends byte by byte costs little more than its bytes.
//
// # Ownership
//
// A [Hello] owns its fields. What its fingerprints are made of are views of the bytes it was read from.
//
// # Limits
//
// [HelloBytesMax] bounds the message with its record headers, [RecordsMax] the records, [ProtocolsMax] the
// protocols of ALPN.
package clienthello
