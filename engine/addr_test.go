package engine_test

import (
	"net/netip"
	"strings"
	"testing"

	"millrace/engine"
)

func TestParseAddr(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, ip           string
		port             int
		loopback, isUnix bool
	}{
		{"127.0.0.1:80", "127.0.0.1", 80, true, false},
		{"10.1.2.3:65535", "10.1.2.3", 65535, false, false},
		{"[::1]:8080", "::1", 8080, true, false},
		{"[2001:db8::7]:0", "2001:db8::7", 0, false, false},
		{"[fe80::1%7]:80", "fe80::1%7", 80, false, false},
		{":8080", "::", 8080, false, false},
		{"unix:/run/app.sock", "", 0, true, true},
		{"unix:@name", "", 0, true, true},
	} {
		a, err := engine.ParseAddr(tt.in)
		if err != nil {
			t.Errorf("ParseAddr(%q): %v", tt.in, err)
			continue
		}
		if got := a.String(); got != tt.in {
			t.Errorf("ParseAddr(%q).String() = %q", tt.in, got)
		}
		if got := string(a.AppendIP(nil)); got != tt.ip {
			t.Errorf("ParseAddr(%q).AppendIP = %q, want %q", tt.in, got, tt.ip)
		}
		if a.Port() != tt.port || a.IsLoopback() != tt.loopback || a.IsUnix() != tt.isUnix || a.IsZero() {
			t.Errorf("ParseAddr(%q): port %d, loopback %v, unix %v", tt.in, a.Port(), a.IsLoopback(), a.IsUnix())
		}
		if b, _ := engine.ParseAddr(tt.in); a != b {
			t.Errorf("ParseAddr(%q) gives different values", tt.in)
		}
	}
}

// Each error tells what to write instead, or quotes what is wrong.
func TestParseAddrErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                 "is empty",
		"127.0.0.1":                        `write "127.0.0.1:80"`,
		"::1:80":                           `"[::1]:80"`,
		"2001:db8::1":                      "brackets",
		"2001:db8::x":                      "brackets",
		"localhost:80":                     "names are not resolved",
		"127.0.0.1:http":                   `port "http"`,
		"127.0.0.1:65536":                  `port "65536"`,
		"127.0.0.1:+80":                    `port "+80"`,
		"127.0.0.1:-1":                     `port "-1"`,
		"[127.0.0.1]:80":                   "takes no brackets",
		"[::g]:80":                         "not an IPv6 address",
		"[fe80::1%nosuch0]:80":             `interface "nosuch0"`,
		"300.0.0.1:80":                     "not an IP address",
		"unix:":                            "has no path",
		"unix:@":                           "has no path",
		"unix:a\x00b":                      "zero byte",
		"unix:" + strings.Repeat("x", 108): "108 bytes exceeds the 107",
	} {
		_, err := engine.ParseAddr(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAddr(%q) = %v, want an error with %q", in, err, want)
		}
	}
}

func TestAddrParts(t *testing.T) {
	t.Parallel()
	mapped := engine.AddrFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 80, 0)
	if got := mapped.String(); got != "10.0.0.1:80" {
		t.Errorf("an IPv4-mapped address is shown as %q", got)
	}
	if got := mapped.WithPort(81).String(); got != "10.0.0.1:81" {
		t.Errorf("WithPort = %q", got)
	}
	if got := engine.UnixAddr("@x"); got.Path() != "@x" || got.NetIP().IsValid() || got.String() != "unix:@x" {
		t.Errorf("UnixAddr = %v", got)
	}
	var none engine.Addr
	if !none.IsZero() || none.String() != "" || none.IsLoopback() {
		t.Errorf("the zero Addr is %q", none)
	}
}

func TestAllocsAddr(t *testing.T) { // not parallel: AllocsPerRun counts the whole process
	a, buf := mustAddr(t, "10.200.30.4:8080"), make([]byte, 0, 64)
	b := mustAddr(t, "[2001:db8::1]:8080")
	wantNoAllocs(t, "AppendTo", func() { buf = b.AppendTo(a.AppendTo(buf[:0])) })
}

// FuzzParseAddr: what is accepted survives a round trip.
func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "[::1]:1", ":8080", "unix:@x", "unix:/a", "[fe80::1%1]:2", "[::ffff:1.2.3.4]:5", "x:y:z", "[]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := engine.ParseAddr(s)
		if err != nil {
			return
		}
		b, err := engine.ParseAddr(a.String())
		if err != nil || a != b {
			t.Errorf("ParseAddr(%q) = %v; parsed again: %v, %v", s, a, b, err)
		}
	})
}
