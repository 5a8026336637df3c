package pool

import (
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/upstream"
)

// h2cycle is a warm pool of one HTTP/2 connection, and what a batch of exchanges on it needs.
type h2cycle struct {
	w      *world
	c      *Cluster
	owners []*quietOwner
	host   *h2.Server
	fd     int
	ev     codec.Event
	buf    []byte
	out    []byte
	pick   upstream.Pick
	head   *codec.RequestHead
	answer *codec.ResponseHead
	body   []byte
	echo   []byte
	trail  *codec.Fields
	left   int
}

func newH2Cycle(t testing.TB, streams int, body string) *h2cycle {
	w := newWorld(t)
	c, _, p := w.startH2(nil, nil)
	y := &h2cycle{w: w, c: c, host: p.s, buf: make([]byte, 64<<10), body: []byte(body), echo: []byte("ok")}
	file, err := p.c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Control(func(fd uintptr) { y.fd = int(fd) }); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(y.fd, false); err != nil {
		t.Fatal(err)
	}
	y.ev.Request, y.ev.Trailers = new(codec.RequestHead), new(codec.Fields)
	y.head = request(codec.MethodPOST, "/", int64(len(body)))
	if body == "" {
		y.head = get("/")
	}
	y.answer = new(codec.ResponseHead)
	y.answer.Reset()
	y.answer.Status = 200
	y.answer.AddString("content-type", "text/plain")
	y.trail = new(codec.Fields)
	y.trail.AddString("grpc-status", "0")
	for range streams {
		o := &quietOwner{}
		o.x.Owner = o
		y.owners = append(y.owners, o)
	}
	return y
}

// run runs one exchange for each owner, all at once.
func (y *h2cycle) run() {
	for _, o := range y.owners {
		o.done = false
		if y.c.Lease(y.c.Pick(&y.pick), upstream.Default, &o.x, false) != LeaseReady {
			panic("not ready")
		}
		o.x.SendHead(y.head, len(y.body) == 0)
		if len(y.body) > 0 {
			o.x.SendData(y.body, true)
		}
	}
	y.left = len(y.owners)
	for y.left > 0 {
		_ = y.w.loop.Turn(0)
		y.serve()
	}
	for _, o := range y.owners {
		for !o.done {
			_ = y.w.loop.Turn(time.Millisecond)
		}
	}
}

// serve answers what has come.
func (y *h2cycle) serve() {
	n, err := unix.Read(y.fd, y.buf)
	if err != nil {
		panic(err)
	}
	y.out = y.out[:0]
	for b := y.buf[:n]; len(b) > 0; {
		k, err := y.host.Feed(b, &y.ev)
		if err != nil {
			panic(err)
		}
		if b = b[k:]; k == 0 {
			panic("cut in a frame")
		}
		if y.ev.Kind == codec.EventData {
			y.host.Consume(y.ev.Stream, len(y.ev.Data))
		}
		if y.ev.End {
			y.left--
			y.out = y.host.AppendResponseHead(y.host.AppendControl(y.out), y.ev.Stream, y.answer, false)
			y.out = append(y.host.AppendDataPrefix(y.out, y.ev.Stream, len(y.echo), false), y.echo...)
			y.out = y.host.AppendTrailers(y.out, y.ev.Stream, y.trail)
		}
	}
	if y.out = y.host.AppendControl(y.out); len(y.out) > 0 {
		if _, err := unix.Write(y.fd, y.out); err != nil {
			panic(err)
		}
	}
}

func TestStreamAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tt := range []struct {
		name    string
		streams int
		body    string
	}{{"get", 1, ""}, {"post", 1, "hello"}, {"many", 32, "hello"}} {
		y := newH2Cycle(t, tt.streams, tt.body)
		for range 100 {
			y.run()
		}
		if n := testing.AllocsPerRun(500, y.run); n != 0 {
			t.Errorf("%s: exchanges on a warm pool allocate %v times, want 0", tt.name, n)
		}
		y.w.wantIdle(y.c, 1)
	}
}

// BenchmarkStream includes the system calls and the codec of both ends.
func BenchmarkStream(b *testing.B) {
	for _, tt := range []struct {
		name    string
		streams int
		body    string
	}{{"get", 1, ""}, {"get-32", 32, ""}, {"post-32", 32, "hello"}} {
		b.Run(tt.name, func(b *testing.B) {
			y := newH2Cycle(b, tt.streams, tt.body)
			y.run()
			b.ReportAllocs()
			for b.Loop() {
				y.run()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tt.streams), "ns/exchange")
		})
	}
}
