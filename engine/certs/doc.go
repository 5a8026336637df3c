// Package certs turns the "tls" blocks of a config into [tls.Config] values and keeps them fresh.
//
// It reads certificates, keys, CA bundles, CRLs, OCSP staples and session ticket keys from files,
// watches the files, and swaps what has changed once it is whole: the new certificate and key
// agree, or the old pair stays. It verifies the certificates of peers. It moves no bytes and knows
// no sockets: see engine/transport, which runs handshakes with what it finds here.
//
//	files ──▶ source ──▶ Server ──▶ TLS() *tls.Config, immutable, swapped by an atomic pointer
//	  ▲     (shared by   Client
//	fsnotify, poll        contexts)
//
// # Ownership
//
// A [Store] belongs to the process and may be used from any goroutine; its methods read files, so
// loops must not call them. [Server.TLS] and [Client.TLS] are an atomic load and may be called
// anywhere. What the callbacks of a config read is immutable.
//
// # Limits
//
// A file is read up to a size that its kind names (limits.go), a CRL's revoked serials and the
// certificates of a bundle are held in memory, and a session cache has a fixed number of places.
package certs
