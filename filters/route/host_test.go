package route

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// compileDomains makes a table with one virtual host for each list of domains, named by the list.
func compileDomains(t testing.TB, top string, lists ...string) *Table {
	t.Helper()
	var hosts []string
	for _, list := range lists {
		quoted := strings.ReplaceAll(fmt.Sprintf("%q", list), " ", `", "`)
		hosts = append(hosts, fmt.Sprintf(`{"name": %q, "domains": [%s], "routes": [
			{"name": %q, "match": {"prefix": "/"}, "route": {"cluster": "c1"}}]}`, list, quoted, list))
	}
	return compile(t, `{`+top+`"virtual_hosts": [`+strings.Join(hosts, ",")+`]}`)
}

func TestDomains(t *testing.T) {
	t.Parallel()
	table := compileDomains(t, "", "foo.com www.Foo.com", "*.foo.com", "*-bar.foo.com", "foo.*", "www.foo.*", "[::1]:80")
	withAny := compileDomains(t, "", "foo.com", "*")
	for _, tt := range []struct {
		table      *Table
		host, want string
	}{
		{table, "foo.com", "foo.com www.Foo.com"},
		{table, "FOO.com", "foo.com www.Foo.com"},
		{table, "www.foo.com", "foo.com www.Foo.com"}, // exact before suffix and prefix
		{table, "a.foo.com", "*.foo.com"},
		{table, "a.b.foo.com", "*.foo.com"},
		{table, "a-bar.foo.com", "*-bar.foo.com"}, // the longest suffix
		{table, "-bar.foo.com", "*.foo.com"},      // a wildcard never stands for nothing
		{table, ".foo.com", "-"},
		{table, "foo.org", "foo.*"},
		{table, "foo.", "-"},
		{table, "www.foo.org", "www.foo.*"},     // the longest prefix
		{table, "www.foo.foo.com", "*.foo.com"}, // suffix before prefix
		{table, "foo.com:8080", "foo.*"},        // the port is part of the host
		{table, "a.foo.com:80", "-"},
		{table, "[::1]:80", "[::1]:80"},
		{table, "", "-"},
		{withAny, "", "*"},
		{withAny, "bar", "*"},
	} {
		if got := matchName(t, tt.table, request("GET "+tt.host+"/")); got != tt.want {
			t.Errorf("host %q = %s; want %s", tt.host, got, tt.want)
		}
	}
}

func TestIgnorePort(t *testing.T) {
	t.Parallel()
	table := compileDomains(t, `"ignore_port_in_host_matching": true, `, "foo.com", "*.foo.com", "[::1]")
	for host, want := range map[string]string{
		"foo.com:8080": "foo.com", "foo.com:": "foo.com", "a.foo.com:1": "*.foo.com", "foo.com:x": "-", "[::1]:80": "[::1]", "[::1]": "[::1]", ":80": "-",
	} {
		if got := matchName(t, table, request("GET "+host+"/")); got != want {
			t.Errorf("host %q = %s; want %s", host, got, want)
		}
	}
}

func TestLowerWord(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for at := range 8 {
			b := bytes.Repeat([]byte{'Z'}, 8)
			b[at] = byte(c)
			var w, want uint64
			for i := range 8 {
				l := b[i]
				if l >= 'A' && l <= 'Z' {
					l += 'a' - 'A'
				}
				w, want = w|uint64(b[i])<<(8*i), want|uint64(l)<<(8*i)
			}
			if got := lowerWord(w); got != want {
				t.Fatalf("lowerWord(%x) = %x; want %x", w, got, want)
			}
		}
	}
}

// naiveHost finds the virtual host of a host by going through all domains.
func naiveHost(domains [][]string, host string) int {
	best, rank, size := -1, 4, -1
	host = strings.ToLower(host)
	for i, list := range domains {
		for _, domain := range list {
			d := strings.ToLower(domain)
			r, fits := 4, false
			switch {
			case d == "*":
				r, fits = 3, true
			case d[0] == '*':
				r, fits = 1, len(host) >= len(d) && strings.HasSuffix(host, d[1:])
			case d[len(d)-1] == '*':
				r, fits = 2, len(host) >= len(d) && strings.HasPrefix(host, d[:len(d)-1])
			default:
				r, fits = 0, host == d
			}
			if fits && (r < rank || r == rank && len(d) > size) {
				best, rank, size = i, r, len(d)
			}
		}
	}
	return best
}

// checkHosts compares the index with naiveHost. Domains that are refused or repeated are left out.
func checkHosts(t interface {
	Helper()
	Fatalf(string, ...any)
}, domains []string, hosts []string) {
	t.Helper()
	cfg, seen := Config{}, map[string]bool{}
	var lists [][]string
	for i, d := range domains {
		if _, _, problem := parseDomain(d); problem == "" && !seen[strings.ToLower(d)] {
			seen[strings.ToLower(d)] = true
			lists = append(lists, []string{d})
			cfg.VirtualHosts = append(cfg.VirtualHosts, VirtualHostConfig{Name: fmt.Sprint(i), Domains: []string{d}, RequireTLS: "none"})
		}
	}
	table, problems := Compile(&cfg, clusters, nil)
	if table == nil {
		t.Fatalf("Compile(%q) = %v", domains, problems)
	}
	for _, host := range hosts {
		got, want := int(table.hosts.lookup([]byte(host))), naiveHost(lists, host)
		if got != want {
			t.Fatalf("host %q among %q = %d; want %d", host, lists, got, want)
		}
		if _, trail := table.Explain(request("GET " + host + "/")); want >= 0 && host != "" && trail.Domains[0].VirtualHost != cfg.VirtualHosts[want].Name {
			t.Fatalf("host %q among %q: trail has %+v first; want %s", host, lists, trail.Domains, cfg.VirtualHosts[want].Name)
		}
	}
}

func TestHostsProperty(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`[abAB.\-]{0,6}`)
	domain := rapid.OneOf(text, rapid.Map(text, func(s string) string { return "*" + s }), rapid.Map(text, func(s string) string { return s + "*" }))
	rapid.Check(t, func(t *rapid.T) {
		checkHosts(t, rapid.SliceOfN(domain, 0, 20).Draw(t, "domains"), rapid.SliceOfN(text, 1, 20).Draw(t, "hosts"))
	})
}

// FuzzHosts: domains are separated by spaces. The index must agree with a scan.
func FuzzHosts(f *testing.F) {
	f.Add("foo.com *.foo.com foo.* *", "a.FOO.com")
	f.Add("*-bar.foo.com *.foo.com", "-bar.foo.com")
	f.Add("[::1]:80 a* *a", "[::1]:80")
	f.Add("ABCDEFGHIJKLMNOP *hijklmnopq", "abcdefghijklmnop")
	f.Fuzz(func(t *testing.T, domains, host string) {
		if strings.ContainsAny(host, "/ ") || strings.ToLower(host) != string(bytes.ToLower([]byte(host))) {
			t.Skip()
		}
		for _, c := range []byte(host) {
			if c <= ' ' || c >= 0x7f { // no codec lets that through
				t.Skip()
			}
		}
		checkHosts(t, strings.Fields(domains), []string{host})
	})
}
