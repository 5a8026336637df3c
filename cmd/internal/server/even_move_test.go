package server

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is clients that ask without a pause, and leave and come back.
type crowd struct {
	t      *testing.T
	addr   string
	secure bool
	stop   atomic.Bool
	served atomic.Int64
	wg     sync.WaitGroup
}

// client asks, and opens another connection now and then.
func (c *crowd) client(seed uint64) {
	defer c.wg.Done()
	rng := rand.New(rand.NewPCG(seed, 1))
	for !c.stop.Load() {
		raw, err := net.Dial("tcp", c.addr)
		if err != nil {
			c.t.Error(err)
			return
		}
		conn := raw
		if c.secure {
			conn = tls.Client(raw, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
		}
		_ = conn.SetDeadline(time.Now().Add(waitMax))
		r := bufio.NewReader(conn)
		for n := 1 + rng.IntN(300); n > 0 && !c.stop.Load(); n-- {
			last, err := c.ask(conn, r)
			if err != nil {
				c.t.Errorf("a request failed: %v", err)
				c.stop.Store(true)
			}
			if last {
				break
			}
			if rng.IntN(40) == 0 {
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
			}
		}
		if rng.IntN(2) == 0 {
			_ = raw.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
	}
}

// ask sends one request and wants "ok". last says that the connection ends.
func (c *crowd) ask(conn net.Conn, r *bufio.Reader) (last bool, err error) {
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return false, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(body) != "ok" {
		return false, fmt.Errorf("status %d, body %q, %v", resp.StatusCode, body, err)
	}
	c.served.Add(1)
	return resp.Close, nil
}

// TestMoveClients: connections go round all loops while their clients ask, leave and reset, the routes change, and a filter chain is replaced; no
// request fails, and in the end nothing is counted that is not there.
func TestMoveClients(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			t.Parallel()
			moveClients(t, secure)
		})
	}
}

func moveClients(t *testing.T, secure bool) {
	addr, host, dir := freeAddr(t), origin(t, "ok"), t.TempDir()
	writeCertificate(t, dir, "a")
	text := func(hcm string) string {
		l := forwards("a", addr, "web", hcm)
		if secure {
			l = strings.Replace(l, `"filters"`, tlsOf(dir, "a", "")+`, "filters"`, 1)
		}
		return `{"concurrency": 3, "drain_time": "5s", "loop_balancing": {"enabled": false}, "listeners": [` + l + `], "clusters": [` + cluster("web", host) + `]}`
	}
	r := start(t, text(""))
	c := &crowd{t: t, addr: addr, secure: secure}
	for i := range uint64(8) {
		c.wg.Add(1)
		go c.client(i)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for end, n := time.Now().Add(2*time.Second), 0; time.Now().Before(end) && !c.stop.Load(); n++ {
		m := evenMove{rng.IntN(3), rng.IntN(3), 0.2 + 2*rng.Float64()}
		r.handOut(m, 20*time.Millisecond)
		if n%30 == 10 {
			r.mustLoad(text(fmt.Sprintf(`"via": "v%d",`, n%3)))
		}
		time.Sleep(3 * time.Millisecond)
	}
	moved, refused := r.even.Moved.Load(), r.even.Refused.Load()
	c.stop.Store(true)
	c.wg.Wait()
	t.Logf("%d requests, %d connections moved, %d came back", c.served.Load(), moved, refused)
	if moved < 10 {
		t.Errorf("%d connections moved, want more", moved)
	}
	if n := r.even.Lost.Load(); n != 0 {
		t.Errorf("%d were lost", n)
	}
	gone := func() bool {
		return r.downstreamConns() == 0 && r.openConnections() == 0 && r.statOf("http.t.downstream_cx_active") == 0 &&
			r.statOf("listener."+strings.ReplaceAll(addr, ":", "_")+".downstream_cx_active") == 0
	}
	if !eventually(gone) {
		t.Errorf("%d connections on loops, %d for the process, %d for the manager", r.downstreamConns(), r.openConnections(), r.statOf("http.t.downstream_cx_active"))
	}
	for i, w := range r.workers {
		if n := w.loop.Stats().ConnsOpen.Load(); n < 0 || n > 20 {
			t.Errorf("loop %d has %d connections", i, n)
		}
	}
}

// A server that ends while connections move closes them all.
func TestMoveAtTheEnd(t *testing.T) {
	t.Parallel()
	addr, host := freeAddr(t), origin(t, "ok")
	r := start(t, `{"concurrency": 2, "listeners": [`+forwards("a", addr, "web", "")+`], "clusters": [`+cluster("web", host)+`]}`)
	c := &crowd{t: t, addr: addr}
	var conns []net.Conn
	var readers []*bufio.Reader
	for range 20 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(waitMax))
		conns, readers = append(conns, conn), append(readers, bufio.NewReader(conn))
	}
	for k := range 3 {
		r.handOut(evenMove{k % 2, 1 - k%2, 5}, time.Second)
		for i := range conns {
			if _, err := c.ask(conns[i], readers[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range conns { // they come to rest, and leave, while the loops end
		_, _ = io.WriteString(conns[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	r.Close()
	for i := range conns {
		if _, err := io.Copy(io.Discard, readers[i]); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Error("a connection is left open")
			}
		}
	}
	if n := r.openConnections(); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
}

// A loop on which the filter chain is another one, as it is for a moment of a reload, sends connections back.
func TestMoveRefused(t *testing.T) {
	t.Parallel()
	addr, host := freeAddr(t), origin(t, "ok")
	r := start(t, `{"concurrency": 2, "listeners": [`+forwards("a", addr, "web", "")+`], "clusters": [`+cluster("web", host)+`]}`)
	var held [2]*serving
	hide := func() {
		for i, w := range r.workers {
			held[i] = each(r.Server, func(x *worker) *serving {
				if x != w {
					return nil
				}
				sv := x.serving["a"]
				delete(x.serving, "a")
				return sv
			})[i]
		}
	}
	c := &crowd{t: t, addr: addr}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(waitMax))
	br := bufio.NewReader(conn)
	ask := func() {
		t.Helper()
		if _, err := c.ask(conn, br); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	for i := range r.workers {
		r.handOut(evenMove{i, 1 - i, 100}, time.Minute)
	}
	hide()
	ask()
	if !eventually(func() bool { return r.even.Refused.Load() > 0 }) {
		t.Fatal("it did not come back")
	}
	ask()
	for i, w := range r.workers {
		w.loop.Post(func() { w.serving["a"] = held[i] })
	}
	ask()
	if !eventually(func() bool { return r.even.Moved.Load() > 0 }) {
		t.Error("nothing was moved after that")
	}
	ask()
	if n := r.openConnections(); n != 1 {
		t.Errorf("%d connections are counted, want 1", n)
	}
}
