package arena

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestLeaseClasses(t *testing.T) {
	t.Parallel()
	p := NewPool(64 << 20)
	for _, tt := range []struct{ n, want int }{
		{0, 4 << 10}, {1, 4 << 10}, {4 << 10, 4 << 10}, {4<<10 + 1, 16 << 10}, {60 << 10, 64 << 10},
		{128 << 10, 256 << 10}, {BlockMax, BlockMax},
	} {
		b, ok := p.Lease(tt.n)
		if !ok || b.Size() != tt.want || b.IsZero() {
			t.Errorf("Lease(%d) = %d bytes, %v; want %d", tt.n, b.Size(), ok, tt.want)
		}
		b.Bytes()[tt.want-1] = 1
		p.Return(b)
	}
	if _, ok := p.Lease(BlockMax + 1); ok {
		t.Error("Lease above BlockMax succeeded")
	}
	if p.Leased() != 0 {
		t.Errorf("%d bytes leased in the end", p.Leased())
	}
	p.Return(Block{})
	p.Close()
	p.Close()
	if _, ok := p.Lease(1); ok {
		t.Error("Lease from a closed pool succeeded")
	}
}

func TestLeaseBudget(t *testing.T) {
	t.Parallel()
	p := NewPool(3 * BlockMin)
	defer p.Close()
	var blocks []Block
	for range 3 {
		b, ok := p.Lease(1)
		if !ok {
			t.Fatal("Lease within the budget was refused")
		}
		blocks = append(blocks, b)
	}
	if _, ok := p.Lease(1); ok || p.Refused() != 1 {
		t.Errorf("Lease beyond the budget = %v; refused %d, want 1", ok, p.Refused())
	}
	p.Return(blocks[0])
	if _, ok := p.Lease(1); !ok {
		t.Error("Lease after a return was refused")
	}
	for _, b := range append(blocks[1:], blocks[0]) {
		p.Return(b)
	}
}

// What is returned after a peak gives its pages back, and can be leased again.
func TestReturnForgetsPages(t *testing.T) {
	t.Parallel()
	p := NewPool(64 << 20)
	defer p.Close()
	var blocks []Block
	for range 32 {
		b, _ := p.Lease(BlockMax)
		b.Bytes()[0] = 7
		blocks = append(blocks, b)
	}
	for _, b := range blocks {
		p.Return(b)
	}
	if p.warm > keepFreeMax {
		t.Errorf("%d free bytes keep their pages, want at most %d", p.warm, keepFreeMax)
	}
	mapped := p.Mapped()
	for range 32 {
		b, ok := p.Lease(BlockMax)
		if !ok {
			t.Fatal("Lease was refused")
		}
		defer p.Return(b)
	}
	if got := p.Mapped(); got != mapped {
		t.Errorf("arena_mapped_bytes went from %d to %d", mapped, got)
	}
}

func TestReturnChecks(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(p *Pool, b Block){
		"part of a block":   func(p *Pool, b Block) { p.Return(Block{b.b[1:]}) },
		"returned twice":    func(p *Pool, b Block) { p.Return(b); p.Return(b) },
		"closed while used": func(p *Pool, b Block) { p.Close() },
	} {
		func() {
			p := NewPool(1 << 20)
			b, _ := p.Lease(1)
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f(p, b)
		}()
	}
}

// Blocks leased at the same time never overlap.
func TestLeaseProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := NewPool(8 << 20)
		type held struct {
			b    Block
			mark byte
		}
		var blocks []held
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(blocks) > 0 && rapid.Bool().Draw(t, "return") {
				k := rapid.IntRange(0, len(blocks)-1).Draw(t, "which")
				h := blocks[k]
				for _, at := range []int{0, h.b.Size() / 2, h.b.Size() - 1} {
					if h.b.Bytes()[at] != h.mark {
						t.Fatalf("block %d was written by another", h.mark)
					}
				}
				p.Return(h.b)
				blocks = append(blocks[:k], blocks[k+1:]...)
				continue
			}
			n := rapid.IntRange(0, 200<<10).Draw(t, "n")
			b, ok := p.Lease(n)
			if !ok {
				continue
			}
			if b.Size() < n {
				t.Fatalf("Lease(%d) = %d bytes", n, b.Size())
			}
			for _, at := range []int{0, b.Size() / 2, b.Size() - 1} {
				b.Bytes()[at] = byte(i)
			}
			blocks = append(blocks, held{b, byte(i)})
		}
		for _, h := range blocks {
			p.Return(h.b)
		}
		p.Close()
	})
}

// A chain with any number of cursors, each at its own pace, is one row of bytes.
func TestChainProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := NewPool(1 << 20)
		c := NewChain(p)
		var all []byte
		type reader struct {
			u  Cursor
			at int
		}
		var readers []*reader
		read := func(r *reader, n int) {
			b := r.u.Peek()
			n = min(n, len(b))
			if !bytes.Equal(b[:n], all[r.at:r.at+n]) {
				t.Fatalf("cursor at %d reads other bytes", r.at)
			}
			r.u.Advance(n)
			r.at += n
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				b := make([]byte, rapid.IntRange(0, 40<<10).Draw(t, "append"))
				for i := range b {
					b[i] = byte(len(all) + i*3)
				}
				before := c.Len()
				if c.Append(b) {
					all = append(all, b...)
				} else if c.Len() != before {
					t.Fatalf("a refused Append changed the length from %d to %d", before, c.Len())
				}
			case 1:
				readers = append(readers, &reader{u: c.Cursor()})
			case 2:
				if len(readers) > 0 {
					r := readers[rapid.IntRange(0, len(readers)-1).Draw(t, "reader")]
					read(r, rapid.IntRange(0, 30<<10).Draw(t, "n"))
				}
			case 3:
				if len(readers) > 0 {
					k := rapid.IntRange(0, len(readers)-1).Draw(t, "release")
					readers[k].u.Release()
					readers = append(readers[:k], readers[k+1:]...)
				}
			}
			if c.Len() != len(all) {
				t.Fatalf("Len = %d, want %d", c.Len(), len(all))
			}
		}
		for _, r := range readers { // those that stand in the chain outlive it
			started := r.u.Peek() != nil || len(all) == r.at
			if !started {
				t.Fatalf("cursor at %d of %d sees nothing", r.at, len(all))
			}
		}
		c.Discard()
		for _, r := range readers {
			if left := r.u.Left(); r.u.at != nil && left != len(all)-r.at {
				t.Fatalf("Left = %d, want %d", left, len(all)-r.at)
			}
			for r.u.Peek() != nil {
				read(r, 1<<20)
			}
			r.u.Release()
		}
		p.Close() // panics if a block is still leased
	})
}

func TestChainAllocs(t *testing.T) {
	p := NewPool(1 << 20)
	b := make([]byte, 10_000)
	run := func() {
		c := NewChain(p)
		u := c.Cursor()
		c.Append(b)
		c.Append(b)
		for got := u.Peek(); got != nil; got = u.Peek() {
			u.Advance(len(got))
		}
		u.Release()
		c.Discard()
	}
	run()
	if n := testing.AllocsPerRun(100, run); n > 1 { // the chain itself, which Cursor points to
		t.Errorf("a chain written and read: %v allocations, want at most 1", n)
	}
}
