// Package server makes a running proxy of the other packages. It is the only one that assembles.
//
//	file ─▶ config.Load ─▶ build: control.Snapshot ─▶ control.Compare ─▶ apply: worker.apply on each loop
//	                                   ▲
//	SIGHUP, admin ─▶ control.Goroutine ┘
//
// On each loop a listener is a serving: the gate that admits connections, what stands before the choice of a filter
// chain (filters/l4), and the chains, each with its terminal filter. The connection manager for HTTP is one of these. A
// reload replaces chains one by one; those that are replaced drain, and what they have open is closed when the last
// loop has let go of them.
//
// # Ownership
//
// The [Server]'s fields are written by the control goroutine. A worker is a loop and what it has of
// the configuration; it is touched on its loop only, by functions posted to it.
package server
