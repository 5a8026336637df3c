package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// chaosTime is how long TestChaos goes on.
const chaosTime = 2 * time.Second

// TestChaos: whatever clients and origins do at random, the proxy neither panics nor keeps a request, a
// connection or a part of a budget when all are gone.
func TestChaos(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	body := noise(3 << 20)
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		chaosOrigin(c, rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano()))), body)
	}), `"delayed_close_timeout": "50ms", "stream_idle_timeout": "3s"`,
		`"upgrades": ["x"], "timeout": "2s", "retry_policy": {"retry_on": "5xx,reset", "num_retries": 2}`,
		`"circuit_breakers": {"max_connections": 16, "max_pending_requests": 12, "max_retries": 2}, "connect_timeout": "1s"`))
	var wg sync.WaitGroup
	end := time.Now().Add(chaosTime)
	for i := range 24 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for r := rand.New(rand.NewPCG(seed, uint64(i))); time.Now().Before(end); {
				chaosClient(t, p.addr(""), r, body)
			}
		}()
	}
	wg.Wait()
	for _, gauge := range []string{
		"http.e2e.downstream_rq_active", "http.e2e.downstream_cx_active", "http.e2e.downstream_cx_upgrades_active",
		"cluster.web.upstream_rq_active", "cluster.web.upstream_rq_pending_active", "server.loop_panics",
	} {
		p.wantStat(gauge, 0)
	}
	p.wantStat("cluster.web.circuit_breakers.default.remaining_retries", 2)
	p.wantStat("cluster.web.circuit_breakers.default.remaining_pending", 12)
	p.wantStat("cluster.web.circuit_breakers.default.remaining_rq", 1024)
	// How much of it goes well, and whether anything is spliced, depends on what else the machine does.
	if p.stat("http.e2e.downstream_rq_total") == 0 {
		t.Error("no request arrived")
	}
}

// chaosEnd ends a connection in one of the ways there are.
func chaosEnd(c *rawConn, r *rand.Rand) {
	switch r.IntN(3) {
	case 0:
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
	case 1:
		c.closeWrite()
		_ = c.SetDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c.r)
	}
	_ = c.Close()
}

// chaosPieces writes b in pieces, and perhaps not all of it.
func chaosPieces(c *rawConn, r *rand.Rand, b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), 1+r.IntN(1<<uint(1+r.IntN(20))))
		if _, err := c.Write(b[:n]); err != nil {
			return false
		}
		if b = b[n:]; r.IntN(40) == 0 {
			return false
		}
	}
	return true
}

// chaosBody frames a body of random size.
func chaosBody(r *rand.Rand, body []byte) (fields string, framed []byte) {
	n := r.IntN(1 << uint(r.IntN(22)))
	n = min(n, len(body))
	switch r.IntN(3) {
	case 0:
		return "", nil
	case 1:
		return fmt.Sprintf("Content-Length: %d\r\n", n), body[:n]
	}
	var b []byte
	for rest := body[:n]; len(rest) > 0; {
		k := min(len(rest), 1+r.IntN(1<<20))
		b = append(append(append(b, fmt.Sprintf("%x\r\n", k)...), rest[:k]...), "\r\n"...)
		rest = rest[k:]
	}
	end := "0\r\n\r\n"
	if r.IntN(2) == 0 {
		end = "0\r\nX-Sum: 1\r\n\r\n"
	}
	return "Transfer-Encoding: chunked\r\n", append(b, end...)
}

// chaosClient does one connection's worth of requests.
func chaosClient(t *testing.T, addr string, r *rand.Rand, body []byte) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Errorf("the proxy is gone: %v", err)
		return
	}
	c := newRawConn(t, conn)
	_ = c.SetDeadline(time.Now().Add(time.Duration(r.IntN(400)) * time.Millisecond))
	defer chaosEnd(c, r)
	go func() { // reads as it comes; the connection's end ends it
		_, _ = io.Copy(io.Discard, c.Conn)
	}()
	for range 1 + r.IntN(4) {
		fields, framed := chaosBody(r, body)
		method, version := []string{"GET", "POST", "HEAD", "PUT"}[r.IntN(4)], []string{"1.1", "1.1", "1.1", "1.0"}[r.IntN(4)]
		if version == "1.0" && strings.HasPrefix(fields, "Transfer") {
			version = "1.1"
		}
		switch r.IntN(8) {
		case 0:
			fields += "Expect: 100-continue\r\n"
		case 1:
			fields += "Connection: close\r\n"
		case 2:
			fields, framed, method, version = "Connection: upgrade\r\nUpgrade: x\r\n", body[:r.IntN(len(body))], "GET", "1.1"
		}
		head := method + " / HTTP/" + version + "\r\nHost: a\r\n" + fields + "\r\n"
		if !chaosPieces(c, r, append([]byte(head), framed...)) {
			return
		}
	}
}

// chaosOrigin answers, more or less.
func chaosOrigin(c *rawConn, r *rand.Rand, body []byte) {
	defer chaosEnd(c, r)
	for {
		head := c.head()
		if head == "" {
			return
		}
		if r.IntN(2) == 0 { // takes some of the body first, or of what else there is
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			_, _ = io.CopyN(io.Discard, c.r, int64(r.IntN(1<<21)))
			_ = c.SetReadDeadline(time.Now().Add(waitMax))
		}
		fields, framed := chaosBody(r, body)
		status := []string{"200 OK", "200 OK", "503 Busy", "204 No Content", "304 Not Modified"}[r.IntN(5)]
		switch {
		case r.IntN(10) == 0:
			return
		case r.IntN(10) == 0:
			c.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
		case strings.Contains(head, "Upgrade: x"):
			status, fields, framed = "101 Switching Protocols", "Connection: upgrade\r\nUpgrade: x\r\n", body[:r.IntN(len(body))]
		case r.IntN(20) == 0:
			status = "garbage"
		}
		if strings.HasPrefix(head, "HEAD") || status[0] != '2' || status[2] == '4' {
			if !strings.HasPrefix(status, "101") && r.IntN(20) > 0 {
				framed = nil
			}
		}
		if !chaosPieces(c, r, append([]byte("HTTP/1.1 "+status+"\r\n"+fields+"\r\n"), framed...)) || fields == "" {
			return
		}
	}
}
