package enginetest

import (
	"slices"
	"testing"
	"time"
)

// fakeT records failures instead of failing.
type fakeT struct {
	testing.TB
	failed bool
}

func (f *fakeT) Helper()               {}
func (f *fakeT) Errorf(string, ...any) { f.failed = true }

func TestRecorder(t *testing.T) {
	t.Parallel()
	tl := NewLoop(t)
	rec := NewRecorder()
	c, peer := tl.Pair(rec)
	peer.Write("hi")
	c.SetDeadline(tl.Now() + int64(time.Second))
	tl.Settle()
	tl.Advance(2 * time.Second)
	peer.Close()
	tl.Settle()
	want := []string{`data "hi"`, "timeout", "eof"}
	if !slices.Equal(rec.Calls, want) || string(rec.Data) != "hi" {
		t.Errorf("Calls = %q, Data = %q; want %q", rec.Calls, rec.Data, want)
	}
	f := &fakeT{}
	rec.Want(f, "something else")
	if !f.failed {
		t.Error("Want did not notice a difference")
	}
	rec.Want(t) // and forgets what it has looked at
}

func TestFaults(t *testing.T) {
	t.Parallel()
	f := Faults{ReadChunk: 3, EAGAIN: true}
	var got []int
	for range 4 {
		got = append(got, f.ReadMax(10), f.WriteMax(10))
	}
	if want := []int{0, 0, 3, 10, 0, 0, 3, 10}; !slices.Equal(got, want) {
		t.Errorf("faults %v, want %v", got, want)
	}
}
