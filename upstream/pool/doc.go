// Package pool keeps the connections from one loop to the hosts of its clusters: leased for
// an exchange, returned by themselves when the response is complete, drained when the config
// moves on.
//
// It does not choose hosts (a [upstream.Balancer] is given), retry, or know what a response
// means: that is filters/router. It speaks HTTP/1.1 through codec/h1 and HTTP/2 through codec/h2; who
// has an [Exchange] need not know which.
//
//	          Pick, Lease                     SendHead, SendData
//	router ───────────────▶ Cluster ─ Pool ─ conn ───────────────▶ host    HTTP/1.1: one exchange at a time
//	   ▲                              │ │ └─ mux ──── streams ────▶ host    HTTP/2: many
//	   │          pending Exchanges ──┘ └─ idle conns, last in first out
//	   └────────────── Owner ◀── Exchange ◀────┘ OnData, OnEOF, OnClose
//
// # Ownership
//
// Everything here belongs to one loop, but for the atomics of [upstream.Host] and
// [upstream.Budget]. A [Table] is made on its loop and only touched there; other loops
// reach it through Loop.Post, when one of them waits for a connection that this one can spare.
//
// # A life
//
// Lease gives a ready connection at once, or queues the exchange until one opens, or refuses
// it because a breaker is open. The owner sends the request and gets the response by callbacks.
// After the callback that says end, or [Owner.OnReset], or [Exchange.Cancel], the exchange is free again and may
// be leased anew, also from inside that callback.
//
// # Limits
//
// Connections, waiting requests and requests are bounded by the cluster's [upstream.Budget],
// the life of a connection by the cluster's config: [upstream.Config].
package pool
