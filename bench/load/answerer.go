package load

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// An answerer is the origin of an open-loop load, on the load's own thread: the two never wait for each other's time
// slice, and every request gets the same answer. It answers whatever ends in an empty line.
type answerer struct {
	epfd     int
	listener int
	conns    map[int32][]byte // the incomplete head of each connection
	answer   []byte
	heads    int64 // answered
}

// originHead is the head of every answer: the fields of a real server's answer for a static file.
const originHead = "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n" +
	"Content-Type: text/plain\r\nContent-Length: %d\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n" +
	"Connection: keep-alive\r\nETag: \"6955b900-80\"\r\nAccept-Ranges: bytes\r\n\r\n%s"

// answerBytesMax is the largest body an answerer gives: a socket buffer takes it whole.
const answerBytesMax = 16 << 10

func newAnswerer(epfd, port, body int) (*answerer, error) {
	if body < 0 || body > answerBytesMax {
		return nil, fmt.Errorf("body of %d bytes; want 0 to %d", body, answerBytesMax)
	}
	a := &answerer{epfd: epfd, conns: map[int32][]byte{}, answer: fmt.Appendf(nil, originHead, body, strings.Repeat("x", body))}
	var err error
	if a.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(a.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
		func() error { return unix.Bind(a.listener, loopback(port)) },
		func() error { return unix.Listen(a.listener, unix.SOMAXCONN) },
		func() error { return watch(epfd, a.listener, ofOrigin) },
	} {
		if err := step(); err != nil {
			_ = unix.Close(a.listener)
			return nil, fmt.Errorf("origin on port %d: %w", port, err)
		}
	}
	return a, nil
}

func (a *answerer) close() {
	for fd := range a.conns {
		_ = unix.Close(int(fd))
	}
	_ = unix.Close(a.listener)
}

// onReadable takes an event of the listener or of one of its connections. buf is scratch.
func (a *answerer) onReadable(fd int32, buf []byte) error {
	if fd == int32(a.listener) {
		return a.accept()
	}
	n, err := unix.Read(int(fd), buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil || n == 0 {
		delete(a.conns, fd)
		return unix.Close(int(fd))
	}
	b := buf[:n]
	if kept := a.conns[fd]; len(kept) > 0 {
		b = append(kept, b...)
	}
	for {
		_, rest, found := bytes.Cut(b, []byte("\r\n\r\n"))
		if !found {
			break
		}
		if w, err := unix.Write(int(fd), a.answer); err == nil && w != len(a.answer) {
			return fmt.Errorf("origin: the socket took %d of %d bytes", w, len(a.answer))
		} // an error is seen again by the next read
		a.heads++
		b = rest
	}
	if len(b) > headBytesMax {
		return errHead
	}
	if len(b) > 0 || len(a.conns[fd]) > 0 {
		a.conns[fd] = bytes.Clone(b)
	}
	return nil
}

// accept takes one connection; the listener stays readable while there are more.
func (a *answerer) accept() error {
	fd, _, err := unix.Accept4(a.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return nil // the caller has gone again
	}
	a.conns[int32(fd)] = nil
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		watch(a.epfd, fd, ofOrigin),
	)
}

// Whose an event is, kept in the padding that epoll carries beside the descriptor.
const (
	ofLoad = iota
	ofOrigin
)

func watch(epfd, fd int, whose int32) error {
	return unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd), Pad: whose})
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}
