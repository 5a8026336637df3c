// Package h1 is HTTP/1.0 and HTTP/1.1 as RFC 9112 has them: [Server] reads requests
// and writes responses, [Client] writes requests and reads responses.
//
// It does not decide what a field means beyond framing and persistence: removing hop-by-hop
// fields, routing, forwarding headers and local replies are of filters/httpconn; timeouts and
// buffers are of the connection.
//
//	start ──▶ fields ──▶ length ─────────────────▶ done ──▶ start
//	             │         ▲ │                       │
//	             ├──▶ chunk size ─▶ ext ─▶ data ─┐   └──▶ tunnel (101, 2xx to CONNECT)
//	             │        ▲ └───▶ trailers ──────│──▶ done
//	             └──▶ until close (Client)  ◀────┘
//
// # Strictness
//
// Lines end in CRLF; a bare CR or LF is refused. Folded lines, whitespace in front of a colon of a
// request, two lengths, a length beside a transfer coding, a coding other than one final
// "chunked", a Host that is missing, repeated, malformed or at odds with the target: refused
// with a status of their own ([codec.Error]). What is sent is written from what was parsed, so an oddity
// that is let through reaches nobody in its odd form.
//
// Where RFC 9112 leaves a choice or is not followed to the letter, the code says so; the choices are:
//
//   - Two empty lines in front of a request are ignored; a third one is refused.
//   - A target may hold any VCHAR, see ascii.Target.
//   - A Host field may not hold a comma, so that it cannot be taken for two joined ones.
//   - Status codes 100 to 999 are read: those from 600 on are in use, and frame like any other.
//   - "HTTP/1.1 200" without the space in front of an empty reason is read, many origins send it.
//   - Whitespace in front of the colon of a response field is removed (RFC 9112 section 5.1); folded
//     lines in a response are refused (section 5.2 leaves the choice).
//   - Trailer fields that frame, route or authenticate are dropped, not refused (section 7.1.2 of
//     RFC 9112 leaves the choice).
//   - An upgrade to a version of HTTP is no upgrade, nor is one with several Upgrade fields; a 101 has to name
//     what it switches to.
//   - A chunk-size has at most 16 digits, leading zeros included.
//
// # Who writes which field
//
// AppendRequestHead and AppendResponseHead write the list in order and in its spelling, but for:
//
//   - Connection: never from the list. Written at the end when the version, an upgrade, TE or a
//     close needs it.
//   - Transfer-Encoding, Content-Length: from the framing chosen, at the place and in the
//     spelling of the first such entry, else at the end. Others are dropped.
//   - Host (requests): from Authority, at the place of the first such entry, else first.
//   - Upgrade: only where it is announced in Connection: a request with Upgrade set, a 101, a 426.
//   - All else, Keep-Alive and Proxy-Connection too, is written as it is in the list: the caller
//     removes what is not to be forwarded.
//
// # Memory
//
// A Server or Client holds no bytes. An incomplete line, head or trailer section stays with the caller,
// who feeds it again with more; the scan goes on where it stopped, and a head that came in pieces is read once
// more when it is complete: twice the cost of one that comes at once, however many pieces. The head lent meanwhile stays
// empty, and may be another one each time. All else is used up at once.
package h1
