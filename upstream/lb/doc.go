// Package lb holds the balancing policies: one file for each, one table.
//
// A policy picks among the hosts it is shown. Which of them are healthy is decided by whoever
// builds the [upstream.HostSet]; connections to the picked host are upstream/pool's.
//
// # Ownership
//
// A policy belongs to one cluster on one loop and is called on it only. All it sees of
// other loops are the active requests of a host. Loops start at different places, so that they
// do not herd onto the same host.
//
// # Limits
//
// A pick costs constant time, or the logarithm of the number of hosts when weights differ, and no allocation.
// A new version of the host set costs a pass over it. What is large, rings and Maglev tables, the control goroutine makes once for
// all loops: see [Tables].
package lb
