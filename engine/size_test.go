package engine

import "unsafe"

// A Conn is at most 192 bytes, three cache lines: it is most of what an idle connection
// costs. A chunk of them fills a size class of the allocator exactly, so that each begins
// a line, and the first line holds what each event touches.
var (
	_ [192 - unsafe.Sizeof(Conn{})]byte
	_ [64 - unsafe.Offsetof(Conn{}.in)]byte
)
