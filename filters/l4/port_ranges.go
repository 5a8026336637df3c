package l4

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// portRangesMax bounds the items of a list of ports in the configuration.
const portRangesMax = 1024

// A portRange is the ports from first to last, both included.
type portRange struct{ first, last uint16 }

// portRanges are disjoint and sorted. None at all matches no port.
type portRanges []portRange

// parsePortRanges reads "1-1024,2048-4096,12345". Ranges may overlap. "" is no range.
func parsePortRanges(s string) (portRanges, error) {
	if s == "" {
		return nil, nil
	}
	items := strings.Split(s, ",")
	if len(items) > portRangesMax {
		return nil, fmt.Errorf("%d items exceed the maximum of %d", len(items), portRangesMax)
	}
	var all portRanges
	for _, item := range items {
		r, err := parsePortRange(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all.merged(), nil
}

// parsePortRange reads "80" or "8000-8080".
func parsePortRange(s string) (portRange, error) {
	if s == "" {
		return portRange{}, errors.New("an item is empty")
	}
	from, to, isRange := strings.Cut(s, "-")
	first, err := parsePort(from)
	if err != nil {
		return portRange{}, err
	}
	if !isRange {
		return portRange{first, first}, nil
	}
	last, err := parsePort(to)
	switch {
	case err != nil:
		return portRange{}, err
	case last < first:
		return portRange{}, fmt.Errorf("range %q ends before it begins", s)
	}
	return portRange{first, last}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// merged returns the same ports as disjoint, sorted ranges.
func (p portRanges) merged() portRanges {
	slices.SortFunc(p, func(a, b portRange) int { return cmp.Compare(a.first, b.first) })
	var out portRanges
	for _, r := range p {
		if n := len(out) - 1; n >= 0 && int(r.first) <= int(out[n].last)+1 {
			out[n].last = max(out[n].last, r.last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// contains reports whether a port is in one of the ranges.
func (p portRanges) contains(port uint16) bool {
	for _, r := range p {
		if port < r.first {
			return false
		}
		if port <= r.last {
			return true
		}
	}
	return false
}

// covers reports whether all ports of q are in p.
func (p portRanges) covers(q portRanges) bool {
	for _, r := range q {
		if !slices.ContainsFunc(p, func(o portRange) bool { return o.first <= r.first && r.last <= o.last }) {
			return false
		}
	}
	return true
}
