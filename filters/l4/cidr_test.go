package l4

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"millrace/engine"
)

// mustAddr parses an address of a test.
func mustAddr(t testing.TB, s string) engine.Addr {
	t.Helper()
	a, err := engine.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestParseCIDR(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want, err string }{
		{"10.0.0.0/8", "10.0.0.0/8", ""},
		{"10.1.2.3/8", "10.0.0.0/8", ""},
		{"10.1.2.3", "10.1.2.3/32", ""},
		{"0.0.0.0/0", "0.0.0.0/0", ""},
		{"::/0", "::/0", ""},
		{"2001:DB8::1/32", "2001:db8::/32", ""},
		{"::1", "::1/128", ""},
		{"::ffff:10.1.0.0/104", "10.0.0.0/8", ""},
		{"::ffff:10.1.2.3", "10.1.2.3/32", ""},
		{"::ffff:0:0/90", "::ffc0:0:0/90", ""},
		{"", "", `"" is not an IP address or prefix`},
		{"10.0.0/8", "", `"10.0.0/8" is not an IP address or prefix`},
		{"host", "", `"host" is not an IP address or prefix`},
		{"fe80::1%eth0/64", "", `"fe80::1%eth0/64" has a zone, which a prefix cannot have`},
		{"10.0.0.0/33", "", `"10.0.0.0/33" has a length that is not a number from 0 to 32`},
		{"10.0.0.0/", "", `"10.0.0.0/" has a length that is not a number from 0 to 32`},
		{"10.0.0.0/-1", "", `"10.0.0.0/-1" has a length that is not a number from 0 to 32`},
		{"10.0.0.0/+8", "", `"10.0.0.0/+8" has a length that is not a number from 0 to 32`},
		{"10.0.0.0/08", "", `"10.0.0.0/08" has a length that is not a number from 0 to 32`},
		{"::/129", "", `"::/129" has a length that is not a number from 0 to 128`},
		{"::/300", "", `"::/300" has a length that is not a number from 0 to 128`},
	} {
		p, err := parseCIDR(tt.in)
		switch {
		case tt.err != "":
			if err == nil || err.Error() != tt.err {
				t.Errorf("parseCIDR(%q) = %v, %v; want error %q", tt.in, p, err, tt.err)
			}
		case err != nil || p.String() != tt.want:
			t.Errorf("parseCIDR(%q) = %v, %v; want %s", tt.in, p, err, tt.want)
		}
	}
}

func TestCIDRList(t *testing.T) {
	t.Parallel()
	l, err := newCIDRList([]string{
		"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.200.0.0/16", "192.168.0.0/24", "2001:db8::/32", "2001:db8:1::/48", "::1",
		"fe80::/10", "10.1.0.0/16", // the second of that is not counted
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr        string
		index, bits int
	}{
		{"10.0.0.0:1", 0, 8}, {"10.255.255.255:1", 0, 8}, {"9.255.255.255:1", -1, -1}, {"11.0.0.0:1", -1, -1},
		{"10.1.0.0:1", 1, 16}, {"10.1.255.255:1", 1, 16}, {"10.2.0.0:1", 0, 8}, {"10.1.2.3:1", 2, 32}, {"10.1.2.4:1", 1, 16},
		{"10.200.1.1:1", 3, 16}, {"10.201.0.0:1", 0, 8}, {"192.168.0.255:1", 4, 24}, {"192.168.1.0:1", -1, -1},
		{"0.0.0.0:1", -1, -1}, {"255.255.255.255:1", -1, -1},
		{"[2001:db8::1]:1", 5, 32}, {"[2001:db8:1::1]:1", 6, 48}, {"[2001:db8:2::1]:1", 5, 32}, {"[2001:db9::]:1", -1, -1},
		{"[::1]:1", 7, 128}, {"[::2]:1", -1, -1}, {"[fe80::1%1]:1", 8, 10}, {"[::ffff:10.1.2.3]:1", 2, 32},
		{"unix:/run/x", -1, -1}, {"unix:@x", -1, -1},
	} {
		a := mustAddr(t, tt.addr)
		index, bits := l.longest(&a)
		if index != tt.index || bits != tt.bits || l.contains(&a) != (tt.index >= 0) {
			t.Errorf("longest(%s) = %d, %d; want %d, %d", tt.addr, index, bits, tt.index, tt.bits)
		}
	}
	if index, _ := l.longest(new(engine.Addr)); index != -1 {
		t.Errorf("no address is in entry %d", index)
	}
	if l.empty() || !new(cidrList).empty() {
		t.Error("empty is wrong")
	}
	all, _ := newCIDRList([]string{"0.0.0.0/0"})
	v4, v6 := mustAddr(t, "1.2.3.4:5"), mustAddr(t, "[::5]:5")
	if !all.contains(&v4) || all.contains(&v6) {
		t.Error("0.0.0.0/0 is every IPv4 address and no other")
	}
	if _, err := newCIDRList([]string{"x", "10.0.0.0/99", "10.0.0.0/9"}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("newCIDRList reports %v; want two errors", err)
	}
}

// TestCIDRListRandom compares with a search of the whole list.
func TestCIDRListRandom(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var prefixes []netip.Prefix
		for range 1 + rng.IntN(60) { // few bits vary, so that they nest
			ip := netip.AddrFrom4([4]byte{10, byte(rng.IntN(2)), byte(rng.IntN(4) << 6), byte(rng.IntN(256))})
			prefixes = append(prefixes, netip.PrefixFrom(ip, rng.IntN(33)).Masked())
		}
		l := cidrListOf(prefixes)
		for range 300 {
			ip := netip.AddrFrom4([4]byte{10, byte(rng.IntN(3)), byte(rng.IntN(256)), byte(rng.IntN(256))})
			want, wantBits := -1, -1
			for i, p := range prefixes {
				if p.Contains(ip) && p.Bits() > wantBits {
					want, wantBits = i, p.Bits()
				}
			}
			if index, bits := l.longestOf(ip); index != want || bits != wantBits {
				t.Fatalf("longestOf(%v) in %v = %d, %d; want %d, %d", ip, prefixes, index, bits, want, wantBits)
			}
			p := netip.PrefixFrom(ip, rng.IntN(33)).Masked()
			within := func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }
			if got, want := l.covers(p), slices.ContainsFunc(prefixes, within); got != want {
				t.Fatalf("covers(%v) in %v = %v, want %v", p, prefixes, got, want)
			}
		}
	}
}

func TestCheckCIDRs(t *testing.T) {
	t.Parallel()
	var got []string
	report := func(path, problem, _ string) { got = append(got, path+": "+problem) }
	checkCIDRs("source_ip_list", []string{"10.0.0.0/8", "x", "::1", "1.2.3.4/33"}, report)
	checkCIDRs("many", make([]string, cidrsMax+1), report)
	want := []string{
		`source_ip_list[1]: "x" is not an IP address or prefix`,
		`source_ip_list[3]: "1.2.3.4/33" has a length that is not a number from 0 to 32`,
		`many: 65537 prefixes exceed the maximum of 65536`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParseCIDR(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::1", "::ffff:1.2.3.4/100", "1.2.3.4/", "fe80::1%1/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseCIDR(s)
		if err != nil {
			return
		}
		again, err := parseCIDR(p.String())
		if err != nil || again != p || p != p.Masked() {
			t.Errorf("parseCIDR(%q) = %v, whose text gives %v, %v", s, p, again, err)
		}
	})
}

func BenchmarkCIDRList(b *testing.B) {
	for _, n := range []int{1, 1000} {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
		}
		l, err := newCIDRList(list)
		if err != nil {
			b.Fatal(err)
		}
		a := mustAddr(b, "10.0.0.7:80")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !l.contains(&a) {
					b.Fatal("not in the list")
				}
			}
		})
	}
}
