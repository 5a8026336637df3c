package main

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// A listenedTo keeps what a handshake writes and reads. With a nil Conn it is nobody: writing fails.
type listenedTo struct {
	net.Conn
	wrote, read []byte
}

// Write implements net.Conn.
func (l *listenedTo) Write(b []byte) (int, error) {
	l.wrote = append(l.wrote, b...)
	if l.Conn == nil {
		return 0, net.ErrClosed
	}
	return l.Conn.Write(b)
}

// Read implements net.Conn.
func (l *listenedTo) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.read = append(l.read, b[:n]...)
	return n, err
}

// Close implements net.Conn: the connection is the attacker's.
func (l *listenedTo) Close() error { return nil }

// SetWriteDeadline implements net.Conn.
func (l *listenedTo) SetWriteDeadline(time.Time) error { return nil }

// clientHello returns the first record of a client.
var clientHello = sync.OnceValue(func() []byte {
	l := &listenedTo{}
	_ = tls.Client(l, &tls.Config{InsecureSkipVerify: true}).Handshake()
	return l.wrote
})

// halfHello stops in the middle of its ClientHello.
func halfHello(a *attacker) error {
	hello := clientHello()
	if err := a.send(hello[:len(hello)/2]); err != nil {
		return err
	}
	a.discard()
	return nil
}

// abandoned lets the target do its part of the handshake, and does not do its own.
func abandoned(a *attacker) error {
	if err := a.send(clientHello()); err != nil {
		return err
	}
	a.discard()
	return nil
}

func slowHello(a *attacker) error {
	go a.discard()
	return a.drip(clientHello())
}

// tinyRecords sends a ClientHello in records of a byte each.
func tinyRecords(a *attacker) error {
	hello := clientHello()
	var b []byte
	for _, c := range hello[recordHead:] {
		b = append(b, recordHandshake, 3, 1, 0, 1, c)
	}
	if err := a.send(b); err != nil {
		return err
	}
	a.discard()
	return nil
}

// handshakes completes one and leaves.
func handshakes(a *attacker) error {
	_ = a.SetDeadline(time.Now().Add(dialWait))
	l := &listenedTo{Conn: a.Conn}
	err := tls.Client(l, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(a.ctx)
	a.tally.sent.Add(int64(len(l.wrote)))
	a.tally.received.Add(int64(len(l.read)))
	if err != nil {
		return a.left("no handshake", err)
	}
	return nil
}
