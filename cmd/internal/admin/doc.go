// Package admin is the admin port: an HTTP server on goroutines of its own that shows what
// the proxy does and lets an operator steer it. Endpoints and formats are Envoy's.
//
//	guard (Host, Origin) ── table of endpoints ── handler ── Deps ── the rest of the process
//
// It knows nothing of loops, clusters or config: [Deps] is a struct of narrow functions which
// cmd/internal/server fills in, and an endpoint whose function is nil answers 501. It never
// touches what a loop owns; counters are read through the [millrace/engine/stats.Registry].
//
// # Who may call
//
// There is no password: who can reach the port may use it, so it is bound to loopback unless
// the config says otherwise. A web page in a browser on the same machine can reach loopback
// too, so on TCP two guards stand before every endpoint:
//
//   - The Host of a request must be an IP address, localhost, or a configured name (403). A page
//     that rebinds its own name to 127.0.0.1 still sends its own name.
//   - What changes something is POST only (405), and a POST that a browser marks as coming
//     from another site, by Sec-Fetch-Site or Origin, is refused (403). No CORS header is ever sent.
//
// # Limits
//
// Connections, header bytes, body bytes and every phase of a request are bounded by the
// constants in server.go; pages of any length are written in pieces of pageChunk bytes.
package admin
