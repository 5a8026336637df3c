package l4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine/enginetest"
)

// tcpStream is one direction of a tunnel as a test drives it.
type tcpStream struct {
	from, to *tcpPeer
	sent     []byte
	got      []byte
	pieces   []int // still to be sent
	ended    bool  // from has said that it ends
	eof      bool  // to has heard it
}

// step sends the next piece, as far as it goes, or the end.
func (s *tcpStream) step(rng *rand.Rand) {
	if len(s.pieces) == 0 {
		if !s.ended {
			s.ended = true
			s.from.CloseWrite()
		}
		return
	}
	b := make([]byte, s.pieces[0])
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	n := s.from.TryWrite(b)
	s.sent = append(s.sent, b[:n]...)
	if s.pieces[0] -= n; s.pieces[0] == 0 {
		s.pieces = s.pieces[1:]
	}
}

// read takes up to n bytes.
func (s *tcpStream) read(n int) {
	b := make([]byte, n)
	switch n := s.to.ReadSome(b); {
	case n > 0:
		s.got = append(s.got, b[:n]...)
	case n == 0:
		s.eof = true
	}
}

// TestTCPProxyBytes: whatever the sizes of the pieces, the pauses, the faults of the sockets and the order of the
// ends, both peers get the bytes that the other one sent, and then its end.
func TestTCPProxyBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newTCPWorld(t, func(c *TCPProxyConfig) {
			if rapid.Bool().Draw(rt, "early") {
				c.MaxEarlyDataBytes = 1000
			}
		}, nil)
		w.loop.Faults = enginetest.Faults{EAGAIN: rapid.Bool().Draw(rt, "EAGAIN")}
		if rapid.Bool().Draw(rt, "short") {
			w.loop.Faults.ReadChunk = rapid.IntRange(500, 70000).Draw(rt, "readChunk")
			w.loop.Faults.WriteChunk = rapid.IntRange(500, 70000).Draw(rt, "writeChunk")
		}
		w.proxy.limit = rapid.SampledFrom([]int{4 << 10, 64 << 10, 1 << 20}).Draw(rt, "limit")
		client, server := w.pair()
		if rapid.Bool().Draw(rt, "shown") {
			w.show()
		}
		pieces := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 300), rapid.IntRange(1, 9000), rapid.IntRange(30000, 300000)), 0, 8)
		streams := []*tcpStream{
			{from: client, to: server, pieces: pieces.Draw(rt, "request")},
			{from: server, to: client, pieces: pieces.Draw(rt, "response")},
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		sizes := []int{1, 100, 5000, 200000}
		w.loop.Until(func() bool {
			for _, s := range streams {
				if rng.IntN(3) > 0 {
					s.step(rng)
				}
				if rng.IntN(3) > 0 && !s.eof {
					s.read(sizes[rng.IntN(len(sizes))])
				}
				for s.ended && !s.eof && len(s.got) < len(s.sent) && rng.IntN(2) == 0 {
					before := len(s.got)
					if s.read(200000); len(s.got) == before {
						break
					}
				}
			}
			return streams[0].eof && streams[1].eof
		})
		for i, s := range streams {
			if !bytes.Equal(s.sent, s.got) {
				rt.Fatalf("stream %d: %d bytes arrived of %d, equal up to %d", i, len(s.got), len(s.sent), commonPrefix(s.got, s.sent))
			}
		}
		w.wantGone()
		client.Close()
		server.Close()
	})
}

func commonPrefix(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestTCPProxyResets: a reset at any moment of a transfer ends both sides and leaves nothing behind.
func TestTCPProxyResets(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 2))
			w := newTCPWorld(t, nil, nil)
			w.loop.Faults = enginetest.Faults{EAGAIN: seed%2 == 1, ReadChunk: 1 + rng.IntN(100000)}
			client, server := w.pair()
			if seed%4 > 1 {
				w.show()
			}
			b := make([]byte, 300000)
			for range rng.IntN(20) {
				server.TryWrite(b[:rng.IntN(len(b))])
				client.TryWrite(b[:rng.IntN(len(b))])
				if rng.IntN(2) == 0 {
					client.ReadSome(b)
				}
				if rng.IntN(2) == 0 {
					server.ReadSome(b)
				}
				w.loop.Step()
			}
			resets, other := client, server
			if rng.IntN(2) == 0 {
				resets, other = server, client
			}
			resets.Reset()
			w.loop.Until(func() bool {
				other.ReadSome(b)
				return w.proxy.Conns() == 0
			})
			w.wantGone()
		})
	}
}
