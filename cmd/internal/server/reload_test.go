package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/engine"
)

// These tests count descriptors of the process: they do not run in parallel.

func TestReloadUnchangedTouchesNothing(t *testing.T) {
	a, b := freeAddr(t), freeAddr(t)
	text := whole([]string{says("a", a, "one", "", ""), forwards("b", b, "web", "")}, cluster("web", origin(t, "web")))
	r := start(t, text)
	r.wantGet("b", "web")
	sockets := r.quietSockets()
	before := r.listening()
	snap := r.snapshot.Load()
	servings := each(r.Server, func(w *worker) *serving { return w.serving["a"] })
	for range 10 {
		rep := r.mustLoad(text)
		if len(rep.Changes) != 0 || rep.Unchanged != 5 {
			t.Errorf("report %+v", rep)
		}
	}
	if after := r.listening(); !reflect.DeepEqual(before, after) {
		t.Errorf("listening on %v, was %v", after, before)
	}
	now := openSockets(t)
	for s, listens := range sockets {
		if listens && !now[s] {
			t.Errorf("%s is gone", s)
		}
	}
	if next := r.snapshot.Load(); next.Listeners[0] != snap.Listeners[0] || next.Clusters[0] != snap.Clusters[0] {
		t.Error("parts of the snapshot were made anew")
	}
	if again := each(r.Server, func(w *worker) *serving { return w.serving["a"] }); !reflect.DeepEqual(servings, again) {
		t.Error("a chain was made anew")
	}
}

func TestReloadMovesSockets(t *testing.T) {
	x, y, z := freeAddr(t), freeAddr(t), freeAddr(t)
	r := start(t, whole([]string{says("a", x, "a", "", ""), says("b", y, "b", "", "")}))
	first := r.listening()
	steps := []struct {
		name      string
		listeners []string
		want      map[string]string // by address; "" is nobody
		same      bool              // the descriptors stay
	}{
		{"swapped", []string{says("a", y, "a", "", ""), says("b", x, "b", "", "")}, map[string]string{x: "b", y: "a"}, true},
		{"renamed", []string{says("c", y, "c", "", ""), says("d", x, "d", "", "")}, map[string]string{x: "d", y: "c"}, true},
		{"name and filters", []string{says("d", y, "d2", "", `"via": "x",`), says("c", x, "c2", "", `"via": "x",`)}, map[string]string{x: "c2", y: "d2"}, true},
		{"moved", []string{says("d", z, "d", "", ""), says("c", x, "c", "", "")}, map[string]string{x: "c", y: "", z: "d"}, false},
		{"back", []string{says("d", y, "d", "", ""), says("c", x, "c", "", "")}, map[string]string{x: "c", y: "d", z: ""}, false},
	}
	for _, step := range steps {
		r.mustLoad(whole(step.listeners))
		for addr, want := range step.want {
			if got := getAddr(addr); got != want {
				t.Errorf("%s: %s answers %q, want %q", step.name, addr, got, want)
			}
		}
		if now := r.listening(); step.same && !reflect.DeepEqual(now, first) {
			t.Errorf("%s: listening on %v, was %v", step.name, now, first)
		}
	}
}

func TestListenersOnFreePorts(t *testing.T) {
	text := whole([]string{says("a", "127.0.0.1:0", "a", "", ""), says("b", "127.0.0.1:0", "b", "", "")})
	r := start(t, text)
	addr := r.ListenerAddr("a")
	r.wantGet("a", "a")
	r.wantGet("b", "b")
	r.mustLoad(text)
	r.mustLoad(whole([]string{says("b", "127.0.0.1:0", "b2", "", ""), says("a", "127.0.0.1:0", "a2", "", `"via": "x",`)}))
	r.wantGet("a", "a2")
	r.wantGet("b", "b2")
	if got := r.ListenerAddr("a"); got != addr {
		t.Errorf("a is on %s, was on %s", got, addr)
	}
}

// TestRefusedReloadLeavesNothing: whatever step fails, nothing changes and no descriptor is left.
func TestRefusedReloadLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a, log := freeAddr(t), filepath.Join(t.TempDir(), "log")
	good := whole([]string{says("a", a, "good", "", "")})
	r := start(t, good)
	r.wantGet("a", "good")
	before := r.quietSockets()
	logged := func(path string) string { return fmt.Sprintf(`"access_log": [{"path": %q}],`, path) }
	for _, tt := range []struct{ name, text, want string }{
		{"syntax", `{`, "test.json:1:"},
		{"two errors", `{"concurrency": -1, "drain_time": 5}`, "concurrency"},
		{
			"bind", whole([]string{says("a", a, "bad", "", ""), says("new", freeAddr(t), "new", "", ""), says("b", taken.Addr().String(), "b", "", "")}),
			"address already in use",
		},
		{
			"log", whole([]string{says("new", freeAddr(t), "new", "", logged(log)), says("a", a, "bad", "", logged("/nonexistent/log"))}),
			"access_log[0]",
		},
		{"socket options", whole([]string{says("a", a, "bad", `"tcp_backlog_size": 5,`, "")}), "restart"},
		{
			"log of a listener", whole([]string{says("a", a, "bad", `"access_log": [{"path": "/nonexistent/log"}],`, ""), forwardsUDP("u", a, "web", "1s")}, cluster("web", a)),
			"access_log[0]",
		},
		{
			"chains", whole([]string{says("a", a, "bad", "", `"via": "x",`), forwardsUDP("u", a, "web", "1s"),
				chainsOf("c", freeAddr(t), "", echoChain), chainsOf("b", taken.Addr().String(), "", echoChain)}, cluster("web", a)),
			"address already in use",
		},
	} {
		rep := r.load(tt.text)
		if rep.Applied || !strings.Contains(strings.Join(rep.Errors, "\n"), tt.want) {
			t.Errorf("%s: report %+v, want an error with %q", tt.name, rep, tt.want)
		}
		for _, line := range rep.Errors {
			if !strings.Contains(strings.ReplaceAll(r.log.String(), `\"`, `"`), line) {
				t.Errorf("%s: %q is not in the log", tt.name, line)
			}
		}
		if !r.rejected.Load() || r.configStatus().Last.Applied {
			t.Errorf("%s: the refusal does not show", tt.name)
		}
		r.wantGet("a", "good")
	}
	r.wantNoNewSockets(before)
	r.wantStat("listener_manager.listener_create_failure", 5)
	if rep := r.mustLoad(good); len(rep.Changes) != 0 || r.rejected.Load() {
		t.Errorf("after the refusals the good file reports %+v", rep)
	}
	if st := r.configStatus(); st.Loads != 9 || st.Refusals != 7 {
		t.Errorf("%d loads, %d refused; want 9, 7", st.Loads, st.Refusals)
	}
}

// TestRefusedByOneLoop: when one loop cannot take a socket, no loop serves anything new.
func TestRefusedByOneLoop(t *testing.T) {
	a := freeAddr(t)
	r := start(t, whole([]string{says("a", a, "good", "", "")}))
	before := r.quietSockets()
	sets := each(r.Server, func(w *worker) int { return len(w.sets) })
	made, err := r.build(r.config(whole([]string{
		strings.Replace(says("a", a, "bad", "", `"via": "x",`), `"filters"`, `"listener_filters": [{"name": "tls_inspector"}], "filters"`, 1),
		says("b", freeAddr(t), "b", "", ""), forwardsUDP("c", freeAddr(t), "web", "1s"), chainsOf("d", freeAddr(t), "", echoChain),
	}, cluster("web", a))))
	if err != nil {
		t.Fatal(err)
	}
	prev, next := made.prev, made.next
	fds, err := r.bind(prev, next)
	if err != nil {
		t.Fatal(err)
	}
	engine.CloseFd(fds[1]["udp "+made.next.Listener("c").Address]) // the second loop does not find one
	delete(fds[1], "udp "+made.next.Listener("c").Address)
	diff := control.Compare(prev, next)
	errs := each(r.Server, func(w *worker) error { return w.prepare(diff, fds[w.loop.Index()]) })
	if errs[0] != nil || errs[1] == nil {
		t.Fatalf("prepare = %v, want an error of the second loop", errs)
	}
	each(r.Server, func(w *worker) error { w.discard(); return nil })
	made.discard()
	r.registerSets()
	if now := each(r.Server, func(w *worker) int { return len(w.sets) }); !reflect.DeepEqual(now, sets) {
		t.Errorf("loops have %v sets of counters, had %v", now, sets)
	}
	r.wantGet("a", "good")
	r.wantNoNewSockets(before)
}

func TestUnixSocketFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	get := func() bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	r := start(t, whole([]string{says("a", "unix:"+path, "a", "", "")}))
	if !get() {
		t.Fatal("nobody listens on the path")
	}
	r.mustLoad(whole([]string{says("b", "unix:"+path, "b", "", "")}))
	if !get() {
		t.Error("nobody listens on the path after the listener was renamed")
	}
	r.mustLoad(whole(nil))
	if _, err := os.Stat(path); err == nil || get() {
		t.Error("the file of a removed listener is still there")
	}
	r.mustLoad(whole([]string{says("a", "unix:"+path, "a", "", "")}))
	r.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is still there after the end")
	}
}

// TestRetiredChainsEndInTheirOwnTime: a second reload must not cut off what the first one retired, nor
// the first one's end what the second one retired.
func TestRetiredChainsEndInTheirOwnTime(t *testing.T) {
	a := freeAddr(t)
	conf := func(via, drain string) string {
		return strings.Replace(whole([]string{says("a", a, "x", "", fmt.Sprintf(`"via": %q, "drain_timeout": "1h",`, via))}), "300ms", drain, 1)
	}
	r := start(t, conf("0", "1h"))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		b := make([]byte, 4096)
		_ = c.SetDeadline(time.Now().Add(waitMax))
		if n, err := c.Read(b); err != nil || !strings.Contains(string(b[:n]), "200 OK") {
			t.Fatalf("read %q, %v", b[:n], err)
		}
		return c
	}
	first := dial()
	r.mustLoad(conf("1", "1h"))
	second := dial()
	r.mustLoad(conf("2", "50ms"))
	if n := r.statOf("listener_manager.total_filter_chains_draining"); n != 2 {
		t.Errorf("%d filter chains drain, want 2", n)
	}
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("the second connection was not closed at the end of its drain time")
	}
	fmt.Fprintf(first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	b := make([]byte, 4096)
	n, err := first.Read(b)
	if got := strings.ToLower(string(b[:n])); err != nil || !strings.Contains(got, "200 ok") || !strings.Contains(got, "connection: close") {
		t.Errorf("the first connection reads %q, %v; want an answer that says close", got, err)
	}
	if !eventually(func() bool { return r.chainsDraining.Load() == 0 }) {
		t.Errorf("%d filter chains still drain", r.chainsDraining.Load())
	}
}

// TestRemovedClusterServesWhatBegan: a request whose route was chosen before the reload keeps its
// cluster.
func TestRemovedClusterServesWhatBegan(t *testing.T) {
	a := freeAddr(t)
	filters := `"http_filters": [{"name": "buffer", "config": {"max_request_bytes": 100}}, {"name": "router"}],`
	r := start(t, whole([]string{forwards("a", a, "old", filters)}, cluster("old", origin(t, "old"))))
	c, err := net.Dial("tcp", a)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitMax))
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
	if !eventually(func() bool { return r.connections.Load() == 1 }) {
		t.Fatal("no connection")
	}
	each(r.Server, func(*worker) int { return 0 }) // a turn later the head has been read
	r.mustLoad(strings.Replace(whole([]string{forwards("a", a, "new", filters)}, cluster("new", origin(t, "new"))), "300ms", "1h", 1))
	r.wantGet("a", "new")
	fmt.Fprintf(c, "dy")
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if got := string(b[:n]); err != nil || !strings.HasSuffix(got, "old") {
		t.Errorf("the request that began before reads %q, %v; want the answer of its cluster", got, err)
	}
}

func TestRestartWarnings(t *testing.T) {
	a := freeAddr(t)
	text := whole([]string{says("a", a, "x", "", "")})
	r := start(t, text)
	rep := r.mustLoad(strings.Replace(text, `{"concurrency": 2,`, `{"concurrency": 3, "admin": {"address": "127.0.0.1:9"}, "node": {"id": "n"},`, 1))
	if got := strings.Join(rep.Warnings, "\n"); strings.Count(got, "restart") != 3 ||
		!strings.Contains(got, "admin.address") || !strings.Contains(got, "concurrency") || !strings.Contains(got, "node") {
		t.Errorf("warnings %q", rep.Warnings)
	}
	if rep := r.mustLoad(text); len(rep.Warnings) != 0 {
		t.Errorf("warnings %q for the first configuration", rep.Warnings)
	}
}

// TestCountersGoOn: a chain that replaces another counts on, and the counters of what is gone go.
func TestCountersGoOn(t *testing.T) {
	a := freeAddr(t)
	conf := func(via string) string { return whole([]string{says("a", a, "x", "", fmt.Sprintf(`"via": %q,`, via))}) }
	r := start(t, conf("0"))
	for i := range 5 {
		r.wantGet("a", "x")
		r.mustLoad(conf(fmt.Sprint(i + 1)))
	}
	if got := r.statOf("http.t.downstream_rq_total"); got != 5 {
		t.Errorf("downstream_rq_total = %d, want 5", got)
	}
	r.mustLoad(whole(nil))
	if !eventually(func() bool { return r.statOf("http.t.downstream_rq_total") == -1 }) {
		t.Error("the counters of a removed listener are still there")
	}
	if n := len(each(r.Server, func(w *worker) int { return len(w.sets) })); n != 2 {
		t.Errorf("%d loops", n)
	}
	for i, n := range each(r.Server, func(w *worker) int { return len(w.sets) }) {
		if n != 0 {
			t.Errorf("loop %d has %d sets of counters left", i, n)
		}
	}
}

func TestLogsStayOpenWhileTheirChainDrains(t *testing.T) {
	a, log := freeAddr(t), filepath.Join(t.TempDir(), "log")
	conf := func(via string) string {
		return whole([]string{says("a", a, "x", "", fmt.Sprintf(`"via": %q, "access_log": [{"path": %q, "format": "%%REQ(:PATH)%%\n"}],`, via, log))})
	}
	r := start(t, conf("0"))
	for i := range 20 {
		r.wantGet("a", "x")
		r.mustLoad(conf(fmt.Sprint(i + 1)))
	}
	r.Close()
	text, err := os.ReadFile(log)
	if err != nil || strings.Count(string(text), "\n") != 20 {
		t.Errorf("the log has %d lines, %v; want 20", strings.Count(string(text), "\n"), err)
	}
}

func TestDrainingTakesNoConfiguration(t *testing.T) {
	a := freeAddr(t)
	text := whole([]string{says("a", a, "x", "", "")})
	r := start(t, text)
	r.Drain()
	if rep := r.load(text); rep.Applied {
		t.Error("a draining process took a configuration")
	}
	if c, err := net.Dial("tcp", a); err == nil {
		_ = c.Close()
		t.Error("a draining process accepts")
	}
}

func TestSignalsAreOneReload(t *testing.T) {
	r := start(t, whole([]string{says("a", freeAddr(t), "x", "", "")}))
	ch := make(chan os.Signal, 8)
	ended := make(chan struct{})
	go func() { r.Wait(ch); close(ended) }()
	for range 50 {
		ch <- syscall.SIGHUP
	}
	if !eventually(func() bool { n := r.configStatus().Loads; return n >= 2 && n <= 51 }) {
		t.Errorf("%d loads", r.configStatus().Loads)
	}
	ch <- syscall.SIGUSR1
	ch <- syscall.SIGTERM
	<-ended
	if r.state() != "DRAINING" {
		t.Errorf("state %s", r.state())
	}
}

// TestRetiredChainsLeaveNoMemory: what a replaced chain has made is garbage once its connections have
// ended, its stopped timers too.
func TestRetiredChainsLeaveNoMemory(t *testing.T) {
	a, host := freeAddr(t), origin(t, "x")
	conf := func(n int) string {
		return whole([]string{forwards("a", a, "web", fmt.Sprintf(`"via": "%d",`, n))}, cluster("web", host))
	}
	r := start(t, conf(0))
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what a finalizer or a pool held on to
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	reload := func(from, to int) {
		for n := from; n < to; n++ {
			r.mustLoad(conf(n))
			r.wantGet("a", "x")
		}
		if !eventually(func() bool { return r.chainsDraining.Load() == 0 }) {
			t.Fatal("chains stay")
		}
	}
	reload(1, 50)
	before := heap()
	reload(50, 250)
	if grown := (heap() - before) / 200; grown > 4<<10 {
		t.Errorf("each reload leaves %d bytes behind", grown)
	}
}

// TestPartHashes: hashes taken from the text of the whole are those of the parts.
func TestPartHashes(t *testing.T) {
	r := start(t, whole(nil))
	cfg := r.config(whole([]string{says("a", "127.0.0.1:0", "x", "", ""), forwards("b", "127.0.0.1:0", "web", "")},
		cluster("web", "127.0.0.1:1"), cluster("more", "127.0.0.1:2")))
	made, err := r.build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	next := made.next
	if next.Hash != config.Hash(cfg) {
		t.Errorf("hash %x of the whole, want %x", next.Hash, config.Hash(cfg))
	}
	for i, c := range next.Clusters {
		if want := config.Hash(&cfg.Clusters[i]); c.Hash != want {
			t.Errorf("cluster %q: hash %x, want %x", c.Name, c.Hash, want)
		}
	}
	for _, l := range next.Listeners {
		c := l.Chains[0]
		if want := config.Hash(&c.HTTP.RouteConfig); c.RouteHash != want {
			t.Errorf("listener %q: hash %x of the routes, want %x", l.Name, c.RouteHash, want)
		}
	}
}
