package route

import (
	"testing"
	"time"

	"millrace/codec"
)

func TestParseGRPCTimeout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"1H", time.Hour, true},
		{"2M", 2 * time.Minute, true},
		{"10S", 10 * time.Second, true},
		{"99999999m", 99999999 * time.Millisecond, true},
		{"5u", 5 * time.Microsecond, true},
		{"7n", 7, true},
		{"0m", 0, true},
		{"99999999H", (1<<63 - 1) / time.Hour * time.Hour, true},
		{"100000000S", 0, false},
		{"S", 0, false},
		{"", 0, false},
		{"-1S", 0, false},
		{"1s", 0, false},
		{"1", 0, false},
	} {
		if got, ok := ParseGRPCTimeout([]byte(tt.in)); got != tt.want || ok != tt.ok {
			t.Errorf("ParseGRPCTimeout(%q) = %s, %t; want %s, %t", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func TestGRPCTimeout(t *testing.T) {
	t.Parallel()
	second := time.Second
	none := time.Duration(0)
	for _, tt := range []struct {
		cfg  *StreamDurationConfig
		in   string
		want time.Duration
		ok   bool
	}{
		{nil, "1S", 0, false},
		{&StreamDurationConfig{}, "1S", 0, false},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &second}, "", 0, false},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &second}, "x", 0, false},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &second}, "500m", 500 * time.Millisecond, true},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &second}, "5S", second, true},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &second}, "0S", second, true},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &none}, "5S", 5 * second, true},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &none}, "0S", 0, true},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &none, GRPCTimeoutHeaderOffset: second}, "5S", 4 * second, true},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &none, GRPCTimeoutHeaderOffset: second}, "1S", second, true},
	} {
		forward := &ForwardConfig{Cluster: "c", MaxStreamDuration: tt.cfg}
		table, problems := Compile(&Config{Routes: []RouteConfig{{Match: MatchConfig{Prefix: "/"}, Route: forward}}},
			func(string) (uint32, bool) { return 0, true }, nil)
		if table == nil {
			t.Fatal(problems)
		}
		h := &codec.RequestHead{}
		h.Reset()
		h.SetPath([]byte("/"))
		h.SetAuthority([]byte("a"))
		if tt.in != "" {
			h.AddString("grpc-timeout", tt.in)
		}
		r := table.Match(&Input{Head: h})
		if got, ok := r.GRPCTimeout(h); got != tt.want || ok != tt.ok {
			t.Errorf("GRPCTimeout of %q under %+v = %s, %t; want %s, %t", tt.in, tt.cfg, got, ok, tt.want, tt.ok)
		}
	}
}

func TestMaxStreamDuration(t *testing.T) {
	t.Parallel()
	second, minute, none := time.Second, time.Minute, time.Duration(0)
	for _, tt := range []struct {
		cfg  *StreamDurationConfig
		in   string
		want time.Duration // of a manager that says a minute
	}{
		{nil, "", minute},
		{&StreamDurationConfig{}, "", minute},
		{&StreamDurationConfig{MaxStreamDuration: &second}, "", second},
		{&StreamDurationConfig{MaxStreamDuration: &none}, "", 0},
		{&StreamDurationConfig{MaxStreamDuration: &second}, "9S", second},
		{&StreamDurationConfig{MaxStreamDuration: &second, GRPCTimeoutHeaderMax: &none}, "9S", 0}, // it has a deadline of its own
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &none}, "9S", 0},
		{&StreamDurationConfig{GRPCTimeoutHeaderMax: &none}, "", minute},
	} {
		forward := &ForwardConfig{Cluster: "c", MaxStreamDuration: tt.cfg}
		table, problems := Compile(&Config{Routes: []RouteConfig{
			{Match: MatchConfig{Prefix: "/other"}, Route: &ForwardConfig{Cluster: "c"}},
			{Match: MatchConfig{Prefix: "/"}, Route: forward},
		}}, func(string) (uint32, bool) { return 0, true }, nil)
		if table == nil {
			t.Fatal(problems)
		}
		h := &codec.RequestHead{}
		h.Reset()
		h.SetPath([]byte("/"))
		h.SetAuthority([]byte("a"))
		if tt.in != "" {
			h.AddString("grpc-timeout", tt.in)
		}
		if got := table.Match(&Input{Head: h}).MaxStreamDuration(h, minute); got != tt.want {
			t.Errorf("%+v, grpc-timeout %q: %s; want %s", tt.cfg, tt.in, got, tt.want)
		}
		h.SetPath([]byte("/other"))
		if got := table.Match(&Input{Head: h}).MaxStreamDuration(h, minute); got != minute {
			t.Errorf("another route beside %+v: %s", tt.cfg, got)
		}
	}
}
