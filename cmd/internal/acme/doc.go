// Package acme obtains certificates by ACME (RFC 8555) and renews them, with certmagic.
//
// It opens no ports: challenges are answered where connections are accepted anyway, by the handshake (tls-alpn-01) and by the connection
// managers (http-01).
//
//	certs.Store ──Manage──▶ Manager ──▶ account ──▶ certmagic ──▶ CA, storage
//	handshake ──Certificate, Challenge──┘  ▲
//	httpconn ──Answer──────────────────────┘
//
// # Ownership
//
// A [Manager] belongs to the process and may be used from any goroutine. Work goes on in the background; what handshakes and loops ask is
// answered from memory.
package acme
