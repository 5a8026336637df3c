package filters

import (
	"testing"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// quietDownstream counts what a stream asks of its source and sink.
type quietDownstream struct {
	Downstream
	loop           *engine.Loop
	resumed, heads int
}

func (d *quietDownstream) Loop() *engine.Loop { return d.loop }
func (d *quietDownstream) Conn() *engine.Conn { return nil }

func (d *quietDownstream) SinkHead(Direction, bool) Verdict { d.heads++; return Continue }
func (d *quietDownstream) PauseSource(Direction)            {}
func (d *quietDownstream) ResumeSource(Direction)           { d.resumed++ }

// pausing holds every request.
type pausing struct{}

func (pausing) OnRequestHead(*Stream, bool) Verdict { return Pause }

// TestExpiredTokenResumesNothing: a filter that lets go of a request after it was answered moves nothing, although
// the stream still reads what is left of it.
func TestExpiredTokenResumesNothing(t *testing.T) {
	t.Parallel()
	chain := NewChain(nil)
	if err := chain.Add("pausing", pausing{}); err != nil {
		t.Fatal(err)
	}
	loop := enginetest.NewLoop(t).Loop
	for _, expired := range []bool{false, true} {
		var s Stream
		d := &quietDownstream{loop: loop}
		s.Init(chain, d)
		s.Pass(Request, false)
		token := s.Token()
		if expired {
			s.Expire()
		}
		s.Resume(Request, token)
		if moved := d.heads+d.resumed > 0; moved == expired {
			t.Errorf("expired %v: %d heads and %d resumes", expired, d.heads, d.resumed)
		}
	}
}
