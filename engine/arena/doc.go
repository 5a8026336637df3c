// Package arena leases fixed blocks of memory outside the Go heap.
//
// It does not know what the bytes mean, and it does not lock: a [Pool] belongs to one
// loop (see engine), as do the blocks leased from it.
//
//	Pool ── Lease(n) ──▶ Block ── Return ──▶ free list of its class
//	  │                                          │ more than keepFreeMax free bytes:
//	  └─ budget in bytes: Lease reports false    ▼ pages go back to the kernel
//
// Blocks come in classes of 4, 16, 64, 256 KiB and 1 MiB. They are cut from regions that
// are mapped on demand and never unmapped before [Pool.Close]. The collector neither
// scans nor moves them. Under the race detector, which cannot see such memory, regions
// lie on the Go heap.
//
// # Limits
//
// The budget bounds the bytes leased at once; a refusal is counted, never waited for.
// Idle pages are bounded too, so that a peak is not paid for ever.
//
// # Chains
//
// A [Chain] is a growing row of reference-counted blocks with any number of readers: a
// body kept for several attempts at sending it, each attempt with its own [Cursor].
package arena
