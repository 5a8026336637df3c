package pool

import (
	"io"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/engine"
)

// side is the downstream conn of a splice: it notes what it is told.
type side struct {
	conn      *engine.Conn
	moved     int64
	connected bool
	closed    bool
	onSplice  func(n int64, done bool)
}

func (s *side) OnConnect()                     { s.connected = true }
func (s *side) OnData(b []byte) int            { return 0 }
func (s *side) OnEOF()                         {}
func (s *side) OnWriteLow()                    {}
func (s *side) OnTimeout()                     {}
func (s *side) OnClose(engine.CloseReason)     { s.closed = true }
func (s *side) OnSpliced(n int64)              { s.moved += n }
func (s *side) OnSplice(n int64, done, _ bool) { s.onSplice(n, done) }

// newSide opens a connection of the loop to a socket of the test.
func newSide(w *world) (*side, *peer) {
	w.t.Helper()
	o := newOrigin(w)
	a, err := engine.ParseAddr(o.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &side{}
	w.do(func() { s.conn, err = w.loop.Dial(&a, s) })
	if err != nil {
		w.t.Fatal(err)
	}
	p := o.accept()
	w.until("downstream", func() bool { return s.connected })
	return s, p
}

// TestSpliceTo: the body of a response goes past us; the connection is used again where its end was seen.
func TestSpliceTo(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("0123456789abcdef", 1<<14)
	for _, tt := range []struct {
		name  string
		head  string
		tail  string
		close bool
		log   []string
		idle  int64
	}{
		{"length", "Content-Length: 262144\r\n", "", false, []string{"ready", "head 200", "end"}, 1},
		{"chunked", "Transfer-Encoding: chunked\r\n", "\r\n0\r\nT: v\r\n\r\n", false,
			[]string{"ready", "head 200", "trailer T: v", "end"}, 1},
		{"until close", "", "", true, []string{"ready", "head 200", "end"}, 0},
		{"cut short", "Content-Length: 262145\r\n", "", true,
			[]string{"ready", "head 200", "reset connection_termination"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(nil, o.addr), nil)
			down, far := newSide(w)
			a := newOwner()
			spliced := false
			a.onData = func(b []byte) {
				if spliced || a.x.Opaque() == 0 {
					return
				}
				down.conn.WriteRef(b)
				if spliced = a.x.SpliceTo(down.conn, a.x.Opaque(), down); !spliced {
					t.Error("SpliceTo = false")
				}
			}
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			got := make(chan string)
			go func() {
				b := make([]byte, len(body))
				n, _ := io.ReadFull(far.r, b)
				got <- string(b[:n])
			}()
			head := "HTTP/1.1 200 OK\r\n" + tt.head + "\r\n"
			if tt.name == "chunked" {
				head += "40000\r\n"
			}
			p.send(head + body[:10])
			wrote := make(chan error)
			go func() {
				_, err := io.WriteString(p.c, body[10:]+tt.tail)
				if tt.close {
					p.c.Close()
				}
				wrote <- err
			}()
			w.until("response", func() bool { return a.done })
			if err := <-wrote; err != nil {
				t.Fatal(err)
			}
			w.wantLog(a, tt.log...)
			if b := <-got; b != body {
				t.Errorf("%d bytes arrived, and are not the %d sent", len(b), len(body))
			}
			if down.moved != int64(len(body)-len(a.body)) {
				t.Errorf("told of %d bytes spliced after %d, want %d in all", down.moved, len(a.body), len(body))
			}
			w.wantIdle(c, tt.idle)
			if tt.idle > 0 {
				w.exchange(c, o, p)
			}
		})
	}
}

// TestSpliceCancel: giving up in the middle ends the splice and the connection.
func TestSpliceCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	down, _ := newSide(w)
	a := newOwner()
	a.onData = func(b []byte) {
		if !a.x.SpliceTo(down.conn, a.x.Opaque(), down) {
			t.Error("SpliceTo = false")
		}
	}
	w.lease(c, a)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	p.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0")
	p.send("123")
	w.do(a.x.Cancel)
	p.wantClosed()
	w.wantIdle(c, 0)
	if down.moved != 3 || down.conn.Splicing() {
		t.Errorf("told of %d bytes, want 3", down.moved)
	}
	if a.x.Opaque() != 0 || a.x.SpliceTo(down.conn, 1, down) {
		t.Error("a free exchange can be spliced")
	}
}

// TestSpliceFrom: the body of a request goes past us, in either framing.
func TestSpliceFrom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		length int64
		want   string
	}{
		{"length", 5, "hello"},
		{"chunked", -1, "5\r\nhello\r\n0\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(nil, o.addr), nil)
			down, far := newSide(w)
			a := newOwner()
			left := int64(5)
			a.onReady = func() {
				a.x.SendHead(request(codec.MethodPOST, "/", tt.length), false)
				if !a.x.SpliceFrom(down.conn, left, true) {
					t.Error("SpliceFrom = false")
				}
			}
			down.onSplice = func(n int64, done bool) {
				if left -= n; done {
					a.x.SpliceDone(5, true)
				}
			}
			w.lease(c, a)
			p := o.accept()
			p.wantHead("POST / HTTP/1.1")
			far.send("hel")
			far.send("lo")
			p.wantBytes(tt.want)
			p.send(ok)
			w.wantLog(a, "ready", "head 200", "end")
			if left != 0 {
				t.Errorf("%d bytes of the splice are missing", left)
			}
			w.wantIdle(c, 1)
			far.send("more than the span") // goes nowhere
			w.exchange(c, o, p)
		})
	}
}
