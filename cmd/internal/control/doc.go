// Package control holds the whole running configuration and decides what changes.
//
// A [Snapshot] is immutable and hashed part by part; [Compare] finds what differs between two, which
// is at once what is posted to the loops and what the reload report says. A [Goroutine] is the only writer: files,
// signals and admin commands are messages to it.
//
// It opens no socket and knows no loop: cmd/internal/server does what a [Diff] says.
package control
