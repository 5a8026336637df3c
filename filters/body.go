package filters

import "millrace/engine/arena"

// bodyBlockBytes is the size of the blocks a kept body grows by.
const bodyBlockBytes = 16 << 10

// A Body is a message body, or a part of one, that is kept in blocks outside the heap. The
// zero value is empty.
type Body struct {
	blocks []arena.Block
	n      int // bytes in all
	last   int // bytes in the last block
}

// Len returns the number of bytes kept.
func (b *Body) Len() int { return b.n }

// Pieces returns the number of contiguous pieces.
func (b *Body) Pieces() int { return len(b.blocks) }

// Piece returns the i-th piece. It is valid until Free.
func (b *Body) Piece(i int) []byte {
	p := b.blocks[i].Bytes()
	if i == len(b.blocks)-1 {
		p = p[:b.last]
	}
	return p
}

// Append copies p behind what is kept. It reports whether the pool had blocks for it.
func (b *Body) Append(pool *arena.Pool, p []byte) bool {
	for len(p) > 0 {
		if len(b.blocks) == 0 || b.last == len(b.blocks[len(b.blocks)-1].Bytes()) {
			block, ok := pool.Lease(bodyBlockBytes)
			if !ok {
				return false
			}
			b.blocks, b.last = append(b.blocks, block), 0
		}
		n := copy(b.blocks[len(b.blocks)-1].Bytes()[b.last:], p)
		b.last, b.n, p = b.last+n, b.n+n, p[n:]
	}
	return true
}

// drop gives the first n blocks back.
func (b *Body) drop(pool *arena.Pool, n int) {
	for _, block := range b.blocks[:n] {
		pool.Return(block)
		b.n -= len(block.Bytes())
	}
	b.blocks = append(b.blocks[:0], b.blocks[n:]...)
}

// Free gives all blocks back; the body is empty again.
func (b *Body) Free(pool *arena.Pool) {
	for _, block := range b.blocks {
		pool.Return(block)
	}
	*b = Body{blocks: b.blocks[:0]}
}
