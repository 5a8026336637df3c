package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"millrace/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitMax bounds everything a test waits for.
const waitMax = 20 * time.Second

// watched is a source under test.
type watched struct {
	t    *testing.T
	env  *Env
	puts chan string // "ADDRESS ADDRESS" or "error: …"
	end  func()
	mu   sync.Mutex
	log  bytes.Buffer
}

// Write is that of the log.
func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func watch(t *testing.T, cfg *upstream.Config, known ...upstream.HostConfig) *watched {
	t.Helper()
	return watchWith(t, cfg, func(*watched) {}, known...)
}

// watchWith is watch with an edited Env.
func watchWith(t *testing.T, cfg *upstream.Config, edit func(*watched), known ...upstream.HostConfig) *watched {
	t.Helper()
	cfg.Validate(func(path, problem, _ string) { t.Fatalf("%s: %s", path, problem) })
	w := &watched{t: t, puts: make(chan string, 1000)}
	w.env = &Env{
		Resolvers: files(t, "options attempts:1 timeout:1", ""), Stats: &Stats{}, Known: known, Log: slog.New(slog.NewTextHandler(w, nil)),
		Decode: func(_ string, text []byte) (hosts []upstream.HostConfig, err error) {
			return hosts, json.Unmarshal(text, &hosts)
		},
	}
	edit(w)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		New(cfg, w.env).Run(ctx, func(hosts []upstream.HostConfig, err error) {
			if err != nil {
				w.puts <- "error: " + err.Error()
				return
			}
			var list []string
			for _, h := range hosts {
				list = append(list, describe(h))
			}
			w.puts <- strings.Join(list, " ")
		})
	})
	w.end = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(w.end)
	return w
}

// describe is an address, and its name, weight and priority where they matter.
func describe(h upstream.HostConfig) string {
	s := h.Address
	if h.Hostname != "" {
		s += "=" + h.Hostname
	}
	if h.Weight != 1 {
		s += "*" + string(rune('0'+h.Weight))
	}
	if h.Priority != 0 {
		s += "@" + string(rune('0'+h.Priority))
	}
	for _, a := range h.AdditionalAddresses {
		s += "|" + a
	}
	return s
}

// want waits until the source puts something.
func (w *watched) want(want string) {
	w.t.Helper()
	timeout := time.After(waitMax)
	got := "nothing"
	for {
		select {
		case got = <-w.puts:
			if got == want || strings.HasSuffix(want, "…") && strings.HasPrefix(got, strings.TrimSuffix(want, "…")) {
				return
			}
		case <-timeout:
			w.t.Fatalf("the source puts %q last; want %q", got, want)
		}
	}
}

// until waits for a condition on the counters.
func (w *watched) until(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(waitMax); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %+v", what, w.env.Stats)
		}
	}
}

func dnsConfig(kind, server string, hosts ...string) *upstream.Config {
	cfg := upstream.DefaultConfig("web")
	cfg.Type, cfg.DNSResolvers, cfg.DNSRefreshRate, cfg.DNSLookupFamily = kind, []string{server}, 10*time.Millisecond, "v4_only"
	for _, h := range hosts {
		cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: h, Weight: 1})
	}
	return &cfg
}

func TestStrictDNS(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "a.test. 1 IN A 10.0.0.2", "a.test. 1 IN A 10.0.0.1", "b.test. 1 IN A 10.0.0.1", "b.test. 1 IN A 10.0.0.3")
	w := watch(t, dnsConfig("strict_dns", f.addr, "a.test:80", "b.test:80", "10.0.0.9:81"))
	w.want("10.0.0.1:80=a.test 10.0.0.2:80=a.test 10.0.0.3:80=b.test 10.0.0.9:81")
	f.set("a.test. 1 IN A 10.0.0.2", "b.test. 1 IN A 10.0.0.3")
	w.want("10.0.0.2:80=a.test 10.0.0.3:80=b.test 10.0.0.9:81")
	f.fail("a.test.", dns.RcodeServerFailure)
	f.fail("b.test.", dns.RcodeNameError)
	failed := w.env.Stats.Failure.Load() + 6
	w.until("failures", func() bool { return w.env.Stats.Failure.Load() >= failed })
	if len(w.puts) > 0 {
		t.Errorf("a failure puts %q", <-w.puts)
	}
	f.set("a.test. 1 IN TXT nothing", "b.test. 1 IN A 10.0.0.4")
	w.want("10.0.0.4:80=b.test 10.0.0.9:81")
	w.end()
	s := w.env.Stats
	if s.Empty.Load() == 0 || s.NoRebuild.Load() == 0 || s.Attempt.Load() != s.Success.Load()+s.Failure.Load() {
		t.Errorf("counters %+v", s)
	}
	for _, what := range []string{"level=WARN", "level=INFO"} {
		if n := strings.Count(w.log.String(), what); n != 2 {
			t.Errorf("%d lines with %s; want one for each name:\n%s", n, what, &w.log)
		}
	}
}

// TestKnown: hosts of an earlier configuration stay until all names have answered.
func TestKnown(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "new.test. 1 IN A 10.0.0.2")
	f.fail("old.test.", dns.RcodeServerFailure)
	w := watch(t, dnsConfig("strict_dns", f.addr, "old.test:80", "new.test:80"), upstream.HostConfig{Address: "10.0.0.1:80", Hostname: "old.test", Weight: 1},
		upstream.HostConfig{Address: "10.0.0.5:80", Hostname: "gone.test", Weight: 1})
	w.want("10.0.0.1:80=old.test 10.0.0.2:80=new.test")
}

// TestAnswered: a source has answered when each of its names has, with hosts or without; they have been put by then.
func TestAnswered(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "a.test. 1 IN A 10.0.0.1")
	f.fail("b.test.", dns.RcodeServerFailure)
	for _, tt := range []struct {
		name  string
		hosts []string
		known []upstream.HostConfig
		want  string
	}{
		{"all names", []string{"a.test:80"}, nil, "10.0.0.1:80=a.test"},
		{"one fails", []string{"b.test:80", "a.test:80"}, nil, "10.0.0.1:80=a.test"},
		{"all fail", []string{"b.test:80"}, nil, "error: b.test: …"},
		{"one is known", []string{"b.test:80", "a.test:80"}, []upstream.HostConfig{{Address: "10.0.0.7:80", Hostname: "b.test", Weight: 1}},
			"10.0.0.7:80=b.test 10.0.0.1:80=a.test"},
		{"none", nil, nil, ""},
	} {
		answered := make(chan int, 2)
		w := watchWith(t, dnsConfig("strict_dns", f.addr, tt.hosts...), func(w *watched) { w.env.Answered = func() { answered <- len(w.puts) } }, tt.known...)
		if n := <-answered; n == 0 {
			t.Errorf("%s: answered before anything was put", tt.name)
		}
		w.want(tt.want)
		if w.end(); len(answered) > 0 {
			t.Errorf("%s: answered twice", tt.name)
		}
	}
}

func TestEmptyIsEmpty(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "a.test. 1 IN A 10.0.0.1")
	w := watch(t, dnsConfig("strict_dns", f.addr, "a.test:80"))
	w.want("10.0.0.1:80=a.test")
	f.set("a.test. 1 IN TXT nothing")
	w.want("")
}

func TestLogicalDNS(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "a.test. 1 IN A 10.0.0.2", "a.test. 1 IN A 10.0.0.1")
	w := watch(t, dnsConfig("logical_dns", f.addr, "a.test:80"))
	w.want("10.0.0.2:80=a.test")
	f.set("a.test. 1 IN TXT nothing")
	w.until("empty answers", func() bool { return w.env.Stats.Empty.Load() > 2 })
	f.set("a.test. 1 IN A 10.0.0.3")
	if got := <-w.puts; got != "10.0.0.3:80=a.test" {
		t.Errorf("after an empty answer the source puts %q", got)
	}
}

// TestLogicalDNSAll: of both families all addresses belong to the one host, which tries IPv6 first.
func TestLogicalDNSAll(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "a.test. 1 IN A 10.0.0.2", "a.test. 1 IN A 10.0.0.1", "a.test. 1 IN AAAA fd00::1", "b.test. 1 IN A 10.0.0.3", "b.test. 1 IN A 0.0.0.0")
	all := func(name string) *upstream.Config {
		cfg := dnsConfig("logical_dns", f.addr, name)
		cfg.DNSLookupFamily = "all"
		return cfg
	}
	watch(t, all("a.test:80")).want("[fd00::1]:80=a.test|10.0.0.2:80|10.0.0.1:80")
	watch(t, all("b.test:80")).want("10.0.0.3:80=b.test")
}

func TestTakeTurns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"", ""}, {"1.1.1.1", "1.1.1.1"}, {"1.1.1.1 2.2.2.2 ::1", "::1 1.1.1.1 2.2.2.2"},
		{"::3 1.1.1.1 ::2 ::1 2.2.2.2", "::3 1.1.1.1 ::2 2.2.2.2 ::1"}, {"::ffff:1.1.1.1 ::1", "::1 ::ffff:1.1.1.1"},
	} {
		var in, out []netip.Addr
		for _, s := range strings.Fields(tt.in) {
			in = append(in, netip.MustParseAddr(s))
		}
		for _, s := range strings.Fields(tt.want) {
			out = append(out, netip.MustParseAddr(s))
		}
		if got := takeTurns(in); !slices.Equal(got, out) {
			t.Errorf("takeTurns(%v) = %v, want %v", in, got, out)
		}
	}
}

func TestSRVHosts(t *testing.T) {
	t.Parallel()
	f := newFakeDNS(t, "_http._tcp.web.test. 60 IN SRV 10 3 8080 a.test.", "_http._tcp.web.test. 60 IN SRV 70 0 8081 b.test.",
		"_http._tcp.web.test. 60 IN SRV 80 0 8081 .", "a.test. 1 IN A 10.0.0.1", "b.test. 1 IN A 10.0.0.2")
	watch(t, dnsConfig("strict_dns", f.addr, "_http._tcp.web.test")).
		want("10.0.0.1:8080=_http._tcp.web.test*3 10.0.0.2:8081=_http._tcp.web.test@1")
}

func TestWait(t *testing.T) {
	t.Parallel()
	cfg := dnsConfig("strict_dns", "127.0.0.1")
	cfg.DNSRefreshRate, cfg.RespectDNSTTL, cfg.DNSMinRefreshRate, cfg.DNSMaxRefreshRate = 5*time.Second, true, 2*time.Second, time.Minute
	d := newNames(cfg, &Env{Resolvers: files(t, "", "")})
	for ttl, want := range map[time.Duration]time.Duration{
		time.Second: 2 * time.Second, 9 * time.Second: 9 * time.Second, time.Hour: time.Minute, 0: 5 * time.Second, noTTL: 5 * time.Second,
	} {
		if got := d.wait(ttl, 0); got != want {
			t.Errorf("wait(%v) = %v; want %v", ttl, got, want)
		}
	}
	if got := d.wait(noTTL, 3); got != 5*time.Second {
		t.Errorf("after a failure %v", got)
	}
	cfg.DNSFailureRefreshRate = &upstream.FailureRefreshConfig{BaseInterval: time.Second, MaxInterval: 10 * time.Second}
	for failures, most := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 1000: 10 * time.Second} {
		for range 20 {
			if got := d.wait(noTTL, failures); got < most/2 || got > most {
				t.Errorf("after %d failures %v; want %v to %v", failures, got, most/2, most)
			}
		}
	}
	cfg.DNSJitter, cfg.RespectDNSTTL = time.Second, false
	if got := d.wait(time.Hour, 0); got < 5*time.Second || got >= 6*time.Second {
		t.Errorf("with jitter %v", got)
	}
}

// TestFileReplacedAtOnce: a file of the same size and time that takes the place of another one is another file.
func TestFileReplacedAtOnce(t *testing.T) {
	t.Parallel()
	path, now := filepath.Join(t.TempDir(), "hosts.json"), time.Now()
	var stamps []stamp
	for _, text := range []string{"", "[{", "[]", "[ ]"} {
		if text != "" {
			if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Chtimes(path+".new", now, now), os.Rename(path+".new", path)); err != nil {
				t.Fatal(err)
			}
		}
		s := stampOf(path)
		if !s.same(stampOf(path)) {
			t.Errorf("%q: the same file is another one", text)
		}
		if n := len(stamps); n > 0 && s.same(stamps[n-1]) {
			t.Errorf("%q is the same file as before", text)
		}
		stamps = append(stamps, s)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hosts.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	cfg := upstream.DefaultConfig("web")
	cfg.Type, cfg.HostsFile = "file", path
	w := watch(t, &cfg)
	w.want("error: …")
	write(`[{"address": "10.0.0.1:80", "weight": 1}]`)
	w.want("10.0.0.1:80")
	write(`[{`)
	w.want("error: …")
	write(`[]`)
	w.want("")
	w.end()
	if n := strings.Count(w.log.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings; want two:\n%s", n, &w.log)
	}
}
