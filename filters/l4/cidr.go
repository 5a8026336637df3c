package l4

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"millrace/engine"
)

// cidrsMax bounds a list of prefixes in the configuration.
const cidrsMax = 65536

// parseCIDR reads "10.0.0.0/8", "2001:db8::/32" or an address alone. Bits behind the length are cleared, and
// IPv4-mapped prefixes become IPv4, as addresses do in engine.
func parseCIDR(s string) (netip.Prefix, error) {
	host, length, cut := strings.Cut(s, "/")
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is not an IP address or prefix", s)
	case ip.Zone() != "":
		return netip.Prefix{}, fmt.Errorf("%q has a zone, which a prefix cannot have", s)
	}
	bits := ip.BitLen()
	if cut {
		n, err := strconv.ParseUint(length, 10, 8)
		if err != nil || int(n) > bits || length[0] == '+' || len(length) > 1 && length[0] == '0' {
			return netip.Prefix{}, fmt.Errorf("%q has a length that is not a number from 0 to %d", s, bits)
		}
		bits = int(n)
	}
	if ip.Is4In6() && bits >= 96 {
		ip, bits = ip.Unmap(), bits-96
	}
	return netip.PrefixFrom(ip, bits).Masked(), nil
}

// checkCIDRs reports what is wrong with a list of prefixes at path.
func checkCIDRs(path string, list []string, report func(path, problem, hint string)) {
	if len(list) > cidrsMax {
		report(path, fmt.Sprintf("%d prefixes exceed the maximum of %d", len(list), cidrsMax), "write fewer, shorter prefixes")
		return
	}
	for i, s := range list {
		if _, err := parseCIDR(s); err != nil {
			report(fmt.Sprintf("%s[%d]", path, i), err.Error(), `write a prefix such as "10.0.0.0/8", "2001:db8::/32", or an address`)
		}
	}
}

// A cidrList is a set of IP prefixes. It does not change, and any loop may ask it.
//
// Prefixes are either disjoint or one within the other, so sorted by address and length they are a forest in
// preorder: the longest that holds an address is the last one that starts at or before it, or one around that.
type cidrList struct {
	v4, v6 []cidrEntry
}

type cidrEntry struct {
	prefix netip.Prefix
	around int32 // the entry that this one lies in, or -1
	index  int32 // in the list as given
}

// newCIDRList makes a list of prefixes in the form parseCIDR reads.
func newCIDRList(list []string) (*cidrList, error) {
	prefixes := make([]netip.Prefix, 0, len(list))
	var errs []error
	for _, s := range list {
		p, err := parseCIDR(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		prefixes = append(prefixes, p)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return cidrListOf(prefixes), nil
}

// cidrListOf makes a list of prefixes that parseCIDR returned. Of equal ones the first counts.
func cidrListOf(prefixes []netip.Prefix) *cidrList {
	l := new(cidrList)
	for i, p := range prefixes {
		e := cidrEntry{prefix: p, around: -1, index: int32(i)}
		if p.Addr().Is4() {
			l.v4 = append(l.v4, e)
		} else {
			l.v6 = append(l.v6, e)
		}
	}
	l.v4, l.v6 = cidrForest(l.v4), cidrForest(l.v6)
	return l
}

// cidrForest sorts entries of one family and finds out which lies in which.
func cidrForest(all []cidrEntry) []cidrEntry {
	slices.SortFunc(all, func(a, b cidrEntry) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()),
			cmp.Compare(a.index, b.index))
	})
	all = slices.CompactFunc(all, func(a, b cidrEntry) bool { return a.prefix == b.prefix })
	open := int32(-1)
	for i := range all {
		for open >= 0 && !all[open].prefix.Contains(all[i].prefix.Addr()) {
			open = all[open].around
		}
		all[i].around = open
		open = int32(i)
	}
	return all
}

// empty reports whether no prefix is in the list.
func (l *cidrList) empty() bool { return len(l.v4)+len(l.v6) == 0 }

// contains reports whether one of the prefixes holds the address. Unix sockets are in none.
func (l *cidrList) contains(a *engine.Addr) bool {
	index, _ := l.longest(a)
	return index >= 0
}

// longest returns the index, in the list as given, of the longest prefix that holds the address, and its length;
// -1, -1 if none does.
//
// Hot path: BenchmarkCIDRList.
func (l *cidrList) longest(a *engine.Addr) (index, bits int) {
	if a.IsUnix() || a.IsZero() || l.empty() {
		return -1, -1
	}
	ip := a.NetIP()
	if ip.Zone() != "" {
		ip = ip.WithZone("")
	}
	return l.longestOf(ip)
}

// longestOf is longest for an address without a zone that is not IPv4-mapped.
func (l *cidrList) longestOf(ip netip.Addr) (index, bits int) {
	if e := l.find(ip, ip.BitLen()); e != nil {
		return int(e.index), e.prefix.Bits()
	}
	return -1, -1
}

// covers reports whether one of the prefixes holds all addresses of p, in the form that parseCIDR returns.
func (l *cidrList) covers(p netip.Prefix) bool { return l.find(p.Addr(), p.Bits()) != nil }

// find returns the longest prefix of at most so many bits that holds an address, or nil.
func (l *cidrList) find(ip netip.Addr, bitsMax int) *cidrEntry {
	entries := l.v6
	if ip.Is4() {
		entries = l.v4
	}
	lo, hi := 0, len(entries) // entries before lo start at or before ip, those from hi on after it
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); entries[mid].prefix.Addr().Compare(ip) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for i := int32(lo) - 1; i >= 0; i = entries[i].around {
		if e := &entries[i]; e.prefix.Contains(ip) && e.prefix.Bits() <= bitsMax {
			return e
		}
	}
	return nil
}
