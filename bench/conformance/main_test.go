package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseTally(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want tally
		ok   bool
	}{
		{"Total cases: 374\n370 passed, 0 failed\n(Another 4 failed as expected due to being known failures/flakes.)\n", tally{374, 370, 0, 4}, true},
		{"INFO: x\nTotal cases: 3\n2 passed, 1 failed\n", tally{3, 2, 1, 0}, true},
		{"panic", tally{}, false},
	} {
		got, err := parseTally(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseTally(%q) = %v, %v; want %v", tt.in, got, err, tt.want)
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := writeMessage(&b, answer(4711, []byte("PEM"))); err != nil {
		t.Fatal(err)
	}
	got, err := readMessage(iotest.OneByteReader(&b))
	if err != nil {
		t.Fatal(err)
	}
	if port, err := portOf(got); port != 4711 || err != nil {
		t.Errorf("the port is %d, %v; want 4711", port, err)
	}
	for _, bad := range []string{"\xff", "\x08", "\x0a\x05a", "\x09a"} {
		if _, err := portOf([]byte(bad)); err == nil {
			t.Errorf("portOf(%q) is no error", bad)
		}
	}
	for _, bad := range []string{"", "\x00\x00", "\x00\x00\x00\x02a", "\xff\xff\xff\xff"} {
		if _, err := readMessage(strings.NewReader(bad)); err == nil {
			t.Errorf("readMessage(%q) is no error", bad)
		}
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	r := request{protocol: 2, version: http1, limit: 200, tls: true, cert: []byte("cert"), key: []byte("key")}
	if got, err := parseRequest(r.message(true)); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v came back as %+v, %v", r, got, err)
	}
	clear := request{protocol: 2, version: http1, limit: 200}
	if got, err := parseRequest(r.message(false)); err != nil || !reflect.DeepEqual(got, clear) {
		t.Errorf("without TLS %+v came back as %+v, %v", r, got, err)
	}
	m, version := suite{upstream: http2}.toServer(r)
	if got, err := parseRequest(m); err != nil || got.version != http2 || version != http2 || got.tls {
		t.Errorf("over HTTP/2 the server is told %+v, %v", got, err)
	}
}

// TestConfigs: they are JSON, with the certificates that a request asks for. Running the suites proves the rest.
func TestConfigs(t *testing.T) {
	t.Parallel()
	for _, s := range suites {
		for _, r := range []request{{}, {tls: true}, {tls: true, clientCert: []byte("PEM")}} {
			text := s.config(front{port: 10000, host: "127.0.0.1:10001", protocol: "http2", req: r, dir: "/d"})
			if !json.Valid([]byte(text)) {
				t.Errorf("%s: no JSON: %s", s.name, text)
			}
			if got := strings.Contains(text, clientCAFile); got != (r.clientCert != nil) {
				t.Errorf("%s: clients are asked for certificates: %t", s.name, got)
			}
			if got := strings.Contains(text, "sni"); got != (s.tls && r.tls) {
				t.Errorf("%s: TLS upstream: %t", s.name, got)
			}
		}
	}
}
