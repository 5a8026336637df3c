package config

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/filters"
	"millrace/filters/httpconn"
	"millrace/filters/l4"
)

// reporter is what a Validate method tells its problems to.
type reporter func(path, problem, hint string)

// Validate reports what tags cannot say of a listener.
func (l *Listener) Validate(report func(path, problem, hint string)) {
	l.checkAddresses(report)
	l.SocketConfig.validate(report)
	switch {
	case l.Filters != nil && l.FilterChains != nil:
		report("filters", "stands beside filter_chains", "give one of the two")
	case l.Filters == nil && l.FilterChains == nil && l.DefaultFilterChain == nil:
		report("", "listener has no filters", `give "filters", or entries in "filter_chains"`)
	case l.Filters != nil && len(l.Filters) == 0:
		report("filters", "listener has no filters", "")
	case l.FilterChains != nil && len(l.FilterChains) == 0 && l.DefaultFilterChain == nil:
		report("filter_chains", "listener has no filters", "")
	}
	if l.TLS != nil && l.Filters == nil {
		report("tls", "stands beside filter_chains", `give "tls" in those of them that speak it`)
	}
	checkProtocols(report, l.TLS, l.Filters)
	l.checkChains(report)
	if l.IsUDP() {
		l.checkUDP(report)
	}
}

// checkAddresses checks the addresses, and the settings that only some kinds of address have.
func (l *Listener) checkAddresses(report reporter) {
	unix, inet, compat := false, false, false
	check := func(path, address string) {
		a, err := engine.ParseAddr(address)
		if err != nil {
			p := problemOf(err)
			report(path, p.text, p.hint)
			unix, inet, compat = true, true, true // say nothing more of it
			return
		}
		if a.IsUnix() && l.IsUDP() {
			report(path, "a listener with protocol \"udp\" cannot be on a Unix socket", "")
		}
		unix, inet = unix || a.IsUnix() && a.Path()[0] != '@', inet || !a.IsUnix()
		compat = compat || strings.HasPrefix(address, "[::]:")
	}
	check("address", l.Address)
	for i, a := range l.AdditionalAddresses {
		check(joinIndex("additional_addresses", i), a)
	}
	if l.UnixMode != "" && !unix {
		report("unix_mode", "no address of the listener is a path", "")
	}
	if l.IPv4Compat && !compat {
		report("ipv4_compat", "no address of the listener begins with \"[::]:\"", `":80" takes IPv4 and IPv6`)
	}
	if inet || l.IsUDP() {
		return
	}
	l.eachSetting(func(name string, set, udp, unix bool) {
		if set && !unix {
			report(name, "means nothing for a Unix socket", "")
		}
	})
}

// eachSetting calls f for the settings that not all listeners may have: whether it is set here, and whether UDP
// listeners and Unix sockets have it.
func (l *Listener) eachSetting(f func(name string, set, udp, unix bool)) {
	f("listener_filters", l.ListenerFilters != nil, false, true)
	f("continue_on_listener_filters_timeout", l.ContinueOnListenerFiltersTimeout, false, true)
	f("default_filter_chain", l.DefaultFilterChain != nil, false, true)
	f("use_original_dst", l.UseOriginalDst, false, false)
	f("bind_to_port", !l.BindToPort, false, false)
	f("access_log", l.AccessLog != nil, false, true)
	f("connection_limit", l.ConnectionLimit > 0, false, true)
	f("ignore_global_conn_limit", l.IgnoreGlobalConnLimit, false, true)
	f("max_connections_to_accept_per_socket_event", l.MaxConnectionsToAcceptPerSocketEvent > 0, false, true)
	f("tcp_backlog_size", l.TCPBacklogSize > 0, false, true)
	f("tcp_keepalive", l.TCPKeepalive != nil, false, true)
	f("transparent", l.Transparent, true, false)
	f("freebind", l.Freebind, true, false)
	f("tcp_fast_open_queue_length", l.TCPFastOpenQueueLength > 0, false, false)
	f("tcp_defer_accept", l.TCPDeferAccept > 0, false, false)
	f("enable_mptcp", l.EnableMPTCP, false, false)
	f("enable_reuse_port", !l.EnableReusePort, true, true)
}

// checkUDP checks what a UDP listener may not have.
func (l *Listener) checkUDP(report reporter) {
	l.eachSetting(func(name string, set, udp, _ bool) {
		if set && !udp {
			report(name, "means nothing for a listener with protocol \"udp\"", "")
		}
	})
	if len(l.FilterChains) > 1 {
		report("filter_chains[1]", "a listener with protocol \"udp\" has one filter chain", "")
	}
	chain, path, tls, tlsPath := l.Filters, "filters[1]", l.TLS, "tls"
	if len(l.FilterChains) > 0 {
		c := &l.FilterChains[0]
		chain, path, tls, tlsPath = c.Filters, "filter_chains[0].filters[1]", c.TLS, "filter_chains[0].tls"
	}
	if tls != nil {
		report(tlsPath, "a listener with protocol \"udp\" has no TLS: DTLS and QUIC are not spoken", "leave it out")
	}
	if len(chain) > 1 {
		report(path, "a listener with protocol \"udp\" has one filter", "")
	}
}

// checkChains checks the names and the matches of the filter chains.
func (l *Listener) checkChains(report reporter) {
	names := map[string]string{}
	name := func(path string, c *FilterChain) {
		if first := names[c.Name]; c.Name != "" && first != "" {
			report(path+".name", "filter chain "+quote(c.Name)+" has the name of "+first, "")
			return
		}
		names[c.Name] = path
	}
	matches := make([]*l4.MatchConfig, len(l.FilterChains))
	for i := range l.FilterChains {
		name(joinIndex("filter_chains", i), &l.FilterChains[i])
		matches[i] = l.FilterChains[i].Match
	}
	_, problems := l4.CompileChains(matches)
	for _, p := range problems {
		if p.Invalid {
			continue // reported at its place
		}
		text := p.Text
		if p.Other >= 0 {
			text = "takes the same connections as " + joinIndex("filter_chains", p.Other)
		}
		report(joinPath(joinIndex("filter_chains", p.Chain)+".match", p.Path), text, p.Hint)
	}
	for i := range matches {
		if matches[i] != nil {
			l.checkReach(joinIndex("filter_chains", i)+".match", matches[i], report)
		}
	}
	d := l.DefaultFilterChain
	if d == nil {
		return
	}
	name("default_filter_chain", d)
	switch {
	case d.Match != nil:
		report("default_filter_chain.match", "the default filter chain takes what no other chain matches", "leave its match out")
	case l.Filters != nil || len(matches) == 1 && (matches[0] == nil || reflect.DeepEqual(*matches[0], anyMatch)):
		report("default_filter_chain", "is never reached: the filter chain of the listener takes all connections", "")
	}
}

// anyMatch is a match without criteria as it is read from a file.
var anyMatch = l4.MatchConfig{SourceType: "any"}

// checkReach reports a match that no connection of the listener can have.
func (l *Listener) checkReach(path string, m *l4.MatchConfig, report reporter) {
	if l.IsUDP() {
		if !reflect.DeepEqual(*m, anyMatch) {
			report(path, "means nothing for a listener with protocol \"udp\"", "")
		}
		return
	}
	if m.TransportProtocol == filters.TransportRaw && len(m.ApplicationProtocols) > 0 && !l.hasListenerFilter("http_inspector") {
		report(path+".application_protocols", "is never reached: nothing finds the protocol of connections that are not TLS",
			`add {"name": "http_inspector"} to listener_filters`)
	}
	if m.DestinationPort == 0 || l.movesDestination() {
		return
	}
	var ports []string
	for _, a := range l.Addresses() {
		addr, err := engine.ParseAddr(a)
		if err != nil || addr.IsUnix() || addr.Port() == 0 || addr.Port() == int(m.DestinationPort) {
			return
		}
		ports = append(ports, strconv.Itoa(addr.Port()))
	}
	report(path+".destination_port", "is never reached: connections of this listener go to port "+strings.Join(ports, " or "),
		`leave it out, or add {"name": "original_dst"} or {"name": "proxy_protocol"} to listener_filters`)
}

// movesDestination reports whether connections may have another destination than the listener's address.
func (l *Listener) movesDestination() bool {
	return l.Transparent || l.UseOriginalDst || l.hasListenerFilter(originalDst) || l.hasListenerFilter("proxy_protocol")
}

// Validate reports what tags cannot say of a filter chain.
func (c *FilterChain) Validate(report func(path, problem, hint string)) {
	if len(c.Filters) == 0 {
		report("filters", "filter chain has no filters", "")
	}
	if c.TLS != nil && c.Match != nil && c.Match.TransportProtocol == filters.TransportRaw {
		report("tls", "is never spoken: the chain takes connections only that do not begin with TLS",
			`leave it out, or write "transport_protocol": "tls" in its match`)
	}
	checkProtocols(report, c.TLS, c.Filters)
}

// checkProtocols reports protocols that the handshake offers and the connection manager would not speak.
func checkProtocols(report reporter, tls *certs.DownstreamConfig, list []filters.Config) {
	if tls == nil || len(list) == 0 {
		return
	}
	cfg, ok := list[len(list)-1].Config.(*httpconn.Config)
	if !ok {
		return
	}
	other := map[string]string{"http1": "h2", "http2": "http/1.1"}[cfg.CodecType]
	if i := slices.Index(tls.ALPN, other); other != "" && i >= 0 {
		report(joinIndex("tls.alpn", i), quote(other)+" is not spoken here: the codec_type of the connection manager is "+quote(cfg.CodecType),
			`write "codec_type": "auto"`)
	}
}

// validate reports what tags cannot say of the sockets of a listener.
func (c *SocketConfig) validate(report reporter) {
	if c.TCPDeferAccept%time.Second != 0 {
		report("tcp_defer_accept", c.TCPDeferAccept.String()+" is not a number of whole seconds", "")
	}
	if _, ok := c.Mode(); !ok {
		report("unix_mode", quote(c.UnixMode)+" is not a permission", `write octal digits, such as "0660"`)
	}
}

// Mode returns unix_mode, 0 if it is not given, and whether it can be read.
func (c *SocketConfig) Mode() (mode uint32, ok bool) {
	if c.UnixMode == "" {
		return 0, true
	}
	n, err := strconv.ParseUint(c.UnixMode, 8, 32)
	return uint32(n), err == nil && n > 0 && n <= 0o777
}

// Validate reports what tags cannot say of a socket option.
func (o *SocketOption) Validate(report func(path, problem, hint string)) {
	switch {
	case o.IntValue == nil && o.BufValue == "":
		report("", "socket option has no value", `give "int_value" or "buf_value"`)
	case o.IntValue != nil && o.BufValue != "":
		report("buf_value", "stands beside int_value", "give one of the two")
	}
	if _, err := o.Bytes(); err != nil {
		report("buf_value", "is not base64", "")
	}
}

// Bytes returns buf_value decoded.
func (o *SocketOption) Bytes() ([]byte, error) { return base64.StdEncoding.DecodeString(o.BufValue) }

// Validate reports what tags cannot say of a keepalive setting.
func (k *TCPKeepalive) Validate(report func(path, problem, hint string)) {
	for _, f := range []struct {
		path string
		d    time.Duration
	}{{"keepalive_time", k.KeepaliveTime}, {"keepalive_interval", k.KeepaliveInterval}} {
		if f.d%time.Second != 0 {
			report(f.path, f.d.String()+" is not a number of whole seconds", "")
		}
	}
}
