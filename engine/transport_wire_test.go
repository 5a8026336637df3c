package engine_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// holdTransport is plain but for a gate that keeps it from reading.
type holdTransport struct {
	wire  *engine.Wire
	holds bool
	reads int
}

func (t *holdTransport) Handshake(w *engine.Wire) (bool, error) {
	t.wire = w
	return true, nil
}

func (t *holdTransport) Read(w *engine.Wire, dst []byte) (int, error) {
	t.reads++
	if t.holds {
		return 0, engine.ErrWouldBlock
	}
	return w.Read(dst)
}

func (t *holdTransport) Write(w *engine.Wire, v [][]byte) error {
	_, err := w.Write(bytes.Join(v, nil))
	return err
}
func (t *holdTransport) CloseWrite(*engine.Wire) {}
func (t *holdTransport) Close()                  {}

func TestWireReadAgain(t *testing.T) {
	t.Parallel()
	l := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := l.Pair(rec)
	tr := &holdTransport{holds: true}
	c.SetTransport(tr)
	l.Settle()
	peer.Write("abc")
	peer.CloseWrite()
	l.Settle()
	rec.Want(t)
	reads := tr.reads
	l.Settle() // a transport that holds is not asked again and again
	if tr.reads != reads {
		t.Errorf("%d reads without an event", tr.reads-reads)
	}
	tr.wire.ReadAgain()
	l.Settle()
	rec.Want(t) // still held
	tr.holds = false
	c.PauseRead()
	tr.wire.ReadAgain()
	l.Settle()
	rec.Want(t) // the handler does not want it now
	c.ResumeRead()
	l.Settle()
	rec.Want(t, `data "abc"`, "eof")
	c.Close()
	tr.wire.ReadAgain() // does nothing to a conn that is gone
	l.Settle()
	rec.Want(t)
}

// TestWireReset: a reset of the socket is one for the handler too, whatever transport is between.
func TestWireReset(t *testing.T) {
	t.Parallel()
	ls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ls.Close()
	l := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	addr := mustAddr(t, ls.Addr().String())
	c, err := l.Dial(&addr, rec)
	if err != nil {
		t.Fatal(err)
	}
	c.SetTransport(&holdTransport{})
	var errno syscall.Errno
	rec.CloseFunc = func(engine.CloseReason) { errno = c.Errno() }
	other, err := ls.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l.Until(func() bool { return len(rec.Calls) == 1 })
	if err := other.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	other.Close()
	l.Until(func() bool { return len(rec.Calls) > 1 })
	rec.Want(t, "connect", "close reset")
	if errno != unix.ECONNRESET {
		t.Errorf("Errno() = %v", errno)
	}
}

// lastWordTransport fails with a last word on its lips when it is read.
type lastWordTransport struct {
	holdTransport
	linger time.Duration
}

var errLastWord = errors.New("last word")

func (t *lastWordTransport) Read(w *engine.Wire, dst []byte) (int, error) {
	n, err := w.Read(dst[:1])
	if n == 0 {
		return 0, err
	}
	w.Linger(t.linger)
	w.Write([]byte("alert"))
	return 0, errLastWord
}

// TestWireLinger: the last word of a transport reaches a peer whose bytes have not all been read.
func TestWireLinger(t *testing.T) {
	t.Parallel()
	for _, linger := range []time.Duration{0, time.Second} {
		l := enginetest.NewLoop(t)
		rec := enginetest.NewRecorder()
		c, peer := l.Pair(rec)
		var got error
		rec.CloseFunc = func(engine.CloseReason) { got = c.TransportError() }
		c.SetTransport(&lastWordTransport{linger: linger})
		l.Settle()
		peer.Write("much that nobody reads")
		l.Settle()
		rec.Want(t, "close transport")
		if got != errLastWord {
			t.Errorf("TransportError() = %v", got)
		}
		if got := peer.Read(); linger > 0 && got != "alert" {
			t.Errorf("peer read %q", got)
		}
		if linger > 0 && l.Conns() != 1 {
			t.Errorf("%d conns, want the one that lingers", l.Conns())
		}
		peer.TryWrite([]byte("more"))
		l.Settle()
		l.Advance(2 * time.Second)
		if l.Conns() != 0 || l.Arena().Leased() > int64(engine.DefaultLoopConfig().ScratchBytes)*2 {
			t.Errorf("%d conns, %d bytes leased", l.Conns(), l.Arena().Leased())
		}
		rec.Want(t)
	}
}

// TestWireErrorAfterData: data that came before the error of a transport is not lost to a handler that has paused.
func TestWireErrorAfterData(t *testing.T) {
	t.Parallel()
	l := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := l.Pair(rec)
	rec.DataFunc = func(b []byte) int { c.PauseRead(); return 1 }
	c.SetTransport(&failingTransport{})
	l.Settle()
	peer.Write("abc")
	l.Settle()
	rec.Want(t, `data "abc"`)
	rec.DataFunc = nil
	c.ResumeRead()
	l.Settle()
	rec.Want(t, `data "bc"`, "close transport")
}

// failingTransport gives data and an error at once.
type failingTransport struct{ holdTransport }

func (t *failingTransport) Read(w *engine.Wire, dst []byte) (int, error) {
	n, err := w.Read(dst)
	if n == 0 {
		return 0, err
	}
	return n, errLastWord
}

// endTransport gives the last bytes and the end, or an error, in one answer.
type endTransport struct {
	holdTransport
	err error
}

func (t *endTransport) Read(w *engine.Wire, dst []byte) (int, error) {
	n, err := w.Read(dst)
	if n == 0 {
		return 0, err
	}
	return n, t.err
}

// TestWireEndAfterHandlerLeft: a handler that leaves in OnData hears of nothing that came with the bytes.
func TestWireEndAfterHandlerLeft(t *testing.T) {
	t.Parallel()
	for _, end := range []error{io.EOF, errLastWord} {
		for _, linger := range []time.Duration{0, time.Second} {
			l := enginetest.NewLoop(t)
			rec := enginetest.NewRecorder()
			c, peer := l.Pair(rec)
			rec.DataFunc = func(b []byte) int {
				c.Write([]byte("400"))
				c.CloseLinger(linger)
				return len(b)
			}
			c.SetTransport(&endTransport{err: end})
			l.Settle()
			peer.Write("bad")
			l.Settle()
			if got := peer.Read(); got != "400" {
				t.Errorf("%v, linger %v: the peer reads %q", end, linger, got)
			}
			rec.Want(t, `data "bad"`)
			peer.Close()
			l.Settle()
			if n, panics := l.Conns(), l.Stats().Panics.Load(); n != 0 || panics != 0 {
				t.Errorf("%v, linger %v: %d connections are left, %d panics", end, linger, n, panics)
			}
		}
	}
}

// farewellTransport ends with a word, as TLS does.
type farewellTransport struct{ holdTransport }

func (t *farewellTransport) CloseWrite(w *engine.Wire) { w.Write([]byte("bye")) }

// TestWireFarewellToNobody: the last word of a conn that closes finds its peer gone. The conn was then closed a second time, and its slot
// given to two.
func TestWireFarewellToNobody(t *testing.T) {
	t.Parallel()
	for _, linger := range []time.Duration{0, time.Second} {
		for _, queued := range []string{"", "answer"} {
			l := enginetest.NewLoop(t)
			rec := enginetest.NewRecorder()
			c, peer := l.Pair(rec)
			c.SetTransport(&farewellTransport{})
			l.Settle()
			peer.Close()
			c.Write([]byte(queued))
			c.CloseLinger(linger)
			l.Settle()
			l.Advance(2 * time.Second)
			if l.Conns() != 0 {
				t.Errorf("%v, %q: %d conns are left", linger, queued, l.Conns())
			}
			for range 65 { // more than a chunk of them
				l.Pair(enginetest.NewRecorder())
			}
			if l.Conns() != 65 {
				t.Errorf("%v, %q: %d conns, want 65", linger, queued, l.Conns())
			}
		}
	}
}
