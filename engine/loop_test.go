package engine

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// echo writes back what it reads.
type echo struct {
	c *Conn
}

func (e *echo) OnConnect() {}
func (e *echo) OnData(b []byte) int {
	e.c.WriteRef(b)
	return len(b)
}
func (e *echo) OnEOF()                     { e.c.CloseLinger(0) }
func (e *echo) OnWriteLow()                {}
func (e *echo) OnSplice(int64, bool, bool) {}
func (e *echo) OnTimeout()                 {}
func (e *echo) OnClose(why CloseReason)    {}
func (e *echo) OnAccept(c *Conn) Handler   { return &echo{c: c} }

func TestLoopEcho(t *testing.T) {
	t.Parallel()
	l, err := NewLoop(0, DefaultLoopConfig())
	if err != nil {
		t.Fatal(err)
	}
	addr, err := ParseAddr("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := Listen(addr, ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ls, err := l.AddListener(fd, ListenerOptions{}, &echo{})
	if err != nil {
		t.Fatal(err)
	}
	where := ls.Addr().String()
	done := make(chan error)
	go func() { done <- l.Run() }()
	for _, size := range []int{1, 100, 5000, 3 << 20} {
		c, err := net.Dial("tcp", where)
		if err != nil {
			t.Fatal(err)
		}
		in := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)
		go func() {
			c.Write(in)
			c.(*net.TCPConn).CloseWrite()
		}()
		out, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(in, out) {
			t.Errorf("echo of %d bytes gave %d, %v", len(in), len(out), err)
		}
		c.Close()
	}
	l.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
