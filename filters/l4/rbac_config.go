package l4

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"millrace/filters/route"
)

// rbacDepthMax bounds how deep rules lie within rules.
const rbacDepthMax = 16

// RBACConfig configures the "rbac" filter, role based access control: who may do what. A connection that its rules do
// not let pass is closed before anything is connected upstream.
//
// Deviation: Envoy decides when the first byte comes, so that a protocol in which the server speaks first never gets
// there; here it is decided when the connection is established, after the TLS handshake.
type RBACConfig struct {
	// StatPrefix is the name in the counters: <stat_prefix>.rbac.
	StatPrefix string `json:"stat_prefix" required:"true"`
	// Rules decide. Default: none, all pass.
	Rules *RBACRules `json:"rules"`
	// ShadowRules are only counted, to try rules before they decide. What they say is also in the connection's
	// metadata: namespace envoy.filters.network.rbac, keys shadow_effective_policy_id and shadow_engine_result.
	ShadowRules *RBACRules `json:"shadow_rules"`
	// ShadowRulesStatPrefix is a further part of the names of the counters of shadow_rules, and stands in front of
	// their metadata keys. Default: empty.
	ShadowRulesStatPrefix string `json:"shadow_rules_stat_prefix"`
	// EnforcementType is "one_time_on_first_byte": decided once, when the connection is established; or "continuous":
	// and again with all bytes that come. Default: "one_time_on_first_byte".
	EnforcementType string `json:"enforcement_type" default:"one_time_on_first_byte" enum:"one_time_on_first_byte,continuous"`
	// DelayDeny is how long a connection that may not pass is held before it is closed. Default: 0s.
	DelayDeny time.Duration `json:"delay_deny" default:"0s" max:"1h"`
	// TrackPerRuleStats counts each policy too: <stat_prefix>.rbac.policy.<name>. Default: false.
	TrackPerRuleStats bool `json:"track_per_rule_stats"`
}

// RBACRules are an action and the policies it is for.
type RBACRules struct {
	// Action is what happens to what a policy matches: "allow" lets it pass, and nothing else; "deny" lets all else
	// pass; "log" lets all pass and sets access_log_hint in the connection's metadata, namespace envoy.common.
	// Default: "allow".
	Action string `json:"action" default:"allow" enum:"allow,deny,log"`
	// Policies by name. The first in the order of names that matches counts.
	Policies map[string]RBACPolicy `json:"policies" max:"1024"`
}

// An RBACPolicy matches what one of its permissions and one of its principals match.
type RBACPolicy struct {
	// Permissions are what is wanted. 1 to 1024.
	Permissions []RBACPermission `json:"permissions" required:"true" min:"1" max:"1024"`
	// Principals are who wants it. 1 to 1024.
	Principals []RBACPrincipal `json:"principals" required:"true" min:"1" max:"1024"`
}

// An RBACPermission matches what is wanted. Exactly one field is given.
type RBACPermission struct {
	// Any matches everything. Only true means something.
	Any bool `json:"any"`
	// AndRules match if all of them do.
	AndRules []RBACPermission `json:"and_rules" max:"1024" v3:"and_rules.rules"`
	// OrRules match if one of them does.
	OrRules []RBACPermission `json:"or_rules" max:"1024" v3:"or_rules.rules"`
	// NotRule matches if it does not.
	NotRule *RBACPermission `json:"not_rule"`
	// DestinationIP is a prefix of the local address, or of the one before a redirection if a listener filter
	// has found it out.
	DestinationIP string `json:"destination_ip"`
	// DestinationPort is the port of that address.
	DestinationPort *int `json:"destination_port" min:"0" max:"65535"`
	// DestinationPortRange is a range of such ports.
	DestinationPortRange *RBACPortRange `json:"destination_port_range"`
	// RequestedServerName is the name the client asks for (SNI), in lower case; empty if it asks for none.
	RequestedServerName *RBACStringMatch `json:"requested_server_name"`
	// Metadata is a value that a filter has set, such as proxy_protocol for a TLV.
	Metadata *RBACMetadataMatch `json:"metadata"`
}

// An RBACPrincipal matches who wants something. Exactly one field is given.
type RBACPrincipal struct {
	// Any matches everybody. Only true means something.
	Any bool `json:"any"`
	// AndIDs match if all of them do.
	AndIDs []RBACPrincipal `json:"and_ids" max:"1024" v3:"and_ids.ids"`
	// OrIDs match if one of them does.
	OrIDs []RBACPrincipal `json:"or_ids" max:"1024" v3:"or_ids.ids"`
	// NotID matches if it does not.
	NotID *RBACPrincipal `json:"not_id"`
	// Authenticated is a client with TLS, and a name in its certificate if one is asked for.
	Authenticated *RBACAuthenticated `json:"authenticated"`
	// SourceIP is remote_ip under its old name.
	SourceIP string `json:"source_ip"`
	// DirectRemoteIP is a prefix of the address of the socket's peer.
	DirectRemoteIP string `json:"direct_remote_ip"`
	// RemoteIP is a prefix of the client's address, which a PROXY header may have told.
	RemoteIP string `json:"remote_ip"`
	// Metadata is a value that a filter has set, such as proxy_protocol for a TLV.
	Metadata *RBACMetadataMatch `json:"metadata"`
}

// RBACPortRange is a range of ports, as Envoy's: start included, end not.
type RBACPortRange struct {
	// Start is the first port. 0 to 65535.
	Start int `json:"start" required:"true" min:"0" max:"65535"`
	// End is the one behind the last. 1 to 65536.
	End int `json:"end" required:"true" min:"1" max:"65536"`
}

// RBACAuthenticated is a client that TLS knows.
type RBACAuthenticated struct {
	// PrincipalName is what one of the names in its certificate must match: its URI SANs, or without them its DNS
	// SANs, or without them its subject (RFC 2253). A certificate whose chain was not verified has no names here: anybody can
	// make one up. Deviation: Envoy believes them. Default: any connection with TLS.
	PrincipalName *RBACStringMatch `json:"principal_name"`
}

// RBACMetadataMatch matches a value that a filter has set. One of value and present is given.
type RBACMetadataMatch struct {
	// Filter is the namespace, such as "envoy.filters.listener.proxy_protocol".
	Filter string `json:"filter" required:"true"`
	// Key of the value.
	Key string `json:"key" required:"true" v3:"path.key"`
	// Value is what it must be.
	Value *RBACStringMatch `json:"value" v3:"value.string_match"`
	// Present says that it has to be there, whatever it is. Only true means something.
	Present bool `json:"present" v3:"value.present_match"`
	// Invert turns the result around. Default: false.
	Invert bool `json:"invert"`
}

// RBACStringMatch matches a text. As a string it is the whole text. Exactly one field beside ignore_case is given.
type RBACStringMatch struct {
	// Exact is the whole text.
	Exact *string `json:"exact"`
	// Prefix is what it starts with.
	Prefix *string `json:"prefix"`
	// Suffix is what it ends with.
	Suffix *string `json:"suffix"`
	// Contains is a part of it.
	Contains *string `json:"contains"`
	// SafeRegex is a regular expression (RE2) for the whole of it. At most 1024 bytes.
	SafeRegex *string `json:"safe_regex" v3:"safe_regex.regex"`
	// IgnoreCase makes no difference between upper and lower case. Not with safe_regex. Default: false.
	IgnoreCase bool `json:"ignore_case"`
}

// DecodeConfigString takes the short form.
func (m *RBACStringMatch) DecodeConfigString(s string) error {
	m.Exact = &s
	return nil
}

// Validate reports rules that lie too deep in others.
func (c *RBACConfig) Validate(report func(path, problem, hint string)) {
	for _, r := range [...]struct {
		path  string
		rules *RBACRules
	}{{"rules", c.Rules}, {"shadow_rules", c.ShadowRules}} {
		if r.rules == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(r.rules.Policies)) {
			p := r.rules.Policies[name]
			depth := 0
			for i := range p.Permissions {
				depth = max(depth, p.Permissions[i].depth())
			}
			for i := range p.Principals {
				depth = max(depth, p.Principals[i].depth())
			}
			if depth > rbacDepthMax {
				report(r.path+".policies", fmt.Sprintf("policy %q has rules within rules, %d deep, which exceeds %d", name, depth, rbacDepthMax),
					"write it as several policies")
			}
		}
	}
}

func (p *RBACPermission) depth() int {
	depth := 0
	for _, list := range [...][]RBACPermission{p.AndRules, p.OrRules} {
		for i := range list {
			depth = max(depth, list[i].depth())
		}
	}
	if p.NotRule != nil {
		depth = max(depth, p.NotRule.depth())
	}
	return depth + 1
}

func (p *RBACPrincipal) depth() int {
	depth := 0
	for _, list := range [...][]RBACPrincipal{p.AndIDs, p.OrIDs} {
		for i := range list {
			depth = max(depth, list[i].depth())
		}
	}
	if p.NotID != nil {
		depth = max(depth, p.NotID.depth())
	}
	return depth + 1
}

// rbacField is one field of a union: its name, and whether it is given.
type rbacField struct {
	name  string
	given bool
}

// rbacOne reports a union of which not exactly one field is given.
func rbacOne(fields []rbacField, report func(path, problem, hint string)) {
	var given, all []string
	for _, f := range fields {
		all = append(all, f.name)
		if f.given {
			given = append(given, f.name)
		}
	}
	switch {
	case len(given) == 0:
		report("", "nothing is given", "give one of "+strings.Join(all, ", "))
	case len(given) > 1:
		report(given[1], strings.Join(given, " and ")+" are given", "keep one of them")
	}
}

// Validate reports fields that exclude one another, and values that are none.
func (p *RBACPermission) Validate(report func(path, problem, hint string)) {
	rbacOne([]rbacField{
		{"any", p.Any}, {"and_rules", len(p.AndRules) > 0}, {"or_rules", len(p.OrRules) > 0}, {"not_rule", p.NotRule != nil},
		{"destination_ip", p.DestinationIP != ""}, {"destination_port", p.DestinationPort != nil},
		{"destination_port_range", p.DestinationPortRange != nil}, {"requested_server_name", p.RequestedServerName != nil},
		{"metadata", p.Metadata != nil},
	}, report)
	rbacCheckIP("destination_ip", p.DestinationIP, report)
}

// Validate reports fields that exclude one another, and values that are none.
func (p *RBACPrincipal) Validate(report func(path, problem, hint string)) {
	rbacOne([]rbacField{
		{"any", p.Any}, {"and_ids", len(p.AndIDs) > 0}, {"or_ids", len(p.OrIDs) > 0}, {"not_id", p.NotID != nil},
		{"authenticated", p.Authenticated != nil}, {"source_ip", p.SourceIP != ""}, {"direct_remote_ip", p.DirectRemoteIP != ""},
		{"remote_ip", p.RemoteIP != ""}, {"metadata", p.Metadata != nil},
	}, report)
	rbacCheckIP("source_ip", p.SourceIP, report)
	rbacCheckIP("direct_remote_ip", p.DirectRemoteIP, report)
	rbacCheckIP("remote_ip", p.RemoteIP, report)
}

// rbacCheckIP reports a prefix that is none; "" is not given.
func rbacCheckIP(path, s string, report func(path, problem, hint string)) {
	if s == "" {
		return
	}
	if _, err := parseCIDR(s); err != nil {
		report(path, err.Error(), `write a prefix such as "10.0.0.0/8", "2001:db8::/32", or an address`)
	}
}

// Validate reports an empty range.
func (r *RBACPortRange) Validate(report func(path, problem, hint string)) {
	if r.Start >= r.End {
		report("end", fmt.Sprintf("range from %d to before %d is empty", r.Start, r.End), "end is not part of the range")
	}
}

// Validate reports fields that exclude one another.
func (m *RBACMetadataMatch) Validate(report func(path, problem, hint string)) {
	rbacOne([]rbacField{{"value", m.Value != nil}, {"present", m.Present}}, report)
}

// Validate reports fields that exclude one another, and a bad regular expression.
func (m *RBACStringMatch) Validate(report func(path, problem, hint string)) {
	rbacOne([]rbacField{
		{"exact", m.Exact != nil}, {"prefix", m.Prefix != nil}, {"suffix", m.Suffix != nil}, {"contains", m.Contains != nil},
		{"safe_regex", m.SafeRegex != nil},
	}, report)
	if m.SafeRegex == nil {
		return
	}
	if err := route.CheckRegex(*m.SafeRegex); err != nil {
		report("safe_regex", err.Error(), "see the syntax of RE2")
	}
	if m.IgnoreCase {
		report("ignore_case", "ignore_case does nothing to a regular expression", `write "(?i)" in front of it`)
	}
}

// compile makes rules. Precondition: Validate has found nothing.
func (r *RBACRules) compile() (*rbacRules, error) {
	if r == nil {
		return nil, nil
	}
	out := &rbacRules{}
	switch r.Action {
	case "deny":
		out.action = rbacDeny
	case "log":
		out.action = rbacLog
	}
	var cc rbacCompiler
	for _, name := range slices.Sorted(maps.Keys(r.Policies)) {
		p := r.Policies[name]
		out.policies = append(out.policies, rbacPolicy{
			name:        name,
			permissions: rbacNode{op: rbacOr, kids: cc.permissions(p.Permissions)},
			principals:  rbacNode{op: rbacOr, kids: cc.principals(p.Principals)},
		})
	}
	return out, errors.Join(cc.errs...)
}

// An rbacCompiler makes nodes of what the configuration says, and collects what is wrong with it.
type rbacCompiler struct{ errs []error }

func (cc *rbacCompiler) permissions(list []RBACPermission) []rbacNode {
	nodes := make([]rbacNode, len(list))
	for i := range list {
		nodes[i] = cc.permission(&list[i])
	}
	return nodes
}

func (cc *rbacCompiler) permission(p *RBACPermission) rbacNode {
	switch {
	case p.Any:
		return rbacNode{op: rbacAny}
	case len(p.AndRules) > 0:
		return rbacNode{op: rbacAnd, kids: cc.permissions(p.AndRules)}
	case len(p.OrRules) > 0:
		return rbacNode{op: rbacOr, kids: cc.permissions(p.OrRules)}
	case p.NotRule != nil:
		return rbacNode{op: rbacNot, kids: []rbacNode{cc.permission(p.NotRule)}}
	case p.DestinationIP != "":
		return rbacNode{op: rbacLocalIP, ips: cc.ips(p.DestinationIP)}
	case p.DestinationPort != nil:
		return rbacNode{op: rbacLocalPort, lo: *p.DestinationPort, hi: *p.DestinationPort}
	case p.DestinationPortRange != nil:
		return rbacNode{op: rbacLocalPort, lo: p.DestinationPortRange.Start, hi: p.DestinationPortRange.End - 1}
	case p.RequestedServerName != nil:
		return rbacNode{op: rbacServerName, text: cc.text(p.RequestedServerName)}
	default:
		return cc.metadata(p.Metadata)
	}
}

func (cc *rbacCompiler) principals(list []RBACPrincipal) []rbacNode {
	nodes := make([]rbacNode, len(list))
	for i := range list {
		nodes[i] = cc.principal(&list[i])
	}
	return nodes
}

func (cc *rbacCompiler) principal(p *RBACPrincipal) rbacNode {
	switch {
	case p.Any:
		return rbacNode{op: rbacAny}
	case len(p.AndIDs) > 0:
		return rbacNode{op: rbacAnd, kids: cc.principals(p.AndIDs)}
	case len(p.OrIDs) > 0:
		return rbacNode{op: rbacOr, kids: cc.principals(p.OrIDs)}
	case p.NotID != nil:
		return rbacNode{op: rbacNot, kids: []rbacNode{cc.principal(p.NotID)}}
	case p.Authenticated != nil:
		n := rbacNode{op: rbacAuthenticated}
		if p.Authenticated.PrincipalName != nil {
			n.text = cc.text(p.Authenticated.PrincipalName)
		}
		return n
	case p.SourceIP != "":
		return rbacNode{op: rbacRemoteIP, ips: cc.ips(p.SourceIP)}
	case p.DirectRemoteIP != "":
		return rbacNode{op: rbacDirectRemoteIP, ips: cc.ips(p.DirectRemoteIP)}
	case p.RemoteIP != "":
		return rbacNode{op: rbacRemoteIP, ips: cc.ips(p.RemoteIP)}
	default:
		return cc.metadata(p.Metadata)
	}
}

func (cc *rbacCompiler) metadata(m *RBACMetadataMatch) rbacNode {
	if m == nil {
		cc.errs = append(cc.errs, errors.New("a rule in which nothing is given"))
		return rbacNode{op: rbacOr}
	}
	n := rbacNode{op: rbacMetadataPresent, space: m.Filter, key: m.Key, invert: m.Invert}
	if m.Value != nil {
		n.op, n.text = rbacMetadata, cc.text(m.Value)
	}
	return n
}

func (cc *rbacCompiler) ips(s string) *cidrList {
	l, err := newCIDRList([]string{s})
	if err != nil {
		cc.errs = append(cc.errs, err)
	}
	return l
}

func (cc *rbacCompiler) text(m *RBACStringMatch) *rbacString {
	out := &rbacString{fold: m.IgnoreCase}
	switch {
	case m.Exact != nil:
		out.test, out.value = rbacExact, *m.Exact
	case m.Prefix != nil:
		out.test, out.value = rbacPrefix, *m.Prefix
	case m.Suffix != nil:
		out.test, out.value = rbacSuffix, *m.Suffix
	case m.Contains != nil:
		out.test, out.value = rbacContains, *m.Contains
	case m.SafeRegex != nil:
		re, err := regexp.Compile(`\A(?:` + *m.SafeRegex + `)\z`)
		if err != nil {
			cc.errs = append(cc.errs, err)
		}
		out.test, out.regex = rbacRegex, re
	}
	return out
}
