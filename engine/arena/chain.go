package arena

// A Chain is a row of bytes in reference-counted blocks: appended at one end, read by
// any number of cursors, each at its own pace. It keeps a body that may be sent more
// than once. The zero Chain is not usable, see [NewChain].
//
//	Chain.head ─▶ link ─▶ link ─▶ link (tail, being filled)
//	                        ▲ Cursor: holds its link and, through it, all later ones
//
// A block is returned when neither the chain nor a cursor can reach it. Invariant: a
// link is referenced once by the link before it, once by the chain if it is the head, and
// once by each cursor that stands on it.
type Chain struct {
	pool *Pool
	head *link // first byte kept, nil when empty
	tail *link
	len  int // bytes from head on
}

// link is one block of a chain. Links are recycled by the pool.
type link struct {
	block Block
	used  int // bytes filled
	refs  int
	next  *link
}

// NewChain returns an empty chain whose blocks come from p.
func NewChain(p *Pool) Chain { return Chain{pool: p} }

// Len returns the number of bytes the chain keeps.
func (c *Chain) Len() int { return c.len }

// Append copies b to the end. It reports false, having appended nothing, when the pool
// has no room left.
func (c *Chain) Append(b []byte) bool {
	oldTail, oldUsed, oldLen := c.tail, 0, c.len
	if oldTail != nil {
		oldUsed = oldTail.used
	}
	for len(b) > 0 {
		if c.tail == nil || c.tail.used == c.tail.block.Size() {
			if !c.extend(len(b)) {
				c.cutBack(oldTail, oldUsed, oldLen)
				return false
			}
		}
		n := copy(c.tail.block.Bytes()[c.tail.used:], b)
		c.tail.used += n
		c.len += n
		b = b[n:]
	}
	return true
}

// extend adds an empty block. Bodies that grow get larger blocks.
func (c *Chain) extend(n int) bool {
	want := min(max(n, min(c.len, 64<<10)), 256<<10)
	block, ok := c.pool.Lease(want)
	if !ok && want > BlockMin {
		block, ok = c.pool.Lease(BlockMin)
	}
	if !ok {
		return false
	}
	l := c.pool.newLink(block)
	if c.tail == nil {
		c.head = l
	} else {
		c.tail.next = l
	}
	c.tail = l
	return true
}

// cutBack undoes an append that ran out of memory.
func (c *Chain) cutBack(tail *link, used, length int) {
	c.len = length
	if tail == nil {
		c.pool.drop(c.head)
		c.head, c.tail = nil, nil
		return
	}
	c.pool.drop(tail.next)
	tail.next, tail.used = nil, used
	c.tail = tail
}

// Cursor returns a new reader at the first byte kept. The caller must Release it.
func (c *Chain) Cursor() Cursor { return Cursor{chain: c} }

// Discard forgets the bytes: blocks no cursor stands on or before are returned. Cursors
// go on reading what was appended up to now.
func (c *Chain) Discard() {
	c.pool.drop(c.head)
	c.head, c.tail, c.len = nil, nil, 0
}

// A Cursor is a place in a chain. It keeps the bytes after it alive.
type Cursor struct {
	chain *Chain
	at    *link // nil before the first read
	off   int   // bytes of at already read
}

// Peek returns the next run of bytes, nil when the cursor has read all there is for now.
// They stay valid until the cursor is released or moved past them.
func (u *Cursor) Peek() []byte {
	if u.at == nil {
		if u.chain == nil || u.chain.head == nil {
			return nil
		}
		u.at = u.chain.head
		u.at.refs++
	}
	for u.off == u.at.used && u.at.next != nil {
		u.step()
	}
	if u.off == u.at.used {
		return nil
	}
	return u.at.block.Bytes()[u.off:u.at.used]
}

// Advance moves past n bytes, at most as many as Peek returned.
func (u *Cursor) Advance(n int) {
	if n == 0 {
		return
	}
	if u.at == nil || n < 0 || n > u.at.used-u.off {
		panic("BUG: arena: cursor advanced past what it peeked")
	}
	u.off += n
}

// Left returns the number of bytes after the cursor.
func (u *Cursor) Left() int {
	if u.at == nil {
		if u.chain == nil {
			return 0
		}
		return u.chain.len
	}
	n := -u.off
	for l := u.at; l != nil; l = l.next {
		n += l.used
	}
	return n
}

// Release gives up the cursor's hold on the bytes. The cursor must not be used again.
func (u *Cursor) Release() {
	if u.at != nil {
		u.chain.pool.drop(u.at)
	}
	*u = Cursor{}
}

// step moves the cursor's reference to the next link.
func (u *Cursor) step() {
	old := u.at
	u.at, u.off = old.next, 0
	u.at.refs++
	u.chain.pool.drop(old)
}

// newLink takes a recycled link for a block, referenced once.
func (p *Pool) newLink(b Block) *link {
	l := p.links
	if l == nil {
		l = new(link)
	} else {
		p.links = l.next
	}
	*l = link{block: b, refs: 1}
	return l
}

// drop removes one reference from l; the links only l could reach go with it.
func (p *Pool) drop(l *link) {
	for l != nil {
		l.refs--
		if l.refs > 0 {
			return
		}
		next := l.next
		p.Return(l.block)
		*l = link{next: p.links}
		p.links = l
		l = next
	}
}
