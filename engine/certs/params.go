package certs

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// versions are the protocol versions by their names in a config.
var versionNames = map[string]uint16{
	"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// versionOf returns a version, or a default if none is named.
func versionOf(name string, absent uint16) (uint16, error) {
	if name == "" {
		return absent, nil
	}
	v, ok := versionNames[name]
	if !ok {
		return 0, fmt.Errorf("unknown TLS version %q; want 1.0, 1.1, 1.2 or 1.3", name)
	}
	return v, nil
}

// A suiteName is one cipher suite of TLS 1.2 and older.
type suiteName struct {
	id      uint16
	openssl string
	iana    string
}

// suites are the suites that may be named, best first. Left out are those that are broken: RC4, 3DES.
var suites = []suiteName{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
	// No default holds what follows: CBC has been broken again and again, plain RSA has no forward secrecy.
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", "TLS_RSA_WITH_AES_256_GCM_SHA384"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA256"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", "TLS_RSA_WITH_AES_256_CBC_SHA"},
}

// suitesDefault is how many of suites are on unless others are named: Envoy's default list.
const suitesDefault = 6

// suites13 are the suites of TLS 1.3, which cannot be chosen.
var suites13 = []string{
	"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
}

// suitesOf returns the suites of a list of names. "[a|b]", Envoy's form for equal preference, is two names.
func suitesOf(names []string) (ids []uint16, err error) {
	if len(names) == 0 {
		for _, s := range suites[:suitesDefault] {
			ids = append(ids, s.id)
		}
		return ids, nil
	}
	for _, entry := range names {
		for name := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]"), "|") {
			id, p := suiteOf(name)
			if p != nil {
				return nil, p
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// suiteOf returns the suite of a name.
func suiteOf(name string) (uint16, *problem) {
	for _, s := range suites {
		if strings.EqualFold(name, s.openssl) || strings.EqualFold(name, s.iana) {
			return s.id, nil
		}
	}
	for _, s := range suites13 {
		if strings.EqualFold(name, s) {
			return 0, &problem{fmt.Sprintf("%q is a suite of TLS 1.3", name), "leave it out: TLS 1.3 always has its three suites"}
		}
	}
	upper := strings.ToUpper(name)
	for _, broken := range []string{"RC4", "3DES", "DES-CBC3", "NULL", "EXPORT", "MD5", "ADH", "AECDH"} {
		if strings.Contains(upper, broken) {
			return 0, &problem{fmt.Sprintf("cipher suite %q is broken", name), "leave it out"}
		}
	}
	known := make([]string, 0, 2*len(suites))
	for _, s := range suites {
		known = append(known, s.openssl)
	}
	for _, s := range suites {
		known = append(known, s.iana)
	}
	return 0, &problem{fmt.Sprintf("unknown cipher suite %q", name), nearHint(name, known)}
}

// curves are the groups for key exchange; the first name is the one to write.
var curves = []struct {
	id    tls.CurveID
	names []string
}{
	{tls.X25519MLKEM768, []string{"X25519MLKEM768"}},
	{tls.X25519, []string{"X25519"}},
	{tls.CurveP256, []string{"P-256", "P256", "CurveP256", "prime256v1", "secp256r1"}},
	{tls.CurveP384, []string{"P-384", "P384", "CurveP384", "secp384r1"}},
	{tls.CurveP521, []string{"P-521", "P521", "CurveP521", "secp521r1"}},
	{tls.SecP256r1MLKEM768, []string{"SecP256r1MLKEM768"}},
	{tls.SecP384r1MLKEM1024, []string{"SecP384r1MLKEM1024"}},
}

// curvesDefault is how many of curves are offered unless others are named.
const curvesDefault = 4

// curvesOf returns the groups of a list of names.
func curvesOf(names []string) (ids []tls.CurveID, err error) {
	if len(names) == 0 {
		for _, c := range curves[:curvesDefault] {
			ids = append(ids, c.id)
		}
		return ids, nil
	}
	for _, name := range names {
		id, p := curveOf(name)
		if p != nil {
			return nil, p
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func curveOf(name string) (tls.CurveID, *problem) {
	known := make([]string, len(curves))
	for i, c := range curves {
		known[i] = c.names[0]
		for _, n := range c.names {
			if strings.EqualFold(n, name) {
				return c.id, nil
			}
		}
	}
	return 0, &problem{fmt.Sprintf("unknown group %q", name), nearHint(name, known)}
}
