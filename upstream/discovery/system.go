package discovery

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"millrace/upstream"
)

const (
	defaultTimeout  = 2 * time.Second // of one question to one server
	defaultAttempts = 2               // rounds over all servers
	searchMax       = 16
	serversMax      = 16
	systemBytesMax  = 4 << 20         // of a file of the system
	systemEvery     = 5 * time.Second // how often those files are looked at
)

// settings are what resolv.conf says.
type settings struct {
	servers  []netip.AddrPort
	search   []string
	ndots    int
	attempts int
	timeout  time.Duration
	rotate   bool
}

// parseResolvConf reads a resolv.conf. What it does not know it skips, as all readers of the file do.
func parseResolvConf(text string) settings {
	c := settings{ndots: 1, attempts: defaultAttempts, timeout: defaultTimeout}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0][0] == '#' || f[0][0] == ';' {
			continue
		}
		switch f[0] {
		case "nameserver":
			if ip, err := netip.ParseAddr(f[1]); err == nil && len(c.servers) < serversMax {
				c.servers = append(c.servers, netip.AddrPortFrom(ip, 53))
			}
		case "domain":
			c.search = f[1:2]
		case "search":
			c.search = f[1:min(len(f), searchMax+1)]
		case "options":
			for _, o := range f[1:] {
				c.option(o)
			}
		}
	}
	if len(c.servers) == 0 {
		c.servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	return c
}

// option reads one of "options".
func (c *settings) option(o string) {
	name, text, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(text)
	switch {
	case name == "rotate":
		c.rotate = true
	case err != nil || n < 0:
	case name == "ndots":
		c.ndots = min(n, 15)
	case name == "timeout":
		c.timeout = time.Duration(min(max(n, 1), 30)) * time.Second
	case name == "attempts":
		c.attempts = min(max(n, 1), 5)
	}
}

// candidates are the absolute names to ask for in place of name, in order.
func (c *settings) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var list []string
	if strings.Count(name, ".") >= c.ndots {
		list = append(list, name+".")
	}
	for _, domain := range c.search {
		if full := name + "." + strings.Trim(domain, ".") + "."; len(full) <= 254 && strings.Trim(domain, ".") != "" {
			list = append(list, full)
		}
	}
	if strings.Count(name, ".") < c.ndots {
		list = append(list, name+".")
	}
	return list
}

// parseHosts reads an /etc/hosts: the addresses of names in lower case.
func parseHosts(text string) map[string][]netip.Addr {
	names := map[string][]netip.Addr{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		for _, n := range f[1:] {
			n = strings.ToLower(strings.TrimSuffix(n, "."))
			names[n] = append(names[n], ip.Unmap())
		}
	}
	return names
}

// systemFile is a file of the system that is read again when it has changed.
type systemFile[T any] struct {
	path  string
	parse func(string) T
	value T
	stamp stamp
	next  time.Time
}

// get returns what the file says at a time. Without one, it is as if it were empty.
func (f *systemFile[T]) get(now time.Time) T {
	if now.Before(f.next) {
		return f.value
	}
	first := f.next.IsZero()
	f.next = now.Add(systemEvery)
	if s := stampOf(f.path); first || !s.same(f.stamp) {
		f.stamp = s
		text, err := os.ReadFile(f.path)
		if err != nil || len(text) > systemBytesMax {
			text = nil
		}
		f.value = f.parse(string(text))
	}
	return f.value
}

// stamp is what of a file changes when the file does. The time alone does not, if it is replaced twice in a few milliseconds.
type stamp struct{ info os.FileInfo } // nil: there is no file

// same reports whether it is the same file, unchanged.
func (s stamp) same(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == o.info
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}

func stampOf(path string) stamp {
	fi, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{fi}
}

// resolversOf returns the servers of a dns_resolvers.
func resolversOf(list []string) (servers []netip.AddrPort) {
	for _, text := range list {
		if ap, err := upstream.ParseResolver(text); err == nil {
			servers = append(servers, ap)
		}
	}
	return servers
}
