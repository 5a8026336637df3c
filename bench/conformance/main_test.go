package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protowire"
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
	if err := writeMessage(&b, answer(4711)); err != nil {
		t.Fatal(err)
	}
	got, err := readMessage(iotest.OneByteReader(&b))
	if err != nil {
		t.Fatal(err)
	}
	if port, err := numberField(got, responsePort); port != 4711 || err != nil {
		t.Errorf("the port is %d, %v; want 4711", port, err)
	}
	// The last value of a field counts.
	got = protowire.AppendVarint(protowire.AppendTag(got, responsePort, protowire.VarintType), 1)
	if port, err := numberField(got, responsePort); port != 1 || err != nil {
		t.Errorf("the second port is %d, %v; want 1", port, err)
	}
	for _, bad := range []string{"\xff", "\x08", "\x0a\x05a"} {
		if _, err := numberField([]byte(bad), responsePort); err == nil {
			t.Errorf("numberField(%q) is no error", bad)
		}
	}
	for _, bad := range []string{"", "\x00\x00", "\x00\x00\x00\x02a", "\xff\xff\xff\xff"} {
		if _, err := readMessage(strings.NewReader(bad)); err == nil {
			t.Errorf("readMessage(%q) is no error", bad)
		}
	}
}
