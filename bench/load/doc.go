// Package load makes the load of a benchmark and reads what the load tools report.
//
// wrk and h2load saturate a proxy (closed loop: the next request waits for the last answer), [Bytes]
// does so with plain TCP and datagrams. [Open] sends at a fixed
// rate whatever the proxy does, and measures each request from the time it should have left, so that a stall counts
// for every request it delayed (no coordinated omission). [GRPC] makes unary calls one after the other, in turn through a
// proxy and beside it. [HoldIdle] opens connections, uses each once and keeps them.
//
// Open and HoldIdle run in a process of their own, pinned to the load's core: the benchmark starts its own binary
// again. Open is one thread that never sleeps, is its own origin, allocates nothing per request, and runs with garbage
// collection off: what it measures is the proxy and the kernel, not two processes that wait for one core. A
// real-time class would not help: it starves the kernel's network thread. When its core was not there it says so
// (LateP99).
package load
