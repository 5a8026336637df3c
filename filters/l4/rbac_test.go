package l4

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/engine/enginetest"
	"millrace/engine/transport"
	"millrace/filters"
)

func ptrTo[T any](v T) *T { return &v }

// rbacExactly matches a whole text.
func rbacExactly(s string) *RBACStringMatch { return &RBACStringMatch{Exact: &s} }

// rbacOf is rules with one policy.
func rbacOf(action string, permission RBACPermission, principal RBACPrincipal) *RBACRules {
	return &RBACRules{Action: action, Policies: map[string]RBACPolicy{
		"the policy": {Permissions: []RBACPermission{permission}, Principals: []RBACPrincipal{principal}},
	}}
}

// TestRBACMatch asks each kind of rule, and its opposite.
func TestRBACMatch(t *testing.T) {
	t.Parallel()
	in := rbacInput{
		remote: mustAddr(t, "192.0.2.7:1000"), directRemote: mustAddr(t, "10.0.0.9:2000"), local: mustAddr(t, "198.51.100.1:443"),
		serverName: "db.example.com", tls: true, principals: []string{"spiffe://cluster/anna", "spiffe://cluster/bert"},
		metadata: map[string]map[string]string{"pp": {"tlv": "vpc-1", "empty": ""}},
	}
	name := func(m RBACStringMatch) RBACPermission { return RBACPermission{RequestedServerName: &m} }
	yes, no := RBACPermission{Any: true}, RBACPermission{NotRule: &RBACPermission{Any: true}}
	for i, tt := range []struct {
		rule RBACPermission
		want bool
	}{
		{yes, true}, {no, false},
		{RBACPermission{AndRules: []RBACPermission{yes, yes}}, true}, {RBACPermission{AndRules: []RBACPermission{yes, no}}, false},
		{RBACPermission{OrRules: []RBACPermission{no, yes}}, true}, {RBACPermission{OrRules: []RBACPermission{no, no}}, false},
		{RBACPermission{DestinationIP: "198.51.100.0/24"}, true}, {RBACPermission{DestinationIP: "192.0.2.0/24"}, false},
		{RBACPermission{DestinationPort: ptrTo(443)}, true}, {RBACPermission{DestinationPort: ptrTo(444)}, false},
		{RBACPermission{DestinationPortRange: &RBACPortRange{443, 444}}, true},
		{RBACPermission{DestinationPortRange: &RBACPortRange{400, 443}}, false}, // the end is not part of it
		{RBACPermission{DestinationPortRange: &RBACPortRange{444, 65536}}, false},
		{name(RBACStringMatch{Exact: ptrTo("db.example.com")}), true}, {name(RBACStringMatch{Exact: ptrTo("DB.example.com")}), false},
		{name(RBACStringMatch{Exact: ptrTo("DB.example.com"), IgnoreCase: true}), true},
		{name(RBACStringMatch{Prefix: ptrTo("db.")}), true}, {name(RBACStringMatch{Prefix: ptrTo("example")}), false},
		{name(RBACStringMatch{Prefix: ptrTo("db.example.com.more")}), false},
		{name(RBACStringMatch{Suffix: ptrTo(".example.com")}), true}, {name(RBACStringMatch{Suffix: ptrTo(".example")}), false},
		{name(RBACStringMatch{Suffix: ptrTo(".Example.COM"), IgnoreCase: true}), true},
		{name(RBACStringMatch{Contains: ptrTo("example")}), true}, {name(RBACStringMatch{Contains: ptrTo("samples")}), false},
		{name(RBACStringMatch{Contains: ptrTo("EXAMPLE"), IgnoreCase: true}), true}, {name(RBACStringMatch{Contains: ptrTo("")}), true},
		{name(RBACStringMatch{SafeRegex: ptrTo("d.|x")}), false}, {name(RBACStringMatch{SafeRegex: ptrTo("x|db[.].*")}), true},
		{RBACPermission{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "tlv", Value: rbacExactly("vpc-1")}}, true},
		{RBACPermission{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "tlv", Value: rbacExactly("vpc-1"), Invert: true}}, false},
		{RBACPermission{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "tlv", Value: rbacExactly("vpc-2")}}, false},
		{RBACPermission{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "none", Value: rbacExactly("")}}, false},
		{RBACPermission{Metadata: &RBACMetadataMatch{Filter: "xx", Key: "tlv", Value: rbacExactly("vpc-1")}}, false},
		{RBACPermission{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "empty", Present: true}}, true},
		{RBACPermission{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "none", Present: true}}, false},
		{RBACPermission{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "none", Present: true, Invert: true}}, true},
	} {
		rules, err := rbacOf("allow", tt.rule, RBACPrincipal{Any: true}).compile()
		if err != nil {
			t.Fatal(err)
		}
		if got := problems(tt.rule.Validate); got != "" {
			t.Errorf("rule %d: Validate = %q", i, got)
		}
		if pass, _ := rules.decide(&in); pass != tt.want {
			t.Errorf("rule %d, %+v, matches: %v; want %v", i, tt.rule, pass, tt.want)
		}
	}
	plain, unnamed := in, in
	plain.tls, plain.principals = false, nil
	unnamed.principals = nil
	anybody, nobody := RBACPrincipal{Any: true}, RBACPrincipal{NotID: &RBACPrincipal{Any: true}}
	for i, tt := range []struct {
		id   RBACPrincipal
		in   *rbacInput
		want bool
	}{
		{anybody, &in, true}, {nobody, &in, false},
		{RBACPrincipal{AndIDs: []RBACPrincipal{anybody, anybody}}, &in, true}, {RBACPrincipal{AndIDs: []RBACPrincipal{anybody, nobody}}, &in, false},
		{RBACPrincipal{OrIDs: []RBACPrincipal{nobody, anybody}}, &in, true}, {RBACPrincipal{OrIDs: []RBACPrincipal{nobody}}, &in, false},
		{RBACPrincipal{RemoteIP: "192.0.2.0/24"}, &in, true}, {RBACPrincipal{RemoteIP: "10.0.0.0/8"}, &in, false},
		{RBACPrincipal{SourceIP: "192.0.2.7"}, &in, true}, {RBACPrincipal{SourceIP: "192.0.2.8"}, &in, false},
		{RBACPrincipal{DirectRemoteIP: "10.0.0.0/8"}, &in, true}, {RBACPrincipal{DirectRemoteIP: "192.0.2.0/24"}, &in, false},
		{RBACPrincipal{RemoteIP: "::/0"}, &in, false},
		{RBACPrincipal{Authenticated: &RBACAuthenticated{}}, &in, true}, {RBACPrincipal{Authenticated: &RBACAuthenticated{}}, &plain, false},
		{RBACPrincipal{Authenticated: &RBACAuthenticated{}}, &unnamed, true},
		{RBACPrincipal{Authenticated: &RBACAuthenticated{rbacExactly("spiffe://cluster/bert")}}, &in, true},
		{RBACPrincipal{Authenticated: &RBACAuthenticated{rbacExactly("spiffe://cluster/carl")}}, &in, false},
		{RBACPrincipal{Authenticated: &RBACAuthenticated{&RBACStringMatch{Contains: ptrTo("")}}}, &unnamed, false},
		{RBACPrincipal{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "tlv", Value: rbacExactly("vpc-1")}}, &in, true},
	} {
		rules, err := rbacOf("deny", RBACPermission{Any: true}, tt.id).compile()
		if err != nil {
			t.Fatal(err)
		}
		if got := problems(tt.id.Validate); got != "" {
			t.Errorf("principal %d: Validate = %q", i, got)
		}
		if pass, _ := rules.decide(tt.in); pass == tt.want {
			t.Errorf("principal %d, %+v, matches: %v; want %v", i, tt.id, !pass, tt.want)
		}
	}
}

// TestRBACDecide: the first policy by name counts, and a policy needs one of each.
func TestRBACDecide(t *testing.T) {
	t.Parallel()
	port := func(n int) RBACPermission { return RBACPermission{DestinationPort: &n} }
	who := func(ip string) RBACPrincipal { return RBACPrincipal{RemoteIP: ip} }
	policies := map[string]RBACPolicy{
		"b": {[]RBACPermission{port(1), port(2)}, []RBACPrincipal{who("10.0.0.0/8"), who("192.0.2.0/24")}},
		"a": {[]RBACPermission{port(2)}, []RBACPrincipal{who("10.1.0.0/16")}},
	}
	for _, tt := range []struct {
		local, remote string
		want          string // name of the policy, or ""
	}{
		{"127.0.0.1:1", "10.1.0.1:9", "b"}, {"127.0.0.1:2", "10.1.0.1:9", "a"}, {"127.0.0.1:2", "10.2.0.1:9", "b"},
		{"127.0.0.1:2", "192.0.2.1:9", "b"}, {"127.0.0.1:3", "10.1.0.1:9", ""}, {"127.0.0.1:1", "192.0.3.1:9", ""}, {"unix:@x", "unix:@y", ""},
	} {
		in := rbacInput{local: mustAddr(t, tt.local), remote: mustAddr(t, tt.remote)}
		for _, action := range []string{"allow", "deny", "log"} {
			rules, err := (&RBACRules{Action: action, Policies: policies}).compile()
			if err != nil {
				t.Fatal(err)
			}
			pass, policy := rules.decide(&in)
			name := ""
			if policy >= 0 {
				name = rules.policies[policy].name
			}
			if want := action == "log" || (action == "allow") == (tt.want != ""); pass != want || name != tt.want {
				t.Errorf("%s %+v: %v by %q; want %v by %q", action, tt, pass, name, want, tt.want)
			}
		}
	}
	for action, want := range map[string]bool{"allow": false, "deny": true, "log": true} {
		rules, _ := (&RBACRules{Action: action}).compile()
		if pass, policy := rules.decide(&rbacInput{}); pass != want || policy != -1 {
			t.Errorf("%s without policies: %v, %d", action, pass, policy)
		}
	}
}

// rbacConn is a connection from remote.
func rbacConn(t *testing.T, p *fakeProcess, remote string) *filters.Connection {
	t.Helper()
	io, _ := p.loop.Pair(enginetest.NewRecorder())
	io.SetRemoteAddr(mustAddr(t, remote))
	io.SetLocalAddr(mustAddr(t, "198.51.100.1:443"))
	return newFakeConnection(io)
}

func TestRBACFilter(t *testing.T) {
	t.Parallel()
	inside := RBACPrincipal{RemoteIP: "10.0.0.0/8"}
	anything := RBACPermission{Any: true}
	for _, tt := range []struct {
		name    string
		cfg     RBACConfig
		remote  string
		pass    bool
		details string
		stats   string
		meta    string
	}{
		{"no rules", RBACConfig{}, "10.0.0.1:1", true, "", "", ""},
		{"allowed", RBACConfig{Rules: rbacOf("allow", anything, inside)}, "10.0.0.1:1", true, "", "allowed=1", ""},
		{"not allowed", RBACConfig{Rules: rbacOf("allow", anything, inside)}, "11.0.0.1:1", false,
			"rbac_access_denied_matched_policy[none]", "denied=1", ""},
		{"denied", RBACConfig{Rules: rbacOf("deny", anything, inside)}, "10.0.0.1:1", false,
			"rbac_access_denied_matched_policy[the_policy]", "denied=1", ""},
		{"not denied", RBACConfig{Rules: rbacOf("deny", anything, inside)}, "11.0.0.1:1", true, "", "allowed=1", ""},
		{"logged", RBACConfig{Rules: rbacOf("log", anything, inside)}, "10.0.0.1:1", true, "", "allowed=1 logged=1",
			"envoy.common access_log_hint=true"},
		{"not logged", RBACConfig{Rules: rbacOf("log", anything, inside)}, "11.0.0.1:1", true, "", "allowed=1 not_logged=1",
			"envoy.common access_log_hint=false"},
		{"shadow allowed", RBACConfig{ShadowRules: rbacOf("allow", anything, inside), TrackPerRuleStats: true}, "10.0.0.1:1", true, "",
			"policy.the policy.shadow_allowed=1 shadow_allowed=1",
			"envoy.filters.network.rbac shadow_effective_policy_id=the policy, envoy.filters.network.rbac shadow_engine_result=allowed"},
		{"shadow not allowed", RBACConfig{ShadowRules: rbacOf("allow", anything, inside)}, "11.0.0.1:1", true, "",
			"shadow_denied=1", "envoy.filters.network.rbac shadow_engine_result=denied"},
		{"shadow denied", RBACConfig{ShadowRules: rbacOf("deny", anything, inside), ShadowRulesStatPrefix: "next.", TrackPerRuleStats: true}, "10.0.0.1:1", true, "",
			"next.policy.the policy.shadow_denied=1 next.shadow_denied=1",
			"envoy.filters.network.rbac next.shadow_effective_policy_id=the policy, envoy.filters.network.rbac next.shadow_engine_result=denied"},
		{"both", RBACConfig{Rules: rbacOf("deny", anything, inside), ShadowRules: rbacOf("allow", anything, inside), TrackPerRuleStats: true}, "10.0.0.1:1", false,
			"rbac_access_denied_matched_policy[the_policy]",
			"denied=1 policy.the policy.denied=1 policy.the policy.shadow_allowed=1 shadow_allowed=1",
			"envoy.filters.network.rbac shadow_effective_policy_id=the policy, envoy.filters.network.rbac shadow_engine_result=allowed"},
		{"each rule", RBACConfig{Rules: rbacOf("allow", anything, inside), TrackPerRuleStats: true}, "10.0.0.1:1", true, "",
			"allowed=1 policy.the policy.allowed=1", ""},
	} {
		p := newFakeProcess(t)
		tt.cfg.StatPrefix = "in"
		f := p.build(t, "rbac", &tt.cfg)
		if _, reads := f.(filters.ReadFilter); reads {
			t.Errorf("%s: it looks at bytes", tt.name)
		}
		c := rbacConn(t, p, tt.remote)
		v := f.(filters.EstablishedFilter).OnEstablished(c)
		f.(filters.EndFilter).OnEnd(c)
		if (v == filters.NetworkContinue) != tt.pass || v == filters.NetworkPause || c.Details != tt.details {
			t.Errorf("%s: %v, details %q", tt.name, v, c.Details)
		}
		if s := sortedStats(p.stats("in.rbac.")); s != tt.stats {
			t.Errorf("%s: stats %q, want %q", tt.name, s, tt.stats)
		}
		if m := metadataText(c); m != tt.meta {
			t.Errorf("%s: metadata %q, want %q", tt.name, m, tt.meta)
		}
	}
}

// sortedStats puts what fakeProcess.stats returns in the order of names.
func sortedStats(s string) string {
	list := strings.SplitAfter(s, " ")
	// Names of policies have spaces: join what has no '=' with what follows.
	for i := 0; i < len(list)-1; {
		if strings.Contains(list[i], "=") {
			i++
			continue
		}
		list[i] += list[i+1]
		list = slices.Delete(list, i+1, i+2)
	}
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func metadataText(c *filters.Connection) string {
	var all []string
	for _, space := range slices.Sorted(maps.Keys(c.Metadata)) {
		for _, key := range slices.Sorted(maps.Keys(c.Metadata[space])) {
			all = append(all, space+" "+key+"="+c.Metadata[space][key])
		}
	}
	return strings.Join(all, ", ")
}

// TestRBACPeer: what TLS and listener filters have found out reaches the rules.
func TestRBACPeer(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "rbac", &RBACConfig{StatPrefix: "in", Rules: rbacOf("allow",
		RBACPermission{AndRules: []RBACPermission{{RequestedServerName: rbacExactly("db")}, {DestinationPort: ptrTo(443)},
			{Metadata: &RBACMetadataMatch{Filter: "pp", Key: "k", Value: rbacExactly("v")}}}},
		RBACPrincipal{AndIDs: []RBACPrincipal{{Authenticated: &RBACAuthenticated{rbacExactly("anna")}}, {DirectRemoteIP: "192.0.2.1"}}})}).(filters.EstablishedFilter)
	c := rbacConn(t, p, "10.0.0.1:1")
	c.ServerName, c.DirectRemote = "db", mustAddr(t, "192.0.2.1:7")
	anna := &x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte("\x30\x06\x82\x04anna")}}}
	c.OnSession(&transport.Session{Peer: anna, Verified: true})
	c.SetMetadata("pp", "k", "v")
	if v := f.OnEstablished(c); v != filters.NetworkContinue {
		t.Errorf("verdict %v", v)
	}
	c = rbacConn(t, p, "10.0.0.1:1")
	c.ServerName, c.DirectRemote = "db", mustAddr(t, "192.0.2.1:7")
	c.SetMetadata("pp", "k", "v")
	c.OnSession(&transport.Session{Peer: anna})
	if v := f.OnEstablished(c); v != filters.NetworkClose {
		t.Errorf("verdict %v of a certificate that nobody has verified", v)
	}
}

func TestRBACContinuous(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "rbac", &RBACConfig{StatPrefix: "in", EnforcementType: "continuous", Rules: rbacOf("deny", RBACPermission{Any: true},
		RBACPrincipal{Metadata: &RBACMetadataMatch{Filter: "f", Key: "bad", Present: true}})}).(*rbacContinuous)
	c := rbacConn(t, p, "10.0.0.1:1")
	for i, tt := range []struct {
		b    string
		want filters.NetworkVerdict
	}{{"a", filters.NetworkContinue}, {"b", filters.NetworkClose}, {"", filters.NetworkContinue}} {
		if i == 0 {
			if v := f.OnEstablished(c); v != filters.NetworkContinue {
				t.Errorf("established: %v", v)
			}
		}
		if v := f.OnRead(c, []byte(tt.b), tt.b == ""); v != tt.want {
			t.Errorf("read %q: %v, want %v", tt.b, v, tt.want)
		}
		c.SetMetadata("f", "bad", "")
	}
	if got := p.stats("in.rbac."); got != "allowed=2 denied=1" {
		t.Errorf("stats %q", got)
	}
}

func TestRBACDelay(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "rbac", &RBACConfig{StatPrefix: "in", DelayDeny: time.Second, Rules: &RBACRules{Action: "allow"}}).(*rbac)
	gone, c := rbacConn(t, p, "10.0.0.1:1"), rbacConn(t, p, "10.0.0.1:1")
	if v, w := f.OnEstablished(gone), f.OnEstablished(c); v != filters.NetworkPause || w != filters.NetworkPause {
		t.Fatalf("verdicts %v, %v", v, w)
	}
	gone.End()
	f.OnEnd(gone)
	p.loop.Advance(900 * time.Millisecond)
	if c.Ended() {
		t.Error("closed before the delay is over")
	}
	p.loop.Advance(200 * time.Millisecond)
	f.OnEnd(c)
	if !c.Ended() || c.Details != "rbac_access_denied_matched_policy[none]" || gone.Chain.(*fakeChain).closed != 0 || p.loop.Wheel().Len() != 0 {
		t.Errorf("ended %v, details %q, %d timers", c.Ended(), c.Details, p.loop.Wheel().Len())
	}
}

func TestRBACConfig(t *testing.T) {
	t.Parallel()
	deep := RBACPermission{Any: true}
	deepID := RBACPrincipal{Any: true}
	for i := range rbacDepthMax {
		inner, innerID := deep, deepID
		if i%2 == 0 {
			deep, deepID = RBACPermission{NotRule: &inner}, RBACPrincipal{NotID: &innerID}
		} else {
			deep, deepID = RBACPermission{OrRules: []RBACPermission{inner}}, RBACPrincipal{AndIDs: []RBACPrincipal{innerID}}
		}
	}
	tooDeep := `policy "the policy" has rules within rules, 17 deep, which exceeds 16`
	for _, tt := range []struct {
		validate func(func(path, problem, hint string))
		want     string
	}{
		{(&RBACConfig{Rules: rbacOf("allow", deep.OrRules[0], RBACPrincipal{Any: true})}).Validate, ""},
		{(&RBACConfig{Rules: rbacOf("allow", deep, RBACPrincipal{Any: true})}).Validate, "rules.policies: " + tooDeep},
		{(&RBACConfig{ShadowRules: rbacOf("allow", RBACPermission{Any: true}, deepID)}).Validate, "shadow_rules.policies: " + tooDeep},
		{(&RBACPermission{}).Validate, ": nothing is given"},
		{(&RBACPrincipal{}).Validate, ": nothing is given"},
		{(&RBACPermission{Any: true, DestinationIP: "10.0.0.0/33"}).Validate,
			"destination_ip: any and destination_ip are given\ndestination_ip: \"10.0.0.0/33\" has a length that is not a number from 0 to 32"},
		{(&RBACPrincipal{SourceIP: "x", DirectRemoteIP: "y", RemoteIP: "z"}).Validate, "direct_remote_ip: source_ip and direct_remote_ip and remote_ip are given\n" +
			"source_ip: \"x\" is not an IP address or prefix\ndirect_remote_ip: \"y\" is not an IP address or prefix\nremote_ip: \"z\" is not an IP address or prefix"},
		{(&RBACPortRange{80, 81}).Validate, ""},
		{(&RBACPortRange{80, 80}).Validate, "end: range from 80 to before 80 is empty"},
		{(&RBACMetadataMatch{}).Validate, ": nothing is given"},
		{(&RBACMetadataMatch{Value: rbacExactly(""), Present: true}).Validate, "present: value and present are given"},
		{(&RBACStringMatch{}).Validate, ": nothing is given"},
		{(&RBACStringMatch{Exact: ptrTo(""), Suffix: ptrTo("")}).Validate, "suffix: exact and suffix are given"},
		{(&RBACStringMatch{SafeRegex: ptrTo("(")}).Validate, "safe_regex: regular expression \"(\": missing closing )"},
		{(&RBACStringMatch{SafeRegex: ptrTo(strings.Repeat("x", 4097))}).Validate, "safe_regex: regular expression of 4097 bytes exceeds 4096"},
		{(&RBACStringMatch{SafeRegex: ptrTo("((x{50}){20})")}).Validate, ""},
		{(&RBACStringMatch{SafeRegex: ptrTo("(x{50}){20}(y{50}){20}(z{50}){20}")}).Validate, "safe_regex: regular expression compiles to 3122 instructions, which exceeds 2000"},
		{(&RBACStringMatch{SafeRegex: ptrTo("x"), IgnoreCase: true}).Validate, "ignore_case: ignore_case does nothing to a regular expression"},
	} {
		if got := problems(tt.validate); got != tt.want {
			t.Errorf("Validate = %q; want %q", got, tt.want)
		}
	}
	var m RBACStringMatch
	if err := m.DecodeConfigString("x"); err != nil || m.Exact == nil || *m.Exact != "x" {
		t.Errorf("the short form gives %+v, %v", m, err)
	}
	// What Validate would have refused is no crash.
	for _, bad := range []*RBACRules{
		rbacOf("allow", RBACPermission{}, RBACPrincipal{Any: true}),
		rbacOf("allow", RBACPermission{Any: true}, RBACPrincipal{RemoteIP: "x"}),
		rbacOf("allow", RBACPermission{RequestedServerName: &RBACStringMatch{SafeRegex: ptrTo("(")}}, RBACPrincipal{Any: true}),
	} {
		p := newFakeProcess(t)
		if _, err := p.tryBuild(t, "rbac", &RBACConfig{StatPrefix: "x", Rules: bad}); err == nil {
			t.Errorf("%+v: built", bad)
		}
		if _, err := p.tryBuild(t, "rbac", &RBACConfig{StatPrefix: "x", ShadowRules: bad}); err == nil {
			t.Errorf("%+v as shadow rules: built", bad)
		}
	}
}
