package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"millrace/bench/compare"
	"millrace/bench/proc"
)

// newTestRunner is a runner of unpinned peers in front of the given origin.
func newTestRunner(t *testing.T, originPort int, peers ...compare.Peer) *runner {
	t.Helper()
	r := &runner{ctx: context.Background(), group: &proc.Group{}, dir: t.TempDir(), origin: originPort, peers: map[string]compare.Peer{}, progress: io.Discard}
	for _, p := range peers {
		r.peers[p.Name] = p
	}
	t.Cleanup(r.group.StopAll)
	return r
}

// TestPeersDoTheSameWork: each proxy adds the same fields and keeps its upstream connection.
func TestPeersDoTheSameWork(t *testing.T) {
	t.Parallel()
	for _, p := range compare.Builtin("../bin/millrace", "") {
		if p.Config == nil {
			continue // the floor
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			if _, err := p.Path(); err != nil {
				t.Skipf("%v", err)
			}
			heads := make(chan *http.Request, 16)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				heads <- req
				fmt.Fprint(w, "hello")
			}))
			defer srv.Close()
			r := newTestRunner(t, srv.Listener.Addr().(*net.TCPAddr).Port, p)
			st, err := r.start(scenario{body: len("hello"), routes: 250}, entry{label: p.Name, peer: p.Name, loops: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := askOnce(st.url(1), len("hello")); err != nil {
				t.Fatal(err)
			}
			first, second := <-heads, <-heads
			for name, want := range map[string]string{
				"X-Forwarded-For": `^127\.0\.0\.1$`, "X-Forwarded-Proto": "^http$", "X-Request-Id": "^[0-9a-f-]{32,36}$", "Connection": "^$",
			} {
				if got := second.Header.Get(name); !regexp.MustCompile(want).MatchString(got) {
					t.Errorf("%s sends %s: %q; want %s", p.Name, name, got, want)
				}
			}
			if first.RemoteAddr != second.RemoteAddr || second.Proto != "HTTP/1.1" {
				t.Errorf("%s: %s from %s after %s; want one kept HTTP/1.1 connection", p.Name, second.Proto, second.RemoteAddr, first.RemoteAddr)
			}
			if err := r.reload(st); err != nil {
				t.Error(err)
			}
			if err := r.checkReload(scenario{disturb: reload}, st); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFloorAndOrigin: the two C programs carry answers of every size of the suite, whole.
func TestFloorAndOrigin(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	originBin, err := compile(dir, "raw-origin", originSource)
	if err != nil {
		t.Fatal(err)
	}
	floorBin, err := compile(dir, floorRelay, floorSource)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	r := newTestRunner(t, ports[0], compare.Builtin("", floorBin)[4])
	if _, err := r.group.Start("origin", "", dir, originBin, fmt.Sprint(ports[0])); err != nil {
		t.Fatal(err)
	}
	st, err := r.start(scenario{body: 128}, entry{label: floorRelay, peer: floorRelay, loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range bodies(suite("0")) {
		if err := askOnce(st.url(size), size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	// Four requests in one piece, the last cut, on one connection.
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", st.site.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const req = "GET /65536 HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, piece := range []string{req + req + req + req[:9], req[9:len(req)-2] + "Connection: close\r\n\r\n"} {
		if _, err := io.WriteString(c, piece); err != nil {
			t.Fatal(err)
		}
	}
	n, err := io.Copy(io.Discard, c)
	if err != nil || n < 4*65536 {
		t.Errorf("four pipelined answers = %d bytes, %v; want all four and then the end", n, err)
	}
}

func TestOriginOfNginx(t *testing.T) {
	t.Parallel()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	argv, err := compare.WriteOrigin(filepath.Join(t.TempDir(), "origin"), ports[0], []int{128, 65536})
	if err != nil {
		t.Skip(err)
	}
	r := newTestRunner(t, ports[0])
	p, err := r.group.Start("origin", "", r.dir, argv...)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{128, 65536} {
		if err := r.waitReady(p, fmt.Sprintf("http://127.0.0.1:%d/%d", ports[0], size), size); err != nil {
			t.Error(err)
		}
	}
}
