package server

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/config"
	"millrace/engine/stats"
)

// waitMax bounds everything a test waits for.
const waitMax = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(resolverEnv) != "" {
		resolveForScale()
		return
	}
	goleak.VerifyTestMain(m)
}

// running is a server under test.
type running struct {
	*Server
	t   *testing.T
	log *syncBuffer
}

// start starts a server with a configuration.
func start(t *testing.T, text string) *running {
	t.Helper()
	r := &running{t: t, log: &syncBuffer{}}
	s, err := Start(Options{
		ConfigPath: "test.json", Text: []byte(text), Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	r.Server = s
	t.Cleanup(func() {
		s.Close()
		if strings.Contains(r.log.String(), "panic") {
			t.Errorf("log:\n%s", r.log)
		}
	})
	return r
}

// load reloads with another configuration.
func (r *running) load(text string) admin.Report {
	r.t.Helper()
	r.opt.Text = []byte(text)
	return r.Reload(r.t.Context())
}

// mustLoad is load of a configuration that is fine.
func (r *running) mustLoad(text string) admin.Report {
	r.t.Helper()
	rep := r.load(text)
	if !rep.Applied {
		r.t.Fatalf("reload refused: %q", rep.Errors)
	}
	return rep
}

// get asks a listener and returns the body, "" if there is no answer.
func (r *running) get(listener string) string {
	return getAddr(r.ListenerAddr(listener))
}

func getAddr(addr string) string {
	client := &http.Client{
		Timeout:   waitMax,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext},
	}
	resp, err := client.Get("http://" + addr + "/")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// wantGet checks who answers on a listener.
func (r *running) wantGet(listener, want string) {
	r.t.Helper()
	if got := r.get(listener); got != want {
		r.t.Errorf("listener %q answers %q, want %q", listener, got, want)
	}
}

// eventually asks until ok, or until waitMax is over.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(waitMax); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

// says is a listener that answers everything with a text. extra goes into the listener, hcm into its
// connection manager.
func says(name, address, text, extra, hcm string) string {
	return fmt.Sprintf(`{"name": %q, "address": %q, %s "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "t", %s
	"route_config": {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": %q}}]}}}]}`,
		name, address, extra, hcm, text)
}

// forwards is a listener that forwards everything to a cluster.
func forwards(name, address, cluster, hcm string) string {
	return fmt.Sprintf(`{"name": %q, "address": %q, "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "t", %s
	"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": %q}}]}}}]}`, name, address, hcm, cluster)
}

// whole is a configuration of two loops with listeners and clusters.
func whole(listeners []string, clusters ...string) string {
	return fmt.Sprintf(`{"concurrency": 2, "drain_time": "300ms", "listeners": [%s], "clusters": [%s]}`,
		strings.Join(listeners, ",\n"), strings.Join(clusters, ",\n"))
}

// cluster is a cluster with one host.
func cluster(name, host string) string { return fmt.Sprintf(`{"name": %q, "hosts": [%q]}`, name, host) }

// freeAddr returns an address nobody listens on now.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// origin is a server that answers with a text.
func origin(t *testing.T, text string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// openSockets returns the inodes of the process's sockets that are not connected to anybody: connections
// of the test's own clients may end at any time. The value says whether the socket listens.
func openSockets(t *testing.T) map[string]bool {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]bool{}
	for _, entry := range fds {
		to, err := os.Readlink(filepath.Join("/proc/self/fd", entry.Name()))
		if err != nil || !strings.HasPrefix(to, "socket:") {
			continue
		}
		fd, _ := strconv.Atoi(entry.Name())
		if _, err := syscall.Getpeername(fd); err == syscall.ENOTCONN {
			listens, _ := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
			m[to] = listens == 1
		}
	}
	return m
}

// quietSockets waits until no connection is open, and returns the sockets there are.
func (r *running) quietSockets() map[string]bool {
	r.t.Helper()
	if !eventually(func() bool { return r.downstreamConns() == 0 }) {
		r.t.Fatal("connections stay open")
	}
	return openSockets(r.t)
}

// wantNoNewSockets waits until no socket is open that was not there before.
func (r *running) wantNoNewSockets(before map[string]bool) {
	r.t.Helper()
	var left []string
	if !eventually(func() bool {
		now := openSockets(r.t)
		maps.DeleteFunc(now, func(s string, _ bool) bool { _, had := before[s]; return had })
		left = slices.Sorted(maps.Keys(now))
		return len(left) == 0
	}) {
		r.t.Errorf("still open: %v", left)
	}
}

// downstreamConns counts what the loops hold open, besides upstream connections.
func (r *running) downstreamConns() (n int) {
	n = r.openConns()
	for _, c := range r.snapshot.Load().Clusters {
		for _, h := range c.Hosts() {
			n -= int(h.CxActive.Load())
		}
	}
	return n
}

// listening returns the descriptors a server's loops listen on, by loop and socket.
func (r *running) listening() []map[string]int {
	return each(r.Server, func(w *worker) map[string]int {
		m := map[string]int{}
		for key, ls := range w.sockets {
			m[key] = ls.Fd()
		}
		return m
	})
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// config reads a configuration.
func (r *running) config(text string) *config.Config {
	r.t.Helper()
	cfg, errs := config.Load("test.json", []byte(text), r.schema)
	if errs.Fatal() {
		r.t.Fatal(errs)
	}
	return cfg
}

// statOf returns a value the registry knows, -1 if it does not know it.
func (r *running) statOf(name string) int64 {
	n := int64(-1)
	r.registry.Each(func(m *stats.Metric) bool {
		if m.Scope.Prefix+m.Name == name {
			n = m.Value
		}
		return n < 0
	})
	return n
}
