package admin

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// discardLog swallows net/http's complaints about peers.
var discardLog = log.New(io.Discard, "", 0)

type unixKey struct{}

// markUnix notes in the context of a connection that it came over a Unix socket, which no
// browser can open: the guards are not needed there.
func markUnix(ctx context.Context, c net.Conn) context.Context {
	if c.LocalAddr().Network() == "unix" {
		return context.WithValue(ctx, unixKey{}, true)
	}
	return ctx
}

// guarded answers 403 and reports true if r may be the work of a web page of someone else.
func (s *Server) guarded(w http.ResponseWriter, r *http.Request) bool {
	if r.Context().Value(unixKey{}) != nil {
		return false
	}
	if !s.knownHost(r.Host) {
		http.Error(w, "host not allowed; use an IP address, localhost, or a name in the config's admin.hosts", http.StatusForbidden)
		return true
	}
	// Only requests that change something are checked: others do no harm, and what they
	// answer stays unreadable across sites.
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		http.Error(w, "cross-site request refused", http.StatusForbidden)
		return true
	}
	return false
}

// knownHost reports whether host is one that nobody else can point at us: a name would be
// looked up in a DNS that the attacker answers.
func (s *Server) knownHost(host string) bool {
	host = hostOnly(host)
	if host == "" { // HTTP/1.0 without Host: not a browser
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return s.hosts[strings.ToLower(host)]
}

// hostOnly cuts port and brackets off a Host.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
