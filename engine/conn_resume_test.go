package engine_test

import (
	"testing"

	"millrace/engine/enginetest"
)

// TestEOFAfterResumeInOneTurn: what was kept must be shown before the end is told, even if the event with the end comes
// between ResumeRead and the offer at the end of the turn. Requests of a pipeline were lost.
func TestEOFAfterResumeInOneTurn(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	waker := enginetest.NewRecorder()
	_, other := tl.Pair(waker)
	rec.DataFunc = func([]byte) int { c.PauseRead(); return 2 }
	peer.Write("abcd")
	tl.Settle()
	rec.DataFunc = nil
	waker.DataFunc = func(b []byte) int { c.ResumeRead(); return len(b) }
	other.Write("go") // becomes ready first, so it is first in the batch
	peer.CloseWrite()
	tl.Settle()
	rec.Want(t, `data "abcd"`, `data "cd"`, "eof")
}

// A handler that resumes itself without taking anything is wrong, but must not hold up the loop.
func TestResumeInsideOnDataWithoutProgress(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := &enginetest.Recorder{Quiet: true}
	c, peer := tl.Pair(rec)
	calls := 0
	rec.DataFunc = func(b []byte) int {
		calls++
		c.PauseRead()
		c.ResumeRead()
		return 0
	}
	peer.Write("abc")
	peer.CloseWrite()
	tl.Step()
	if calls == 0 || calls > 100 {
		t.Errorf("%d calls in one turn, want them bounded", calls)
	}
	c.Close()
	tl.Settle()
}
