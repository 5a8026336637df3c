package server

import (
	"bytes"
	"runtime"
	"testing"
)

// TestGiveBackMemory: garbage that nothing would collect goes back to the kernel while the process is quiet.
func TestGiveBackMemory(t *testing.T) {
	r := start(t, `{"listeners": []}`)
	for i := range garbage {
		garbage[i] = bytes.Repeat([]byte{1}, 1<<20)
	}
	runtime.GC() // now it is live
	clear(garbage[:])
	if !eventually(func() bool { return r.memoryGivenBack.Load() > 0 }) {
		t.Error("nothing was given back")
	}
	if held, live := newHeapReader().read(); held > 2*live+quietSlack || live > 32<<20 {
		t.Errorf("the heap holds %d bytes, of which %d are live", held, live)
	}
}

// garbage is where the test leaves memory, so that it comes from the heap.
var garbage [64][]byte
