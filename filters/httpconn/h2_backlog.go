package httpconn

import "millrace/engine/arena"

// backlogBlockBytes is the size of the blocks that a backlog grows by.
const backlogBlockBytes = 16 << 10

// backlog is a queue of bytes of one body that cannot go on, in blocks outside the heap. The zero value is empty.
type backlog struct {
	blocks []arena.Block
	n      int // bytes in all
	off    int // of the first block, gone already
	last   int // bytes in the last block
}

// append copies p behind what waits. It reports whether the pool had blocks for it.
func (b *backlog) append(pool *arena.Pool, p []byte) bool {
	for len(p) > 0 {
		if len(b.blocks) == 0 || b.last == b.blocks[len(b.blocks)-1].Size() {
			block, ok := pool.Lease(min(len(p), backlogBlockBytes))
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

// peek returns the first run of bytes. It is valid until it is skipped.
func (b *backlog) peek() []byte {
	if b.n == 0 {
		return nil
	}
	p := b.blocks[0].Bytes()
	if len(b.blocks) == 1 {
		p = p[:b.last]
	}
	return p[b.off:]
}

// skip forgets the first n bytes, at most as many as peek returned.
func (b *backlog) skip(pool *arena.Pool, n int) {
	left := len(b.peek()) - n
	if b.off, b.n = b.off+n, b.n-n; left > 0 {
		return
	}
	pool.Return(b.blocks[0])
	copy(b.blocks, b.blocks[1:])
	b.blocks, b.off = b.blocks[:len(b.blocks)-1], 0
}

// pop takes the first run of bytes out, with the block that it lies in and that the caller returns.
func (b *backlog) pop() (block arena.Block, p []byte) {
	block, p = b.blocks[0], b.peek()
	copy(b.blocks, b.blocks[1:])
	b.blocks, b.off, b.n = b.blocks[:len(b.blocks)-1], 0, b.n-len(p)
	return block, p
}

// free gives all blocks back; the backlog is empty again.
func (b *backlog) free(pool *arena.Pool) {
	for _, block := range b.blocks {
		pool.Return(block)
	}
	*b = backlog{blocks: b.blocks[:0]}
}
