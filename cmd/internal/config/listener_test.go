package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// l4Registry knows filters of all kinds, with no config.
func l4Registry() *Registry {
	r := NewRegistry()
	for _, name := range []string{"tcp_proxy", "echo"} {
		r.Add("network", name, Filter{Terminal: true})
	}
	r.Add("network", "udp_proxy", Filter{Terminal: true, UDP: true})
	r.Add("network", "rbac", Filter{})
	for _, name := range []string{"proxy_protocol", "tls_inspector", "http_inspector", "original_dst"} {
		r.Add("listener", name, Filter{})
	}
	return r
}

// listenerText is a file with listeners, of which each is written without its braces. L begins at 1:17.
func listenerText(listeners ...string) string {
	return `{"listeners": [{` + strings.Join(listeners, `}, {`) + `}]}`
}

const (
	echoFilters = `"filters": [{"name": "echo"}]`
	udpFilters  = `"filters": [{"name": "udp_proxy"}]`
	echoOn80    = `"address": "10.0.0.1:80", ` + echoFilters
)

func chains(list ...string) string {
	return `"address": "10.0.0.1:80", "filter_chains": [{` + echoFilters + strings.Join(list, `}, {`+echoFilters) + `}]`
}

func TestListenerErrors(t *testing.T) {
	t.Parallel()
	runErrorCases(t, []errorCase{
		{"chains that take the same", listenerText(chains(
			`, "match": {"server_names": ["a.example", "b.example"]}`, `, "match": {"server_names": ["b.example"], "source_ports": [1]}`,
			`, "match": {"server_names": ["B.example"]}`)), `
			f.json:1:286: listeners[0].filter_chains[2].match: takes the same connections as filter_chains[0]; make their matches differ, or leave one of them out (filter_chains[0] at f.json:1:61)`},
		{"two chains without a match", listenerText(chains(``, ``)), `
			f.json:1:94: listeners[0].filter_chains[1].match: takes the same connections as filter_chains[0]; make their matches differ, or leave one of them out (filter_chains[0] at f.json:1:61)`},
		{"criteria that are none", listenerText(chains(`, "match": {"server_names": ["*"], "transport_protocol": "quic"}`)), `
			f.json:1:120: listeners[0].filter_chains[0].match.server_names[0]: "*" is every name; leave server_names out: a chain without them takes what no name matches
			f.json:1:148: listeners[0].filter_chains[0].match.transport_protocol: unknown value "quic"; want "raw_buffer" or "tls"`},
		{"chains of one name", listenerText(chains(`, "name": "a", "match": {"source_ports": [1]}`, `, "name": "a"`) + `, "default_filter_chain": {"name": "a", ` + echoFilters + `}`), `
			f.json:1:179: listeners[0].filter_chains[1].name: filter chain "a" has the name of filter_chains[0] (filter_chains[0] at f.json:1:61)
			f.json:1:219: listeners[0].default_filter_chain.name: filter chain "a" has the name of filter_chains[0] (filter_chains[0] at f.json:1:61)`},
		{"a default that is not reached", listenerText(
			echoOn80+`, "default_filter_chain": {`+echoFilters+`}`,
			strings.Replace(chains(`, "match": {}`), ":80", ":81", 1)+`, "default_filter_chain": {`+echoFilters+`, "match": {"source_ports": [3]}}`), `
			f.json:1:98: listeners[0].default_filter_chain: is never reached: the filter chain of the listener takes all connections
			f.json:1:289: listeners[1].default_filter_chain.match: the default filter chain takes what no other chain matches; leave its match out`},
		{"a match that is not reached", listenerText(
			chains(`, "match": {"destination_port": 443}`) + `, "additional_addresses": ["10.0.0.1:8080"]`), `
			f.json:1:123: listeners[0].filter_chains[0].match.destination_port: is never reached: connections of this listener go to port 80 or 8080; leave it out, or add {"name": "original_dst"} or {"name": "proxy_protocol"} to listener_filters`},
		{"a protocol nobody finds", listenerText(
			chains(`, "match": {"transport_protocol": "raw_buffer", "application_protocols": ["h2c"]}`)), `
			f.json:1:164: listeners[0].filter_chains[0].match.application_protocols: is never reached: nothing finds the protocol of connections that are not TLS; add {"name": "http_inspector"} to listener_filters`},
		{"empty lists", listenerText(`"address": ":80", "filters": []`, `"address": ":81", "filter_chains": []`, `"address": ":82", "filter_chains": [{"filters": []}]`, `"address": ":83"`), `
			f.json:1:46: listeners[0].filters: listener has no filters
			f.json:1:87: listeners[1].filter_chains: listener has no filters
			f.json:1:141: listeners[2].filter_chains[0].filters: filter chain has no filters
			f.json:1:148: listeners[3]: listener has no filters; give "filters", or entries in "filter_chains"`},
		{"order of filters", listenerText(`"address": ":80", "filter_chains": [{"filters": [{"name": "echo"}, {"name": "rbac"}]}]`, `"address": ":81", "filters": [{"name": "rbac"}]`), `
			f.json:1:75: listeners[0].filter_chains[0].filters[0].name: filter "echo" ends the chain, so the filters after it would never run; put it last
			f.json:1:146: listeners[1].filters[0].name: the last filter must end the chain, and "rbac" does not; put last "echo" or "tcp_proxy"`},
		{"filters of another kind", listenerText(`"address": ":80", "filters": [{"name": "tls_inspector"}, {"name": "envoy.filters.network.tcp_proxy"}]`, `"address": ":81", "listener_filters": [{"name": "rbac"}], `+echoFilters), `
			f.json:1:56: listeners[0].filters[0].name: unknown network filter "tls_inspector"; it is a listener filter
			f.json:1:83: listeners[0].filters[1].name: unknown network filter "envoy.filters.network.tcp_proxy"; it is called "tcp_proxy" here
			f.json:1:170: listeners[1].listener_filters[0].name: unknown listener filter "rbac"; it is a network filter`},
		{"datagrams and connections", listenerText(
			`"address": ":53", `+udpFilters, `"address": ":53", "protocol": "udp", `+echoFilters), `
			f.json:1:56: listeners[0].filters[0].name: filter "udp_proxy" is for listeners with protocol "udp"; the listener's protocol is "tcp"
			f.json:1:131: listeners[1].filters[0].name: filter "echo" is for listeners with protocol "tcp"; the listener's protocol is "udp"`},
		{"what UDP has not", listenerText(`"address": "unix:/x", "protocol": "udp", "connection_limit": 3, "use_original_dst": true, "listener_filters": [],
 "bind_to_port": false, "tcp_keepalive": {}, "filter_chains": [{"match": {"source_ports": [1]}, ` + udpFilters + `}, {` + udpFilters + `}]`), `
			f.json:1:28: listeners[0].address: a listener with protocol "udp" cannot be on a Unix socket
			f.json:1:78: listeners[0].connection_limit: means nothing for a listener with protocol "udp"
			f.json:1:101: listeners[0].use_original_dst: means nothing for a listener with protocol "udp"
			f.json:1:127: listeners[0].listener_filters: means nothing for a listener with protocol "udp"
			f.json:2:18: listeners[0].bind_to_port: means nothing for a listener with protocol "udp"
			f.json:2:42: listeners[0].tcp_keepalive: means nothing for a listener with protocol "udp"
			f.json:2:74: listeners[0].filter_chains[0].match: means nothing for a listener with protocol "udp"
			f.json:2:134: listeners[0].filter_chains[1]: a listener with protocol "udp" has one filter chain`},
		{"two UDP filters", listenerText(`"address": ":53", "protocol": "udp", "filters": [{"name": "udp_proxy"}, {"name": "udp_proxy"}]`), `
			f.json:1:89: listeners[0].filters[1]: a listener with protocol "udp" has one filter`},
		{"addresses taken", listenerText(
			`"name": "a", "address": ":80", `+echoFilters, `"name": "b", "address": "10.0.0.1:81", "additional_addresses": ["0.0.0.0:80", "10.0.0.1:81", "bad"], `+echoFilters,
			`"name": "c", "address": "0.0.0.0:82", `+echoFilters, `"name": "d", "address": "[::]:82", "ipv4_compat": true, `+echoFilters,
			`"name": "e", "address": ":80", "protocol": "udp", `+udpFilters, `"name": "f", "address": ":80", "protocol": "udp", `+udpFilters), `
			f.json:1:145: listeners[1].additional_addresses[0]: address "0.0.0.0:80" is taken (listeners[0].address at f.json:1:41)
			f.json:1:159: listeners[1].additional_addresses[1]: address "10.0.0.1:81" is taken (listeners[1].address at f.json:1:105)
			f.json:1:174: listeners[1].additional_addresses[2]: address "bad" has no port; write "bad:80"
			f.json:1:310: listeners[3].address: address "[::]:82" is taken (listeners[2].address at f.json:1:239)
			f.json:1:487: listeners[5].address: address ":80" is taken (listeners[4].address at f.json:1:399)`},
		{"UDP listeners of one name", listenerText(`"address": "10.0.0.1:0", "protocol": "udp", `+udpFilters, `"address": "10.0.0.1:0", "protocol": "udp", `+udpFilters), `
			f.json:1:110: listeners[1].address: listener "10.0.0.1:0/udp" is defined twice (listeners[0].address at f.json:1:28)`},
		{"sockets", listenerText(echoOn80 + `, "tcp_defer_accept": "1500ms", "unix_mode": "9", "ipv4_compat": true,
 "socket_options": [{"level": 6, "name": 23}, {"level": 6, "name": 23, "int_value": 1, "buf_value": "AAA="}, {"level": 6, "name": 23, "buf_value": "%"}, {"name": 3, "int_value": 1, "state": "late"}]`), `
			f.json:1:94: listeners[0].tcp_defer_accept: 1.5s is not a number of whole seconds
			f.json:1:117: listeners[0].unix_mode: "9" is not a permission; write octal digits, such as "0660"
			f.json:1:117: listeners[0].unix_mode: no address of the listener is a path
			f.json:1:137: listeners[0].ipv4_compat: no address of the listener begins with "[::]:"; ":80" takes IPv4 and IPv6
			f.json:2:21: listeners[0].socket_options[0]: socket option has no value; give "int_value" or "buf_value"
			f.json:2:101: listeners[0].socket_options[1].buf_value: stands beside int_value; give one of the two
			f.json:2:148: listeners[0].socket_options[2].buf_value: is not base64
			f.json:2:154: listeners[0].socket_options[3].level: required field is missing
			f.json:2:191: listeners[0].socket_options[3].state: unknown value "late"; want "prebind", "bound" or "listening"`},
		{"what Unix sockets have not", listenerText(`"address": "unix:@x", "transparent": true, "enable_mptcp": true, "unix_mode": "0600", ` + echoFilters), `
			f.json:1:54: listeners[0].transparent: means nothing for a Unix socket
			f.json:1:76: listeners[0].enable_mptcp: means nothing for a Unix socket
			f.json:1:95: listeners[0].unix_mode: no address of the listener is a path`},
		{"Envoy's words", listenerText(`"address": ":80", "filter_chains": [{"filter_chain_match": {}, `+echoFilters+`}]`) + ``, `
			f.json:1:54: listeners[0].filter_chains[0].filter_chain_match: unknown field; it is called "match" here`},
		{"a listener nobody gives a connection", listenerText(echoOn80 + `, "bind_to_port": false`), `
			f.json:1:90: warning: listeners[0].bind_to_port: the listener never gets a connection: it has no socket, and none has use_original_dst to hand one over; set "use_original_dst" on the listener that connections are redirected to`},
		{"the overload manager", `{"overload_manager": {}}`, `
			f.json:1:2: overload_manager: unknown field; it is called "overload" here`},
	}, func(text []byte) Errors {
		_, errs := Load("f.json", text, l4Registry())
		return errs
	})
}

// TestImpliedListenerFilters: what a listener needs and does not list is there.
func TestImpliedListenerFilters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", echoOn80, ""},
		{"source ports", chains(`, "match": {"source_ports": [1]}`), ""},
		{"server names", chains(`, "match": {"server_names": ["a"]}`), "tls_inspector"},
		{"protocols", chains(`, "match": {"application_protocols": ["h2"]}`), "tls_inspector"},
		{"TLS", chains(`, "match": {"transport_protocol": "tls"}`), "tls_inspector"},
		{"not TLS", chains(`, "match": {"transport_protocol": "raw_buffer"}`), ""},
		{"listed", `"listener_filters": [{"name": "tls_inspector"}, {"name": "proxy_protocol"}], ` + chains(`, "match": {"server_names": ["a"]}`), "tls_inspector proxy_protocol"},
		{"others listed", `"listener_filters": [{"name": "proxy_protocol"}], ` + chains(`, "match": {"server_names": ["a"]}`), "proxy_protocol tls_inspector"},
		{"use_original_dst", `"use_original_dst": true, ` + echoOn80, "original_dst"},
		{"use_original_dst and more", `"use_original_dst": true, "listener_filters": [{"name": "proxy_protocol"}], ` + chains(`, "match": {"server_names": ["a"]}`), "original_dst proxy_protocol tls_inspector"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, errs := Load("f.json", []byte(listenerText(tt.text)), l4Registry())
			if errs != nil {
				t.Fatal(errs)
			}
			var names []string
			for _, f := range c.Listeners[0].ListenerFilters {
				names = append(names, f.Name)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("listener filters of %s: %q, want %q", tt.text, got, tt.want)
			}
			again, errs := Load("f.json", Marshal(c), l4Registry())
			if errs != nil || !reflect.DeepEqual(c.Listeners, again.Listeners) {
				t.Errorf("its canonical text loads as %+v, %v", again, errs)
			}
		})
	}
}

// TestImpliedFilterUnknown: a binary without tls_inspector does not take a file that needs it.
func TestImpliedFilterUnknown(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	r.Add("network", "echo", Filter{Terminal: true})
	_, errs := Load("f.json", []byte(listenerText(chains(`, "match": {"server_names": ["a"]}`))), r)
	if got, want := errs.Error(), `f.json:1:16: listeners[0]: needs the listener filter "tls_inspector"`; got != want {
		t.Errorf("Load: %s, want %s", got, want)
	}
}

func TestListenerDefaults(t *testing.T) {
	t.Parallel()
	c, errs := Load("f.json", []byte(listenerText(echoOn80, `"address": "10.0.0.1:80", "protocol": "udp", "stat_prefix": "dns", `+udpFilters)), l4Registry())
	if errs != nil {
		t.Fatal(errs)
	}
	l := &c.Listeners[0]
	if l.ListenerFiltersTimeout != 15*time.Second || !l.BindToPort || l.Protocol != "tcp" || l.TrafficDirection != "unspecified" ||
		l.PerConnectionBufferLimitBytes != 1<<20 || !l.EnableReusePort || l.StatName() != "10.0.0.1:80" || l.Name != "10.0.0.1:80" {
		t.Errorf("defaults are %+v", l)
	}
	if u := &c.Listeners[1]; u.Name != "10.0.0.1:80/udp" || u.StatName() != "dns" || !u.IsUDP() {
		t.Errorf("the UDP listener is %q, stats %q, UDP %v", u.Name, u.StatName(), u.IsUDP())
	}
}
