package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"millrace/engine/stats"
)

// Limits of the admin port. They protect the proxy from its own operators' tools, and from
// whoever else reaches the port.
const (
	connectionsMax    = 256              // more wait in the listen queue
	headBytesMax      = 16 << 10         // 431 above
	bodyBytesMax      = 64 << 10         // 413 above; no endpoint needs a body, forms may have one
	headTimeout       = 5 * time.Second  // for the head of a request
	readTimeout       = 15 * time.Second // for the whole of a request
	writeTimeout      = 60 * time.Second // from the end of the head to the end of the response
	idleTimeout       = 60 * time.Second // between requests
	pageChunk         = 64 << 10         // a page is handed to the connection in pieces of this size
	filterBytesMax    = 1024             // length of a filter expression
	socketMode        = 0o600            // of a Unix socket
	reloadTimeout     = 50 * time.Second // below writeTimeout, so that the caller learns of it
	profileSecondsMax = 55               // below writeTimeout
)

// BytesMax is what requests to the admin port may hold of heads, bodies and pages at one time.
const BytesMax = connectionsMax * (headBytesMax + bodyBytesMax + pageChunk)

// A Server is the admin port. Make it with New; Start or Serve it; Close it.
type Server struct {
	deps      Deps
	http      http.Server
	hosts     map[string]bool // allowed in Host, lower case
	endpoints []endpoint
	intervals intervals

	mu     sync.Mutex
	addr   net.Addr
	stats  serverStats // written under mu: request goroutines are many
	served chan struct{}
}

// serverStats counts the admin port itself, as http.admin.
type serverStats struct {
	RqTotal   stats.Counter `stat:"downstream_rq_total" help:"requests to the admin port"`
	RqRefused stats.Counter `stat:"downstream_rq_refused" help:"requests refused for their Host or Origin"`
	Codes     stats.Codes   `stat:"downstream_rq_" help:"responses of the admin port by status code"`
}

// New returns a server that is not listening yet.
func New(deps Deps) *Server {
	s := &Server{deps: deps, hosts: map[string]bool{"localhost": true}, endpoints: endpoints(), intervals: intervals{registry: deps.Stats, every: deps.FlushInterval}}
	if s.intervals.every == nil {
		s.intervals.every = func() time.Duration { return flushIntervalDefault }
	}
	for _, h := range deps.Hosts {
		s.hosts[strings.ToLower(hostOnly(h))] = true
	}
	s.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headBytesMax,
		ErrorLog:          discardLog, // a peer's mistake is never a log line
		ConnContext:       markUnix,
	}
	if s.deps.Log == nil {
		s.deps.Log = slog.New(slog.DiscardHandler)
	}
	deps.Stats.Add(stats.HTTPScope("admin"), &s.stats)
	registerProcess(deps.Stats, &deps)
	return s
}

// Listen binds address, "host:port", "unix:/path" or "unix:@abstract". A file of a socket
// that nobody listens on is replaced.
func Listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("binding the admin port: %w", err)
		}
		return ln, nil
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// On Linux the mode of the socket's inode, less the umask, is the mode of the file.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), socketMode) }); cerr != nil {
			return cerr
		}
		return err
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("binding the admin port: %w", err)
	}
	return ln, nil
}

// removeStale removes the socket file at path if nobody answers there.
func removeStale(path string) error {
	if strings.HasPrefix(path, "@") {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil // not there, or not ours to remove: bind will tell
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("binding the admin port: another process listens on %q", path)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}

// Start binds address and serves it on a goroutine of its own.
func (s *Server) Start(address string) error {
	ln, err := Listen(address)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.addr, s.served = ln.Addr(), make(chan struct{})
	done := s.served
	s.mu.Unlock()
	go func() {
		defer close(done)
		_ = s.Serve(ln) // it only ends by Close, or by the loss of the socket
	}()
	return nil
}

// Serve serves ln until Close. It owns ln.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	s.addr = ln.Addr()
	s.mu.Unlock()
	err := s.http.Serve(newLimitedListener(ln))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving the admin port: %w", err)
}

// Addr returns the address bound, or nil before Start.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Close stops accepting, lets requests under way end until ctx does, then cuts them off.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.intervals.close()
	s.deps.Stats.Remove(stats.HTTPScope("admin"), &s.stats)
	s.mu.Lock()
	done := s.served
	s.mu.Unlock()
	if done != nil {
		<-done
	}
	return err
}

// count counts a finished request.
func (s *Server) count(code int, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.RqTotal.Inc()
	s.stats.Codes.Inc(code)
	if refused {
		s.stats.RqRefused.Inc()
	}
}

// limitedListener accepts only as many connections as there are slots.
type limitedListener struct {
	net.Listener
	slots chan struct{}
	spare spareFiles
	once  sync.Once
	done  chan struct{}
}

func newLimitedListener(ln net.Listener) *limitedListener {
	l := &limitedListener{Listener: ln, slots: make(chan struct{}, connectionsMax), done: make(chan struct{})}
	l.spare.fill()
	return l
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if isOutOfFiles(err) && l.spare.release() {
		c, err = l.Listener.Accept()
	}
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: func() { <-l.slots; l.spare.fill() }}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.done); l.spare.close() })
	return l.Listener.Close()
}

// limitedConn gives its slot back once.
type limitedConn struct {
	net.Conn
	once    sync.Once
	release func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
