package l7

import (
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/route"
)

// fakeDownstream is a connection manager and a terminal in one: it drives one stream through
// one filter and writes down what comes out at both ends.
type fakeDownstream struct {
	t      *testing.T
	loop   *engine.Loop
	clock  int64
	stream filters.Stream
	log    []string
	quiet  bool // nothing is written down
}

// fakeHealth implements filters.Health.
type fakeHealth struct {
	failed   bool
	service  string
	clusters map[string][2]int // healthy and total
}

func (h *fakeHealth) Failed() bool           { return h.failed }
func (h *fakeHealth) ServiceCluster() string { return h.service }
func (h *fakeHealth) ClusterHealth(name string) (healthy, total int, ok bool) {
	c, ok := h.clusters[name]
	return c[0], c[1], ok
}

// newFake builds the filter called name, as the process would.
func newFake(t *testing.T, name string, cfg any, health filters.Health) (*fakeDownstream, any) {
	t.Helper()
	f := &fakeDownstream{t: t, clock: int64(time.Hour)}
	loopConfig := engine.DefaultLoopConfig()
	loopConfig.Clock = func() int64 { return f.clock }
	loop, err := engine.NewLoop(0, loopConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loop.Close)
	f.loop = loop
	scope := stats.HTTPScope("edge")
	env := &filters.Env{Loop: loop, StatPrefix: scope.Prefix, Scope: scope, Health: health}
	for _, spec := range Builtin() {
		if spec.Name != name {
			continue
		}
		if spec.Share != nil {
			shared, err := spec.Share(cfg, &filters.SharedEnv{Scope: scope, Stats: func(_ stats.Scope, set any) any { return set }})
			if err != nil {
				t.Fatal(err)
			}
			if c, ok := shared.(io.Closer); ok {
				t.Cleanup(func() { c.Close() })
			}
			env.Shared = shared
		}
		filter, err := spec.Build(cfg, env)
		if err != nil {
			t.Fatalf("building %q: %v", name, err)
		}
		chain := filters.NewChain(nil)
		if err := chain.Add(name, filter); err != nil {
			t.Fatal(err)
		}
		f.stream.Init(chain, f)
		return f, filter
	}
	t.Fatalf("no filter %q in the table", name)
	return nil, nil
}

// request begins another request: "POST /path" and fields "name: value".
func (f *fakeDownstream) request(line string, fields ...string) *filters.Stream {
	s := &f.stream
	chain := s.Chain()
	s.Clear()
	s.Init(chain, f)
	s.BufferLimit = [2]int{1 << 20, 1 << 20}
	s.Route = &route.Route{}
	f.log = nil
	method, path, _ := strings.Cut(line, " ")
	s.Request.Reset()
	s.Response.Reset()
	s.Request.SetMethodName(method)
	s.Request.SetPath([]byte(path))
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		s.Request.AddString(name, value)
	}
	return s
}

// respond passes a response in from upstream.
func (f *fakeDownstream) respond(status int) {
	f.stream.Response.Reset()
	f.stream.Response.Status = status
	f.stream.Pass(filters.Response, true)
}

// want compares what has happened since the last call.
func (f *fakeDownstream) want(events ...string) {
	f.t.Helper()
	if got, want := strings.Join(f.log, "\n"), strings.Join(events, "\n"); got != want {
		f.t.Errorf("events\n%s\nwant\n%s", got, want)
	}
	f.log = nil
}

// wantResponse compares a field of the response.
func (f *fakeDownstream) wantResponse(name, want string) {
	f.t.Helper()
	if got := f.stream.Response.Lookup(name); string(got) != want {
		f.t.Errorf("response has %s: %q; want %q", name, got, want)
	}
}

func (f *fakeDownstream) note(format string, args ...any) {
	if f.quiet {
		return
	}
	f.log = append(f.log, fmt.Sprintf(format, args...))
}

var sides = [...]string{filters.Request: "request", filters.Response: "response"}

func (f *fakeDownstream) Loop() *engine.Loop { return f.loop }
func (f *fakeDownstream) Conn() *engine.Conn { return nil }

func (f *fakeDownstream) SinkHead(d filters.Direction, end bool) filters.Verdict {
	if f.quiet {
		return filters.Continue
	}
	if d == filters.Request {
		f.note("request head length=%d chunked=%v end=%v", f.stream.Request.ContentLength, f.stream.Request.Chunked, end)
	} else {
		f.note("response %d", f.stream.Response.Status)
	}
	return filters.Continue
}

func (f *fakeDownstream) SinkData(d filters.Direction, b []byte, end bool) {
	if f.quiet {
		return
	}
	f.note("%s data %q end=%v", sides[d], b, end)
}
func (f *fakeDownstream) SinkTrailers(d filters.Direction, _ *codec.Fields) {
	if f.quiet {
		return
	}
	f.note("%s trailers", sides[d])
}
func (f *fakeDownstream) PauseSource(d filters.Direction)    { f.note("pause %s", sides[d]) }
func (f *fakeDownstream) ResumeSource(d filters.Direction)   { f.note("resume %s", sides[d]) }
func (f *fakeDownstream) BufferOverflow(d filters.Direction) { f.note("%s overflow", sides[d]) }
func (f *fakeDownstream) OwnResponse()                       {}
func (f *fakeDownstream) SendLocalReply(r filters.LocalReply) {
	f.note("reply %d %s %s", r.Status, r.Details, r.Flags)
	f.stream.Info.Flags |= r.Flags
	f.respond(r.Status)
}
func (f *fakeDownstream) ResetResponse(details string)        { f.note("reset %s", details) }
func (f *fakeDownstream) Informational(h *codec.ResponseHead) { f.note("informational %d", h.Status) }
func (f *fakeDownstream) MaySplice(int64) bool                { return false }
func (f *fakeDownstream) ResponseRoom() int                   { return math.MaxInt }
func (f *fakeDownstream) SpliceBegun(int64)                   {}
func (f *fakeDownstream) Spliced(int64)                       {}

func (f *fakeDownstream) ClearRoute() bool { f.note("clear route"); return true }
func (f *fakeDownstream) Retry()           { f.note("retry") }

// problems runs a Validate.
func problems(validate func(func(path, problem, hint string))) string {
	var got []string
	validate(func(path, problem, _ string) { got = append(got, path+": "+problem) })
	return strings.Join(got, "\n")
}

func ptr[T any](v T) *T { return &v }

func TestBuiltin(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, spec := range Builtin() {
		if spec.Name == "" || spec.Doc == "" || spec.NewConfig == nil || seen[spec.Name] {
			t.Errorf("spec %q is incomplete or there twice", spec.Name)
		}
		seen[spec.Name] = true
		if _, err := spec.Build(nil, &filters.Env{}); err == nil {
			t.Errorf("spec %q builds from a config of another filter", spec.Name)
		}
	}
}
