//go:build !race

package l4

import (
	"testing"

	"millrace/filters"
)

// countFilter looks at everything, and keeps nothing.
type countFilter struct{ read, written int }

func (f *countFilter) OnRead(_ *filters.Connection, b []byte, _ bool) filters.NetworkVerdict {
	f.read += len(b)
	return filters.NetworkContinue
}

func (f *countFilter) OnWrite(_ *filters.Connection, b []byte, _ bool) filters.NetworkVerdict {
	f.written += len(b)
	return filters.NetworkContinue
}

// holdFilter pauses at all bytes.
type holdFilter struct{}

func (holdFilter) OnRead(*filters.Connection, []byte, bool) filters.NetworkVerdict {
	return filters.NetworkPause
}

// TestFilterTransportAllocs: bytes that pass filters, held ones too, cost no allocation.
func TestFilterTransportAllocs(t *testing.T) { // AllocsPerRun does not go with t.Parallel
	for _, hold := range []bool{false, true} {
		p := newFakeProcess(t)
		count := &countFilter{}
		with := []any{count}
		if hold {
			with = append(with, holdFilter{})
		}
		c, peer := p.conn(t, p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal), with...)
		buf, out := make([]byte, 3000), make([]byte, 4096)
		got := 0
		n := testing.AllocsPerRun(100, func() {
			peer.TryWrite(buf)
			p.loop.Step()
			if hold {
				c.Resume()
				p.loop.Step()
			}
			got += max(peer.ReadSome(out), 0)
		})
		if n != 0 || got != 101*3000 || count.read != got || count.written != got {
			t.Errorf("hold %v: %v allocations; %d bytes came back, %d and %d passed", hold, n, got, count.read, count.written)
		}
	}
}
