package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/cmd/internal/admin"
)

// These tests are about listeners with several filter chains. Chains are told apart by the loopback address that a
// connection comes from: 127.0.0.2, 127.0.0.3 and so on.

// chainsOf is a listener with the given filter chains, each without its braces. extra goes into the listener.
func chainsOf(name, address, extra string, chains ...string) string {
	return fmt.Sprintf(`{"name": %q, "address": %q, %s "filter_chains": [{%s}]}`, name, address, extra, strings.Join(chains, "}, {"))
}

// fromIP is the match of connections from 127.0.0.n.
func fromIP(n int) string { return fmt.Sprintf(`"match": {"source_prefix_ranges": ["127.0.0.%d"]}`, n) }

const echoChain = `"filters": [{"name": "echo"}]`

// sayChain is a chain that says a text and closes.
func sayChain(text string) string {
	return fmt.Sprintf(`"filters": [{"name": "direct_response", "config": {"response": %q}}]`, text)
}

// httpChain is a chain that answers every request with a text.
func httpChain(text, hcm string) string {
	return fmt.Sprintf(`"filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "t", %s
	"route_config": {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": %q}}]}}}]`, hcm, text)
}

// dialFrom connects to an address from 127.0.0.n, and ends the connection with the test.
func dialFrom(t *testing.T, n int, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: waitMax, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(n))}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(waitMax))
	return c
}

// wantEcho checks that a connection echoes.
func wantEcho(t *testing.T, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, len(text))
	_, err := io.WriteString(c, text)
	if err == nil {
		_, err = io.ReadFull(c, b)
	}
	if err != nil || string(b) != text {
		t.Errorf("echo of %q is %q, %v", text, b, err)
	}
}

// wantAll checks all that comes of a connection until it ends.
func wantAll(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil && want != "" || string(b) != want { // a connection that is closed may be reset
		t.Errorf("read %q, %v; want %q", b, err, want)
	}
}

// wantHTTP sends a request over a connection that stays open and checks the body of the response.
func wantHTTP(t *testing.T, c net.Conn, want string) {
	t.Helper()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	r := bufio.NewReader(c)
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Errorf("reading a response: %v", err)
			return
		}
		_, _ = fmt.Sscanf(strings.ToLower(line), "content-length: %d", &length)
		if line == "\r\n" {
			break
		}
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Errorf("body %q, %v; want %q", b, err, want)
	}
}

func (r *running) wantStat(name string, want int64) {
	r.t.Helper()
	if !eventually(func() bool { return r.statOf(name) == want }) {
		r.t.Errorf("%s = %d, want %d", name, r.statOf(name), want)
	}
}

// TestChainsOfAListener: each connection gets its chain, the default one, or none.
func TestChainsOfAListener(t *testing.T) {
	a, log := freeAddr(t), filepath.Join(t.TempDir(), "log")
	list := []string{
		echoChain + `, "name": "echoes", ` + fromIP(2), sayChain("three") + ", " + fromIP(3), httpChain("four", "") + ", " + fromIP(4),
	}
	logged := fmt.Sprintf(`"stat_prefix": "edge", "access_log": [{"path": %q, "flush_interval": "10ms",
		"format": "%%FILTER_CHAIN_NAME%% %%RESPONSE_FLAGS%% %%RESPONSE_CODE_DETAILS%% %%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%%"}],`, log)
	r := start(t, whole([]string{chainsOf("a", a, logged, list...)}))
	if got := r.adminListeners()[0].Chains; len(got) != 3 || got[0] != "echoes" || !strings.Contains(got[2], "127.0.0.4") {
		t.Errorf("/listeners shows the chains %q", got)
	}
	c := dialFrom(t, 2, a)
	wantEcho(t, c, "hello")
	wantAll(t, dialFrom(t, 3, a), "three")
	h := dialFrom(t, 4, a)
	wantHTTP(t, h, "four")
	wantHTTP(t, h, "four")
	wantAll(t, dialFrom(t, 5, a), "")
	r.wantStat("listener.edge.no_filter_chain_match", 1)
	r.wantStat("listener.edge.downstream_cx_total", 4)
	r.wantStat("listener.edge.downstream_cx_active", 2)
	var perWorker int64
	for i := range r.workers {
		perWorker += r.statOf(fmt.Sprintf("listener.edge.worker_%d.downstream_cx_active", i))
	}
	if perWorker != 2 {
		t.Errorf("%d connections active by worker, want 2", perWorker)
	}
	_ = c.Close()
	_ = h.Close()
	r.wantStat("listener.edge.downstream_cx_active", 0)
	r.wantStat("listener.edge.downstream_cx_destroy", 4)
	want := []string{"- - - 127.0.0.3", "- - - 127.0.0.4", "- NR filter_chain_not_found 127.0.0.5", "echoes - - 127.0.0.2"}
	var lines []string
	if !eventually(func() bool {
		b, _ := os.ReadFile(log)
		lines = strings.Split(strings.TrimSpace(string(b)), "\n")
		slices.Sort(lines)
		return slices.Equal(lines, want)
	}) {
		t.Errorf("the log of the listener is %q, want %q", lines, want)
	}
	r.mustLoad(whole([]string{strings.Replace(chainsOf("a", a, logged, list...), `"filter_chains"`, `"default_filter_chain": {`+sayChain("rest")+`}, "filter_chains"`, 1)}))
	wantAll(t, dialFrom(t, 5, a), "rest")
}

// TestReloadOfOneChain: a reload that changes one filter chain keeps the connections of the others, and those that wait in
// listener filters.
func TestReloadOfOneChain(t *testing.T) {
	a := freeAddr(t)
	conf := func(body, via, extra string, more ...string) string {
		list := append([]string{
			echoChain + ", " + fromIP(2), httpChain("routes "+body, "") + `, "name": "h", ` + fromIP(3),
			httpChain("filters", fmt.Sprintf(`"via": %q,`, via)) + ", " + fromIP(4),
		}, more...)
		return strings.Replace(whole([]string{chainsOf("a", a, extra, list...)}), "300ms", "1h", 1)
	}
	r := start(t, conf("1", "1", ""))
	echo, http := dialFrom(t, 2, a), dialFrom(t, 3, a)
	wantEcho(t, echo, "a")
	wantHTTP(t, http, "routes 1")
	check := func(name string, rep admin.Report, changes ...string) {
		t.Helper()
		var got []string
		for _, c := range rep.Changes {
			got = append(got, fmt.Sprintf("%s %s %s (%s)", c.Action, c.Kind, c.Name, c.Detail))
		}
		if !slices.Equal(got, changes) {
			t.Errorf("%s: changes %q, want %q", name, got, changes)
		}
		wantEcho(t, echo, name)
	}
	four := `a filter chain {"source_type":"any","source_prefix_ranges":["127.0.0.4"]}`
	check("nothing", r.mustLoad(conf("1", "1", "")))
	check("routes", r.mustLoad(conf("2", "1", "")), `changed route_table a "h" (routes)`)
	wantHTTP(t, http, "routes 2")
	drains := dialFrom(t, 4, a)
	wantHTTP(t, drains, "filters")
	check("filters", r.mustLoad(conf("2", "2", "")), "changed filter_chain "+four+" (filters)")
	if n := r.statOf("listener_manager.total_filter_chains_draining"); n != 1 {
		t.Errorf("%d filter chains drain, want 1", n)
	}
	wantHTTP(t, http, "routes 2")
	fmt.Fprint(drains, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if b, err := io.ReadAll(drains); err != nil || !strings.Contains(strings.ToLower(string(b)), "connection: close") {
		t.Errorf("a connection of the chain that was replaced reads %q, %v; want an answer that says close", b, err)
	}
	r.wantStat("listener_manager.total_filter_chains_draining", 0)
	check("another chain", r.mustLoad(conf("2", "2", "", sayChain("five")+`, "name": "f", `+fromIP(5))),
		"changed listener a (settings)", `added filter_chain a "f" ()`)
	wantAll(t, dialFrom(t, 5, a), "five")
	check("another match", r.mustLoad(conf("2", "2", "", sayChain("five")+`, "name": "f", `+fromIP(6))), "changed listener a (settings)")
	wantAll(t, dialFrom(t, 6, a), "five")
	check("one chain less", r.mustLoad(conf("2", "2", "")), "changed listener a (settings)", `removed filter_chain a "f" ()`)
	check("listener filters", r.mustLoad(conf("2", "2", `"listener_filters": [{"name": "tls_inspector"}],`)), "changed listener a (settings)")
	waits := dialFrom(t, 2, a)
	r.wantStat("listener."+strings.ReplaceAll(a, ":", "_")+".downstream_pre_cx_active", 1)
	check("no listener filters", r.mustLoad(conf("2", "2", "")), "changed listener a (settings)")
	wantEcho(t, waits, "waited")
	wantHTTP(t, http, "routes 2")
	for name, want := range map[string]int64{
		"listener_in_place_updated": 7, "listener_modified": 7, "listener_create_success": 1, "total_listeners_draining": 0,
	} {
		r.wantStat("listener_manager."+name, want)
	}
	check("the whole listener", r.mustLoad(conf("2", "2", `"stat_prefix": "x",`)), "changed listener a (settings of all filter chains)")
	r.wantStat("listener_manager.total_listeners_draining", 1)
	_, _, _ = echo.Close(), http.Close(), waits.Close()
	r.wantStat("listener_manager.total_listeners_draining", 0)
}

// TestThousandReloads: connections live on while filter chains beside theirs come, change and go, and nothing is left.
func TestThousandReloads(t *testing.T) {
	a := freeAddr(t)
	reloads := 1000
	if testing.Short() {
		reloads = 100
	}
	conf := func(n int) string {
		list := []string{echoChain + ", " + fromIP(2), httpChain("kept", "") + `, "name": "h", ` + fromIP(3), sayChain(fmt.Sprint(n)) + ", " + fromIP(4)}
		if n%3 == 0 {
			list = append(list, httpChain("x", fmt.Sprintf(`"via": "%d",`, n))+", "+fromIP(5))
		}
		if n%2 == 0 {
			slices.Reverse(list)
		}
		return whole([]string{chainsOf("a", a, "", list...)})
	}
	r := start(t, conf(0))
	var echoes, https []net.Conn
	for range 8 {
		echoes, https = append(echoes, dialFrom(t, 2, a)), append(https, dialFrom(t, 3, a))
	}
	for n := 1; n <= reloads; n++ {
		r.mustLoad(conf(n))
		wantEcho(t, echoes[n%len(echoes)], fmt.Sprint("echo ", n))
		wantHTTP(t, https[n%len(https)], "kept")
		if n%10 == 0 {
			wantAll(t, dialFrom(t, 4, a), fmt.Sprint(n))
		}
	}
	r.wantStat("listener_manager.total_filter_chains_draining", 0)
	for i, n := range each(r.Server, func(w *worker) int { return len(w.retired) + len(w.replaced) }) {
		if n != 0 {
			t.Errorf("loop %d has %d retired parts left", i, n)
		}
	}
	if n := r.openConnections(); n != int64(len(echoes)+len(https)) {
		t.Errorf("%d connections are open, want %d", n, len(echoes)+len(https))
	}
}

// TestOtherListenersGoOn: listeners come, change and go without touching others.
func TestOtherListenersGoOn(t *testing.T) {
	stay, other := freeAddr(t), freeAddr(t)
	kept := chainsOf("stay", stay, "", echoChain)
	r := start(t, whole([]string{kept}))
	c := dialFrom(t, 1, stay)
	fds := r.listening()
	for n, list := range [][]string{
		{kept, chainsOf("b", other, "", sayChain("1"))}, {chainsOf("b", other, "", sayChain("2")), kept},
		{chainsOf("b", other, `"additional_addresses": ["127.0.0.1:0"],`, echoChain), kept}, {kept},
		{kept, chainsOf("c", "127.0.0.1:0", "", echoChain)}, {kept},
	} {
		r.mustLoad(whole(list))
		wantEcho(t, c, fmt.Sprint("step ", n))
	}
	for i, now := range r.listening() {
		if len(now) != 1 || now[stay] != fds[i][stay] {
			t.Errorf("loop %d listens on %v, was %v", i, now, fds[i])
		}
	}
}

// TestAdditionalAddresses: a listener accepts on all of them, and shows what each is bound to.
func TestAdditionalAddresses(t *testing.T) {
	unix := filepath.Join(t.TempDir(), "s")
	r := start(t, whole([]string{chainsOf("a", "127.0.0.1:0", fmt.Sprintf(`"additional_addresses": ["127.0.0.2:0", "unix:%s"], "unix_mode": "0600",`, unix), sayChain("hi"))}))
	l := r.snapshot.Load().Listeners[0]
	for i := range l.Sockets[:2] {
		wantAll(t, dialFrom(t, 1, l.Sockets[i].Bound.String()), "hi")
	}
	c, err := net.Dial("unix", unix)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantAll(t, c, "hi")
	if info, err := os.Stat(unix); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's file is %v, %v", info, err)
	}
	r.mustLoad(whole(nil))
	if _, err := os.Stat(unix); err == nil {
		t.Error("the file of a removed listener is still there")
	}
}

// TestConnectionLimits: of a listener, and of the process, of which a listener may be exempt.
func TestConnectionLimits(t *testing.T) {
	a, b, c := freeAddr(t), freeAddr(t), freeAddr(t)
	conf := func(limit, most int) string {
		return strings.Replace(whole([]string{
			chainsOf("a", a, fmt.Sprintf(`"stat_prefix": "a", "connection_limit": %d,`, limit), echoChain), chainsOf("b", b, `"stat_prefix": "b",`, echoChain),
			chainsOf("c", c, `"stat_prefix": "c", "ignore_global_conn_limit": true,`, echoChain),
		}), "{", fmt.Sprintf(`{"overload": {"max_active_downstream_connections": %d}, `, most), 1)
	}
	r := start(t, conf(2, 3))
	open := func(addr string) net.Conn {
		t.Helper()
		conn := dialFrom(t, 1, addr)
		wantEcho(t, conn, "x")
		return conn
	}
	refused := func(addr string) { t.Helper(); wantAll(t, dialFrom(t, 1, addr), "") }
	first := open(a)
	open(a)
	refused(a)
	r.wantStat("listener.a.downstream_cx_overflow", 1)
	open(b)
	refused(b)
	r.wantStat("listener.b.downstream_global_cx_overflow", 1)
	open(c)
	open(c)
	r.wantStat("server.total_connections", 5)
	_ = first.Close()
	r.wantStat("server.total_connections", 4)
	open(b)
	refused(a) // not its own limit now
	r.wantStat("listener.a.downstream_global_cx_overflow", 1)
	r.mustLoad(conf(3, 0))
	open(a)
	open(b)
	open(a)
	refused(a)
	r.wantStat("listener.a.downstream_cx_overflow", 2)
	r.wantStat("listener_manager.listener_in_place_updated", 1)
}

// TestHandOff: use_original_dst gives a connection to the listener of the address it was meant for.
func TestHandOff(t *testing.T) {
	in := freeAddr(t)
	listeners := []string{
		chainsOf("in", in, `"stat_prefix": "in", "use_original_dst": true, "listener_filters": [{"name": "proxy_protocol"}],`, sayChain("kept")),
		chainsOf("exact", "10.1.2.3:80", `"stat_prefix": "exact", "bind_to_port": false, "connection_limit": 1,`, echoChain),
		chainsOf("all", "0.0.0.0:80", `"stat_prefix": "all", "bind_to_port": false, "listener_filters": [{"name": "tls_inspector"}],`, sayChain("all")),
		chainsOf("six", "[2001:db8::1]:80", `"bind_to_port": false,`, sayChain("six")),
	}
	r := start(t, whole(listeners))
	dial := func(to string, port int, rest string) net.Conn {
		t.Helper()
		c := dialFrom(t, 1, in)
		version, from := "TCP4", "192.0.2.1"
		if strings.Contains(to, ":") {
			version, from = "TCP6", "2001:db8::2"
		}
		fmt.Fprintf(c, "PROXY %s %s %s 1000 %d\r\n%s", version, from, to, port, rest)
		return c
	}
	c := dial("10.1.2.3", 80, "early ")
	b := make([]byte, 6)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "early " {
		t.Fatalf("read %q, %v", b, err)
	}
	wantEcho(t, c, "later")
	wantAll(t, dial("10.1.2.3", 80, ""), "")         // at its limit
	wantAll(t, dial("10.9.9.9", 80, "bytes"), "all") // listener filters of the other one see what came behind the header
	wantAll(t, dial("10.9.9.9", 81, ""), "kept")
	wantAll(t, dial("2001:db8::1", 80, ""), "six")
	wantAll(t, dial("2001:db8::9", 80, ""), "kept")
	for name, want := range map[string]int64{
		"exact.downstream_cx_active": 1, "exact.downstream_cx_overflow": 1, "in.downstream_cx_total": 6, "in.downstream_cx_active": 0,
		"all.downstream_cx_total": 1, "all.downstream_cx_active": 0, "all.downstream_pre_cx_active": 0, "in.downstream_pre_cx_active": 0,
	} {
		r.wantStat("listener."+name, want)
	}
	r.wantStat("server.total_connections", 1)
	_ = c.Close()
	r.wantStat("server.total_connections", 0)
	listeners[2] = chainsOf("all", "0.0.0.0:80", `"bind_to_port": false,`, sayChain("new"))
	r.mustLoad(whole(listeners))
	wantAll(t, dial("10.9.9.9", 80, ""), "new")
	r.mustLoad(whole(listeners[:1]))
	wantAll(t, dial("10.9.9.9", 80, ""), "kept")
}

// TestDrainInbound: only the listeners that are inbound stop.
func TestDrainInbound(t *testing.T) {
	a, b := freeAddr(t), freeAddr(t)
	text := whole([]string{says("a", a, "a", `"traffic_direction": "inbound",`, ""), says("b", b, "b", "", "")})
	r := start(t, text)
	kept, cut := dialFrom(t, 1, b), dialFrom(t, 1, a)
	wantHTTP(t, kept, "b")
	if err := r.drainListeners(admin.DrainOptions{InboundOnly: true}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(cut, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, err := io.ReadAll(cut); err != nil || !strings.Contains(strings.ToLower(string(got)), "connection: close") {
		t.Errorf("a connection of the inbound listener reads %q, %v", got, err)
	}
	if !eventually(func() bool { c, err := net.Dial("tcp", a); return err != nil || c.Close() != nil }) {
		t.Error("the inbound listener accepts")
	}
	wantHTTP(t, kept, "b")
	r.wantGet("b", "b")
	r.wantStat("listener_manager.listener_stopped", 1)
	var states []string
	for _, l := range r.adminListeners() {
		states = append(states, l.Name+" "+l.State)
	}
	if !slices.Equal(states, []string{"a draining", "b active"}) || r.state() != admin.StateLive {
		t.Errorf("listeners %q, state %s", states, r.state())
	}
	r.mustLoad(strings.Replace(text, `"body": "a"`, `"body": "c"`, 1)) // it stays stopped
	r.mustLoad(whole([]string{says("b", b, "b", "", ""), says("d", a, "d", `"traffic_direction": "inbound",`, "")}))
	if c, err := net.Dial("tcp", a); err == nil {
		_ = c.Close()
		t.Error("the inbound listener accepts after a reload")
	}
	r.mustLoad(whole([]string{says("b", b, "b", "", ""), says("d", a, "outbound", `"traffic_direction": "outbound",`, "")}))
	r.wantGet("d", "outbound")
	wantHTTP(t, kept, "b")
}

// TestHTTPBehindFilters: what listener filters find out reaches the connection manager, and network filters end its
// connections.
func TestHTTPBehindFilters(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	r := start(t, whole([]string{fmt.Sprintf(`{"name": "a", "address": "127.0.0.1:0", "listener_filters": [{"name": "proxy_protocol"}],
		"filter_chains": [{"name": "only", "filters": [{"name": "connection_limit", "config": {"stat_prefix": "c", "max_connections": 1}},
		{"name": "http_connection_manager", "config": {"stat_prefix": "t", "use_remote_address": true, "access_log": [{"path": %q, "flush_interval": "10ms",
			"format": "%%FILTER_CHAIN_NAME%% %%DOWNSTREAM_REMOTE_ADDRESS%% %%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%% %%DOWNSTREAM_LOCAL_ADDRESS%% %%REQ(X-FORWARDED-FOR)%%"}],
		"route_config": {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": "ok"}}]}}}]}]}`, log)}))
	dial := func() net.Conn {
		c := dialFrom(t, 1, r.ListenerAddr("a"))
		fmt.Fprint(c, "PROXY TCP4 192.0.2.7 198.51.100.9 5000 443\r\n")
		return c
	}
	c := dial()
	wantHTTP(t, c, "ok")
	wantAll(t, dial(), "")
	want := "only 192.0.2.7:5000 127.0.0.1 198.51.100.9:443 192.0.2.7\n"
	if !eventually(func() bool { b, _ := os.ReadFile(log); return string(b) == want }) {
		b, err := os.ReadFile(log)
		t.Errorf("the log is %q, %v; want %q", b, err, want)
	}
	_ = c.Close()
	r.wantStat("http.t.downstream_cx_active", 0)
	wantHTTP(t, dial(), "ok")
	r.wantStat("connection_limit.c.limited_connections", 1)
}
