// Package l4 is what happens to a connection before, or instead of, HTTP: listener filters, the choice of a filter
// chain, network filters, and the proxies of plain bytes, tcp_proxy and udp_proxy. One file each, and one table,
// [Builtin].
//
//	engine.Listener ─▶ Listener ─▶ listener filters ─▶ ChainTable ─▶ Chain: network filters ─▶ terminal filter
//
// The connection manager for HTTP, another terminal filter, is filters/httpconn.
//
// # Ownership
//
// What Build makes belongs to one loop and serves all connections of its chain there. What Share makes is used by
// all loops: it is immutable, or atomic.
package l4
