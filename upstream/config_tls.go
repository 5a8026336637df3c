package upstream

import (
	"fmt"
	"reflect"
	"slices"
)

// The names of protocols in ALPN.
const (
	ALPNHTTP1 = "http/1.1"
	ALPNHTTP2 = "h2"
)

// ALPN returns what connections that carry HTTP offer: what the config says, else what the protocol needs.
func (c *Config) ALPN() []string {
	switch {
	case c.TLS != nil && len(c.TLS.ALPN) > 0:
		return c.TLS.ALPN
	case c.Protocol == "http2":
		return []string{ALPNHTTP2}
	case c.IsAuto():
		return []string{ALPNHTTP2, ALPNHTTP1}
	}
	return []string{ALPNHTTP1}
}

// checkALPN reports protocols that are offered and not spoken.
func (c *Config) checkALPN(report func(path, problem, hint string)) {
	if c.TLS == nil || len(c.TLS.ALPN) == 0 {
		return
	}
	offers := func(name string) bool { return slices.Contains(c.TLS.ALPN, name) }
	hint := "leave alpn out: it follows from protocol"
	switch {
	case c.Protocol == "http2" && !offers(ALPNHTTP2):
		report("tls.alpn", `a cluster of protocol "http2" has to offer "h2"`, hint)
	case c.Protocol == "http1" && offers(ALPNHTTP2):
		report("tls.alpn", `a cluster of protocol "http1" offers "h2", which it does not speak`, `write "protocol": "auto"`)
	case c.IsAuto():
		for i, name := range c.TLS.ALPN {
			if name != ALPNHTTP1 && name != ALPNHTTP2 && name != "http/1.0" {
				report(fmt.Sprintf("tls.alpn[%d]", i), fmt.Sprintf("%q is nothing that protocol \"auto\" speaks", name), hint)
			}
		}
	}
}

// SameTLS reports whether the hosts are spoken to by the same TLS, or by none.
func (c *Config) SameTLS(o *Config) bool {
	if c.TLS == nil || o.TLS == nil {
		return c.TLS == o.TLS
	}
	return reflect.DeepEqual(c.TLS, o.TLS)
}
