package engine_test

import (
	"fmt"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// tcpPair makes a conn of the loop and its peer, over loopback TCP.
func tcpPair(t testing.TB, tl *enginetest.Loop, ls *engine.Listener, acc *acceptAll) (*engine.Conn, *enginetest.Peer) {
	t.Helper()
	c, _ := dial(t, tl, ls, acc)
	far := acc.conns[len(acc.conns)-1]
	tl.Settle()
	return c, enginetest.NewPeer(t, far.Detach().Fd())
}

// BenchmarkRelay is a body of some size from one TCP peer to another, by read and write
// and by splice. It tells from which size on splicing pays.
func BenchmarkRelay(b *testing.B) {
	for _, size := range []int{1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10} {
		for _, splice := range []bool{false, true} {
			b.Run(fmt.Sprintf("size=%d/splice=%v", size, splice), func(b *testing.B) {
				tl := enginetest.NewLoop(b, func(c *engine.LoopConfig) { c.Faults = nil })
				acc := &acceptAll{}
				ls := listen(b, tl, "127.0.0.1:0", acc)
				cs, ps := tcpPair(b, tl, ls, acc)
				cd, pd := tcpPair(b, tl, ls, acc)
				cs.SetHandler(&forward{to: cd})
				msg, buf := make([]byte, size), make([]byte, 256<<10)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if splice && !cs.Splice(cd, int64(size)) {
						b.Fatal("Splice = false")
					}
					for sent, got := 0, 0; got < size; {
						sent += ps.TryWrite(msg[sent:])
						if err := tl.Turn(0); err != nil {
							b.Fatal(err)
						}
						got += max(pd.ReadSome(buf), 0)
					}
					tl.Settle()
				}
			})
		}
	}
}

// BenchmarkTunnel is a question of 128 bytes and its answer through a tunnel between TCP peers.
func BenchmarkTunnel(b *testing.B) {
	for _, size := range []int{128, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("answer=%d", size), func(b *testing.B) {
			tl := enginetest.NewLoop(b, func(c *engine.LoopConfig) { c.Faults = nil })
			acc := &acceptAll{}
			ls := listen(b, tl, "127.0.0.1:0", acc)
			cs, ps := tcpPair(b, tl, ls, acc)
			cd, pd := tcpPair(b, tl, ls, acc)
			cs.SetHandler(&proxyEnd{c: cs})
			cd.SetHandler(&proxyEnd{c: cd})
			if !cs.Splice(cd, -1) || !cd.Splice(cs, -1) {
				b.Fatal("Splice = false")
			}
			msg, buf := make([]byte, size), make([]byte, 1<<20)
			pass := func(from, to *enginetest.Peer, msg []byte) {
				for sent, got := 0, 0; got < len(msg); {
					sent += from.TryWrite(msg[sent:])
					if err := tl.Turn(0); err != nil {
						b.Fatal(err)
					}
					got += max(to.ReadSome(buf), 0)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				pass(ps, pd, msg[:128])
				pass(pd, ps, msg)
			}
		})
	}
}

// forward hands what it reads to another conn.
type forward struct {
	proxyEnd
	to *engine.Conn
}

func (f *forward) OnData(b []byte) int {
	f.to.WriteRef(b)
	return len(b)
}

// BenchmarkConnection is a whole connection: accept, a request, its answer, close.
func BenchmarkConnection(b *testing.B) {
	tl := enginetest.NewLoop(b, func(c *engine.LoopConfig) { c.Faults = nil })
	client := enginetest.NewLoop(b, func(c *engine.LoopConfig) { c.Faults = nil })
	ls := listen(b, tl, "127.0.0.1:0", &answerOnce{})
	addr := ls.Addr()
	asker := &ask{}
	b.ReportAllocs()
	for b.Loop() {
		asker.done = false
		c, err := client.Dial(&addr, asker)
		if err != nil {
			b.Fatal(err)
		}
		asker.c = c
		for !asker.done {
			if err := client.Turn(0); err != nil {
				b.Fatal(err)
			}
			if err := tl.Turn(0); err != nil {
				b.Fatal(err)
			}
		}
	}
}

type answerOnce struct {
	proxyEnd
	c *engine.Conn
}

func (a *answerOnce) OnAccept(c *engine.Conn) engine.Handler { return &answerOnce{c: c} }
func (a *answerOnce) OnData(b []byte) int {
	a.c.Write([]byte("answer"))
	a.c.CloseLinger(time.Second)
	return len(b)
}

type ask struct {
	proxyEnd
	c    *engine.Conn
	done bool
}

func (a *ask) OnConnect()          { a.c.Write([]byte("request")) }
func (a *ask) OnData(b []byte) int { return len(b) }
func (a *ask) OnEOF() {
	a.c.Close()
	a.done = true
}
