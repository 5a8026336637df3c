// Package server makes a running proxy of the other packages. It is the only one that assembles.
//
//	file ─▶ config.Load ─▶ build: control.Snapshot ─▶ control.Compare ─▶ apply: worker.apply on each loop
//	                                   ▲
//	SIGHUP, admin ─▶ control.Goroutine ┘
//
// # Ownership
//
// The [Server]'s fields are written by the control goroutine. A worker is a loop and what it has of
// the configuration; it is touched on its loop only, by functions posted to it.
package server
