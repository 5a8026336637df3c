package engine

import (
	"fmt"

	"millrace/engine/internal/sys"
)

// Detach takes c off its loop, for another loop or process: it returns the socket and a
// copy of the bytes that were read but not consumed. The handler is not called again.
//
// Precondition: a quiet point. Nothing is staged or queued, no splice goes on, c is plain,
// connected, and not inside OnData.
func (c *Conn) Detach() (fd int, kept []byte) {
	c.loop.owner.assert()
	if !c.Quiet() {
		panic("BUG: engine: detached a conn that is not quiet")
	}
	if c.kept != nil {
		kept = append(kept, c.kept.bytes()...)
	}
	fd = int(c.fd)
	// The fd lives on, so epoll would go on reporting it under this token.
	_ = sys.EpollDel(c.loop.epfd, fd)
	c.release()
	c.fd = -1
	return fd, kept
}

// Quiet reports whether c can be detached now.
func (c *Conn) Quiet() bool {
	const busy = flagClosed | flagFailed | flagBroken | flagLinger | flagConnecting | flagConnectDue | flagInData | flagShut
	return c.flags&busy == 0 && c.out == nil && c.wire == nil && c.splice == nil && c.feeder == nil &&
		c.loop.stage.owner != c
}

// Attach makes a conn of a connected, non-blocking socket, which becomes the loop's, and
// of bytes read from it before. They are shown to h in the next turn at the latest. On
// error the socket stays the caller's.
func (l *Loop) Attach(fd int, kept []byte, h Handler) (*Conn, error) {
	l.owner.assert()
	if len(kept) > len(l.scratch) {
		return nil, fmt.Errorf("engine: attach: %d kept bytes exceed the maximum of %d", len(kept), len(l.scratch))
	}
	var peer inetAddr
	if sys.PeerAddr(fd, &l.sockaddr) == 0 {
		peer = fromKernel(&l.sockaddr)
	}
	c, err := l.adopt(fd, peer, h, flagWritable)
	if err != nil {
		return nil, err
	}
	if len(kept) > 0 {
		c.keepNew(kept)
		if c.flags&flagFailed == 0 {
			c.flags |= flagOffer
			l.markReady(c)
		}
	}
	return c, nil
}
