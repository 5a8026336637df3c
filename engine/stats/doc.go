// Package stats holds the numbers a proxy shows about itself: counters, gauges and
// histograms with one writer (a loop) and many readers (admin pages, sinks).
//
//	loop 0: set{Counter, Gauge, Histogram} ──┐
//	loop 1: set{…}                         ──┼── Registry ── Each, EachFamily ── admin pages
//	control: set{…}, Func, Text            ──┘  sums by name
//
// The owner of a thing keeps a plain struct of values for each loop, tags its fields, and
// registers a pointer to it under a [Scope]. Counting never goes through the [Registry]:
// it is a store into the struct. Reading walks the registered structs and adds up what
// several loops hold under one name; histograms are merged.
//
//	type connStats struct {
//		CxTotal stats.Counter   `stat:"downstream_cx_total" help:"connections accepted"`
//		RqTime  stats.Histogram `stat:"downstream_rq_time" unit:"us" help:"first byte in to last byte out"`
//		Codes   stats.Codes     `stat:"downstream_rq_" help:"responses by status code"`
//	}
//	reg.Add(stats.HTTPScope("edge").OnLoop(i), &s)
//
// Tags: stat is the name after the scope; help says what is counted; unit:"us" on a histogram
// records microseconds and shows milliseconds; agg:"max" on a gauge shows the largest of the
// loops' values in place of their sum.
//
// Formats, filters and labels of a page belong to cmd/internal/admin.
//
// # Ownership
//
// A value is written by one goroutine. Add, Remove, Func, Text and ResetCounters are called by
// the control side and take a mutex for a short time; a reader copies the list under it and
// walks without it, so a long page never holds up a reload.
//
// # Limits
//
// A Histogram is 8 bytes until the first Record, then 8 bytes for each bucket of the range it
// has seen, at most 13.1 KB. The registry costs about 100 bytes for each set.
package stats
