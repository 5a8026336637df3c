package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

func TestSuiteIsSound(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, a := range suite() {
		if names[a.name] || a.name == "" || a.about == "" {
			t.Errorf("attack %q: the name is taken, or name or description are missing", a.name)
		}
		names[a.name] = true
		if a.conns <= 0 || a.version != http1 && a.version != http2 && a.version != https || (a.strike == nil) == (a.cases == nil) {
			t.Errorf("%s: %d connections, %v; want some, a version, and either a strike or cases", a.name, a.conns, a.version)
		}
	}
}

func TestSmugglingCases(t *testing.T) {
	t.Parallel()
	cases, err := smuggling("../../codec/h1/testdata/smuggling")
	if err != nil || len(cases) < 50+len(hidden) {
		t.Errorf("smuggling = %d cases, %v; want at least %d", len(cases), err, 50+len(hidden))
	}
	if _, err := smuggling("none"); err == nil {
		t.Error("smuggling of a folder that is not there: no error")
	}
}

// TestBlocksDecode: what attacks send is wrong only where it means to be.
func TestBlocksDecode(t *testing.T) {
	t.Parallel()
	block := appendStored(appendRequest(nil, indexGet, "/x"), "x-bomb", strings.Repeat("x", 500))
	block = appendLiteral(append(block, indexNewest, indexNewest), "x-fill", "y")
	fields, err := hpack.NewDecoder(4096, nil).DecodeFull(block)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range fields {
		got = append(got, f.Name+"="+f.Value[:min(len(f.Value), 3)])
	}
	want := ":method=GET :scheme=htt :authority=att :path=/x x-bomb=xxx x-bomb=xxx x-bomb=xxx x-fill=y"
	if strings.Join(got, " ") != want {
		t.Errorf("block decodes to %q, want %q", got, want)
	}
	for _, n := range []int{0, 126, 127, 128, 254, 255, 16000, 1 << 20} {
		if len(appendInteger(nil, 0, 7, n)) != lenInteger(n) {
			t.Errorf("appendInteger(%d) = %x", n, appendInteger(nil, 0, 7, n))
		}
	}
}

// lenInteger is how many bytes an HPACK integer with a prefix of 7 bits takes.
func lenInteger(n int) int {
	size := 1
	if n -= 127; n < 0 {
		return size
	}
	for size++; n >= 128; n >>= 7 {
		size++
	}
	return size
}

func TestAppendFrame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		got, want []byte
	}{
		{"RST_STREAM", appendNumber(nil, frameReset, 5, codeCancel), []byte{0, 0, 4, 3, 0, 0, 0, 0, 5, 0, 0, 0, 8}},
		{"SETTINGS", appendSetting(nil, settingInitialWindow, 1), []byte{0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1}},
		{"DATA", appendFrame([]byte{9}, frameData, flagEndStream, 1, []byte("x")), []byte{9, 0, 0, 1, 0, 1, 0, 0, 0, 1, 'x'}},
	} {
		if !bytes.Equal(tt.got, tt.want) {
			t.Errorf("%s = %x, want %x", tt.name, tt.got, tt.want)
		}
	}
}

func TestPaceBoundsTheRate(t *testing.T) {
	t.Parallel()
	p := &pace{rate: 1e6}
	start := time.Now()
	for range 20 {
		if err := p.take(context.Background(), 10000); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(start); d < 180*time.Millisecond {
		t.Errorf("200,000 bytes at a million a second took %v", d)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.take(ended, 1); err == nil {
		t.Error("take after the end: no error")
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	fine := func() *outcome {
		return &outcome{
			tally: &tally{}, well: &healthy{times: []time.Duration{time.Millisecond}}, before: 100 << 20, most: 110 << 20,
			latencyMax: time.Second, memoryFloor: 8 << 20,
		}
	}
	for _, tt := range []struct {
		name   string
		change func(o *outcome)
		want   string // part of the only problem, "" for none
	}{
		{"fine", func(*outcome) {}, ""},
		{"process unknown", func(o *outcome) { o.before, o.most = 0, 0 }, ""},
		{"memory", func(o *outcome) { o.most = 114 << 20 }, "memory moved by 14.0 MiB, more than 13.0 MiB"},
		{"errors", func(o *outcome) { o.well.errors = map[string]int{"status 503": 2} }, "2 of 3 requests of the healthy client failed: status 503"},
		{"latency", func(o *outcome) { o.well.times[0] = 2 * time.Second }, "waited 2s"},
		{"latency of the machine", func(o *outcome) {
			o.well.times[0], o.control = 2*time.Second, &healthy{times: []time.Duration{time.Second}}
		}, ""},
		{"dead", func(o *outcome) { o.died = true }, "the proxy ended"},
		{"restless", func(o *outcome) { o.rest = 90 }, "still 90 %"},
		{"smuggled", func(o *outcome) { o.smuggled = 1 }, "1 hidden requests"},
		{"wrong", func(o *outcome) { o.tally.wrong("case %d", 1) }, "case 1"},
	} {
		o := fine()
		tt.change(o)
		got := o.verdict()
		if tt.want == "" && len(got) == 0 || len(got) == 1 && tt.want != "" && strings.Contains(got[0], tt.want) {
			continue
		}
		t.Errorf("%s: verdict %q, want %q", tt.name, got, tt.want)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		want string // part of the error, "" for none
	}{
		{"", ""},
		{"-target 127.0.0.1:80 -pid 1 -run bomb", ""},
		{"-target [::1]:80", ""},
		{"-target example.com:80", "not an address of this machine"},
		{"-target example.com:80 -remote", ""},
		{"-http2 10.0.0.1:80", "not an address of this machine"},
		{"-time 1ms", "want at least 1s"},
		{"-rate 0", "want at least"},
		{"-run (", "-run"},
		{"more", "is no flag"},
	} {
		_, err := parseFlags(strings.Fields(tt.args), io.Discard)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("parseFlags(%q) = %v, want %q", tt.args, err, tt.want)
		}
	}
	var help bytes.Buffer
	if _, err := parseFlags([]string{"-help"}, &help); err != flag.ErrHelp || !strings.Contains(help.String(), "Examples:") {
		t.Errorf("-help: %v, %q", err, help.String())
	}
}

// TestAgainstGo aims a few attacks at the standard library's server, which survives them for a second.
func TestAgainstGo(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 128)) })}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	var out bytes.Buffer
	broken, err := suiteAgainst(t.Context(), options{
		target: ln.Addr().String(), run: regexp.MustCompile("^(rapid-reset|ping-flood|huge-heads)$"), time: time.Second,
		rate: 10, latency: time.Minute, path: smallPath,
	}, &out)
	if err != nil || broken != 0 {
		t.Errorf("%d attacks not survived, %v\n%s", broken, err, out.String())
	}
	for _, want := range []string{"rapid-reset", "ping-flood", "huge-heads", "3 attacks, 0 not survived"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}
