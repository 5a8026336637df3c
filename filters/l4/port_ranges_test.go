package l4

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePortRanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want portRanges
		err  string // a part of it
	}{
		{"", nil, ""},
		{"80", portRanges{{80, 80}}, ""},
		{"1-1024,2048-4096,12345", portRanges{{1, 1024}, {2048, 4096}, {12345, 12345}}, ""},
		{"9, 1-3 ,2-5,6", portRanges{{1, 6}, {9, 9}}, ""},
		{"65535,1-65535", portRanges{{1, 65535}}, ""},
		{"0", nil, `port "0" is not a number from 1 to 65535`},
		{"65536", nil, "65536"},
		{"+1", nil, "+1"},
		{"-1", nil, `port ""`},
		{"5-", nil, `port ""`},
		{"1-2-3", nil, `port "2-3"`},
		{"5-4", nil, `range "5-4" ends before it begins`},
		{"1,,2", nil, "an item is empty"},
		{"http", nil, "http"},
		{strings.Repeat("1,", portRangesMax) + "1", nil, "exceed the maximum of 1024"},
	} {
		got, err := parsePortRanges(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parsePortRanges(%.20q) = %v, want an error with %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("parsePortRanges(%q) = %v, %v; want %v", tt.in, got, err, tt.want)
		}
	}
}

func TestPortRanges(t *testing.T) {
	t.Parallel()
	p, err := parsePortRanges("10-20,30,40-65535")
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]bool{9: false, 10: true, 20: true, 21: false, 30: true, 31: false, 40: true, 65535: true, 0: false} {
		if p.contains(port) != want {
			t.Errorf("contains(%d) = %t, want %t", port, !want, want)
		}
	}
	for in, want := range map[string]bool{"10-20": true, "15": true, "30,50-60": true, "20-21": false, "9": false, "1-65535": false} {
		q, err := parsePortRanges(in)
		if err != nil || p.covers(q) != want {
			t.Errorf("covers(%q) = %t, %v; want %t", in, !want, err, want)
		}
	}
}
