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
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/bench/compare"
	"millrace/bench/load"
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
		if p.Config == nil || p.Name == nginxLarge {
			continue // not for HTTP
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
			if err := askOnce(st.url(1), len("hello"), false); err != nil {
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
	r := newTestRunner(t, ports[0], builtinPeer(t, floorRelay, floorBin))
	if _, err := r.group.Start("origin", "", dir, originBin, fmt.Sprint(ports[0])); err != nil {
		t.Fatal(err)
	}
	st, err := r.start(scenario{body: 128}, entry{label: floorRelay, peer: floorRelay, loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range bodies(suite("0")) {
		if err := askOnce(st.url(size), size, false); err != nil {
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
		url := fmt.Sprintf("http://127.0.0.1:%d/%d", ports[0], size)
		if err := r.waitReady(p, func() error { return askOnce(url, size, false) }); err != nil {
			t.Error(err)
		}
	}
}

// builtinPeer returns a peer of the table.
func builtinPeer(t *testing.T, name, floor string) compare.Peer {
	t.Helper()
	all := compare.Builtin("../bin/millrace", floor)
	i := slices.IndexFunc(all, func(p compare.Peer) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no peer %q", name)
	}
	return all[i]
}

// TestBytes: the program for plain bytes in each of its roles, through each peer that carries them.
func TestBytes(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	floorBin, err := compile(dir, floorRelay, floorSource)
	if err != nil {
		t.Fatal(err)
	}
	program, err := compile(dir, "bytes", bytesSource)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{millrace, nginx, nginxStock, nginxLarge, haproxy, haproxyAuto, floorRelay} {
		for _, traffic := range []compare.Traffic{compare.TCP, compare.UDP} {
			t.Run(fmt.Sprintf("%s-%d", name, traffic), func(t *testing.T) {
				t.Parallel()
				p := builtinPeer(t, name, floorBin)
				if _, err := p.Path(); err != nil {
					t.Skip(err)
				}
				if err := p.Carries(traffic); err != nil {
					t.Skip(err)
				}
				driveBytes(t, p, program, traffic)
			})
		}
	}
}

func driveBytes(t *testing.T, p compare.Peer, program string, traffic compare.Traffic) {
	r := newTestRunner(t, 0, p)
	r.bytes = program
	var err error
	if r.plain, err = r.startPlainOrigin(); err != nil {
		t.Fatal(err)
	}
	s := scenario{traffic: traffic, body: 1000, conns: 4}
	st, err := r.start(s, entry{label: p.Name, peer: p.Name, loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	roles := []string{load.BytesKept, load.BytesChurn, load.BytesBulk}
	if traffic == compare.UDP {
		roles = []string{load.BytesUDP}
	} else if err := askBytes(traffic, st.site.Port, 3<<20+5); err != nil {
		t.Error(err)
	}
	for _, s.tool = range roles {
		if res, err := r.saturate(s, st, 50*time.Millisecond); err != nil || res.Errors > 0 {
			t.Errorf("%s: %+v, %v", s.tool, res, err)
		}
	}
	if traffic == compare.UDP {
		return
	}
	holder, err := r.holdIdle(s, st)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(readyWait); !strings.HasSuffix(holder.Output(), childReady); time.Sleep(pollEvery) {
		if holder.Exited() || time.Now().After(end) {
			t.Fatalf("idle connections were not opened: %s", holder.Output())
		}
	}
}
