package l4

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/engine/stats"
	"millrace/filters"
)

// fakeGate implements filters.Gate: it ends connections as a chain would, and counts.
type fakeGate struct{ left int }

func (g *fakeGate) Left(_ *engine.Conn, c *filters.Connection) {
	g.left++
	if c != nil {
		c.End()
	}
}

// fakeChain implements filters.ConnectionChain for one connection.
type fakeChain struct {
	transport       *filterTransport
	resumed, closed int
}

func (f *fakeChain) Resume(*filters.Connection) {
	f.resumed++
	if f.transport != nil {
		f.transport.resume()
	}
}

func (f *fakeChain) Close(c *filters.Connection) {
	f.closed++
	c.End()
}

// specOf finds a line of the table.
func specOf(t testing.TB, name string) filters.NetworkSpec {
	t.Helper()
	for _, s := range Builtin() {
		if s.Name == name && !s.UDP {
			return s
		}
	}
	t.Fatalf("no filter %q in the table", name)
	return filters.NetworkSpec{}
}

// A fakeProcess builds filters as the process would.
type fakeProcess struct {
	loop     *enginetest.Loop
	gate     fakeGate
	registry stats.Registry
	shared   filters.SharedEnv
	env      filters.NetworkEnv
}

func newFakeProcess(t testing.TB) *fakeProcess {
	t.Helper()
	p := &fakeProcess{loop: enginetest.NewLoop(t)}
	register := func(scope stats.Scope, set any) any {
		p.registry.Add(scope, set)
		return set
	}
	p.shared.Stats = register
	p.env = filters.NetworkEnv{Loop: p.loop.Loop, Stats: register, Gate: &p.gate, BufferLimit: 32 << 10}
	return p
}

// build makes a filter of the table.
func (p *fakeProcess) build(t testing.TB, name string, cfg any) any {
	t.Helper()
	f, err := p.tryBuild(t, name, cfg)
	if err != nil {
		t.Fatalf("building %q: %v", name, err)
	}
	return f
}

func (p *fakeProcess) tryBuild(t testing.TB, name string, cfg any) (any, error) {
	t.Helper()
	spec := specOf(t, name)
	var shared any
	if spec.Share != nil {
		var err error
		if shared, err = spec.Share(cfg, &p.shared); err != nil {
			return nil, err
		}
	}
	return spec.Build(cfg, shared, &p.env)
}

// stats returns what a set of counters under prefix shows, without what is zero.
func (p *fakeProcess) stats(prefix string) string {
	var all []string
	p.registry.Each(func(m *stats.Metric) bool {
		if name, ok := strings.CutPrefix(m.Scope.Prefix+m.Name, prefix); ok && m.Value != 0 {
			all = append(all, fmt.Sprintf("%s=%d", name, m.Value))
		}
		return true
	})
	return strings.Join(all, " ")
}

// conn makes a connection with the transport of these filters in front of a terminal filter. The filters may be of
// either direction.
func (p *fakeProcess) conn(t testing.TB, terminal filters.NetworkTerminal, fs ...any) (*filters.Connection, *enginetest.Peer) {
	t.Helper()
	io, peer := p.loop.Pair(enginetest.NewRecorder())
	c := newFakeConnection(io)
	chain := c.Chain.(*fakeChain)
	if len(fs) > 0 {
		chain.transport = transportOf(c, nil, fs...)
		io.SetTransport(chain.transport)
	}
	h := terminal.Accept(io, c)
	if h == nil {
		t.Fatal("the terminal filter does not accept")
	}
	io.SetHandler(h)
	p.loop.Settle()
	return c, peer
}

func newFakeConnection(io *engine.Conn) *filters.Connection {
	return &filters.Connection{IO: io, Chain: &fakeChain{}}
}

func transportOf(c *filters.Connection, inner engine.Transport, fs ...any) *filterTransport {
	var reads []filters.ReadFilter
	var writes []filters.WriteFilter
	for _, f := range fs {
		if r, ok := f.(filters.ReadFilter); ok {
			reads = append(reads, r)
		}
		if w, ok := f.(filters.WriteFilter); ok {
			writes = append(writes, w)
		}
	}
	return newFilterTransport(c, reads, writes, inner)
}

// exchange sends in and ends, and returns all that comes back until the end of data.
func exchange(t testing.TB, loop *enginetest.Loop, peer *enginetest.Peer, in string) string {
	t.Helper()
	var out strings.Builder
	buf := make([]byte, 64<<10)
	shut := false
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); loop.Step() {
		if len(in) > 0 {
			in = in[peer.TryWrite([]byte(in)):]
		} else if !shut {
			shut = true
			peer.CloseWrite()
		}
		switch n := peer.ReadSome(buf); {
		case n == 0:
			loop.Settle()
			return out.String()
		case n > 0:
			out.Write(buf[:n])
		}
	}
	t.Fatalf("no end after %d bytes", out.Len())
	return ""
}

// problems runs a Validate.
func problems(validate func(func(path, problem, hint string))) string {
	var got []string
	validate(func(path, problem, _ string) { got = append(got, path+": "+problem) })
	return strings.Join(got, "\n")
}
