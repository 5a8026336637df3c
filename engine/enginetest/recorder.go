package enginetest

import (
	"fmt"
	"slices"
	"testing"

	"millrace/engine"
)

// A Recorder is an engine.Handler that writes down what it is called with, one line each:
//
//	connect   data "bytes"   eof   low   splice 5 done eof   timeout   close reset
//
// The On fields, where set, are run as well.
type Recorder struct {
	Calls []string

	// Quiet leaves data out of Calls; Data has the bytes then.
	Quiet bool
	// Data has all bytes consumed.
	Data []byte

	// DataFunc decides how much is consumed. Default: everything.
	DataFunc    func(b []byte) int
	ConnectFunc func()
	EOFFunc     func()
	LowFunc     func()
	SpliceFunc  func(n int64, done, eof bool)
	TimeoutFunc func()
	CloseFunc   func(why engine.CloseReason)
}

// NewRecorder makes a Recorder that consumes everything.
func NewRecorder() *Recorder { return &Recorder{} }

func (r *Recorder) note(format string, args ...any) {
	r.Calls = append(r.Calls, fmt.Sprintf(format, args...))
}

// OnConnect implements engine.Handler.
func (r *Recorder) OnConnect() {
	r.note("connect")
	if r.ConnectFunc != nil {
		r.ConnectFunc()
	}
}

// OnData implements engine.Handler.
func (r *Recorder) OnData(b []byte) int {
	if !r.Quiet {
		r.note("data %q", b)
	}
	n := len(b)
	if r.DataFunc != nil {
		n = r.DataFunc(b)
	}
	r.Data = append(r.Data, b[:n]...)
	return n
}

// OnEOF implements engine.Handler.
func (r *Recorder) OnEOF() {
	r.note("eof")
	if r.EOFFunc != nil {
		r.EOFFunc()
	}
}

// OnWriteLow implements engine.Handler.
func (r *Recorder) OnWriteLow() {
	r.note("low")
	if r.LowFunc != nil {
		r.LowFunc()
	}
}

// OnSplice implements engine.Handler.
func (r *Recorder) OnSplice(n int64, done, eof bool) {
	if !r.Quiet || done {
		s := fmt.Sprintf("splice %d", n)
		if r.Quiet {
			s = "splice"
		}
		if done {
			s += " done"
		}
		if eof {
			s += " eof"
		}
		r.Calls = append(r.Calls, s)
	}
	if r.SpliceFunc != nil {
		r.SpliceFunc(n, done, eof)
	}
}

// OnTimeout implements engine.Handler.
func (r *Recorder) OnTimeout() {
	r.note("timeout")
	if r.TimeoutFunc != nil {
		r.TimeoutFunc()
	}
}

// OnClose implements engine.Handler.
func (r *Recorder) OnClose(why engine.CloseReason) {
	r.note("close %s", why)
	if r.CloseFunc != nil {
		r.CloseFunc(why)
	}
}

// Want checks the calls since the last Want.
func (r *Recorder) Want(t testing.TB, calls ...string) {
	t.Helper()
	if !slices.Equal(r.Calls, calls) {
		t.Errorf("handler was called with\n%q\nwant\n%q", r.Calls, calls)
	}
	r.Calls = nil
}
