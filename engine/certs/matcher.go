package certs

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// regexBytesMax bounds a regular expression, in bytes.
const regexBytesMax = 1024

// A sanMatcher is a SANMatcher made ready.
type sanMatcher struct {
	kind  string // of SANType
	mode  sanMode
	value string
	ip    netip.Addr // of value, if it is one
	fold  bool
	regex *regexp.Regexp
}

type sanMode uint8

const (
	sanExact sanMode = iota
	sanPrefix
	sanSuffix
	sanContains
	sanRegex
)

// DecodeConfigString takes the short form: the whole name.
func (m *SANMatcher) DecodeConfigString(s string) error {
	if s == "" {
		return fmt.Errorf("a name is empty")
	}
	m.Exact = &s
	return nil
}

// compile makes m ready.
func (m *SANMatcher) compile() (sanMatcher, *problem) {
	out := sanMatcher{kind: m.SANType, fold: m.IgnoreCase}
	given := 0
	for mode, text := range []*string{m.Exact, m.Prefix, m.Suffix, m.Contains, m.SafeRegex} {
		if text != nil {
			given++
			out.mode, out.value = sanMode(mode), *text
		}
	}
	switch {
	case given != 1:
		return out, &problem{fmt.Sprintf("%d matches are given", given), "give one of exact, prefix, suffix, contains and safe_regex"}
	case out.value == "" && out.mode == sanExact:
		return out, &problem{"a name is empty", ""}
	case len(out.value) > regexBytesMax:
		return out, &problem{fmt.Sprintf("match of %d bytes exceeds %d", len(out.value), regexBytesMax), ""}
	}
	if out.mode == sanRegex {
		re, err := regexp.Compile(`\A(?:` + out.value + `)\z`)
		if err != nil {
			return out, &problem{err.Error(), ""}
		}
		out.regex = re
	}
	if ip, err := netip.ParseAddr(out.value); err == nil {
		out.ip = ip.Unmap()
	} else if out.kind == "ip_address" && out.mode == sanExact {
		return out, &problem{fmt.Sprintf("%q is no IP address", out.value), ""}
	}
	return out, nil
}

// matches reports whether a certificate has a name that m asks for.
func (m *sanMatcher) matches(c *x509.Certificate) bool {
	if m.wants("dns") {
		for _, n := range c.DNSNames {
			if m.dns(n) {
				return true
			}
		}
	}
	if m.wants("uri") {
		for _, u := range c.URIs {
			if m.text(u.String(), m.fold) {
				return true
			}
		}
	}
	if m.wants("email") {
		for _, e := range c.EmailAddresses {
			if m.text(e, m.fold) {
				return true
			}
		}
	}
	if m.wants("ip_address") {
		for _, b := range c.IPAddresses {
			if ip, ok := netip.AddrFromSlice(b); ok && m.address(ip.Unmap()) {
				return true
			}
		}
	}
	return false
}

func (m *sanMatcher) wants(kind string) bool { return m.kind == "" || m.kind == kind }

// dns compares a DNS name. A name of the certificate such as "*.example.com" matches an exact name with one
// label in place of the star.
func (m *sanMatcher) dns(name string) bool {
	if m.mode == sanExact {
		if rest, wild := strings.CutPrefix(name, "*."); wild {
			label, parent, _ := strings.Cut(m.value, ".")
			return label != "" && strings.Contains(rest, ".") && strings.EqualFold(parent, rest) || strings.EqualFold(m.value, name)
		}
	}
	return m.text(name, true)
}

func (m *sanMatcher) address(ip netip.Addr) bool {
	if m.mode == sanExact {
		return m.ip.IsValid() && m.ip == ip
	}
	return m.text(ip.String(), true)
}

// text compares a name as text.
func (m *sanMatcher) text(name string, fold bool) bool {
	value := m.value
	if fold && m.mode != sanRegex {
		name, value = strings.ToLower(name), strings.ToLower(value)
	}
	switch m.mode {
	case sanExact:
		return name == value
	case sanPrefix:
		return strings.HasPrefix(name, value)
	case sanSuffix:
		return strings.HasSuffix(name, value)
	case sanContains:
		return strings.Contains(name, value)
	}
	return m.regex.MatchString(name)
}
