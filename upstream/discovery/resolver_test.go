package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

// fakeDNS is a server whose answers a test changes.
type fakeDNS struct {
	addr string

	mu      sync.Mutex
	records map[string][]string // by "NAME TYPE": records in zone file form
	codes   map[string]int      // by "NAME TYPE" or NAME: the RCODE in place of an answer; -1 for silence
	asked   []string            // "NAME TYPE proto"
	noEDNS  bool                // answers queries with EDNS0 with FORMERR
	large   bool                // cuts off what it sends by UDP
}

func newFakeDNS(t *testing.T, records ...string) *fakeDNS {
	t.Helper()
	f := &fakeDNS{records: map[string][]string{}, codes: map[string]int{}}
	f.set(records...)
	var pc net.PacketConn
	var ln net.Listener
	for { // the same port for both
		var err error
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if pc, err = net.ListenPacket("udp", ln.Addr().String()); err == nil {
			break
		}
		ln.Close()
	}
	f.addr = ln.Addr().String()
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: f}, {Listener: ln, Handler: f}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return f
}

// set replaces the records of the names and types it is given.
func (f *fakeDNS) set(records ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.records)
	clear(f.codes)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		key := rr.Header().Name + " " + dns.TypeToString[rr.Header().Rrtype]
		f.records[key] = append(f.records[key], text)
	}
}

// fail makes a name, or a name and a type, fail.
func (f *fakeDNS) fail(key string, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.codes[key] = code
}

// questions are those so far.
func (f *fakeDNS) questions() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func (f *fakeDNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name, kind := q.Question[0].Name, dns.TypeToString[q.Question[0].Qtype]
	proto := w.LocalAddr().Network()
	f.asked = append(f.asked, name+" "+kind+" "+proto)
	m := new(dns.Msg).SetReply(q)
	code, bad := f.codes[name+" "+kind]
	if !bad {
		code, bad = f.codes[name]
	}
	exists := false
	for key := range f.records {
		exists = exists || strings.HasPrefix(key, name+" ")
	}
	switch {
	case code < 0:
		return
	case bad:
		m.Rcode = code
	case f.noEDNS && q.IsEdns0() != nil:
		m.Rcode = dns.RcodeFormatError
	case !exists:
		m.Rcode = dns.RcodeNameError
	case f.large && proto == "udp":
		m.Truncated = true
	default:
		for _, text := range slices.Concat(f.records[name+" CNAME"], f.records[name+" "+kind]) {
			rr, _ := dns.NewRR(text)
			m.Answer = append(m.Answer, rr)
			if c, ok := rr.(*dns.CNAME); ok {
				for _, text := range f.records[c.Target+" "+kind] {
					rr, _ := dns.NewRR(text)
					m.Answer = append(m.Answer, rr)
				}
			}
		}
	}
	_ = w.WriteMsg(m)
}

// files writes a resolv.conf and a hosts file and returns resolvers that read them.
func files(t *testing.T, conf, hosts string) *Resolvers {
	t.Helper()
	dir := t.TempDir()
	c, h := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")
	for path, text := range map[string]string{c: conf, h: hosts} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return NewResolvers(c, h)
}

func texts(addrs []netip.Addr) string {
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return strings.Join(list, " ")
}

func TestLookup(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "both.test. 60 IN A 10.0.0.1", "both.test. 30 IN A 10.0.0.2", "both.test. 20 IN AAAA fd00::1", "four.test. 60 IN A 10.0.0.4",
		"alias.test. 5 IN CNAME four.test.", "loop.test. 5 IN CNAME loop.test.", "text.test. 5 IN TXT hi", "web.corp.test. 7 IN A 10.0.0.7",
		"broken6.test. 9 IN A 10.0.0.9")
	f.fail("broken6.test. AAAA", dns.RcodeServerFailure)
	f.fail("dead.test.", dns.RcodeServerFailure)
	rs := files(t, "search corp.test\noptions ndots:1 attempts:1", "10.9.9.9 here.test\n::1 here.test")
	r := rs.of([]string{f.addr})
	for _, tt := range []struct {
		name, family, want string
		ttl                time.Duration
		err                string
	}{
		{"10.1.2.3", "auto", "10.1.2.3", noTTL, ""},
		{"both.test", "auto", "fd00::1", 20 * time.Second, ""},
		{"BOTH.test", "v4_only", "", 0, "no such name"}, // the fake server minds case; the answer of a real one is taken
		{"both.test", "v4_only", "10.0.0.1 10.0.0.2", 30 * time.Second, ""},
		{"both.test", "v4_preferred", "10.0.0.1 10.0.0.2", 30 * time.Second, ""},
		{"both.test", "v6_only", "fd00::1", 20 * time.Second, ""},
		{"both.test", "all", "10.0.0.1 10.0.0.2 fd00::1", 20 * time.Second, ""},
		{"four.test", "auto", "10.0.0.4", time.Minute, ""},
		{"four.test", "all", "10.0.0.4", time.Minute, ""},
		{"four.test", "v6_only", "", noTTL, ""},
		{"alias.test", "v4_only", "10.0.0.4", 5 * time.Second, ""},
		{"loop.test", "v4_only", "", 0, "aliases without end"},
		{"text.test", "auto", "", noTTL, ""},
		{"web", "v4_only", "10.0.0.7", 7 * time.Second, ""},
		{"web.", "v4_only", "", 0, "no such name"},
		{"gone.test", "auto", "", 0, "no such name"},
		{"dead.test", "auto", "", 0, "ServerFailure"},
		{"broken6.test", "auto", "10.0.0.9", 9 * time.Second, ""},
		{"broken6.test", "all", "", 0, "ServerFailure"},
		{"here.test", "v4_only", "10.9.9.9", noTTL, ""},
		{"here.test", "auto", "::1", noTTL, ""},
		{"localhost", "v4_only", "127.0.0.1", noTTL, ""},
	} {
		got, err := r.lookup(t.Context(), tt.name, tt.family)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("lookup(%s, %s) = %v, %v; want error %q", tt.name, tt.family, got, err, tt.err)
			}
			continue
		}
		if err != nil || texts(got.addrs) != tt.want || got.ttl != tt.ttl {
			t.Errorf("lookup(%s, %s) = %s, %v, %v; want %s, %v", tt.name, tt.family, texts(got.addrs), got.ttl, err, tt.want, tt.ttl)
		}
	}
}

func TestLookupSRV(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "_http._tcp.web.test. 60 IN SRV 10 3 8080 a.test.", "_http._tcp.web.test. 60 IN SRV 20 0 8081 b.test.")
	got, err := files(t, "", "").of([]string{f.addr}).lookupSRV(t.Context(), "_http._tcp.web.test")
	if want := []srv{{"a.test.", 8080, 10, 3}, {"b.test.", 8081, 20, 0}}; err != nil || !slices.Equal(got.srvs, want) {
		t.Errorf("lookupSRV = %v, %v; want %v", got.srvs, err, want)
	}
}

// TestServers: a cut off answer is asked for by TCP, an old server without EDNS0, and a dead one is passed over.
func TestServers(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "a.test. 60 IN A 10.0.0.1")
	f.mu.Lock()
	f.noEDNS = true
	f.mu.Unlock()
	r := files(t, "options attempts:1 timeout:1", "").of([]string{f.addr})
	if got, err := r.lookup(t.Context(), "a.test", "v4_only"); err != nil || texts(got.addrs) != "10.0.0.1" {
		t.Errorf("without EDNS0: %v, %v", got, err)
	}
	f.mu.Lock()
	f.noEDNS, f.large = false, true
	f.mu.Unlock()
	if got, err := r.lookup(t.Context(), "a.test", "v4_only"); err != nil || texts(got.addrs) != "10.0.0.1" || !slices.Contains(f.questions(), "a.test. A tcp") {
		t.Errorf("cut off: %v, %v, %q", got, err, f.questions())
	}
	bad := newFakeDNS(t)
	bad.fail("a.test.", dns.RcodeRefused)
	r = files(t, "options attempts:1", "").of([]string{bad.addr, f.addr})
	for range 2 {
		if got, err := r.lookup(t.Context(), "a.test", "v4_only"); err != nil || texts(got.addrs) != "10.0.0.1" {
			t.Errorf("second server: %v, %v", got, err)
		}
	}
	if len(bad.questions()) != 1 {
		t.Errorf("the first server was asked %d times although the second one answers", len(bad.questions()))
	}
}

// TestSilentServer: no answer is an error after the time-out, and the end of the context ends the wait.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t)
	f.fail("a.test.", -1)
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	if _, err := exchange(t.Context(), netip.MustParseAddrPort(f.addr), q, 10*time.Millisecond); err == nil {
		t.Error("an answer from a server that says nothing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := exchange(ctx, netip.MustParseAddrPort(f.addr), q, time.Hour); err == nil {
		t.Error("an answer after the end")
	}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	conf := parseResolvConf("; old\nnameserver 10.0.0.1\nnameserver bad\nsearch a.test b.test.\noptions ndots:2 timeout:99 attempts:0 rotate debug\n")
	if len(conf.servers) != 1 || conf.timeout != 30*time.Second || conf.attempts != 1 || !conf.rotate {
		t.Errorf("settings %+v", conf)
	}
	for name, want := range map[string]string{
		"web": "web.a.test. web.b.test. web.", "x.y.web": "x.y.web. x.y.web.a.test. x.y.web.b.test.", "web.": "web.",
	} {
		if got := strings.Join(conf.candidates(name), " "); got != want {
			t.Errorf("candidates(%s) = %s; want %s", name, got, want)
		}
	}
	if conf := parseResolvConf(""); len(conf.servers) != 1 || conf.ndots != 1 {
		t.Errorf("without a file: %+v", conf)
	}
}

// FuzzParseAnswer: whatever a server sends, what is taken from it is bounded, and belongs to the question.
func FuzzParseAnswer(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	for _, rrs := range [][]string{{"a.test. 60 IN A 10.0.0.1"}, {"a.test. 1 IN CNAME b.test.", "b.test. 2 IN A 10.0.0.2"}, {"b.test. 2 IN A 10.0.0.2"}, {}} {
		m := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
		m.Id, m.Response = 7, true
		for _, text := range rrs {
			rr, _ := dns.NewRR(text)
			m.Answer = append(m.Answer, rr)
		}
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := parseAnswer(msg, 7, q)
		if err != nil && len(got.addrs)+len(got.srvs) > 0 || len(got.addrs) > recordsMax || len(got.srvs) > 0 || got.ttl < noTTL {
			t.Errorf("parseAnswer(%x) = %v, %v", msg, got, err)
		}
		if _, err := parseAnswer(msg, 8, q); len(msg) > 1 && msg[0] == 0 && msg[1] == 7 && !errors.Is(err, errNotOurs) {
			t.Errorf("another ID: %v", err)
		}
	})
}
