// Package proxyproto reads and writes the header of the PROXY protocol, versions 1 and 2: what a proxy in front says
// of the connection that it relays.
//
// It follows proxy-protocol.txt of HAProxy, 2.2 and later, which is quoted as "the specification". What the
// addresses are used for, and whether a header has to be there, is the affair of filters/l4.
//
//	bytes ──Parse──▶ Header ──AppendV1, AppendV2──▶ bytes
//
// [Parse] is strict where a lenient reader and a strict one could disagree about where the header ends or whom it names.
// It starts anew with each call and keeps nothing: a call with too few bytes looks at a few of them only, so that
// a peer that sends byte by byte costs no more than its bytes.
//
// # Ownership
//
// TLVs and unix paths of a parsed [Header] are views of the bytes given to Parse.
//
// # Limits
//
// A header of version 1 has at most [V1BytesMax] bytes, by the specification. For version 2, where it could
// have 65,551, Parse takes a limit; [HeaderBytesMax] is the one to use without a reason for another.
package proxyproto
