package l4

import (
	"regexp"
	"slices"
	"strings"

	"millrace/engine"
)

// The rules of role based access control, compiled. This file knows neither connections nor requests: rules look at
// an rbacInput, plain data that a filter fills in.

// rbacInput is what rules look at.
type rbacInput struct {
	remote       engine.Addr // of the peer, as a PROXY header or a header field has it
	directRemote engine.Addr // of the socket
	local        engine.Addr // where the peer wanted to go
	serverName   string
	tls          bool                         // the peer is authenticated, by principals if it has any
	principals   []string                     // names in its certificate
	metadata     map[string]map[string]string // by namespace and key
}

// rbacAction is what rules do with what a policy matches.
type rbacAction uint8

const (
	rbacAllow rbacAction = iota // matched passes, all else does not
	rbacDeny                    // matched does not pass, all else does
	rbacLog                     // all passes; matched is marked for the log
)

// rbacRules are an action and policies, sorted by name. They do not change.
type rbacRules struct {
	action   rbacAction
	policies []rbacPolicy
}

// An rbacPolicy matches what one of its permissions and one of its principals match.
type rbacPolicy struct {
	name        string
	permissions rbacNode
	principals  rbacNode
}

// decide returns whether something passes, and the index of the first policy that matches, -1 for none.
func (r *rbacRules) decide(in *rbacInput) (pass bool, policy int) {
	policy = -1
	for i := range r.policies {
		if p := &r.policies[i]; p.permissions.matches(in) && p.principals.matches(in) {
			policy = i
			break
		}
	}
	switch r.action {
	case rbacAllow:
		return policy >= 0, policy
	case rbacDeny:
		return policy < 0, policy
	default:
		return true, policy
	}
}

// asksNames reports whether a rule asks for the names in the peer's certificate. r may be nil.
func (r *rbacRules) asksNames() bool {
	return r != nil && slices.ContainsFunc(r.policies, func(p rbacPolicy) bool { return p.principals.asksNames() })
}

func (n *rbacNode) asksNames() bool {
	return n.op == rbacAuthenticated && n.text != nil ||
		slices.ContainsFunc(n.kids, func(kid rbacNode) bool { return kid.asksNames() })
}

// rbacOp is what a node of a rule asks.
type rbacOp uint8

const (
	rbacAny rbacOp = iota
	rbacAnd
	rbacOr
	rbacNot
	rbacLocalIP
	rbacLocalPort
	rbacServerName
	rbacRemoteIP
	rbacDirectRemoteIP
	rbacAuthenticated
	rbacMetadata
	rbacMetadataPresent
)

// An rbacNode is one question of a rule, or several of them.
type rbacNode struct {
	op     rbacOp
	invert bool       // of rbacMetadata and rbacMetadataPresent
	kids   []rbacNode // of rbacAnd, rbacOr and rbacNot
	ips    *cidrList
	lo, hi int         // ports, both included
	text   *rbacString // nil for rbacAuthenticated: whoever it is
	space  string      // of metadata
	key    string
}

// matches reports whether the answer is yes.
func (n *rbacNode) matches(in *rbacInput) bool {
	switch n.op {
	case rbacAny:
		return true
	case rbacAnd:
		for i := range n.kids {
			if !n.kids[i].matches(in) {
				return false
			}
		}
		return true
	case rbacOr:
		for i := range n.kids {
			if n.kids[i].matches(in) {
				return true
			}
		}
		return false
	case rbacNot:
		return !n.kids[0].matches(in)
	default:
		return n.matchesOne(in)
	}
}

// matchesOne is matches for nodes without others below.
func (n *rbacNode) matchesOne(in *rbacInput) bool {
	switch n.op {
	case rbacLocalIP:
		return n.ips.contains(&in.local)
	case rbacLocalPort:
		port := in.local.Port()
		return n.lo <= port && port <= n.hi
	case rbacServerName:
		return n.text.matches(in.serverName)
	case rbacRemoteIP:
		return n.ips.contains(&in.remote)
	case rbacDirectRemoteIP:
		return n.ips.contains(&in.directRemote)
	case rbacAuthenticated:
		return n.matchesPrincipal(in)
	case rbacMetadata:
		value, ok := in.metadata[n.space][n.key]
		return (ok && n.text.matches(value)) != n.invert
	case rbacMetadataPresent:
		_, ok := in.metadata[n.space][n.key]
		return ok != n.invert
	default:
		panic("BUG: l4: an rbac rule without a question")
	}
}

// matchesPrincipal reports whether the peer has shown who it is, and is who is asked for.
func (n *rbacNode) matchesPrincipal(in *rbacInput) bool {
	if !in.tls {
		return false
	}
	if n.text == nil {
		return true
	}
	for _, p := range in.principals {
		if n.text.matches(p) {
			return true
		}
	}
	return false
}

// rbacTest is how an rbacString compares.
type rbacTest uint8

const (
	rbacExact rbacTest = iota
	rbacPrefix
	rbacSuffix
	rbacContains
	rbacRegex
)

// An rbacString is a compiled question about a text.
type rbacString struct {
	test  rbacTest
	value string
	fold  bool // in any case
	regex *regexp.Regexp
}

func (m *rbacString) matches(s string) bool {
	n := len(m.value)
	switch m.test {
	case rbacExact:
		return m.equal(s)
	case rbacPrefix:
		return len(s) >= n && m.equal(s[:n])
	case rbacSuffix:
		return len(s) >= n && m.equal(s[len(s)-n:])
	case rbacContains:
		for i := 0; i+n <= len(s); i++ {
			if m.equal(s[i : i+n]) {
				return true
			}
		}
		return false
	default:
		return m.regex.MatchString(s)
	}
}

func (m *rbacString) equal(s string) bool {
	if m.fold {
		return strings.EqualFold(s, m.value)
	}
	return s == m.value
}
