package engine

import (
	"testing"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// stepLoop is a loop a test turns by hand.
func stepLoop(t testing.TB, change func(*LoopConfig)) *Loop {
	t.Helper()
	cfg := DefaultLoopConfig()
	if change != nil {
		change(&cfg)
	}
	l, err := NewLoop(0, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// pairConn attaches one end of a socket pair to l and returns the other.
func pairConn(t testing.TB, l *Loop, h Handler) (c *Conn, peer int) {
	t.Helper()
	a, b, errno := sys.SocketPair()
	if errno != 0 {
		t.Fatal(errno)
	}
	c, err := l.Attach(a, nil, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(b) })
	return c, b
}

func echoCycle(tb testing.TB, l *Loop, peer int, msg, buf []byte) {
	if n, errno := sys.Write(peer, msg); n != len(msg) {
		tb.Fatal(n, errno)
	}
	if err := l.Turn(0); err != nil {
		tb.Fatal(err)
	}
	if n, errno := sys.Read(peer, buf); n != len(msg) {
		tb.Fatal(n, errno)
	}
}

// BenchmarkEcho is one small message in and out: epoll_wait, read, write and the turn
// around them, besides the write and read of the peer. BenchmarkEchoRaw is the same system calls alone.
func BenchmarkEcho(b *testing.B) {
	l := stepLoop(b, nil)
	e := &echo{}
	c, peer := pairConn(b, l, e)
	e.c = c
	msg, buf := make([]byte, 128), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		echoCycle(b, l, peer, msg, buf)
	}
}

func BenchmarkEchoRaw(b *testing.B) {
	epfd, _ := sys.EpollCreate()
	fd, peer, _ := sys.SocketPair()
	sys.EpollAdd(epfd, fd, sys.In|sys.Out|sys.RdHup|sys.Edge, 0, 0)
	msg, buf, scratch := make([]byte, 128), make([]byte, 4096), make([]byte, 128<<10)
	events := make([]sys.Event, 512)
	for b.Loop() {
		sys.Write(peer, msg)
		sys.EpollWait(epfd, events, 0)
		n, _ := sys.Read(fd, scratch)
		sys.Write(fd, scratch[:n])
		sys.Read(peer, buf)
	}
}
