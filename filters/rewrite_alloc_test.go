//go:build !race

package filters

import (
	"testing"

	"millrace/engine/enginetest"
)

// silent is a sink that keeps nothing.
type silent struct{ quietDownstream }

func (*silent) SinkData(Direction, []byte, bool) {}

// TestRewriteAllocs: a stream whose body is rewritten costs no allocation, and one of a chain where it could be neither.
func TestRewriteAllocs(t *testing.T) { // AllocsPerRun does not go with t.Parallel
	for _, only := range []bool{false, true} {
		chain := NewChain(nil)
		if err := chain.Add("bracketing", &bracketing{only: only}); err != nil {
			t.Fatal(err)
		}
		var s Stream
		d := &silent{quietDownstream{loop: enginetest.NewLoop(t).Loop}}
		piece := make([]byte, 3000)
		run := func() {
			s.Init(chain, d)
			if s.Pass(Request, only); !only {
				s.PassData(Request, piece, false)
				s.PassData(Request, piece, true)
			}
			s.Clear()
		}
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("only %v: %v allocations for a request; want 0", only, n)
		}
	}
}
