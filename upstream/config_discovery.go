package upstream

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/engine"
)

// Kinds of clusters: where their hosts come from.
const (
	Static     = "static"
	StrictDNS  = "strict_dns"
	LogicalDNS = "logical_dns"
	HostsFile  = "file"
	// OriginalDst takes whatever clients wanted to reach.
	OriginalDst = "original_dst"
)

// nameBytesMax is the longest name that DNS can ask for.
const nameBytesMax = 253

// DiscoveryConfig says how hosts that are not listed are found.
type DiscoveryConfig struct {
	// HostsFile is the file of type "file": a JSON list of hosts, written as in hosts. It is read again when it changes;
	// one that cannot be read leaves the hosts as they were.
	HostsFile string `json:"hosts_file"`
	// DNSLookupFamily says which addresses are asked for: "auto" (IPv6, and IPv4 if there are none), "v4_only", "v6_only",
	// "v4_preferred" (IPv4, and IPv6 if there are none), "all" (both: with "logical_dns" the first IPv6 address is tried
	// first, and the others beside it when it does not accept within 300ms, or fails). Default "auto".
	DNSLookupFamily string `json:"dns_lookup_family" default:"auto" enum:"auto,v4_only,v6_only,v4_preferred,all"`
	// DNSRefreshRate is how long an answer is used before the name is resolved again. Default 5s.
	DNSRefreshRate time.Duration `json:"dns_refresh_rate" default:"5s" min:"10ms" max:"24h"`
	// RespectDNSTTL uses an answer for as long as it says itself, if it says anything. Default false.
	RespectDNSTTL bool `json:"respect_dns_ttl" default:"false"`
	// DNSMinRefreshRate is the least time of respect_dns_ttl. Default 1s.
	DNSMinRefreshRate time.Duration `json:"dns_min_refresh_rate" default:"1s" min:"10ms" max:"24h"`
	// DNSMaxRefreshRate is the longest time of respect_dns_ttl. Default 1h.
	DNSMaxRefreshRate time.Duration `json:"dns_max_refresh_rate" default:"1h" min:"10ms" max:"24h"`
	// DNSJitter lengthens each wait by a random time up to this, so that names are not all resolved at once. Default 0s.
	DNSJitter time.Duration `json:"dns_jitter" default:"0s" min:"0s" max:"1h"`
	// DNSFailureRefreshRate is how long to wait after a failure. Absent: dns_refresh_rate.
	DNSFailureRefreshRate *FailureRefreshConfig `json:"dns_failure_refresh_rate"`
	// DNSResolvers are the servers to ask, such as "10.0.0.2:53"; without a port 53. Default: those of /etc/resolv.conf,
	// whose search domains and options hold in any case.
	DNSResolvers []string `json:"dns_resolvers" max:"16" v3:"typed_dns_resolver_config.typed_config.resolvers"`
	// CleanupInterval is how often a cluster of type "original_dst" lets go of hosts that nobody has used since the last
	// time. Default 5s.
	CleanupInterval time.Duration `json:"cleanup_interval" default:"5s" min:"10ms" max:"24h"`
	// OriginalDst is for clusters of type "original_dst".
	OriginalDst OriginalDstConfig `json:"original_dst_lb_config"`
}

// FailureRefreshConfig is a wait that doubles with each failure in a row, half of it by chance.
type FailureRefreshConfig struct {
	// BaseInterval is the first wait. Default 1s.
	BaseInterval time.Duration `json:"base_interval" default:"1s" min:"1ms" max:"24h"`
	// MaxInterval is the longest. Default 10s.
	MaxInterval time.Duration `json:"max_interval" default:"10s" min:"1ms" max:"24h"`
}

// DefaultDiscoveryConfig returns the defaults.
func DefaultDiscoveryConfig() DiscoveryConfig {
	return DiscoveryConfig{
		DNSLookupFamily: "auto", DNSRefreshRate: 5 * time.Second, DNSMinRefreshRate: time.Second, DNSMaxRefreshRate: time.Hour,
		CleanupInterval: 5 * time.Second, OriginalDst: DefaultOriginalDstConfig(),
	}
}

// Resolves reports whether the hosts are names that have to be resolved.
func (c *Config) Resolves() bool { return c.Type == StrictDNS || c.Type == LogicalDNS }

// Discovered reports whether hosts have to be found before they can be used.
func (c *Config) Discovered() bool { return c.Resolves() || c.Type == HostsFile }

// SameDiscovery reports whether what finds the hosts of o does for c.
func (c *Config) SameDiscovery(o *Config) bool {
	return c.Type == o.Type && reflect.DeepEqual(c.DiscoveryConfig, o.DiscoveryConfig) &&
		slices.EqualFunc(c.Hosts, o.Hosts, func(a, b HostConfig) bool { return reflect.DeepEqual(a, b) })
}

// A HostName is a host by name: an IP address with a port, a name with a port, or the name of an SRV record.
type HostName struct {
	Name string // without a dot at the end unless it is absolute; an IP address without brackets
	Port uint16 // 0 only if SRV
	SRV  bool   // Name is that of an SRV record, which says the port
}

// ParseHostName parses "app.example.com:80", "10.0.0.1:80", "[::1]:80", or "_http._tcp.example.com" for an SRV record.
func ParseHostName(s string) (HostName, error) {
	if strings.HasPrefix(s, "unix:") {
		return HostName{}, fmt.Errorf("%q is a socket, not a name", s)
	}
	if strings.HasPrefix(s, "_") && !strings.Contains(s, ":") {
		return HostName{Name: s, SRV: true}, checkName(s)
	}
	name, portText, err := net.SplitHostPort(s)
	if err != nil {
		if s != "" && !strings.Contains(s, ":") {
			return HostName{}, fmt.Errorf("%q has no port", s)
		}
		return HostName{}, fmt.Errorf("%q is no name with a port", s)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return HostName{}, fmt.Errorf("port %q of %q is not a number from 1 to 65535", portText, s)
	}
	if _, err := netip.ParseAddr(name); err != nil {
		if err := checkName(name); err != nil {
			return HostName{}, err
		}
	}
	return HostName{Name: name, Port: uint16(port)}, nil
}

// checkName reports what makes a name one that cannot be asked for.
func checkName(name string) error {
	short := strings.TrimSuffix(name, ".")
	if short == "" || len(short) > nameBytesMax {
		return fmt.Errorf("name %q has %d bytes, not 1 to %d", name, len(short), nameBytesMax)
	}
	for label := range strings.SplitSeq(short, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("name %q has a part of %d bytes, not 1 to 63", name, len(label))
		}
		for i := range len(label) {
			if c := label[i]; c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return fmt.Errorf("name %q has a character that no host name can have", name)
			}
		}
	}
	if last := short[strings.LastIndexByte(short, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("%q is neither a name nor an IP address", name)
	}
	return nil
}

// ParseResolver parses an entry of dns_resolvers: an IP address, with a port or without.
func ParseResolver(s string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() != 0 {
		return ap, nil
	}
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(ip, 53), nil
	}
	return netip.AddrPort{}, fmt.Errorf("%q is not the address of a server", s)
}

// checkDiscovery reports what the tags cannot say.
func (c *Config) checkDiscovery(report func(path, problem, hint string)) {
	d := &c.DiscoveryConfig
	switch {
	case c.Resolves():
		c.checkNames(report)
	case c.Type == HostsFile:
		if d.HostsFile == "" {
			report("hosts_file", "a cluster of type \"file\" needs one", "name the file that lists the hosts")
		}
		if len(c.Hosts) > 0 {
			report("hosts", "the hosts of a cluster of type \"file\" are in its file", "remove them, or make the type \"static\"")
		}
	case c.Type != OriginalDst:
		c.checkAddresses(report)
	}
	c.checkOriginalDst(report)
	if d.HostsFile != "" && c.Type != HostsFile {
		report("hosts_file", fmt.Sprintf("a cluster of type %q reads no file", c.Type), "write \"type\": \"file\"")
	}
	if d.DNSMinRefreshRate > d.DNSMaxRefreshRate {
		report("dns_min_refresh_rate", fmt.Sprintf("%v is above dns_max_refresh_rate %v", d.DNSMinRefreshRate, d.DNSMaxRefreshRate), "")
	}
	if f := d.DNSFailureRefreshRate; f != nil && f.BaseInterval > f.MaxInterval {
		report("dns_failure_refresh_rate.base_interval", fmt.Sprintf("%v is above max_interval %v", f.BaseInterval, f.MaxInterval), "")
	}
	for i, r := range d.DNSResolvers {
		if _, err := ParseResolver(r); err != nil {
			report(fmt.Sprintf("dns_resolvers[%d]", i), err.Error(), "write such as \"10.0.0.2:53\"")
		}
	}
}

// checkNames reports hosts that cannot be resolved.
func (c *Config) checkNames(report func(path, problem, hint string)) {
	if c.Type == LogicalDNS && len(c.Hosts) != 1 {
		report("hosts", fmt.Sprintf("a cluster of type \"logical_dns\" has exactly one host, not %d", len(c.Hosts)), "\"strict_dns\" takes any number")
	}
	seen := make(map[HostName]int, len(c.Hosts))
	for i := range c.Hosts {
		path := fmt.Sprintf("hosts[%d].address", i)
		h, err := ParseHostName(c.Hosts[i].Address)
		if err != nil {
			report(path, err.Error(), "write a name and a port such as \"app.example.com:80\"")
			continue
		}
		if len(c.Hosts[i].AdditionalAddresses) > 0 {
			report(fmt.Sprintf("hosts[%d].additional_addresses", i), "the addresses of a name come from DNS", `write "dns_lookup_family": "all"`)
		}
		if h.SRV && c.Type == LogicalDNS {
			report(path, fmt.Sprintf("%q has no port, and only \"strict_dns\" asks for SRV records", c.Hosts[i].Address), "")
			continue
		}
		h.Name = strings.ToLower(h.Name)
		if first, ok := seen[h]; ok {
			report(path, fmt.Sprintf("%q is hosts[%d] too", c.Hosts[i].Address, first), "")
			continue
		}
		seen[h] = i
	}
}

// checkAddresses reports hosts that cannot be connected to as they stand.
func (c *Config) checkAddresses(report func(path, problem, hint string)) {
	CheckHosts(c.Hosts, "hosts", report)
}

// CheckHosts reports which hosts of a list at path have no address, or that of another one.
func CheckHosts(hosts []HostConfig, list string, report func(path, problem, hint string)) {
	seen := make(map[engine.Addr]int, len(hosts))
	for i := range hosts {
		path := fmt.Sprintf("%s[%d].address", list, i)
		address := hosts[i].Address
		a, err := engine.ParseAddr(address)
		if err != nil {
			if _, bad := ParseHostName(address); bad == nil {
				report(path, fmt.Sprintf("%q is a name, not an address", address), `"type": "strict_dns" resolves names`)
			} else {
				report(path, err.Error(), "")
			}
			continue
		}
		if !a.IsUnix() && (a.Port() == 0 || a.NetIP().IsUnspecified()) {
			report(path, fmt.Sprintf("%q is no address to connect to", address), "give the address and the port of one host")
			continue
		}
		checkAdditional(&hosts[i], a, fmt.Sprintf("%s[%d]", list, i), report)
		if first, ok := seen[a]; ok {
			report(path, fmt.Sprintf("%q is the address of %s[%d] too", address, list, first), "give one host a larger weight instead")
			continue
		}
		seen[a] = i
	}
}

// checkAdditional reports additional addresses of a host at a that cannot be connected to, or stand there twice.
func checkAdditional(hc *HostConfig, a engine.Addr, host string, report func(path, problem, hint string)) {
	seen := map[engine.Addr]bool{a: true}
	for i, s := range hc.AdditionalAddresses {
		path := fmt.Sprintf("%s.additional_addresses[%d]", host, i)
		other, err := engine.ParseAddr(s)
		switch {
		case err != nil:
			report(path, err.Error(), "")
		case other.IsUnix() || a.IsUnix():
			report(path, "a socket of this machine has no other addresses", "")
		case other.Port() == 0 || other.NetIP().IsUnspecified():
			report(path, fmt.Sprintf("%q is no address to connect to", s), "give the address and the port of the host")
		case seen[other]:
			report(path, fmt.Sprintf("%q is there already", s), "")
		}
		seen[other] = true
	}
}
