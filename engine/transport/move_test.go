package transport

import (
	"bytes"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"testing"

	"millrace/engine/enginetest"
)

// TestMove: a connection that goes from loop to loop, with and without what makes it rest, reads and writes as if it had stayed.
func TestMove(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		s := newStepped(t, version, mode)
		loops := [2]*enginetest.Loop{s.loop, enginetest.NewLoop(t)}
		hs := s.side.hs
		acceptors := [2]*Acceptor{nil, NewAcceptor(loops[1].Loop, hs, newServer(t, serverConfig()), &Stats{}, AcceptorOptions{Established: mode})}
		acceptors[0] = NewAcceptor(loops[0].Loop, hs, newServer(t, serverConfig()), &Stats{}, AcceptorOptions{Established: mode})
		rng := rand.New(rand.NewPCG(3, uint64(version)))
		c, at := s.conn, 0
		for round := range 40 {
			b := make([]byte, 1+rng.IntN(40_000))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			if _, err := s.client.Write(b); err != nil {
				t.Fatal(err)
			}
			if round%3 == 0 { // it is there when the connection arrives
				loops[at].Settle()
				if _, err := s.client.Write([]byte("late")); err != nil {
					t.Fatal(err)
				}
				b = append(b, "late"...)
			} else {
				loops[at].Settle()
			}
			if !c.Quiet() {
				t.Fatalf("round %d: not quiet", round)
			}
			d := c.Detach()
			at = 1 - at
			acceptors[at].Adopt(d.Transport())
			var err error
			if c, err = loops[at].Join(d, s.rec); err != nil {
				t.Fatal(err)
			}
			loops[1-at].Settle()
			loops[at].Settle()
			if !bytes.Equal(s.rec.Data, b) {
				t.Fatalf("round %d: %d bytes arrived, or wrong ones, want %d", round, len(s.rec.Data), len(b))
			}
			s.rec.Data = nil
			c.Write(b)
			loops[at].Settle()
			got := make([]byte, len(b))
			if _, err := io.ReadFull(s.client, got); err != nil || !bytes.Equal(got, b) {
				t.Fatalf("round %d: the client got something else: %v", round, err)
			}
			if round%7 == 0 && mode != EstablishedCryptoTLS {
				a := &acceptors[at].side.buf.awake
				a.OnTimer(loops[at].Now() + int64(restAfter))
			}
		}
		if a := &acceptors[1-at].side.buf.awake; a.oldest != nil || a.newest != nil {
			t.Error("the loop that it left still lists the connection")
		}
		for _, tl := range loops {
			if n, want := tl.Arena().Leased(), int64(256<<10); n != want {
				t.Errorf("%d bytes leased, want %d (scratch alone)", n, want)
			}
		}
		c.Detach().Close()
		if n, err := s.client.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("after the end the client reads %d, %v", n, err)
		}
	})
}

// TestNotMovable: half a record, or data for which there was no room, lies in memory of the loop.
func TestNotMovable(t *testing.T) {
	t.Parallel()
	s := newStepped(t, tls.VersionTLS13, EstablishedOwn)
	if !s.conn.Quiet() {
		t.Fatal("not quiet when idle")
	}
	s.loop.Faults.ReadChunk = 10
	if _, err := s.client.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	s.loop.Step()
	if s.conn.Quiet() {
		t.Error("quiet with half a record")
	}
	s.loop.Settle()
	if !s.conn.Quiet() {
		t.Error("not quiet after the record")
	}
	if c := s.conn.Transport().(*conn); !c.Movable() {
		t.Error("Movable = false")
	}
	s.conn.Detach().Close()
	s.loop.Settle()
}
