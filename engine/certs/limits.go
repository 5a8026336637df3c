package certs

import "time"

// Sizes of files, in bytes: a wrong path must not fill the memory.
const (
	pairFileBytesMax   = 1 << 20   // certificate chain or key
	caFileBytesMax     = 16 << 20  // a bundle of all public CAs is 0.2 MiB
	crlFileBytesMax    = 128 << 20 // about 3 million revoked certificates
	stapleFileBytesMax = 64 << 10
	chainCertsMax      = 16     // certificates in a cert_file
	namesPerCertMax    = 10_000 // names of one certificate that are looked up by SNI
	crlsPerFileMax     = 4096
)

// Times of watching.
const (
	pollEvery  = 30 * time.Second       // the net below fsnotify: network file systems send no events
	settleTime = 250 * time.Millisecond // of quiet before changed files are read: certificate and key are written one after the other
	settleMax  = 2 * time.Second        // changed files are read after so long even if events go on
	racyTime   = 2 * time.Second        // a file changed so shortly before it was read may change again without a new time stamp
)

// Times of session tickets.
const (
	ticketKeyEvery     = 12 * time.Hour // a process-local ticket key encrypts for so long
	sessionTimeoutMax  = 7 * 24 * time.Hour
	sessionTimeoutAuto = 24 * time.Hour
)

// expirySoon is how long before its end a certificate is warned of.
const expirySoon = 14 * 24 * time.Hour
