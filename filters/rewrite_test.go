package filters

import (
	"strings"
	"testing"

	"millrace/codec"
	"millrace/engine/enginetest"
)

// noting writes down what reaches the sink.
type noting struct {
	quietDownstream
	log []string
}

func (d *noting) SinkHead(_ Direction, end bool) Verdict {
	d.log = append(d.log, "head"+ends(end))
	return Continue
}
func (d *noting) SinkData(_ Direction, b []byte, end bool) {
	d.log = append(d.log, string(b)+ends(end))
}
func (d *noting) SinkTrailers(_ Direction, t *codec.Fields) {
	d.log = append(d.log, "trailers "+string(t.Lookup("x")))
}

func ends(end bool) string {
	if end {
		return "."
	}
	return ""
}

// bracketing puts a body in brackets, with the trailers in front of the end.
type bracketing struct {
	only  bool // rewrites only requests that have a body
	reply bool
}

func (f *bracketing) OnRequestHead(s *Stream, end bool) Verdict {
	if !f.only || !end {
		s.Rewrite(Request)
		s.Rewrite(Request) // again does nothing
	}
	return Continue
}

func (f *bracketing) RewriteRequest(s *Stream, dst []byte, p Part) ([]byte, *codec.Fields) {
	if s.Slot().N == 0 {
		dst = append(dst, '[')
	}
	s.Slot().N++
	dst = append(dst, p.Data...)
	if f.reply {
		s.Cut(Request) // as an answer does
		return dst, nil
	}
	if p.Trailers != nil {
		dst = append(dst, p.Trailers.Lookup("x")...)
	}
	if p.End {
		dst = append(dst, ']')
	}
	return dst, nil
}

// TestRewrite: where a rewritten message ends, and what becomes of its trailers.
func TestRewrite(t *testing.T) {
	t.Parallel()
	var trailers codec.Fields
	trailers.AddString("x", "tail")
	loop := enginetest.NewLoop(t).Loop
	for _, tt := range []struct {
		name    string
		filters []*bracketing
		drive   func(s *Stream)
		want    string
	}{
		{"head alone", []*bracketing{{}}, func(s *Stream) { s.Pass(Request, true) }, "head []."},
		{"head alone, as it is", []*bracketing{{only: true}}, func(s *Stream) { s.Pass(Request, true) }, "head."},
		{"pieces", []*bracketing{{}}, func(s *Stream) {
			s.Pass(Request, false)
			s.PassData(Request, []byte("a"), false)
			s.PassData(Request, []byte("b"), true)
		}, "head [a b]."},
		{"end alone", []*bracketing{{}}, func(s *Stream) {
			s.Pass(Request, false)
			s.PassData(Request, []byte("a"), false)
			s.PassData(Request, nil, true)
		}, "head [a ]."},
		{"trailers", []*bracketing{{}}, func(s *Stream) {
			s.Pass(Request, false)
			s.PassData(Request, []byte("a"), false)
			s.PassTrailers(Request, &trailers)
		}, "head [a tail]."},
		{"two", []*bracketing{{}, {}}, func(s *Stream) {
			s.Pass(Request, false)
			s.PassData(Request, []byte("a"), true)
		}, "head [[a]]."},
		{"answered", []*bracketing{{reply: true}}, func(s *Stream) {
			s.Pass(Request, false)
			if s.PassData(Request, []byte("a"), true) {
				t.Error("PassData reports that the stream goes on")
			}
		}, "head"},
		{"answered at the head", []*bracketing{{reply: true}}, func(s *Stream) {
			if s.Pass(Request, true) {
				t.Error("Pass reports that the stream goes on")
			}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chain := NewChain(nil)
			for _, f := range tt.filters {
				if err := chain.Add("bracketing", f); err != nil {
					t.Fatal(err)
				}
			}
			var s Stream
			d := &noting{quietDownstream: quietDownstream{loop: loop}}
			for range 2 { // what a stream leaves behind does not disturb the next one
				d.log = nil
				s.Init(chain, d)
				tt.drive(&s)
				if got := strings.Join(d.log, " "); got != tt.want {
					t.Errorf("the sink got %q; want %q", got, tt.want)
				}
				s.Clear()
			}
		})
	}
}
