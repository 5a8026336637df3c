package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/cmd/internal/control"
	"millrace/engine/stats"
	"millrace/filters"
)

// readings collects what a watcher finds.
type readings chan string

func (r readings) put(body []byte, err error) {
	text := string(body)
	if err != nil {
		text = "error: " + err.Error()
	}
	select {
	case r <- text:
	default:
	}
}

// want waits for a reading that has a text.
func (r readings) want(t *testing.T, text string) {
	t.Helper()
	last, limit := "", time.After(waitMax)
	for {
		select {
		case last = <-r:
			if strings.Contains(last, text) {
				return
			}
		case <-limit:
			t.Fatalf("read %.100q, want %q", last, text)
		}
	}
}

// watching starts a watcher beside a server.
func (r *running) watching(src filters.Source) readings {
	found := make(readings, 1)
	b := &building{server: r.Server}
	stop := b.watch(src, time.Millisecond, time.Millisecond, found.put)
	for _, start := range b.starts {
		start()
	}
	r.t.Cleanup(stop)
	return found
}

func TestWatchFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	r := start(t, whole(nil))
	found := r.watching(filters.Source{File: path})
	found.want(t, "error: open "+path)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	found.want(t, "one")
	write(strings.Repeat("x", watchBytesMax+1))
	found.want(t, "error: more than 1048576 bytes")
	write(strings.Repeat("x", watchBytesMax))
	found.want(t, "xxxx")
	write("two")
	found.want(t, "two")
}

// TestWatchCluster: the hosts are those that the cluster has at the time.
func TestWatchCluster(t *testing.T) {
	var answer atomic.Pointer[string]
	set := func(s string) { answer.Store(&s) }
	set("one")
	serve := func(name string) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			switch a := *answer.Load(); {
			case q.Host != "lists_1" || q.URL.Path != "/v1/list" || q.Method != http.MethodGet:
				t.Errorf("asked for %s %s of %s", q.Method, q.URL, q.Host)
			case a == "large":
				_, _ = io.WriteString(w, strings.Repeat("x", watchBytesMax+1))
			case a == "moved":
				http.Redirect(w, q, "/elsewhere", http.StatusFound)
			default:
				_, _ = io.WriteString(w, name+" "+a)
			}
		}))
		t.Cleanup(srv.Close)
		return srv.Listener.Addr().String()
	}
	conf := func(hosts ...string) string {
		return whole(nil, fmt.Sprintf(`{"name": "lists:1", "hosts": ["%s"]}`, strings.Join(hosts, `", "`)))
	}
	a, b := serve("a"), serve("b")
	r := start(t, conf(a))
	found := r.watching(filters.Source{Cluster: "lists:1", Path: "/v1/list"})
	found.want(t, "a one")
	set("large")
	found.want(t, "error: more than")
	set("moved")
	found.want(t, `error: cluster "lists:1" answers 302 Found for /v1/list`)
	set("two")
	r.mustLoad(conf(a, b))
	found.want(t, "a two")
	found.want(t, "b two")
	r.mustLoad(conf(b))
	found.want(t, "b two")
	r.mustLoad(whole(nil))
	found.want(t, `error: unknown cluster "lists:1"`)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "unix") })}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-ended })
	r.mustLoad(conf("unix:" + path))
	found.want(t, "unix")
}

// TestWatchBeginsWithTheConfiguration: a refused one reads nothing, and the end waits for a reader.
func TestWatchBeginsWithTheConfiguration(t *testing.T) {
	r := start(t, whole(nil))
	found := make(readings, 1)
	b := &building{server: r.Server}
	stop := b.watch(filters.Source{File: "/nonexistent"}, time.Millisecond, 0, found.put)
	stop()
	for _, start := range b.starts { // late, after the end
		start()
	}
	stop()
	if len(found) > 0 {
		t.Errorf("read %q", <-found)
	}
}

// TestSharedParts: what filters have in common lasts as long as somebody uses it.
func TestSharedParts(t *testing.T) {
	r := start(t, whole(nil))
	made := 0
	use := func() (*control.Resources, *filters.SharedEnv) {
		b := &building{server: r.Server, next: r.snapshot.Load()}
		held := b.hold()
		return held, b.sharedEnv(held)
	}
	type set struct {
		N stats.Counter `stat:"n" help:"a test"`
	}
	get := func(env *filters.SharedEnv) (any, *set) {
		return env.Once("test", func() any { made++; return made }), stats.Register[set](env.Stats, stats.Root("shared"))
	}
	first, env := use()
	one, counts := get(env)
	second, env := use()
	same, again := get(env)
	counts.N.Inc()
	if one != same || counts != again || made != 1 || r.statOf("shared.n") != 1 {
		t.Errorf("shared %v and %v, counters %p and %p showing %d", one, same, counts, again, r.statOf("shared.n"))
	}
	if _, ok := env.ClusterID("none"); ok {
		t.Error("a cluster that is not there was found")
	}
	r.drop(first)
	if third, env := use(); third == nil || r.statOf("shared.n") != 1 {
		t.Errorf("shared.n = %d while it is used", r.statOf("shared.n"))
	} else if v, _ := get(env); v != one {
		t.Errorf("shared %v, want %v", v, one)
	} else {
		r.drop(third)
	}
	r.drop(second)
	if len(r.once)+len(r.sharedSets) != 0 || r.statOf("shared.n") != -1 {
		t.Errorf("%d values and %d sets are left, shared.n = %d", len(r.once), len(r.sharedSets), r.statOf("shared.n"))
	}
}
