package engine

import "unsafe"

// A Conn is at most 256 bytes: it is most of what an idle connection costs.
var _ [256 - unsafe.Sizeof(Conn{})]byte
