package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// resolverEnv makes the test binary a DNS server, so that the CPU time of resolving is ours alone.
const resolverEnv = "SERVER_TEST_RESOLVER"

// resolveForScale answers questions for A records with an address below 127.2.0.0, and all others with nothing, until its
// input ends. It tells its address first.
func resolveForScale() {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(pc.LocalAddr())
	go func() {
		_ = (&dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			if name := q.Question[0].Name; q.Question[0].Qtype == dns.TypeA {
				var i int
				_, _ = fmt.Sscanf(name, "c%d.", &i)
				m.Answer = []dns.RR{&dns.A{
					Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(127, 2, byte(i>>8), byte(i)),
				}}
			}
			_ = w.WriteMsg(m)
		})}).ActivateAndServe()
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startResolver starts a DNS server in a process of its own and returns its address.
func startResolver(t *testing.T) (at string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), resolverEnv+"=1")
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
	t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() })
	if _, err := fmt.Fscan(out, &at); err != nil {
		t.Fatal(err)
	}
	return at
}

// TestScaleNames measures clusters of one name each, resolved again and again by two questions: there is no IPv6 address. With
// MILLRACE_SCALE=1 (make scale) there are 10,000 of them, and each is resolved every 5s, which is the default.
func TestScaleNames(t *testing.T) {
	clusters, refresh, measured := 500, "200ms", time.Second
	if os.Getenv("MILLRACE_SCALE") != "" {
		clusters, refresh, measured = 10_000, "5s", 20*time.Second
	} else if raceEnabled {
		t.Skip("the race detector is what would be measured")
	}
	at := startResolver(t)
	var text bytes.Buffer
	fmt.Fprintf(&text, `{"concurrency": 2, "listeners": [%s], "clusters": [{"name": "static", "hosts": []}`, says("l", "127.0.0.1:0", "ok", "", ""))
	for c := range clusters {
		fmt.Fprintf(&text, `, {"name": "c%d", "type": "strict_dns", "hosts": ["c%d.test:80"], "dns_resolvers": [%q], "dns_refresh_rate": %q, "dns_jitter": "1s"}`, c, c, at, refresh)
	}
	text.WriteString(`]}`)
	runtime.GC()
	begun := time.Now()
	s, err := Start(Options{ConfigPath: "scale.json", Text: text.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !eventually(s.live.Load) {
		t.Fatal("the listeners never accept")
	}
	start := time.Since(begun)
	found := 0
	for _, c := range s.snapshot.Load().Clusters {
		found += len(c.Hosts())
	}
	bytes := residentBytes(t)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	attempts := func() (n uint64) {
		for _, c := range s.clusterSets {
			n += c.found.Attempt.Load()
		}
		return n
	}
	before, cpu, begun := attempts(), cpuTime(t), time.Now()
	time.Sleep(measured)
	took := time.Since(begun)
	resolved, share := attempts()-before, float64(cpuTime(t)-cpu)/float64(took)
	t.Logf("%d clusters: start %v, resident %d MiB, live heap %d MiB, %d goroutines; %.0f names a second by two questions each take %.1f %% of a processor, %v for a name",
		clusters, start.Round(time.Millisecond), bytes>>20, m.HeapAlloc>>20, runtime.NumGoroutine(), float64(resolved)/took.Seconds(), 100*share,
		(time.Duration(float64(took)*share) / time.Duration(max(resolved, 1))).Round(time.Microsecond))
	if found != clusters || resolved == 0 {
		t.Errorf("%d of %d names are resolved as listeners accept after %v, %d later", found, clusters, start, resolved)
	}
}
