//go:build !debug

package engine

// debugOwner checks nothing; see owner_debug.go.
type debugOwner struct{}

func (*debugOwner) own()    {}
func (*debugOwner) assert() {}
