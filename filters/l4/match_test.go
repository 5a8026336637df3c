package l4

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func mustCompile(t testing.TB, matches ...*MatchConfig) *ChainTable {
	t.Helper()
	table, problems := CompileChains(matches)
	if len(problems) > 0 {
		t.Fatalf("CompileChains: %+v", problems)
	}
	return table
}

// find fills an input in the short form "name=www.a.b dst=10.0.0.1:443 src=… direct=… tls alpn=h2,http/1.1" and looks it up.
func find(t testing.TB, table *ChainTable, in string) int {
	t.Helper()
	input := MatchInput{
		Destination: netip.MustParseAddr("203.0.113.1"), DestinationPort: 443,
		Source: netip.MustParseAddr("198.51.100.1"), SourcePort: 40000, DirectSource: netip.MustParseAddr("198.51.100.1"),
	}
	for _, f := range strings.Fields(in) {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "name":
			input.ServerName = value
		case "dst":
			ap := netip.MustParseAddrPort(value)
			input.Destination, input.DestinationPort = ap.Addr(), ap.Port()
		case "src":
			ap := netip.MustParseAddrPort(value)
			input.Source, input.SourcePort, input.DirectSource = ap.Addr(), ap.Port(), ap.Addr()
		case "direct":
			input.DirectSource = netip.MustParseAddr(value)
		case "unix":
			input.Destination, input.Source, input.DirectSource = netip.Addr{}, netip.Addr{}, netip.Addr{}
			input.SourcePort, input.DestinationPort = 0, 0
		case "alpn":
			input.ApplicationProtocols = strings.Split(value, ",")
		default:
			input.TransportProtocol = key
		}
	}
	return table.Find(&input)
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		matches []*MatchConfig
		want    map[string]int
	}{
		{"no criteria", []*MatchConfig{nil}, map[string]int{"": 0, "unix": 0, "name=a.b tls": 0}},
		{"server names", []*MatchConfig{
			{ServerNames: []string{"www.example.com", "*.example.com"}},
			{ServerNames: []string{"API.example.com", "*.eu.example.com"}},
			{ServerNames: []string{"*.com"}},
			nil,
		}, map[string]int{
			"name=www.example.com": 0, "name=x.example.com": 0, "name=a.b.example.com": 0, "name=api.example.com": 1,
			"name=x.eu.example.com": 1, "name=eu.example.com": 0, "name=example.com": 2, "name=com": 3, "name=example.org": 3, "": 3,
			"name=www.example.com.evil": 3, "name=xexample.com": 2, "name=x.api.example.com": 0,
		}},
		{"destination port before all", []*MatchConfig{
			{DestinationPort: 443, ServerNames: []string{"a.b"}}, {ServerNames: []string{"c.d"}}, {DestinationPort: 80},
		}, map[string]int{
			"name=a.b": 0, "name=c.d": -1, "name=c.d dst=10.0.0.1:8443": 1, "dst=10.0.0.1:80 name=c.d": 2, "dst=10.0.0.1:81": -1,
		}},
		{"no way back from a longer prefix", []*MatchConfig{
			{PrefixRanges: []string{"203.0.113.0/24"}, ServerNames: []string{"a.b"}},
			{PrefixRanges: []string{"203.0.0.0/8"}},
			nil,
		}, map[string]int{"name=a.b": 0, "name=c.d": -1, "dst=203.1.1.1:443": 1, "dst=10.0.0.1:443": 2, "dst=[::1]:443": 2, "unix": 2}},
		{"a prefix for all is more than none", []*MatchConfig{
			{PrefixRanges: []string{"0.0.0.0/0"}}, {PrefixRanges: []string{"::/0"}}, nil,
		}, map[string]int{"": 0, "dst=[2001::1]:1": 1, "unix": 2}},
		{"transport", []*MatchConfig{{TransportProtocol: "tls"}, {TransportProtocol: "raw_buffer"}},
			map[string]int{"tls": 0, "raw_buffer": 1, "": 1}},
		{"transport, else", []*MatchConfig{{TransportProtocol: "tls"}, nil}, map[string]int{"tls": 0, "raw_buffer": 1, "": 1}},
		{"alpn in the client's order", []*MatchConfig{
			{ApplicationProtocols: []string{"h2", "h3"}}, {ApplicationProtocols: []string{"http/1.1"}}, nil,
		}, map[string]int{
			"alpn=http/1.1,h2": 1, "alpn=h2,http/1.1": 0, "alpn=h3": 0, "alpn=spdy,h2": 0, "alpn=spdy": 2, "": 2, "alpn=H2": 2,
		}},
		{"direct source", []*MatchConfig{
			{DirectSourcePrefixRanges: []string{"10.0.0.0/8"}, SourcePrefixRanges: []string{"198.51.0.0/16"}},
			{DirectSourcePrefixRanges: []string{"10.1.0.0/16"}}, nil,
		}, map[string]int{"direct=10.0.0.1": 0, "direct=10.1.0.1": 1, "direct=10.0.0.1 src=192.0.2.1:1 direct=10.0.0.1": -1, "": 2}},
		{"source type", []*MatchConfig{{SourceType: "same_ip_or_loopback"}, {SourceType: "external"}},
			map[string]int{
				"": 1, "src=127.0.0.9:1": 0, "src=[::1]:1": 0, "src=203.0.113.1:5": 0, "unix": 0,
			}},
		{"source type, else", []*MatchConfig{{SourceType: "same_ip_or_loopback"}, {SourceType: "any"}},
			map[string]int{"": 1, "src=127.0.0.9:1": 0}},
		{"source type hides any", []*MatchConfig{{SourceType: "external", SourcePorts: []uint16{1}}, {SourceType: "any"}},
			map[string]int{"": -1, "src=127.0.0.9:1": 1, "src=198.51.100.1:1": 0}},
		{"source", []*MatchConfig{
			{SourcePrefixRanges: []string{"198.51.100.0/24", "2001:db8::/32", "::ffff:192.0.2.0/120"}},
			{SourcePrefixRanges: []string{"198.51.100.1/32"}, SourcePorts: []uint16{40000, 40001}},
			{SourcePorts: []uint16{7}},
		}, map[string]int{
			"": 1, "src=198.51.100.1:40001": 1, "src=198.51.100.1:40002": -1, "src=198.51.100.2:1": 0, "src=[2001:db8::1]:1": 0,
			"src=192.0.2.200:1": 0, "src=10.0.0.1:7": 2, "src=10.0.0.1:8": -1,
		}},
	} {
		table := mustCompile(t, tt.matches...)
		for in, want := range tt.want {
			if got := find(t, table, in); got != want {
				t.Errorf("%s: Find(%q) = %d, want %d", tt.name, in, got, want)
			}
		}
	}
}

func TestMatchDuplicates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		matches []*MatchConfig
		want    []string // "chain other"
	}{
		{"none twice", []*MatchConfig{nil, {SourceType: "any"}, nil}, []string{"1 0", "2 0"}},
		{"one name of several", []*MatchConfig{{ServerNames: []string{"a.b", "c.d"}}, {ServerNames: []string{"e.f", "C.D"}}}, []string{"1 0"}},
		{"two of the first", []*MatchConfig{{ServerNames: []string{"a.b"}}, {ServerNames: []string{"c.d"}}, {ServerNames: []string{"a.b", "c.d"}}},
			[]string{"2 0", "2 1"}},
		{"prefixes that are the same", []*MatchConfig{{PrefixRanges: []string{"10.0.0.1/8"}}, {PrefixRanges: []string{"::ffff:10.9.9.9/104"}}},
			[]string{"1 0"}},
		{"itself", []*MatchConfig{{ServerNames: []string{"a.b", "A.B"}, SourcePorts: []uint16{1, 1}}}, nil},
		{"overlap is none", []*MatchConfig{{PrefixRanges: []string{"10.0.0.0/8"}}, {PrefixRanges: []string{"10.0.0.0/9"}}}, nil},
	} {
		_, problems := CompileChains(tt.matches)
		var got []string
		for _, p := range problems {
			got = append(got, fmt.Sprintf("%d %d", p.Chain, p.Other))
			if p.Text == "" || p.Hint == "" {
				t.Errorf("%s: problem without a text: %+v", tt.name, p)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: problems %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestMatchTooMany(t *testing.T) {
	t.Parallel()
	big := &MatchConfig{}
	for i := range 1025 {
		big.ServerNames = append(big.ServerNames, fmt.Sprintf("h%d.example", i))
		big.SourcePorts = append(big.SourcePorts, uint16(i+1))
	}
	if _, problems := CompileChains([]*MatchConfig{nil, big}); len(problems) != 1 || problems[0].Chain != 1 || problems[0].Other != -1 {
		t.Errorf("problems %+v", problems)
	}
	big.SourcePorts = big.SourcePorts[:1000]
	_, problems := CompileChains([]*MatchConfig{big, {SourcePorts: big.SourcePorts, ServerNames: []string{"a.b", "a.c", "a.d", "*.a", "*.b", "*.c", "*.d"}}})
	if len(problems) == 0 {
		_, problems = CompileChains([]*MatchConfig{big, {DestinationPort: 1, SourcePorts: big.SourcePorts, ServerNames: big.ServerNames[:100]}})
	}
	if len(problems) != 1 || !strings.Contains(problems[0].Text, "combinations") {
		t.Errorf("problems %+v", problems)
	}
	if _, problems = CompileChains([]*MatchConfig{{PrefixRanges: []string{"bad"}}}); len(problems) != 1 {
		t.Errorf("problems of a bad prefix: %+v", problems)
	}
}

func TestMatchValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		m    MatchConfig
		want string // path and a part of the problem
	}{
		{MatchConfig{}, ""},
		{MatchConfig{ServerNames: []string{"a.b", "*.a.b", "_x.a-b", "localhost"}, TransportProtocol: "tls"}, ""},
		{MatchConfig{ServerNames: []string{"a.b", "*"}}, `server_names[1]: "*" is every name`},
		{MatchConfig{ServerNames: []string{"www.*.b"}}, "server_names[0]: server name \"www.*.b\" has a wildcard"},
		{MatchConfig{ServerNames: []string{"*a.b"}}, "has a wildcard"},
		{MatchConfig{ServerNames: []string{"*.*.b"}}, "has a wildcard"},
		{MatchConfig{ServerNames: []string{"a.b."}}, "ends in a dot"},
		{MatchConfig{ServerNames: []string{"a..b"}}, "empty label"},
		{MatchConfig{ServerNames: []string{".a"}}, "empty label"},
		{MatchConfig{ServerNames: []string{""}}, "a server name of 0 bytes"},
		{MatchConfig{ServerNames: []string{"a:443"}}, "a byte that names do not have"},
		{MatchConfig{ServerNames: []string{"ü.de"}}, "a byte that names do not have"},
		{MatchConfig{ServerNames: []string{"10.0.0.1"}}, "is an address"},
		{MatchConfig{PrefixRanges: []string{"10.0.0.0/8", "10.0.0.0/33"}}, "prefix_ranges[1]: "},
		{MatchConfig{SourcePrefixRanges: []string{"x"}}, "source_prefix_ranges[0]: "},
		{MatchConfig{DirectSourcePrefixRanges: []string{"fe80::1%eth0"}}, "direct_source_prefix_ranges[0]: "},
		{MatchConfig{ApplicationProtocols: []string{""}}, "application_protocols[0]: a protocol of 0 bytes"},
		{MatchConfig{TransportProtocol: "raw_buffer", ServerNames: []string{"a.b"}}, "transport_protocol: only connections"},
	} {
		var got []string
		tt.m.Validate(func(path, problem, hint string) { got = append(got, path+": "+problem) })
		if all := strings.Join(got, "; "); tt.want == "" && all != "" || !strings.Contains(all, tt.want) || len(got) > 1 {
			t.Errorf("Validate(%+v) reports %q, want %q", tt.m, all, tt.want)
		}
	}
}

// naiveFind is the rule as it is written: criterion by criterion, keep the chains with the most specific match.
func naiveFind(matches []*MatchConfig, in *MatchInput) int {
	left := make([]int, len(matches))
	for i := range left {
		left[i] = i
	}
	for _, rank := range []func(m *MatchConfig) int{
		func(m *MatchConfig) int {
			return naiveOne(m.DestinationPort != 0, m.DestinationPort == in.DestinationPort)
		},
		func(m *MatchConfig) int { return naivePrefix(m.PrefixRanges, in.Destination) },
		func(m *MatchConfig) int { return naiveName(m.ServerNames, in.ServerName) },
		func(m *MatchConfig) int {
			have := in.TransportProtocol
			if have == "" {
				have = "raw_buffer"
			}
			return naiveOne(m.TransportProtocol != "", m.TransportProtocol == have)
		},
		func(m *MatchConfig) int {
			for i, p := range in.ApplicationProtocols {
				if slices.Contains(m.ApplicationProtocols, p) {
					return 1000 - i
				}
			}
			return naiveOne(len(m.ApplicationProtocols) > 0, false)
		},
		func(m *MatchConfig) int { return naivePrefix(m.DirectSourcePrefixRanges, in.DirectSource) },
		func(m *MatchConfig) int {
			local := !in.Source.IsValid() || in.Source.IsLoopback() || in.Source == in.Destination
			return naiveOne(m.SourceType == sourceLocal || m.SourceType == sourceExternal, local == (m.SourceType == sourceLocal))
		},
		func(m *MatchConfig) int { return naivePrefix(m.SourcePrefixRanges, in.Source) },
		func(m *MatchConfig) int {
			return naiveOne(len(m.SourcePorts) > 0, slices.Contains(m.SourcePorts, in.SourcePort))
		},
	} {
		best, next := -1, []int(nil)
		for _, i := range left {
			switch r := rank(matches[i]); {
			case r > best:
				best, next = r, []int{i}
			case r == best && r >= 0:
				next = append(next, i)
			}
		}
		left = next
	}
	if len(left) == 0 {
		return -1
	}
	return left[0]
}

// naiveOne ranks a criterion that is there or not: -1 for no match, 0 for none.
func naiveOne(given, matches bool) int {
	switch {
	case !given:
		return 0
	case matches:
		return 1
	}
	return -1
}

func naivePrefix(list []string, ip netip.Addr) int {
	best := naiveOne(len(list) > 0, false)
	for _, s := range list {
		if p := netip.MustParsePrefix(s); ip.IsValid() && p.Contains(ip) {
			best = max(best, p.Bits()+1)
		}
	}
	return best
}

func naiveName(list []string, name string) int {
	best := naiveOne(len(list) > 0, false)
	for _, s := range list {
		if suffix, wild := strings.CutPrefix(s, "*"); wild && name != "" && strings.HasSuffix(name, suffix) && len(name) > len(suffix) {
			best = max(best, len(suffix))
		}
		if s == name {
			best = 1000
		}
	}
	return best
}

// TestMatchAgainstNaive: random chains and connections out of few values, so that they meet.
func TestMatchAgainstNaive(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 11))
	some := func(values ...string) (list []string) {
		for _, v := range values {
			if rng.IntN(2*len(values)) == 0 {
				list = append(list, v)
			}
		}
		return list
	}
	one := func(values ...string) string { return values[rng.IntN(len(values))] }
	names := []string{"a.x.y", "b.x.y", "x.y", "*.x.y", "*.y", "*.a.x.y", "c.a.x.y"}
	prefixes := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "127.0.0.0/8"}
	ips := []string{"10.1.1.1", "10.1.1.2", "10.1.2.1", "10.9.9.9", "11.0.0.1", "2001:db8::1", "::1", "127.0.0.1", ""}
	found := 0
	for range 600 {
		var matches []*MatchConfig
		for range 1 + rng.IntN(8) {
			m := &MatchConfig{
				DestinationPort: uint16(rng.IntN(3)), PrefixRanges: some(prefixes...), ServerNames: some(names...),
				TransportProtocol: one("", "", "tls", "raw_buffer"), ApplicationProtocols: some("h2", "http/1.1"),
				SourcePrefixRanges: some(prefixes...), DirectSourcePrefixRanges: some(prefixes[:3]...),
				SourceType: one("any", "any", "", sourceLocal, sourceExternal),
			}
			if rng.IntN(4) == 0 {
				m.SourcePorts = []uint16{uint16(1 + rng.IntN(2)), uint16(3 + rng.IntN(2))}
			}
			if _, problems := CompileChains(append(matches, m)); len(problems) == 0 {
				matches = append(matches, m)
			}
		}
		table := mustCompile(t, matches...)
		for range 40 {
			ip := func() netip.Addr { a, _ := netip.ParseAddr(one(ips...)); return a }
			in := MatchInput{
				Destination: ip(), DestinationPort: uint16(rng.IntN(4)), Source: ip(), SourcePort: uint16(rng.IntN(5)), DirectSource: ip(),
				ServerName: one("a.x.y", "b.x.y", "x.y", "c.a.x.y", "q.a.x.y", "y", "z", ""), TransportProtocol: one("", "tls", "raw_buffer"),
				ApplicationProtocols: some("http/1.1", "spdy", "h2"),
			}
			got, want := table.Find(&in), naiveFind(matches, &in)
			if got != want {
				t.Fatalf("Find(%+v) = %d, want %d, of\n%s", in, got, want, showMatches(matches))
			}
			if got >= 0 {
				found++
			}
		}
	}
	if found < 2000 {
		t.Errorf("only %d lookups found a chain", found)
	}
}

func showMatches(matches []*MatchConfig) (s string) {
	for i, m := range matches {
		s += fmt.Sprintf("%d: %+v\n", i, *m)
	}
	return s
}

// manyChains are 10,000 chains by name, prefix and port.
func manyChains() []*MatchConfig {
	matches := []*MatchConfig{nil}
	for i := range 4000 {
		matches = append(matches, &MatchConfig{ServerNames: []string{fmt.Sprintf("www.customer-%d.example", i), fmt.Sprintf("*.customer-%d.example", i)}})
	}
	for i := range 4000 {
		matches = append(matches, &MatchConfig{PrefixRanges: []string{fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)}, ServerNames: []string{"shared.example"}})
	}
	for i := range 2000 {
		matches = append(matches, &MatchConfig{DestinationPort: uint16(10000 + i)})
	}
	return matches
}

func TestMatchAllocs(t *testing.T) {
	table := mustCompile(t, manyChains()...)
	for _, tt := range []struct {
		in   MatchInput
		want int
	}{
		{MatchInput{ServerName: "www.customer-3999.example", TransportProtocol: "tls", DestinationPort: 443}, 4000},
		{MatchInput{ServerName: "a.b.customer-7.example", TransportProtocol: "tls", DestinationPort: 443}, 8},
		{MatchInput{ServerName: "shared.example", Destination: netip.MustParseAddr("10.15.159.1")}, 8000},
		{MatchInput{DestinationPort: 11999}, 10000},
		{MatchInput{}, 0},
	} {
		var got int
		if n := testing.AllocsPerRun(100, func() { got = table.Find(&tt.in) }); n != 0 || got != tt.want {
			t.Errorf("Find(%+v) = %d with %v allocations, want %d with none", tt.in, got, n, tt.want)
		}
	}
}

func BenchmarkChainTableFind(b *testing.B) {
	table := mustCompile(b, manyChains()...)
	for name, in := range map[string]MatchInput{
		"name":     {ServerName: "www.customer-3999.example", TransportProtocol: "tls", DestinationPort: 443},
		"wildcard": {ServerName: "a.b.customer-7.example", TransportProtocol: "tls", DestinationPort: 443},
		"prefix":   {ServerName: "shared.example", Destination: netip.MustParseAddr("10.15.159.1")},
		"default":  {},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs() // TestMatchAllocs holds this at zero
			for b.Loop() {
				if table.Find(&in) < 0 {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkCompileChains(b *testing.B) {
	matches := manyChains()
	for b.Loop() {
		if _, problems := CompileChains(matches); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
