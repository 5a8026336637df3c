//go:build debug

package engine

import (
	"fmt"

	"millrace/engine/internal/sys"
)

// debugOwner checks that a loop is used on its own thread.
type debugOwner struct{ thread int }

// own remembers the thread of a loop that runs.
func (o *debugOwner) own() { o.thread = sys.ThreadID() }

// assert panics when it is called on another thread than the loop's. A loop that does not
// run yet, or is stepped by a test, may be used from anywhere.
func (o *debugOwner) assert() {
	if at := sys.ThreadID(); o.thread != 0 && at != o.thread {
		panic(fmt.Sprintf("BUG: engine: used on thread %d, but the loop runs on %d; use Loop.Post", at, o.thread))
	}
}
