package l4

import (
	"bytes"

	"millrace/codec/ascii"
	"millrace/engine/stats"
	"millrace/filters"
)

// HTTPInspectorConfig configures the "http_inspector" listener filter, which looks at the first line of a connection:
// the preface of HTTP/2 makes its application protocol "h2c", a request line "http/1.0" or "http/1.1". What tls_inspector
// has found to be TLS it leaves alone. It makes connections wait for the client to speak first.
type HTTPInspectorConfig struct{}

// httpInspector looks for HTTP.
type httpInspector struct{ stats *httpInspectorStats }

// httpInspectorStats counts one loop: "http_inspector.".
type httpInspectorStats struct {
	HTTP10Found  stats.Counter `stat:"http10_found" help:"connections that begin with HTTP/1.0"`
	HTTP11Found  stats.Counter `stat:"http11_found" help:"connections that begin with HTTP/1.1"`
	HTTP2Found   stats.Counter `stat:"http2_found" help:"connections that begin with the preface of HTTP/2"`
	HTTPNotFound stats.Counter `stat:"http_not_found" help:"connections that begin with something else"`
	ReadError    stats.Counter `stat:"read_error" help:"connections that ended before their first line did"`
}

func newHTTPInspector(_ *HTTPInspectorConfig, _ *struct{}, env *filters.NetworkEnv) (any, error) {
	return &httpInspector{stats: stats.Register[httpInspectorStats](env.Stats, stats.Root("http_inspector"))}, nil
}

const (
	// httpInspectorLineMax bounds the line that is looked at, in bytes. A longer one is not HTTP.
	httpInspectorLineMax = 8192
	// httpInspectorMethodMax bounds a method, in bytes.
	httpInspectorMethodMax = 32
	// httpInspectorPreface is what no version before HTTP/2 begins with (RFC 9113 section 3.4).
	httpInspectorPreface = "PRI * HTTP/2"
)

// OnPeek implements filters.PeekFilter.
func (f *httpInspector) OnPeek(c *filters.Connection, b []byte, end bool) (int, filters.ListenerVerdict) {
	if c.TransportProtocol == filters.TransportTLS {
		return 0, filters.ListenerContinue
	}
	switch inspectHTTP(b) {
	case httpUndecided:
		if end {
			f.stats.ReadError.Inc()
		}
		return 0, filters.ListenerWait
	case httpNone:
		f.stats.HTTPNotFound.Inc()
	case http10:
		f.stats.HTTP10Found.Inc()
		c.ApplicationProtocols = httpInspector10
	case http11:
		f.stats.HTTP11Found.Inc()
		c.ApplicationProtocols = httpInspector11
	case http2:
		f.stats.HTTP2Found.Inc()
		c.ApplicationProtocols = httpInspectorH2C
	}
	return 0, filters.ListenerContinue
}

// The protocols, as the matches of filter chains call them.
var (
	httpInspector10  = []string{"http/1.0"}
	httpInspector11  = []string{"http/1.1"}
	httpInspectorH2C = []string{"h2c"}
)

// httpKind is what a connection begins with.
type httpKind uint8

const (
	httpUndecided httpKind = iota
	httpNone
	http10
	http11
	http2
)

// inspectHTTP tells what b begins with. What is no HTTP is mostly known from its first bytes.
func inspectHTTP(b []byte) httpKind {
	// "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF)
	// received prior to the request-line"
	// RFC 9112 section 2.2
	b = bytes.TrimPrefix(b, httpInspectorCRLF)
	if n := min(len(b), len(httpInspectorPreface)); string(b[:n]) == httpInspectorPreface[:n] {
		if n == len(httpInspectorPreface) {
			return http2
		}
		return httpUndecided
	}
	if len(b) == 1 && b[0] == '\r' {
		return httpUndecided
	}
	method := 0
	for method < len(b) && ascii.Is(b[method], ascii.Token) {
		method++
	}
	switch {
	case method > httpInspectorMethodMax:
		return httpNone
	case method == len(b):
		return httpUndecided
	case method == 0 || b[method] != ' ':
		return httpNone
	}
	return inspectRequestLine(b[method+1:])
}

var httpInspectorCRLF = []byte("\r\n")

// inspectRequestLine tells what the line is that goes on with b behind its method.
func inspectRequestLine(b []byte) httpKind {
	end := bytes.IndexByte(b[:min(len(b), httpInspectorLineMax)], '\n')
	switch {
	case end < 0 && len(b) >= httpInspectorLineMax:
		return httpNone
	case end < 0:
		return httpUndecided
	}
	line := bytes.TrimSuffix(b[:end], httpInspectorCRLF[:1])
	at := bytes.LastIndexByte(line, ' ')
	if at <= 0 {
		return httpNone
	}
	switch string(line[at+1:]) {
	case "HTTP/1.1":
		return http11
	case "HTTP/1.0":
		return http10
	}
	return httpNone
}
