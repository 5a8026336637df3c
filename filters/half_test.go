package filters

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"millrace/codec"
	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters/accesslog"
)

// model is a source, filters that hold at random, and a sink, of one direction of a stream. It writes down what each of them
// sees and compares it with what the source gave.
type model struct {
	t      *testing.T
	rng    *rand.Rand
	loop   *engine.Loop
	stream Stream
	d      Direction
	log    []string // for failures

	filters []*modelFilter // in the order of the direction
	pauses  int            // PauseSource less ResumeSource
	waiting []func()       // resumes that are due some time
	full    bool           // the sink holds

	sent  []byte
	seen  sight // the sink's
	ended bool  // the source has given the last part
	tails bool  // which are trailers
}

// wants returns the body as those see it who are behind n rewriters, as far as it is known, and whether trailers follow.
func (m *model) wants(n int) (body []byte, trailers bool) {
	body, trailers = m.sent, m.tails
	for _, f := range m.filters {
		if !f.rewrites || n == 0 {
			continue
		}
		n--
		for _, b := range body[f.used:] {
			f.made = f.rewriteByte(f.made, b)
		}
		f.used = len(body)
		if m.ended {
			trailers = f.trails
			if !f.done {
				f.made, f.done = append(f.made, f.tail...), true
			}
		}
		body = f.made
	}
	return body, trailers
}

// sight is what somebody has seen.
type sight struct {
	head     bool
	data     []byte
	end      bool
	trailers bool
	behind   int // so many rewriters
}

func (v *sight) onHead(m *model, who string, end bool) {
	m.note("%s head %v", who, end)
	if v.head {
		m.t.Errorf("%s sees the head twice", who)
	}
	v.head, v.end = true, end
}

func (v *sight) onData(m *model, who string, b []byte, end bool) {
	m.note("%s %d bytes %v", who, len(b), end)
	if !v.head {
		m.t.Errorf("%s sees data before the head", who)
	}
	if v.end || v.trailers {
		m.t.Errorf("%s sees data after the end", who)
	}
	v.data = append(v.data, b...)
	if want, _ := m.wants(v.behind); !bytes.HasPrefix(want, v.data) {
		m.t.Errorf("%s: the %d bytes seen are not the first that were sent", who, len(v.data))
	}
	v.end = end
}

func (v *sight) onTrailers(m *model, who string) {
	m.note("%s trailers", who)
	if want, _ := m.wants(v.behind); !v.head || v.trailers || len(v.data) != len(want) {
		m.t.Errorf("%s sees trailers at the wrong time", who)
	}
	v.trailers, v.end = true, true
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

// modelFilter is one filter, of both directions.
type modelFilter struct {
	m *model
	i int
	sight
	calm     bool    // never holds
	holds    Verdict // what it does with what it has seen
	released sight   // how far it has let go; data is as long, and not filled
	n        int     // bytes it has let go of

	rewrites bool
	tail     []byte // what it puts behind the body
	trails   bool   // the rewritten message has trailers
	made     []byte // what it has to make of the first used bytes, with the tail if done
	used     int
	done     bool
}

// rewriteByte makes nothing, one or three bytes of one.
func (f *modelFilter) rewriteByte(dst []byte, b byte) []byte {
	switch (int(b) + f.i) % 4 {
	case 0:
		return dst
	case 1:
		return append(dst, b, b^0x55, b+1)
	}
	return append(dst, b+1)
}

func (f *modelFilter) RewriteRequest(_ *Stream, dst []byte, p Part) ([]byte, *codec.Fields) {
	f.m.note("%s rewrites %d bytes %v", f.name(), len(p.Data), p.End)
	for _, b := range p.Data {
		dst = f.rewriteByte(dst, b)
	}
	if p.End {
		dst = append(dst, f.tail...)
	}
	if p.End && f.trails {
		return dst, new(codec.Fields)
	}
	return dst, nil
}

func (f *modelFilter) RewriteResponse(s *Stream, dst []byte, p Part) ([]byte, *codec.Fields) {
	return f.RewriteRequest(s, dst, p)
}

func (f *modelFilter) name() string { return fmt.Sprint("filter ", f.i) }

// verdict chooses what to do with a part.
func (f *modelFilter) verdict(end bool) Verdict {
	m := f.m
	if f.holds == Pause {
		m.t.Errorf("%s is shown something while it pauses", f.name())
	}
	if f.holds == Buffer {
		switch m.rng.IntN(4) {
		case 0:
			return f.pause()
		case 1, 2:
			return f.letGo()
		}
		return f.buffer(end)
	}
	if f.calm {
		return f.letGo()
	}
	switch m.rng.IntN(5) {
	case 0:
		return f.pause()
	case 1:
		return f.buffer(end)
	}
	return f.letGo()
}

func (f *modelFilter) pause() Verdict {
	f.holds = Pause
	f.resumeLater()
	return Pause
}

// buffer waits for the end, or, at the end, for something else.
func (f *modelFilter) buffer(end bool) Verdict {
	if f.m.note("%s buffers", f.name()); end || f.holds != Buffer && f.m.rng.IntN(2) == 0 {
		f.resumeLater()
	}
	f.holds = Buffer
	return Buffer
}

func (f *modelFilter) letGo() Verdict {
	f.holds, f.n = Continue, len(f.data)
	f.released = f.sight
	return Continue
}

// resumeLater notes a hold that ends some time later.
func (f *modelFilter) resumeLater() {
	m := f.m
	m.note("%s will resume", f.name())
	token := m.stream.Token()
	m.waiting = append(m.waiting, func() {
		m.note("%s resumes", f.name())
		f.letGo()
		m.stream.Resume(m.d, token)
	})
}

// checkOrder compares what was shown with what the one in front has let go of.
func (m *model) checkOrder(i int, who string, v *sight) {
	if i == 0 {
		return
	}
	f := m.filters[i-1]
	if f.rewrites {
		if !f.released.head {
			m.t.Errorf("%s sees what %s has not let go of", who, f.name())
		}
		return
	}
	if !f.released.head || len(v.data) > f.n || v.trailers && !f.released.trailers {
		m.t.Errorf("%s sees what %s has not let go of", who, f.name())
	}
}

func (f *modelFilter) takeHead(end bool) Verdict {
	f.sight.onHead(f.m, f.name(), end)
	if f.rewrites {
		f.m.stream.Rewrite(f.m.d)
	}
	f.m.checkOrder(f.i, f.name(), &f.sight)
	return f.verdict(end)
}

func (f *modelFilter) takeData(b []byte, end bool) Verdict {
	if end && f.m.stream.halfOf(f.m.d, f.i).trailers != nil { // a filter that buffers is told so
		f.m.note("%s told of the end", f.name())
		if f.holds != Buffer || len(b) > 0 {
			f.m.t.Errorf("%s is told of an end before the trailers", f.name())
		}
		return f.verdict(true)
	}
	f.sight.onData(f.m, f.name(), b, end)
	f.m.checkOrder(f.i, f.name(), &f.sight)
	return f.verdict(end)
}

func (f *modelFilter) OnRequestHead(_ *Stream, end bool) Verdict           { return f.takeHead(end) }
func (f *modelFilter) OnResponseHead(_ *Stream, end bool) Verdict          { return f.takeHead(end) }
func (f *modelFilter) OnRequestData(_ *Stream, b []byte, end bool) Verdict { return f.takeData(b, end) }
func (f *modelFilter) OnResponseData(_ *Stream, b []byte, end bool) Verdict {
	return f.takeData(b, end)
}
func (f *modelFilter) OnRequestTrailers(*Stream, *codec.Fields) Verdict  { return f.takeTrailers() }
func (f *modelFilter) OnResponseTrailers(*Stream, *codec.Fields) Verdict { return f.takeTrailers() }

func (f *modelFilter) takeTrailers() Verdict {
	if f.holds == Buffer {
		f.m.t.Errorf("%s sees trailers while it buffers", f.name())
	}
	f.sight.onTrailers(f.m, f.name())
	f.m.checkOrder(f.i, f.name(), &f.sight)
	return f.verdict(true)
}

// The downstream side: the sink and the source.

func (m *model) Loop() *engine.Loop { return m.loop }
func (m *model) Conn() *engine.Conn { return nil }
func (m *model) SinkHead(_ Direction, end bool) Verdict {
	m.seen.onHead(m, "sink", end)
	m.checkOrder(len(m.filters), "sink", &m.seen)
	if m.rng.IntN(3) > 0 {
		return Continue
	}
	m.full = true
	m.waiting = append(m.waiting, func() {
		m.note("sink resumes")
		m.full = false
		m.stream.ResumeSink(m.d)
	})
	return Pause
}
func (m *model) SinkData(_ Direction, b []byte, end bool) {
	if m.full {
		m.t.Error("the sink gets data while it holds")
	}
	m.seen.onData(m, "sink", b, end)
	m.checkOrder(len(m.filters), "sink", &m.seen)
}
func (m *model) SinkTrailers(Direction, *codec.Fields) {
	m.seen.onTrailers(m, "sink")
	m.checkOrder(len(m.filters), "sink", &m.seen)
}
func (m *model) PauseSource(Direction)             { m.pauses++ }
func (m *model) ResumeSource(Direction)            { m.pauses-- }
func (m *model) BufferOverflow(Direction)          { m.t.Error("overflow") }
func (m *model) OwnResponse()                      {}
func (m *model) SendLocalReply(LocalReply)         {}
func (m *model) ResetResponse(string)              {}
func (m *model) Informational(*codec.ResponseHead) {}
func (m *model) ClearRoute() bool                  { return true }
func (m *model) Retry()                            {}
func (m *model) MaySplice(int64) bool              { return false }
func (m *model) ResponseRoom() int                 { return math.MaxInt }
func (m *model) SpliceBegun(int64)                 {}
func (m *model) Spliced(int64)                     {}

// noTerminal stands behind the filters.
type noTerminal struct{ Terminal }

func (noTerminal) OnDestroy(*Stream)                   {}
func (noTerminal) Describe(*Stream, *accesslog.Record) {}

// run passes one message through.
func (m *model) run() {
	s := &m.stream
	parts := m.rng.IntN(8)
	withTrailers := m.rng.IntN(4) == 0
	m.tails = withTrailers
	m.ended = parts == 0 && !withTrailers
	m.note("source head %v", m.ended)
	s.Pass(m.d, m.ended)
	for step := 0; !m.seen.end || len(m.waiting) > 0; step++ {
		if step > 10_000 {
			m.t.Error("the message never reaches its end")
			return
		}
		if len(m.waiting) > 0 && (m.pauses > 0 || m.ended || m.rng.IntN(2) == 0) {
			k := m.rng.IntN(len(m.waiting)) // in any order
			resume := m.waiting[k]
			m.waiting = slices.Delete(m.waiting, k, k+1)
			resume()
			continue
		}
		if m.ended || m.pauses > 0 {
			continue
		}
		if parts--; parts < 0 {
			m.ended = true
			m.note("source trailers")
			s.PassTrailers(m.d, new(codec.Fields))
			continue
		}
		b := make([]byte, []int{0, 1, 100, 9000, 40000}[m.rng.IntN(5)])
		for i := range b {
			b[i] = byte(m.rng.Uint32())
		}
		m.ended = parts == 0 && !withTrailers
		if len(b) == 0 && !m.ended {
			b = []byte{1}
		}
		m.sent = append(m.sent, b...)
		m.note("source %d bytes %v", len(b), m.ended)
		s.PassData(m.d, b, m.ended)
		clear(b) // it was valid during the call only
	}
}

// check compares what everybody has seen in the end.
func (m *model) check() {
	all := []*sight{&m.seen}
	for _, f := range m.filters {
		all = append(all, &f.sight)
	}
	for i, v := range all {
		want, trailers := m.wants(v.behind)
		if !v.head || !bytes.Equal(v.data, want) || !v.end || v.trailers != trailers {
			m.t.Errorf("%d of %d (0 is the sink): head %v, %d of %d bytes, end %v, trailers %v (%v)", i, len(all), v.head, len(v.data), len(want), v.end, v.trailers, trailers)
		}
	}
	if m.pauses != 0 {
		m.t.Errorf("the source is paused %d times in the end", m.pauses)
	}
}

// TestHalfModel: filters that continue, pause and buffer at random lose, repeat and reorder nothing, and each of them and the
// sink see the whole message, once.
func TestHalfModel(t *testing.T) {
	t.Parallel()
	testModel(t, 4_000, false)
}

// TestRewriteModel: the same, of filters some of which rewrite the body: it goes on in order, and whole.
func TestRewriteModel(t *testing.T) {
	t.Parallel()
	testModel(t, 500, true)
}

func testModel(t *testing.T, seeds uint64, rewrites bool) {
	cfg := engine.DefaultLoopConfig()
	cfg.BlocksMax = 64 << 20
	loop, err := engine.NewLoop(0, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loop.Close)
	leased := loop.Arena().Leased()
	for seed := range uint64(1_500) {
		m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 0)), loop: loop, d: Direction(seed % 2)}
		chain := NewChain(noTerminal{})
		n := m.rng.IntN(5)
		for i := range n {
			f := &modelFilter{m: m, i: i, calm: m.rng.IntN(4) == 0}
			f.behind = m.seen.behind
			if f.rewrites = rewrites && m.rng.IntN(2) == 0; f.rewrites {
				m.seen.behind++
				f.tail, f.trails = make([]byte, m.rng.IntN(3)*m.rng.IntN(30_000)), m.rng.IntN(3) == 0
			}
			m.filters = append(m.filters, f)
		}
		for i := range n {
			at := i
			if m.d == Response { // which runs backward
				at = n - 1 - i
			}
			if err := chain.Add(fmt.Sprint(i), m.filters[at]); err != nil {
				t.Fatal(err)
			}
		}
		m.stream.BufferLimit = [2]int{32 << 20, 32 << 20}
		m.stream.Init(chain, m)
		m.run()
		m.check()
		m.stream.Clear()
		if t.Failed() {
			t.Fatalf("seed %d, %d filters:\n%s", seed, n, bytes.Join(asBytes(m.log), []byte("\n")))
		}
	}
	if n := loop.Arena().Leased(); n != leased {
		t.Errorf("%d bytes are leased in the end, %d before", n, leased)
	}
}

func asBytes(list []string) [][]byte {
	var out [][]byte
	for _, s := range list {
		out = append(out, []byte(s))
	}
	return out
}

// headHolder holds heads and looks at nothing else.
type headHolder struct {
	v     Verdict
	token Token
}

func (f *headHolder) OnRequestHead(s *Stream, _ bool) Verdict {
	f.token = s.Token()
	return f.v
}

// sinking counts what arrives.
type sinking struct {
	quietDownstream
	bytes  int
	ended  bool
	paused int
}

func (d *sinking) PauseSource(Direction) { d.paused++ }
func (d *sinking) SinkData(_ Direction, b []byte, end bool) {
	d.bytes += len(b)
	d.ended = end
}

// TestHoldWithoutData: a filter that does not look at bodies can hold a message all the same, in both ways, beside
// another that does, until it resumes. Tokens of others, and of a stream that was answered, move nothing.
func TestHoldWithoutData(t *testing.T) {
	t.Parallel()
	loop := enginetest.NewLoop(t).Loop
	for _, v := range []Verdict{Pause, Buffer} {
		first, second := &headHolder{v: v}, &headHolder{v: v}
		chain := NewChain(noTerminal{})
		for _, f := range []any{first, second} {
			if err := chain.Add("holder", f); err != nil {
				t.Fatal(err)
			}
		}
		var s Stream
		d := &sinking{quietDownstream: quietDownstream{loop: loop}}
		s.BufferLimit = [2]int{100, 100}
		s.Init(chain, d)
		s.Pass(Request, false)
		s.PassData(Request, []byte("hello"), true)
		s.Resume(Request, second.token) // it has not been asked yet
		s.Resume(Response, first.token)
		if d.heads > 0 {
			t.Fatalf("%v: the head passes a filter that holds it", v)
		}
		s.Resume(Request, first.token)
		s.Resume(Request, first.token)
		if d.heads > 0 || second.token == 0 {
			t.Errorf("%v: %d heads arrive, the second filter's token is %d; want 0 and one", v, d.heads, second.token)
		}
		s.Resume(Request, second.token)
		if d.heads != 1 || d.bytes != 5 || !d.ended || d.paused != d.resumed {
			t.Errorf("%v: %d heads, %d bytes, end %v, %d pauses, %d resumes", v, d.heads, d.bytes, d.ended, d.paused, d.resumed)
		}
		s.Clear()

		s.Init(chain, d)
		s.Pass(Request, false)
		s.Cut(Request)
		s.Resume(Request, first.token)
		s.ResumeSink(Request)
		if s.PassData(Request, []byte("x"), true) || s.PassTrailers(Request, new(codec.Fields)) || d.heads != 1 || d.bytes != 5 {
			t.Errorf("%v: a direction that was cut goes on", v)
		}
		s.Clear()
	}
}
