// Command bench measures millrace from outside, beside nginx, HAProxy and a floor relay, under the same work.
//
//	  load core                 proxy core
//	wrk ──────────────────────▶ one proxy ──┐
//	origin ◀────────────────────────────────┘
//
// What is judged is the CPU time the proxy's process spends on a request, the latency at a fixed rate below
// saturation, and the memory of an idle connection: figures that other work on the machine disturbs little. Peers run
// in turn, in short alternating runs, and are compared round by round.
//
//	go run ./bench                            every scenario; the report goes to stdout
//	go run ./bench -quick -run http1-128      a first look
//	go run ./bench -list                      what there is
//
// Scenarios are one table, in scenario.go; a new one is a new row. The packages below do the parts: compare (peers and
// their configs), load (load tools), proc (processes and their accounts), report (ratios, tables, charts). The floor
// (floor/floor.c), the origin of HTTP (backend/origin.c), and origin and load of plain TCP and UDP (bytes/bytes.c) are C,
// compiled when the benchmark starts, so that none can be said to carry a runtime.
package main
