package arena

import "fmt"

const (
	// BlockMin is the size of the smallest class.
	BlockMin = 4 << 10
	// BlockMax is the size of the largest class, and the most one Lease can give.
	BlockMax = 1 << 20

	classCount  = 5
	classShift  = 2         // each class is four times the one below
	regionBytes = 256 << 10 // mapped at once for the smaller classes

	// keepFreeMax is how many free bytes keep their pages. What is returned above it
	// goes back to the kernel, which costs a system call and a page fault later.
	keepFreeMax = 4 << 20
)

// A Block is leased memory of one class. The zero Block is no memory.
type Block struct{ b []byte }

// Bytes returns the whole block.
func (b Block) Bytes() []byte { return b.b }

// Size returns the number of bytes of the block, 0 for the zero Block.
func (b Block) Size() int { return len(b.b) }

// IsZero reports whether b is no memory.
func (b Block) IsZero() bool { return b.b == nil }

// A Pool leases blocks. It belongs to one loop.
type Pool struct {
	budget  int64 // most bytes leased at once
	leased  int64
	mapped  int64  // bytes of regions
	warm    int64  // free bytes whose pages are kept
	refused uint64 // leases

	free    [classCount]freeLists
	regions [][]byte
	links   *link // free links of chains
	closed  bool
}

// freeLists holds the free blocks of a class. Warm blocks have their pages.
type freeLists struct{ warm, cold [][]byte }

// NewPool makes a pool that leases at most budget bytes at once.
func NewPool(budget int64) *Pool { return &Pool{budget: budget} }

// Lease returns a block of at least n bytes, whose content is unspecified. It reports
// false when n is above BlockMax, when the budget is spent or when the kernel has no memory.
func (p *Pool) Lease(n int) (Block, bool) {
	class := classOf(n)
	if class < 0 {
		p.refused++
		return Block{}, false
	}
	size := classSize(class)
	if p.leased+int64(size) > p.budget {
		p.refused++
		return Block{}, false
	}
	b := p.take(class)
	if b == nil {
		p.refused++
		return Block{}, false
	}
	p.leased += int64(size)
	return Block{b}, true
}

// Return takes b back. Nothing may touch its bytes afterwards.
func (p *Pool) Return(b Block) {
	if b.b == nil {
		return
	}
	size := len(b.b)
	class := classOf(size)
	if class < 0 || classSize(class) != size {
		panic("BUG: arena: returned a block that is not whole")
	}
	p.leased -= int64(size)
	if p.leased < 0 {
		panic("BUG: arena: block returned twice")
	}
	lists := &p.free[class]
	if p.warm+int64(size) > keepFreeMax {
		forget(b.b)
		lists.cold = append(lists.cold, b.b)
		return
	}
	p.warm += int64(size)
	lists.warm = append(lists.warm, b.b)
}

// Leased returns the bytes now leased.
func (p *Pool) Leased() int64 { return p.leased }

// Mapped returns the bytes of address space held.
func (p *Pool) Mapped() int64 { return p.mapped }

// Refused returns how many leases were refused because the budget was spent, or the kernel's memory.
func (p *Pool) Refused() uint64 { return p.refused }

// Budget returns the most bytes that can be leased at once.
func (p *Pool) Budget() int64 { return p.budget }

// Close unmaps everything. It panics if a block is still leased, since its owner would
// be left with memory that is gone.
func (p *Pool) Close() {
	if p.closed {
		return
	}
	if p.leased != 0 {
		panic(fmt.Sprintf("BUG: arena: closed with %d bytes leased", p.leased))
	}
	p.closed = true
	for _, r := range p.regions {
		unmap(r)
	}
	p.regions, p.links = nil, nil
	p.free = [classCount]freeLists{}
	p.mapped = 0
}

// take removes a free block of a class, preferring one whose pages are there.
func (p *Pool) take(class int) []byte {
	lists := &p.free[class]
	if n := len(lists.warm); n > 0 {
		b := lists.warm[n-1]
		lists.warm = lists.warm[:n-1]
		p.warm -= int64(len(b))
		return b
	}
	if len(lists.cold) == 0 && !p.grow(class) {
		return nil
	}
	n := len(lists.cold)
	b := lists.cold[n-1]
	lists.cold = lists.cold[:n-1]
	return b
}

// grow maps a region and cuts it into blocks of a class. Untouched pages are cold.
func (p *Pool) grow(class int) bool {
	if p.closed {
		return false
	}
	size := classSize(class)
	r, err := mapRegion(max(size, regionBytes))
	if err != nil {
		return false
	}
	p.regions = append(p.regions, r)
	p.mapped += int64(len(r))
	for len(r) > 0 {
		p.free[class].cold = append(p.free[class].cold, r[:size:size])
		r = r[size:]
	}
	return true
}

// classOf returns the smallest class that holds n bytes, -1 when none does.
func classOf(n int) int {
	for class := range classCount {
		if n <= classSize(class) {
			return class
		}
	}
	return -1
}

func classSize(class int) int { return BlockMin << (classShift * class) }
