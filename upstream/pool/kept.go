package pool

import "millrace/engine/arena"

const (
	keptBlockMin = 4 << 10 // what a kept body grows by at first
	keptBlockMax = 64 << 10
)

// kept is bytes of a body that wait, first in first out, in blocks outside the heap. The zero value is empty.
type kept struct {
	blocks []arena.Block
	from   int // first byte, in the first block
	to     int // end of the bytes, in the last block
	n      int // bytes in all
}

// append copies b to the end. It reports whether the pool had blocks for it.
func (k *kept) append(pool *arena.Pool, b []byte) bool {
	for len(b) > 0 {
		if len(k.blocks) == 0 || k.to == k.blocks[len(k.blocks)-1].Size() {
			block, ok := pool.Lease(min(max(keptBlockMin, len(b), k.n), keptBlockMax))
			if !ok {
				return false
			}
			k.blocks, k.to = append(k.blocks, block), 0
		}
		n := copy(k.blocks[len(k.blocks)-1].Bytes()[k.to:], b)
		k.to, k.n, b = k.to+n, k.n+n, b[n:]
	}
	return true
}

// front returns the first contiguous piece, nil if there is none. It is valid until skip or free.
func (k *kept) front() []byte {
	switch len(k.blocks) {
	case 0:
		return nil
	case 1:
		return k.blocks[0].Bytes()[k.from:k.to]
	}
	return k.blocks[0].Bytes()[k.from:]
}

// skip removes the first n bytes, at most those of front.
func (k *kept) skip(pool *arena.Pool, n int) {
	k.from, k.n = k.from+n, k.n-n
	if k.n == 0 {
		k.free(pool)
		return
	}
	if k.from == k.blocks[0].Size() {
		pool.Return(k.blocks[0])
		k.blocks, k.from = append(k.blocks[:0], k.blocks[1:]...), 0
	}
}

// free gives all blocks back.
func (k *kept) free(pool *arena.Pool) {
	for _, block := range k.blocks {
		pool.Return(block)
	}
	clear(k.blocks)
	*k = kept{blocks: k.blocks[:0]}
}
