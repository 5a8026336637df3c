package transport

import "errors"

// Errors of handshakes and connections, as engine.Conn.TransportError gives them. What crypto/tls says comes as it is.
var (
	// ErrTruncated: the peer closed without close_notify, so that what it sent may not be all.
	ErrTruncated = errors.New("tls: the peer closed without close_notify")
	// ErrHandshakeTimeout: the handshake took longer than handshake_timeout.
	ErrHandshakeTimeout = errors.New("tls: handshake timeout")
	// ErrShed: there were too many handshakes already.
	ErrShed = errors.New("tls: too many handshakes")
	// ErrEvicted: the client kept us waiting, and there were too many handshakes.
	ErrEvicted = errors.New("tls: too many handshakes, and the client kept this one waiting")
	// ErrPlain: the client spoke something else than TLS, such as HTTP.
	ErrPlain = errors.New("tls: the client does not speak TLS")
	// ErrHello: what the client began with is no ClientHello.
	ErrHello = errors.New("tls: malformed ClientHello")
	// ErrHelloLong: the ClientHello is longer than is taken.
	ErrHelloLong = errors.New("tls: ClientHello too long")
	// ErrAborted: the peer closed during the handshake.
	ErrAborted = errors.New("tls: the peer closed during the handshake")
	// ErrPanic: something panicked during the handshake, such as the choice of a certificate.
	ErrPanic = errors.New("tls: panic during the handshake")
	// ErrChallenge: the client was a CA that has seen the answer to its challenge (RFC 8737). Nothing is wrong.
	ErrChallenge = errors.New("tls: a challenge of ACME was answered")
	// ErrNoMemory: no block of the arena was left.
	ErrNoMemory = errors.New("tls: no memory for a block")

	// ErrEarly: too much was written before the end of the handshake.
	ErrEarly = errors.New("tls: too much was written before the end of the handshake")

	// errLeft makes crypto/tls return from a handshake that goes on without it.
	errLeft = errors.New("tls: left")

	errClosed = errors.New("tls: the connection is gone")
)
