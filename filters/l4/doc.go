// Package l4 is what happens to a connection before, or instead of, HTTP: listener filters, the choice of a filter
// chain, network filters, and the proxies of plain bytes, tcp_proxy and udp_proxy. One file each, and one table,
// [Builtin].
//
//	engine.Listener ─▶ Listener ─▶ listener filters ─▶ ChainTable ─▶ Chain: network filters ─▶ terminal filter
//
// The connection manager for HTTP, another terminal filter, is filters/httpconn.
//
// # The path of a connection
//
// [Listener.OnAccept] asks the gate, and where nobody has anything to say (no listener filters, one chain without
// a match, no network filters, no transport, no log) gives the connection to the terminal filter at once. Else
// it makes a filters.Connection, and conn.step is the path:
//
//  1. Listener filters look at the first bytes. What they do not consume stays in the engine's conn, and is shown again
//     until they know. listener_filters_timeout bounds the wait. The end of the input is shown once, with what is
//     kept; a filter that waits even then loses the connection.
//  2. With use_original_dst another listener may take over.
//  3. [ChainTable.Find] picks the filter chain, for good.
//  4. OnNewConnection of each network filter, each of which may pause or close.
//  5. The transport, if the chain has one or if there are read or write filters: its handshake begins with the bytes
//     that were looked at.
//  6. OnEstablished of each network filter.
//  7. The terminal filter has the connection, and is shown what is kept. When it ends, [ChainGate] tells the
//     network filters, the access log of the listener, and the gate.
//
// While a network filter pauses nothing is read beyond what has come with the bytes that listener filters needed and
// one read more. A connection that ends on the way, for whatever reason, goes through conn.end, one of the terminal
// filter through conn.over: so filters, log and gate hear of each end once.
//
// # Ownership
//
// What Build makes belongs to one loop and serves all connections of its chain there. What Share makes is used by
// all loops: it is immutable, or atomic.
//
// # Limits
//
// Listener filters look at no more than 64 KiB of a ClientHello, 16 KiB of a PROXY header and 8 KiB of a request
// line. A ChainTable has at most matchLeavesMax combinations of criteria.
package l4
