package l4

import (
	"fmt"
	"net/netip"
	"strings"

	"millrace/filters"
)

// MatchConfig is "match" of a filter chain: which connections the chain takes. A criterion that is left out takes all.
// Where several chains take a connection the most specific criterion decides, one after the other in this order:
// destination_port, prefix_ranges, server_names, transport_protocol, application_protocols,
// direct_source_prefix_ranges, source_type, source_prefix_ranges, source_ports. What one of them has decided stays:
// if none of the chains that are left takes the connection, none does.
type MatchConfig struct {
	// DestinationPort is the port the client wanted to reach: after original_dst or proxy_protocol not the listener's own.
	DestinationPort uint16 `json:"destination_port" min:"0" max:"65535"`
	// PrefixRanges are prefixes of the address the client wanted to reach, such as "10.0.0.0/8". The longest wins.
	PrefixRanges []string `json:"prefix_ranges" max:"4096"`
	// ServerNames are names of the TLS ClientHello: "www.example.com", or "*.example.com" for every name below
	// example.com. A whole name wins over a wildcard, a longer wildcard over a shorter one. They need tls_inspector.
	ServerNames []string `json:"server_names" max:"65536"`
	// TransportProtocol is "tls" for connections that begin with a ClientHello, "raw_buffer" for all others. It needs
	// tls_inspector: without it all are "raw_buffer".
	TransportProtocol string `json:"transport_protocol" enum:"raw_buffer,tls"`
	// ApplicationProtocols are those a client offers by ALPN, such as "h2", or what http_inspector found: "http/1.0",
	// "http/1.1" or "h2c". If several match, the one the client names first decides.
	ApplicationProtocols []string `json:"application_protocols" max:"256"`
	// DirectSourcePrefixRanges are prefixes of the address the connection came from, whatever a PROXY header says.
	DirectSourcePrefixRanges []string `json:"direct_source_prefix_ranges" max:"4096"`
	// SourceType says where the client is: same_ip_or_loopback on this machine, external elsewhere. Default: any.
	SourceType string `json:"source_type" default:"any" enum:"any,same_ip_or_loopback,external"`
	// SourcePrefixRanges are prefixes of the client's address.
	SourcePrefixRanges []string `json:"source_prefix_ranges" max:"4096"`
	// SourcePorts are ports of the client's address, 1 to 65535.
	SourcePorts []uint16 `json:"source_ports" min:"1" max:"65535"`
}

// The values of MatchConfig.SourceType.
const (
	sourceAny      = "any"
	sourceLocal    = "same_ip_or_loopback"
	sourceExternal = "external"
)

// Validate reports what no connection can match.
func (m *MatchConfig) Validate(report func(path, problem, hint string)) {
	checkCIDRs("prefix_ranges", m.PrefixRanges, report)
	checkCIDRs("direct_source_prefix_ranges", m.DirectSourcePrefixRanges, report)
	checkCIDRs("source_prefix_ranges", m.SourcePrefixRanges, report)
	for i, name := range m.ServerNames {
		if problem, hint := checkServerName(name); problem != "" {
			report(fmt.Sprintf("server_names[%d]", i), problem, hint)
		}
	}
	for i, p := range m.ApplicationProtocols {
		if p == "" || len(p) > 255 {
			report(fmt.Sprintf("application_protocols[%d]", i),
				fmt.Sprintf("a protocol of %d bytes; the name of one has 1 to 255", len(p)), `write a name such as "h2"`)
		}
	}
	if m.TransportProtocol == filters.TransportRaw && len(m.ServerNames) > 0 {
		report("transport_protocol", `only connections with "tls" have a server name`, `write "tls", or leave server_names out`)
	}
}

// checkServerName tells what is wrong with a name of server_names.
func checkServerName(s string) (problem, hint string) {
	name := strings.TrimPrefix(s, "*.")
	switch {
	case s == "*":
		return `"*" is every name`, "leave server_names out: a chain without them takes what no name matches"
	case strings.Contains(name, "*"):
		return fmt.Sprintf("server name %q has a wildcard that is not its first label", s), `write "*.example.com"`
	case strings.HasSuffix(name, "."):
		return fmt.Sprintf("server name %q ends in a dot", s), fmt.Sprintf("write %q", strings.TrimRight(s, "."))
	case name == "" || len(name) > 253:
		return fmt.Sprintf("a server name of %d bytes; a name has 1 to 253", len(name)), ""
	case strings.HasPrefix(name, ".") || strings.Contains(name, ".."):
		return fmt.Sprintf("server name %q has an empty label", s), ""
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(":/\\@[]\"", c) >= 0 {
			return fmt.Sprintf("server name %q has a byte that names do not have", s),
				"write the name as it goes over the wire: a-z, 0-9, '-', '_' and '.', without a port"
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Sprintf("server name %q is an address, which clients do not send as a name", s), "use prefix_ranges"
	}
	return "", ""
}
