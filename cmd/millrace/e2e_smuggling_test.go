package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/codec/codectest"
)

// strictOrigin is an origin that reads requests with another implementation than ours, refuses to guess, and
// counts what it understands.
type strictOrigin struct {
	requests atomic.Int64 // heads read

	mu       sync.Mutex
	problems []string // what no proxy may ever send
}

// serve answers each request with an empty 200.
func (o *strictOrigin) serve(c *rawConn) {
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(c.r, &raw))
	for {
		raw.Reset()
		raw.Write(peekAll(r))
		req, err := http.ReadRequest(r)
		if err != nil {
			if len(bytes.TrimSpace(raw.Bytes())) > 0 && raw.Len() > 0 && strings.Contains(err.Error(), "malformed") {
				o.problem("%v in %q", err, raw.Bytes())
			}
			return
		}
		o.requests.Add(1)
		head, _, _ := bytes.Cut(raw.Bytes(), []byte("\r\n\r\n"))
		o.checkHead(head)
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return // the client went away inside a body
		}
		c.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Origin: 1\r\n\r\n")
		if req.Close {
			return
		}
	}
}

// peekAll returns what r has read ahead.
func peekAll(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return b
}

// checkHead looks for what servers disagree about.
func (o *strictOrigin) checkHead(head []byte) {
	lines := bytes.Split(head, []byte("\r\n"))
	count := map[string]int{}
	for i, line := range lines {
		if bytes.ContainsAny(line, "\r\n\x00") {
			o.problem("control character in line %q", line)
		}
		if i == 0 {
			if bytes.Count(line, []byte(" ")) != 2 || !bytes.HasSuffix(line, []byte(" HTTP/1.1")) {
				o.problem("request line %q", line)
			}
			continue
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			o.problem("field line %q", line)
		}
		count[strings.ToLower(string(name))]++
	}
	if count["host"] != 1 || count["content-length"]+count["transfer-encoding"] > 1 {
		o.problem("framing of %q", head)
	}
}

func (o *strictOrigin) problem(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problems = append(o.problems, fmt.Sprintf(format, args...))
}

var statusLine = regexp.MustCompile(`(?m)^HTTP/1\.1 (\d{3})[^\r\n]*\r$`)

// answers returns the statuses in what a client has read. Bodies are empty in these tests.
func answers(text string) []string {
	var list []string
	for _, m := range statusLine.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// sendCase runs one connection to its end and returns all that came back.
func sendCase(t *testing.T, addr string, input []byte) string {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	c.send(string(input))
	c.closeWrite()
	return c.rest()
}

// TestSmugglingCorpus sends what servers disagree about through the proxy. The origin must not see one request more
// than the proxy has sent it, and what is refused gets its status, the end of the connection and a counter.
func TestSmugglingCorpus(t *testing.T) {
	t.Parallel()
	cases, err := codectest.ReadCases("../../codec/h1/testdata/smuggling")
	if err != nil {
		t.Fatal(err)
	}
	o := &strictOrigin{}
	p := startProxy(t, oneRoute(rawOrigin(t, o.serve), `"codec_type": "http1"`, "", ""))
	for _, tc := range cases {
		sent, refused := p.stat("cluster.web.upstream_rq_total"), p.stat("http.e2e.downstream_cx_protocol_error")
		got := sendCase(t, p.addr(""), tc.Input)
		statuses := answers(got)
		seen := o.requests.Load() // of all cases: it may see the request of one that was refused later than we
		all := p.stat("cluster.web.upstream_rq_total")
		forwarded := all - sent
		if seen > all {
			t.Errorf("%s: %s: the origin saw %d requests so far, the proxy sent %d", tc.Place, tc.Name, seen, all)
		}
		if forwarded > int64(tc.Requests)+1 {
			t.Errorf("%s: %s: %d requests sent to the origin, want at most %d", tc.Place, tc.Name, forwarded, tc.Requests)
		}
		switch {
		case tc.Status != 0 && !tc.Incomplete:
			last := ""
			if len(statuses) > 0 {
				last = statuses[len(statuses)-1]
			}
			inBody := forwarded > int64(tc.Requests) // refused inside a body that was being forwarded
			if last != fmt.Sprint(tc.Status) {
				t.Errorf("%s: %s: answers %v, want the last to be %d (in a body: %v)", tc.Place, tc.Name, statuses, tc.Status, inBody)
			} else if i := strings.LastIndex(got, "HTTP/1.1 "); !strings.Contains(strings.ToLower(got[i:]), "\r\nconnection: close\r\n") {
				t.Errorf("%s: %s: %q does not say that the connection ends", tc.Place, tc.Name, got[i:])
			}
			if n := p.stat("http.e2e.downstream_cx_protocol_error") - refused; n != 1 {
				t.Errorf("%s: %s: downstream_cx_protocol_error grew by %d, want 1", tc.Place, tc.Name, n)
			}
		case !tc.Incomplete:
			if len(statuses) != tc.Requests {
				t.Errorf("%s: %s: answers %v, want %d\n%q\n%q", tc.Place, tc.Name, statuses, tc.Requests, tc.Input, got)
			}
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, text := range o.problems {
		t.Error(text)
	}
	byRule := int64(0)
	for _, m := range regexp.MustCompile(`(?m)^http\.e2e\.downstream_cx_protocol_error\.\S+: (\d+)$`).FindAllStringSubmatch(p.adminGet("/stats"), -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64) // digits
		byRule += n
	}
	if n := p.stat("http.e2e.downstream_cx_protocol_error"); n == 0 || byRule != n {
		t.Errorf("%d protocol errors, %d of them by rule", n, byRule)
	}
	p.wantStat("http.e2e.downstream_cx_active", 0)
	p.wantStat("http.e2e.downstream_rq_active", 0)
}

// TestSmugglingCorpusNginx is the same with nginx behind the proxy: it must not find more requests either, and none of
// them bad.
func TestSmugglingCorpusNginx(t *testing.T) {
	t.Parallel()
	cases, err := codectest.ReadCases("../../codec/h1/testdata/smuggling")
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "access.log")
	addr := startNginx(t, fmt.Sprintf(`access_log %s combined; location / { return 200; }`, log))
	lines := func() []string {
		text, _ := os.ReadFile(log)
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")[:bytes.Count(text, []byte("\n"))]
	}
	p := startProxy(t, oneRoute(addr, "", "", ""))
	for _, tc := range cases {
		sendCase(t, p.addr(""), tc.Input)
		if n, sent := len(lines()), p.stat("cluster.web.upstream_rq_total"); int64(n) > sent {
			t.Fatalf("%s: %s: nginx saw %d requests, the proxy sent %d", tc.Place, tc.Name, n, sent)
		}
	}
	for _, line := range lines() {
		if strings.Contains(line, `" 400 `) && !strings.Contains(line, `"OPTIONS * `) { // which nginx does not know
			t.Errorf("nginx refused %s", line)
		}
	}
}

// probe is one of the public compliance probes.
type probe struct {
	ID, Description, Expected, RawRequest string
	Scored                                bool
}

// TestCompliance runs the public compliance probes through the proxy.
func TestCompliance(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../codec/h1/testdata/http11-compliance.json")
	if err != nil {
		t.Fatal(err)
	}
	var probes []probe
	if err := json.Unmarshal(text, &probes); err != nil || len(probes) < 50 {
		t.Fatalf("%d probes, %v", len(probes), err)
	}
	p := startProxy(t, oneRoute(origin(t, echo), `"upgrades": ["websocket"]`, "", ""))
	for _, pr := range probes {
		t.Run(pr.ID, func(t *testing.T) {
			t.Parallel()
			got := runProbe(t, p.addr(""), pr.RawRequest)
			if !pr.passes(got) && pr.Scored {
				t.Errorf("%s: %q gives %s; want %s", pr.Description, pr.RawRequest, got, pr.Expected)
			}
		})
	}
}

// runProbe returns what becomes of a request: a status, with " + close" if the connection ends, "close", or "timeout".
func runProbe(t *testing.T, addr, request string) string {
	t.Helper()
	c := dial(t, addr)
	c.send(request)
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		if os.IsTimeout(err) || strings.Contains(err.Error(), "timeout") {
			return "timeout"
		}
		return "close"
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	if _, err := c.r.ReadByte(); err == io.EOF {
		return fmt.Sprintf("%d + close", resp.StatusCode)
	}
	return fmt.Sprint(resp.StatusCode)
}

// passes reports whether an outcome is one of those expected. What only earns a warning is not enough.
func (pr *probe) passes(got string) bool {
	want, _, _ := strings.Cut(pr.Expected, " (pass)")
	status, _, _ := strings.Cut(got, " ")
	switch {
	case strings.HasPrefix(want, "!"):
		return status != want[1:]
	case got == "close" || got == "timeout":
		return strings.Contains(want, got)
	case want == "2xx + close":
		return status[0] == '2' && strings.HasSuffix(got, "+ close")
	}
	return strings.Contains(want, status) || status[0] == '2' && strings.Contains(want, "2xx")
}
