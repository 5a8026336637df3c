// Package load makes the load of a benchmark and reads what the load tools report.
//
// wrk and h2load saturate a proxy (closed loop: the next request waits for the last answer). [Open] sends at a fixed
// rate whatever the proxy does, and measures each request from the time it should have left, so that a stall counts
// for every request it delayed (no coordinated omission). [HoldIdle] opens connections, uses each once and keeps them.
//
// Open and HoldIdle run in a process of their own, pinned to the load's core: the benchmark starts its own binary
// again. One thread, no allocation per request, garbage collection off.
package load
