package load

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

const (
	latencyMax  = int64(60 * time.Second) // the histogram's end; later answers count as that
	latencyStep = 3                       // significant digits of the histogram
	openEvents  = 256                     // events taken at once
	grace       = 5 * time.Second         // for what is still unanswered at the end
	openRead    = 64 << 10                // one read
	lateLimit   = 200 * time.Microsecond  // a request that leaves later, with a connection free, is our fault
)

// OpenConfig is a load at a fixed rate.
type OpenConfig struct {
	Port     int
	Path     string
	Rate     float64 // requests a second
	Conns    int     // kept-alive connections; a request without a free one waits, and its clock runs
	Warmup   time.Duration
	Duration time.Duration // measured, after Warmup
	Origin   int           // the port on which to be the origin as well; 0 leaves that to another
	Body     int           // bytes of the origin's answer
}

// OpenResult is the outcome of Open. Latencies are in microseconds from the time a request was due.
type OpenResult struct {
	Count      int64   `json:"count"`
	Errors     int64   `json:"errors"`     // answers cut short, other statuses, nothing within the grace
	Reconnects int64   `json:"reconnects"` // connections the proxy closed while they were idle, or before the first byte of an answer
	P50        float64 `json:"p50_us"`
	P90        float64 `json:"p90_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Max        float64 `json:"max_us"`
	SetAside   int64   `json:"set_aside"`   // answered but not measured: this process was off its core when they were due or on their way
	LateP99    float64 `json:"late_p99_us"` // how late requests left by the generator's own fault, for want of its core
}

// An opener is the state of one Open.
type opener struct {
	cfg     OpenConfig
	request []byte
	epfd    int
	conns   []*openConn // by slot
	byFD    map[int32]*openConn
	origin  *answerer // or nil
	free    []*openConn
	lat     *hdrhistogram.Histogram
	late    *hdrhistogram.Histogram
	res     OpenResult
	buf     []byte
	start   time.Time
	measure int64 // requests with a lower index are warm-up
	sent    int64 // index of the next request to send
	total   int64
	open    int64 // sent and unanswered
	behind  fault
	absent  absence
}

// An absence finds out when this process was taken off its core. As it never sleeps, that is all the time that passed
// without being its own CPU time. What was due or on its way meanwhile says nothing about the proxy, nor does what
// comes right after, when the requests that piled up leave at once.
type absence struct {
	wall, cpu time.Duration // at the last check
	until     int64         // requests with a lower index are set aside
}

const (
	absenceMin   = 100 * time.Microsecond // shorter ones pass
	absenceCheck = 200 * time.Microsecond // between two checks: each is a system call
)

// A fault is why requests now leave later than they are due.
type fault int

const (
	onTime  fault = iota
	byProxy       // every connection was waiting for an answer when the first of them was due
	byUs          // a connection was free, but this process did not run
)

// An openConn is one connection with at most one request on it.
type openConn struct {
	fd       int
	index    int64 // of the request in flight
	inFlight bool
	parse    response
}

// Open runs the load and returns what it measured.
// Precondition: called on a goroutine locked to its thread.
func Open(cfg OpenConfig) (OpenResult, error) {
	if cfg.Rate <= 0 || cfg.Conns <= 0 || cfg.Duration <= 0 {
		return OpenResult{}, fmt.Errorf("rate %v, connections %d and duration %v must be positive", cfg.Rate, cfg.Conns, cfg.Duration)
	}
	o := &opener{
		cfg:     cfg,
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", cfg.Path, cfg.Port),
		byFD:    make(map[int32]*openConn, cfg.Conns),
		lat:     hdrhistogram.New(1, latencyMax, latencyStep),
		late:    hdrhistogram.New(1, latencyMax, latencyStep),
		buf:     make([]byte, openRead),
		measure: int64(cfg.Rate * cfg.Warmup.Seconds()),
		total:   int64(cfg.Rate * (cfg.Warmup + cfg.Duration).Seconds()),
	}
	var err error
	if o.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return o.res, fmt.Errorf("epoll_create1: %w", err)
	}
	defer o.close()
	if cfg.Origin != 0 {
		if o.origin, err = newAnswerer(o.epfd, cfg.Origin, cfg.Body); err != nil {
			return o.res, err
		}
		defer o.origin.close()
	}
	for range cfg.Conns {
		c := &openConn{}
		o.conns = append(o.conns, c)
		if err := o.connect(c); err != nil {
			return o.res, err
		}
		o.free = append(o.free, c)
	}
	if err := o.run(); err != nil {
		return o.res, err
	}
	o.finish()
	return o.res, nil
}

func (o *opener) close() {
	for _, c := range o.conns {
		_ = unix.Close(c.fd)
	}
	_ = unix.Close(o.epfd)
}

// run sends every request when it is due, or as soon after that as a connection is free. It never sleeps: a sleep would
// have to be ended by the proxy, at the proxy's cost, and the scheduler would decide when.
func (o *opener) run() error {
	events := make([]unix.EpollEvent, openEvents)
	o.start = time.Now()
	last := o.due(o.total).Add(grace)
	for o.sent < o.total || o.open > 0 {
		now := time.Now()
		if now.After(last) {
			return nil // finish counts what is missing
		}
		o.noticeAbsence(now)
		if err := o.sendDue(now); err != nil {
			return err
		}
		n, err := unix.EpollWait(o.epfd, events, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, ev := range events[:max(n, 0)] {
			if err := o.onEvent(ev); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *opener) onEvent(ev unix.EpollEvent) error {
	if ev.Pad == ofOrigin {
		return o.origin.onReadable(ev.Fd, o.buf)
	}
	return o.onReadable(o.byFD[ev.Fd])
}

// noticeAbsence sets aside what an absence since the last check has touched.
func (o *opener) noticeAbsence(now time.Time) {
	wall := now.Sub(o.start)
	if wall-o.absent.wall < absenceCheck {
		return
	}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return // there since Linux 2.6
	}
	cpu := time.Duration(ts.Nano())
	gone := wall - o.absent.wall - (cpu - o.absent.cpu)
	if o.absent.cpu != 0 && gone > absenceMin {
		o.absent.until = max(o.absent.until, int64(o.cfg.Rate*(wall+gone).Seconds())+1)
	}
	o.absent.wall, o.absent.cpu = wall, cpu
}

// counts reports whether a request is measured.
func (o *opener) counts(index int64) bool { return index >= o.measure && index >= o.absent.until }

// due is when the request with an index should leave.
func (o *opener) due(index int64) time.Time {
	return o.start.Add(time.Duration(float64(index) / o.cfg.Rate * float64(time.Second)))
}

func (o *opener) sendDue(now time.Time) error {
	for o.sent < o.total {
		late := now.Sub(o.due(o.sent))
		switch {
		case late < 0:
			o.behind = onTime
			return nil
		case len(o.free) == 0:
			if o.behind == onTime {
				o.behind = byProxy
			}
			return nil
		case late > lateLimit && o.behind == onTime:
			o.behind = byUs
		}
		c := o.free[len(o.free)-1]
		o.free = o.free[:len(o.free)-1]
		c.index, c.inFlight = o.sent, true
		if o.counts(c.index) && o.behind != byProxy {
			_ = o.late.RecordValue(max(int64(late), 1)) // within the histogram: a run is shorter
		}
		o.sent++
		o.open++
		if err := o.send(c); err != nil {
			return err
		}
	}
	return nil
}

// send writes the request of c, on a new connection if the old one is gone.
func (o *opener) send(c *openConn) error {
	c.parse = response{}
	n, err := unix.Write(c.fd, o.request)
	if err == nil && n == len(o.request) {
		return nil
	}
	if err := o.reconnect(c); err != nil {
		return err
	}
	if n, err := unix.Write(c.fd, o.request); err != nil || n != len(o.request) {
		return fmt.Errorf("writing a request on a new connection: %d bytes, %w", n, err)
	}
	return nil
}

// onReadable takes what has arrived on c (level-triggered: one read is enough).
func (o *opener) onReadable(c *openConn) error {
	n, err := unix.Read(c.fd, o.buf)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return nil
	case err != nil || n == 0:
		return o.onClosed(c)
	case !c.inFlight:
		o.res.Errors++ // bytes that nobody asked for
		return o.reconnect(c)
	}
	done, perr := c.parse.feed(o.buf[:n])
	if perr != nil {
		o.res.Errors++
		o.answered(c)
		return o.reconnect(c)
	}
	if !done {
		return nil
	}
	if now := time.Now(); c.index >= o.measure {
		o.noticeAbsence(now)
		o.record(c.index, now.Sub(o.due(c.index)))
	}
	mustClose := c.parse.mustClose
	o.answered(c)
	if mustClose {
		return o.reconnect(c)
	}
	return nil
}

// onClosed handles the end of a connection. A request without one byte of an answer is sent again, as a browser
// does: its clock goes on.
func (o *opener) onClosed(c *openConn) error {
	if err := o.reconnect(c); err != nil {
		return err
	}
	if !c.inFlight {
		return nil
	}
	if c.parse.started() {
		o.res.Errors++
		o.answered(c)
		return nil
	}
	return o.send(c)
}

func (o *opener) answered(c *openConn) {
	c.inFlight = false
	o.open--
	o.free = append(o.free, c)
}

func (o *opener) record(index int64, d time.Duration) {
	if !o.counts(index) {
		o.res.SetAside++
		return
	}
	o.res.Count++
	_ = o.lat.RecordValue(min(max(int64(d), 1), latencyMax)) // clamped to the histogram
}

func (o *opener) reconnect(c *openConn) error {
	o.res.Reconnects++
	delete(o.byFD, int32(c.fd))
	_ = unix.Close(c.fd) // also leaves the epoll set: no duplicate exists
	return o.connect(c)
}

// connect opens c. It blocks: on the loopback a connection is there at once.
func (o *opener) connect(c *openConn) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c.fd = fd
	if err := unix.Connect(fd, loopback(o.cfg.Port)); err != nil {
		return fmt.Errorf("connecting to port %d: %w", o.cfg.Port, err)
	}
	err = errors.Join(
		unix.SetNonblock(fd, true),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		watch(o.epfd, fd, ofLoad),
	)
	o.byFD[int32(fd)] = c
	return err
}

// finish fills the result from the histograms.
func (o *opener) finish() {
	o.res.Errors += o.open + o.total - o.sent
	us := func(h *hdrhistogram.Histogram, q float64) float64 {
		return math.Round(float64(h.ValueAtQuantile(q))/100) / 10
	}
	o.res.P50, o.res.P90, o.res.P99, o.res.P999 = us(o.lat, 50), us(o.lat, 90), us(o.lat, 99), us(o.lat, 99.9)
	o.res.Max, o.res.LateP99 = us(o.lat, 100), us(o.late, 99)
}

// headBytesMax bounds the head of an answer.
const headBytesMax = 8 << 10

var (
	errHead   = errors.New("malformed or too large head of an answer")
	errStatus = errors.New("status other than 200")
	errExcess = errors.New("bytes after the end of an answer")
)

// A response follows one answer through the reads. Only Content-Length bodies are understood.
type response struct {
	head      []byte // an incomplete head
	inBody    bool
	left      int64 // of the body
	mustClose bool
}

// started reports whether a byte of the answer has been seen.
func (r *response) started() bool { return r.inBody || len(r.head) > 0 }

// feed takes bytes of the answer and reports whether it is complete.
func (r *response) feed(b []byte) (done bool, err error) {
	if !r.inBody {
		if len(r.head) > 0 {
			b = append(r.head, b...)
		}
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			if len(b) > headBytesMax {
				return false, errHead
			}
			r.head = bytes.Clone(b)
			return false, nil
		}
		if err := r.parseHead(b[:end+2]); err != nil {
			return false, err
		}
		r.inBody, b = true, b[end+4:]
	}
	r.left -= int64(len(b))
	if r.left < 0 {
		return false, errExcess
	}
	return r.left == 0, nil
}

func (r *response) parseHead(b []byte) error {
	line, rest, _ := bytes.Cut(b, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return errHead
	}
	if string(line[9:12]) != "200" {
		return errStatus
	}
	r.left = -1
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
			n, err := parseLength(value)
			if err != nil {
				return err
			}
			r.left = n
		case len(name) == len("connection") && bytes.EqualFold(name, []byte("connection")):
			r.mustClose = bytes.EqualFold(value, []byte("close"))
		}
	}
	if r.left < 0 {
		return errHead
	}
	return nil
}

func parseLength(b []byte) (n int64, err error) {
	if len(b) == 0 || len(b) > 15 {
		return 0, errHead
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, errHead
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}
