package health

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/upstream"
)

func TestMain(m *testing.M) {
	if os.Getenv(originEnv) != "" {
		serveForScale()
		return
	}
	goleak.VerifyTestMain(m)
}

// told counts the calls of changed by cluster.
type told struct {
	mu    sync.Mutex
	count map[string]int
}

func (c *told) changed(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[string]int{}
	}
	c.count[name]++
}

func (c *told) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[name]
}

// newCluster returns a cluster of hosts with checks, made by edit from fast defaults.
func clusterOf(t *testing.T, prev *upstream.Cluster, edit func(*upstream.HealthCheckConfig), hosts ...string) *upstream.Cluster {
	t.Helper()
	cfg := upstream.DefaultConfig("web")
	h := upstream.DefaultHealthCheckConfig("http")
	h.Path, h.Interval, h.NoTrafficInterval, h.Timeout = "/", 2*time.Millisecond, 2*time.Millisecond, checkMax
	if edit != nil {
		edit(&h)
		cfg.HealthChecks = []upstream.HealthCheckConfig{h}
	}
	for _, a := range hosts {
		cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: a, Weight: 1})
	}
	c, err := upstream.New(1, &cfg, prev)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func plain(*upstream.HealthCheckConfig) {}

// wait waits until a condition holds.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(checkMax); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come about", what)
		}
	}
}

// switched is a server that answers with what is in status.
func switched(t *testing.T) (addr string, status *atomic.Int64, asked *atomic.Int64) {
	status, asked = &atomic.Int64{}, &atomic.Int64{}
	status.Store(200)
	addr, _ = httpServer(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(int(status.Load()))
	})
	return addr, status, asked
}

func TestSchedulerLife(t *testing.T) {
	t.Parallel()
	addr, status, asked := switched(t)
	var told told
	s := NewScheduler(told.changed)
	defer s.Close()
	c, st := clusterOf(t, nil, plain, addr), &Stats{}
	h := c.Hosts()[0]
	if h.Healthy() {
		t.Fatal("a new host is well before its first check")
	}
	round := make(chan bool, 1)
	s.Set(c, st)
	s.FirstRound("web", func() { round <- true })
	<-round
	if !h.Healthy() || told.of("web") != 1 || st.Success.Load() == 0 || st.Healthy.Load() != 1 {
		t.Errorf("after the first round: %b, told %d times, %d passed, %d healthy", h.Health(), told.of("web"), st.Success.Load(), st.Healthy.Load())
	}
	status.Store(503)
	wait(t, "failure", func() bool { return !h.Healthy() })
	status.Store(200)
	wait(t, "recovery", h.Healthy)

	// A cluster that takes its place with the same checks changes nothing of them.
	n := asked.Load()
	next := clusterOf(t, c, plain, addr)
	s.Set(next, st)
	if next.Hosts()[0] != h || !h.Healthy() {
		t.Error("the host began anew")
	}
	wait(t, "more checks", func() bool { return asked.Load() > n+3 })

	// Other checks: the host keeps its health until the first of them.
	status.Store(204)
	s.Set(clusterOf(t, next, func(h *upstream.HealthCheckConfig) {
		h.ExpectedStatuses = []upstream.StatusRange{{Start: 204, End: 205}}
	}, addr), st)
	n = asked.Load()
	wait(t, "checks by the new rules", func() bool { return asked.Load() > n+3 })
	if !h.Healthy() {
		t.Error("the host did not survive the change of its checks")
	}

	// Hosts come and go.
	other, _, askedOther := switched(t)
	if _, err := next.SetHosts([]upstream.HostConfig{{Address: addr, Weight: 1}, {Address: other, Weight: 1}}); err != nil {
		t.Fatal(err)
	}
	s.SetHosts("web", next.Hosts())
	s.FirstRound("web", func() { round <- true })
	<-round
	if askedOther.Load() == 0 {
		t.Error("the first round was over before the new host was asked")
	}
	s.SetHosts("web", next.Hosts()[1:])
	time.Sleep(10 * time.Millisecond) // a check may be under way
	n = asked.Load()
	m := askedOther.Load()
	wait(t, "more checks of the other host", func() bool { return askedOther.Load() > m+5 })
	if asked.Load() != n {
		t.Error("a host that is gone is still asked")
	}

	// Without checks all hosts are well.
	status.Store(500)
	next.Hosts()[1].SetHealth(upstream.FailedActiveCheck, true)
	s.Set(clusterOf(t, next, nil, addr), st)
	if f := next.Hosts()[1].Health(); f != 0 || len(s.Clusters()) != 0 {
		t.Errorf("after the removal: flags %b, clusters %v", f, s.Clusters())
	}
	if st.Healthy.Load() != 0 || st.Degraded.Load() != 0 {
		t.Errorf("gauges of a removed cluster: %d, %d", st.Healthy.Load(), st.Degraded.Load())
	}
	s.Remove("web")
	s.SetHosts("web", nil)
	s.FirstRound("web", func() { round <- true })
	<-round
}

// TestPassive: what a response of the data path says counts at once, until checks pass again.
func TestPassive(t *testing.T) {
	t.Parallel()
	addr, _, _ := switched(t)
	var told told
	s := NewScheduler(told.changed)
	defer s.Close()
	c, st := clusterOf(t, nil, func(h *upstream.HealthCheckConfig) { h.HealthyThreshold = 5 }, addr), &Stats{}
	h := c.Hosts()[0]
	s.Set(c, st)
	wait(t, "the first check", h.Healthy)
	s.Fail("web", h)
	wait(t, "failure", func() bool { return st.PassiveFailure.Load() == 1 })
	wait(t, "recovery", func() bool { return h.Health() == 0 })
	if n := told.of("web"); n != 3 {
		t.Errorf("balancing has heard of it %d times, want 3", n)
	}
	s.Fail("gone", h)
	for range 2 * failuresMax {
		s.Fail("web", h)
	}
}

// TestTrafficInterval: a cluster that nobody uses is asked rarely.
func TestTrafficInterval(t *testing.T) {
	t.Parallel()
	addr, _, asked := switched(t)
	s := NewScheduler(func(string) {})
	defer s.Close()
	c := clusterOf(t, nil, func(h *upstream.HealthCheckConfig) { h.NoTrafficInterval = time.Hour }, addr)
	s.Set(c, &Stats{})
	wait(t, "the first check", c.Hosts()[0].Healthy)
	time.Sleep(30 * time.Millisecond)
	if n := asked.Load(); n != 1 {
		t.Errorf("%d checks without traffic, want 1", n)
	}
	c.Hosts()[0].CxTotal.Add(1)
	s.Set(clusterOf(t, c, plain, addr), &Stats{}) // begins anew
	wait(t, "checks at the usual interval", func() bool { return asked.Load() > 5 })
}

// TestActiveMax: hosts that do not answer hold up others only as far as the limit says, and it is counted.
func TestActiveMax(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of connections")
	}
	const more = 50
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	held := make(chan net.Conn, activeMax+more)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held <- c
		}
	}()
	var hosts []string
	for i := range activeMax + more { // all of 127.0.0.0/8 is this machine
		hosts = append(hosts, fmt.Sprintf("127.2.%d.%d:%d", i/200, i%200+1, l.Addr().(*net.TCPAddr).Port))
	}
	s := NewScheduler(func(string) {})
	defer s.Close()
	c := clusterOf(t, nil, func(h *upstream.HealthCheckConfig) {
		h.Type, h.Path, h.Receive, h.Interval = "tcp", "", []upstream.Payload{{String: "x"}}, time.Hour
		h.NoTrafficInterval, h.Timeout = time.Hour, time.Hour
	}, hosts...)
	st := &Stats{}
	s.Set(c, st)
	state := func() (active int, full bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.active, s.full
	}
	wait(t, "the limit", func() bool { _, full := state(); return full })
	if active, _ := state(); active != activeMax {
		t.Errorf("%d checks under way, want %d", active, activeMax)
	}
	time.Sleep(lateAfter)
	for range activeMax + more {
		select {
		case c := <-held:
			c.Close()
		case <-time.After(checkMax):
			t.Fatal("a host was not asked")
		}
	}
	wait(t, "the first round", func() bool { return st.NetworkFailure.Load() == activeMax+more })
	if n := s.Stats.Late.Load(); n == 0 || n > more {
		t.Errorf("%d checks were late, want 1 to %d", n, more)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	addr, status, asked := switched(t)
	path := filepath.Join(t.TempDir(), "events")
	s := NewScheduler(func(string) {})
	c := clusterOf(t, nil, func(h *upstream.HealthCheckConfig) { h.EventLogPath = path }, addr)
	h := c.Hosts()[0]
	s.Set(c, &Stats{})
	wait(t, "the first check", h.Healthy)
	status.Store(503)
	wait(t, "failure", func() bool { return !h.Healthy() })
	moved := path + ".1"
	wait(t, "the file", func() bool { return os.Rename(path, moved) == nil })
	s.Reopen()
	status.Store(200)
	wait(t, "recovery", h.Healthy)
	c = clusterOf(t, c, func(h *upstream.HealthCheckConfig) {
		h.EventLogPath, h.AlwaysLogHealthCheckFailures, h.AlwaysLogHealthCheckSuccess = path, true, true
	}, addr)
	s.Set(c, &Stats{})
	n := asked.Load()
	wait(t, "more checks", func() bool { return asked.Load() > n+2 })
	s.Close()
	var kinds []string
	for _, file := range []string{moved, path} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var ev map[string]any
			if err := json.Unmarshal([]byte(line), &ev); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			at, err := time.Parse(time.RFC3339Nano, ev["timestamp"].(string))
			socket := ev["host"].(map[string]any)["socket_address"].(map[string]any)
			if err != nil || time.Since(at) > time.Minute || ev["health_checker_type"] != "HTTP" || ev["cluster_name"] != "web" ||
				fmt.Sprintf("%v:%v", socket["address"], socket["port_value"]) != addr {
				t.Errorf("event %s", line)
			}
			for k, v := range ev {
				if strings.Contains(k, "event") {
					kinds = append(kinds, fmt.Sprint(k, v))
				}
			}
		}
	}
	want := []string{"add_healthy_eventmap[first_check:true]", "eject_unhealthy_eventmap[failure_type:ACTIVE]",
		"add_healthy_eventmap[first_check:false]", "successful_health_check_eventmap[]"}
	if got := slices.Compact(kinds); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	if s.Stats.EventsLost.Load() != 0 || s.Stats.EventsFailed.Load() != 0 {
		t.Errorf("%d lost, %d failed", s.Stats.EventsLost.Load(), s.Stats.EventsFailed.Load())
	}
}

// originEnv makes the test binary an origin, so that the CPU time of the checks is theirs alone.
const originEnv = "HEALTH_TEST_ORIGIN"

// serveForScale answers anything with 200 until its input ends. It tells its address first.
func serveForScale() {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestScale: 2,000 checks a second, on 2,000 hosts, cost less than 5 % of a core.
func TestScale(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures CPU time for seconds")
	}
	const hosts, seconds = 2000, 4
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), originEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	var port int
	if _, err := fmt.Fscan(out, &port); err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for i := range hosts {
		addrs = append(addrs, fmt.Sprintf("127.1.%d.%d:%d", i/200, i%200+1, port))
	}
	c := clusterOf(t, nil, func(h *upstream.HealthCheckConfig) {
		h.Interval, h.NoTrafficInterval, h.Timeout, h.InitialJitter = time.Second, time.Second, 3*time.Second, time.Second
	}, addrs...)
	s, st := NewScheduler(func(string) {}), &Stats{}
	defer s.Close()
	round := make(chan bool, 1)
	s.Set(c, st)
	s.FirstRound("web", func() { round <- true })
	<-round
	time.Sleep(time.Second)
	n, begun, cpu := st.Success.Load(), time.Now(), cpuTime(t)
	time.Sleep(seconds * time.Second)
	n, cpu = st.Success.Load()-n, cpuTime(t)-cpu
	took := time.Since(begun)
	rate, share := float64(n)/took.Seconds(), 100*cpu.Seconds()/took.Seconds()
	t.Logf("%.0f checks a second, %.2f %% of a core, %v for each, %d failed, %d late", rate, share, cpu/time.Duration(n), st.Failure.Load(), s.Stats.Late.Load())
	if rate < 0.9*hosts || st.Failure.Load() > 0 {
		t.Errorf("%.0f checks a second, %d failed", rate, st.Failure.Load())
	}
	if share > 2*5 { // twice what is aimed at: a machine that others use, too, must not fail the test
		t.Errorf("%.2f %% of a core", share)
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
