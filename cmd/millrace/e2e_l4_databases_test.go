package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postgres is a running database, made for one test.
type postgres struct {
	t    *testing.T
	bin  string // folder of its programs
	port int
	dir  string // of its Unix socket
}

// startPostgres makes a database and runs it, as somebody who is not root.
func startPostgres(t *testing.T) *postgres {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench") // the pattern is well-formed
	if len(found) == 0 {
		t.Skip("PostgreSQL is not installed: make peers installs it as root")
	}
	dir, err := os.MkdirTemp("", "millrace-pg-") // t.TempDir lets only us in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &postgres{t: t, bin: filepath.Dir(found[len(found)-1]), port: freePort(t), dir: dir}
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		attr.Credential = unprivileged(t, dir)
	}
	run := func(program string, args ...string) (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command(filepath.Join(p.bin, program), args...)
		var out bytes.Buffer
		cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, attr, &out, &out, time.Second
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
		return cmd, &out
	}
	data := filepath.Join(dir, "data")
	if cmd, out := run("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); cmd.Run() != nil {
		t.Fatalf("initdb: %s", out)
	}
	server, out := run("postgres", "-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-k", dir,
		"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c", "autovacuum=off")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGQUIT) // at once; its children leave with it
		_ = server.Wait()
		if t.Failed() {
			t.Logf("postgres: %s", out)
		}
	})
	if !eventually(func() bool {
		return exec.Command(filepath.Join(p.bin, "pg_isready"), "-q", "-h", dir, "-p", strconv.Itoa(p.port)).Run() == nil
	}) {
		t.Fatal("PostgreSQL does not answer")
	}
	return p
}

// unprivileged gives a folder to somebody who is not root, and says who.
func unprivileged(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Skip(err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chown(dir, uid, gid), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// program runs a client against an address.
func (p *postgres) program(name, addr string, args ...string) string {
	p.t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		p.t.Fatal(err)
	}
	return runPeer(p.t, filepath.Join(p.bin, name), append([]string{"-h", host, "-p", port, "-U", "bench"}, args...)...)
}

// query returns what one query gives.
func (p *postgres) query(addr, sql string) string {
	p.t.Helper()
	return strings.TrimSpace(p.program("psql", addr, "-d", "postgres", "-X", "-A", "-t", "-c", sql))
}

var pgbenchDone = regexp.MustCompile(`transactions actually processed: (\d+)/(\d+)\n`)

// bench runs pgbench and checks that each transaction went well.
func (p *postgres) bench(addr string, want int, args ...string) {
	p.t.Helper()
	out := p.program("pgbench", addr, append(args, "postgres")...)
	m := pgbenchDone.FindStringSubmatch(out)
	if m == nil || m[1] != strconv.Itoa(want) || m[2] != m[1] || strings.Contains(out, "ERROR") || strings.Contains(out, "FATAL") {
		p.t.Errorf("pgbench %q did not do %d transactions:\n%s", args, want, out)
	}
}

// TestPostgreSQL: its own benchmark client, through TCP and through its Unix socket.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t)
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 2, "listeners": [
 {"name": "tcp", "address": "127.0.0.1:0", "filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "pg", "cluster": "tcp"}}]},
 {"name": "unix", "address": "127.0.0.1:0", "filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "pgu", "cluster": "unix"}}]}],
 "clusters": [{"name": "tcp", "hosts": ["127.0.0.1:%d"]}, {"name": "unix", "hosts": ["unix:%s/.s.PGSQL.%[1]d"]}]}`, pg.port, pg.dir))
	const clients, each = 8, 40
	pg.program("pgbench", p.addr("tcp"), "-i", "-q", "postgres")
	if got := pg.query(p.addr("tcp"), "select count(*) from pgbench_accounts"); got != "100000" {
		t.Errorf("%s accounts, want 100000", got)
	}
	for _, name := range []string{"tcp", "unix"} {
		load := []string{"-c", strconv.Itoa(clients), "-j", "2", "-t", strconv.Itoa(each), "-n"}
		pg.bench(p.addr(name), clients*each, append([]string{"-S"}, load...)...)
		pg.bench(p.addr(name), clients*each, append([]string{"-S", "-M", "prepared"}, load...)...)
		pg.bench(p.addr(name), clients*each, load...) // TPC-B
		pg.bench(p.addr(name), clients*4, "-S", "-C", "-c", strconv.Itoa(clients), "-t", "4", "-n")
	}
	sums := pg.query(p.addr("unix"), `select (select count(*) from pgbench_history), (select sum(delta) from pgbench_history) =
		(select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers)`)
	if want := fmt.Sprintf("%d|t|t", 2*clients*each); sums != want {
		t.Errorf("the books say %s, want %s", sums, want)
	}
	// Rows in bulk, both ways.
	const rows = 20000
	copied := pg.query(p.addr("tcp"), fmt.Sprintf("copy (select repeat('x', 1000) from generate_series(1, %d)) to stdout", rows))
	if want := strings.Repeat(strings.Repeat("x", 1000)+"\n", rows); copied+"\n" != want {
		t.Errorf("a copy of %d bytes, want %d", len(copied), len(want))
	}
	if p.stat("server.loop_spliced_bytes") == 0 {
		t.Error("nothing was spliced")
	}
	pg.query(p.addr("tcp"), "create table bulk (x text)")
	runPeerIn(t, copied+"\n", filepath.Join(pg.bin, "psql"), "-h", "127.0.0.1", "-p", portOf(p.addr("tcp")), "-U", "bench", "-d", "postgres", "-c", "\\copy bulk from stdin")
	if got := pg.query(p.addr("tcp"), "select count(*), sum(length(x)) from bulk"); got != fmt.Sprintf("%d|%d", rows, rows*1000) {
		t.Errorf("after the copy there is %s", got)
	}
	for _, name := range []string{"tcp.pg.downstream_cx_rx_bytes_buffered", "tcp.pg.downstream_cx_tx_bytes_buffered", "cluster.tcp.upstream_cx_active", "cluster.unix.upstream_cx_active"} {
		p.wantStat(name, 0)
	}
	p.wantStat("cluster.tcp.upstream_cx_connect_fail", 0)
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// TestRedis: its own benchmark client, with pipelines and with long values.
func TestRedis(t *testing.T) {
	t.Parallel()
	bench := lookPeer(t, "redis-benchmark")
	addr := startRedis(t)
	p := tunnel{hosts: []string{addr}}.start(t)
	port := portOf(p.addr(""))
	const requests = 4000
	for _, args := range [][]string{
		{"-c", "20", "-n", strconv.Itoa(requests), "-t", "set,get,incr,lpush,ping"},
		{"-c", "20", "-n", strconv.Itoa(requests), "-P", "16", "-t", "set,get,incr,lpush,ping"},
		{"-c", "4", "-n", "200", "-d", "200000", "-t", "set,get"},
		{"-c", "8", "-n", "800", "-k", "0", "-t", "get"}, // a connection for each request
	} {
		out := runPeer(t, bench, append([]string{"-h", "127.0.0.1", "-p", port, "--csv"}, args...)...)
		if lines := strings.Count(out, "\n\""); lines < len(strings.Split(args[len(args)-1], ",")) || strings.Contains(out, "rror") {
			t.Errorf("redis-benchmark %q:\n%s", args, out)
		}
	}
	c := dial(t, p.addr(""))
	for _, tt := range []struct{ ask, want string }{
		{"get counter:__rand_int__", fmt.Sprintf("$4\r\n%d\r\n", 2*requests)},
		{"llen mylist", fmt.Sprintf(":%d\r\n", 2*requests)},
		{"strlen key:__rand_int__", ":200000\r\n"},
	} {
		c.send(tt.ask + "\r\n")
		if got := c.bytes(len(tt.want)); got != tt.want {
			t.Errorf("%s gives %q, want %q", tt.ask, got, tt.want)
		}
	}
	c.send("quit\r\n")
	if got := c.rest(); got != "+OK\r\n" {
		t.Errorf("quit gives %q", got)
	}
	_ = c.Close()
	p.wantStat("cluster.db.upstream_cx_active", 0)
	p.wantStat("cluster.db.upstream_cx_connect_fail", 0)
	if total := p.stat("tcp.e2e.downstream_cx_total"); total < 800 {
		t.Errorf("%d connections, want at least 800", total)
	}
}

// startRedis runs a server and returns its address.
func startRedis(t *testing.T) string {
	t.Helper()
	path := lookPeer(t, "redis-server")
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	peer(t, path, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if !eventually(func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(waitMax))
		_, err = c.Write([]byte("ping\r\n"))
		b := make([]byte, 7)
		n, _ := c.Read(b)
		return err == nil && string(b[:n]) == "+PONG\r\n"
	}) {
		t.Fatal("Redis does not answer")
	}
	return addr
}
