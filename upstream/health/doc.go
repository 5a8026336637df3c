// Package health asks hosts whether they are well ([Scheduler]), judges them by what requests bring ([Outliers]), and keeps
// their flags accordingly.
//
// It balances nothing: it sets the flags of upstream.Host, and calls
// back when balancing has to hear of it.
//
//	Set, SetHosts ─▶ Scheduler ── one heap by due time ──▶ goroutine: probe.check ──▶ machine ──▶ flags of the host
//	                     ▲                                  http1, http2, grpc, tcp, redis          └─▶ Changed, event log
//	                     └──────────────── next interval ◀─────────────┘
//
// # Ownership
//
// A [Scheduler] is for all clusters and may be called from any goroutine; one lock guards it. A probe belongs to the
// check of its host that is under way; between checks it keeps its connection. Loops do not call it, but for
// [Scheduler.Fail], which does not wait.
//
// # Limits
//
// activeMax checks are under way at once; what is due beyond that waits, and is counted if it is late. A check reads a
// bounded part of what a host sends. The event log drops lines rather than waiting for a file.
package health
