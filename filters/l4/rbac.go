package l4

import (
	"strings"
	"time"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/engine/timer"
	"millrace/filters"
)

// rbacNamespace is where in a connection's metadata shadow rules say what they would have done.
const rbacNamespace = "envoy.filters.network.rbac"

// rbacShared is the compiled configuration.
type rbacShared struct{ rules, shadow *rbacRules }

func shareRBAC(cfg *RBACConfig, _ *filters.SharedEnv) (*rbacShared, error) {
	rules, err := cfg.Rules.compile()
	if err != nil {
		return nil, err
	}
	shadow, err := cfg.ShadowRules.compile()
	if err != nil {
		return nil, err
	}
	return &rbacShared{rules, shadow}, nil
}

// rbac closes connections that its rules do not let pass.
type rbac struct {
	loop        *engine.Loop
	slot        int
	delay       time.Duration
	rules       *rbacRules // nil: all pass
	shadow      *rbacRules // may be nil
	names       bool       // some rule asks for names in certificates
	stats       *rbacStats
	shadowStats *rbacShadowStats
	perRule     []*rbacRuleStats // by policy; nil without track_per_rule_stats
	perShadow   []*rbacRuleStats
	keyPolicy   string // in metadata
	keyResult   string
}

// rbacStats counts one chain on one loop.
type rbacStats struct {
	Allowed   stats.Counter `stat:"allowed" help:"decisions to let a connection pass"`
	Denied    stats.Counter `stat:"denied" help:"decisions to close a connection"`
	Logged    stats.Counter `stat:"logged" help:"decisions that a connection is to be logged"`
	NotLogged stats.Counter `stat:"not_logged" help:"decisions that a connection is not to be logged"`
}

// rbacShadowStats counts what shadow rules would have done.
type rbacShadowStats struct {
	Allowed stats.Counter `stat:"shadow_allowed" help:"decisions of shadow rules to let a connection pass"`
	Denied  stats.Counter `stat:"shadow_denied" help:"decisions of shadow rules to close a connection"`
}

// rbacRuleStats counts one policy.
type rbacRuleStats struct {
	Allowed       stats.Counter `stat:"allowed" help:"connections that passed by this policy"`
	Denied        stats.Counter `stat:"denied" help:"connections closed by this policy"`
	ShadowAllowed stats.Counter `stat:"shadow_allowed" help:"connections that shadow rules let pass by this policy"`
	ShadowDenied  stats.Counter `stat:"shadow_denied" help:"connections that shadow rules would have closed by this policy"`
}

func newRBAC(cfg *RBACConfig, shared *rbacShared, env *filters.NetworkEnv) (any, error) {
	scope := stats.Scope{}.Tag("envoy_rbac_prefix", cfg.StatPrefix).Name("rbac")
	shadowScope := scope
	if part := strings.Trim(cfg.ShadowRulesStatPrefix, "."); part != "" {
		shadowScope = scope.Name(part)
	}
	f := &rbac{
		loop: env.Loop, slot: env.Slot, delay: cfg.DelayDeny, rules: shared.rules, shadow: shared.shadow,
		stats:       stats.Register[rbacStats](env.Stats, scope),
		shadowStats: stats.Register[rbacShadowStats](env.Stats, shadowScope),
		keyPolicy:   cfg.ShadowRulesStatPrefix + "shadow_effective_policy_id",
		keyResult:   cfg.ShadowRulesStatPrefix + "shadow_engine_result",
	}
	f.names = shared.rules.asksNames() || shared.shadow.asksNames()
	if cfg.TrackPerRuleStats {
		f.perRule = rbacRegister(shared.rules, env.Stats, scope)
		f.perShadow = rbacRegister(shared.shadow, env.Stats, shadowScope)
	}
	if cfg.EnforcementType == "continuous" {
		return &rbacContinuous{rbac: f}, nil
	}
	return f, nil
}

// rbacRegister makes the counters of policies known.
func rbacRegister(r *rbacRules, reg stats.Registrar, scope stats.Scope) []*rbacRuleStats {
	if r == nil {
		return nil
	}
	sets := make([]*rbacRuleStats, len(r.policies))
	for i := range r.policies {
		sets[i] = stats.Register[rbacRuleStats](reg, scope.Name("policy").Tag("envoy_rbac_policy_name", r.policies[i].name))
	}
	return sets
}

// OnEstablished implements filters.EstablishedFilter.
func (f *rbac) OnEstablished(c *filters.Connection) filters.NetworkVerdict { return f.check(c) }

// check decides about a connection.
func (f *rbac) check(c *filters.Connection) filters.NetworkVerdict {
	if f.rules == nil && f.shadow == nil {
		return filters.NetworkContinue
	}
	in := rbacInput{
		remote: c.IO.RemoteAddr(), directRemote: c.DirectRemote, local: c.IO.LocalAddr(),
		serverName: c.ServerName, tls: c.Session != nil, metadata: c.Metadata,
	}
	if f.names && c.Session != nil && c.Session.Verified {
		if p := c.Peer(); p != nil {
			in.principals = p.Principals
		}
	}
	if f.shadow != nil {
		f.checkShadow(c, &in)
	}
	if f.rules == nil {
		return filters.NetworkContinue
	}
	pass, policy := f.rules.decide(&in)
	f.count(pass, policy)
	if f.rules.action == rbacLog {
		f.hint(c, policy >= 0)
	}
	if pass {
		return filters.NetworkContinue
	}
	return f.deny(c, policy)
}

// checkShadow asks the shadow rules, and keeps what they say.
func (f *rbac) checkShadow(c *filters.Connection, in *rbacInput) {
	pass, policy := f.shadow.decide(in)
	result := "denied"
	if pass {
		result = "allowed"
		f.shadowStats.Allowed.Inc()
	} else {
		f.shadowStats.Denied.Inc()
	}
	c.SetMetadata(rbacNamespace, f.keyResult, result)
	if policy < 0 {
		return
	}
	c.SetMetadata(rbacNamespace, f.keyPolicy, f.shadow.policies[policy].name)
	switch {
	case f.perShadow == nil:
	case pass:
		f.perShadow[policy].ShadowAllowed.Inc()
	default:
		f.perShadow[policy].ShadowDenied.Inc()
	}
}

// count counts a decision.
func (f *rbac) count(pass bool, policy int) {
	if pass {
		f.stats.Allowed.Inc()
	} else {
		f.stats.Denied.Inc()
	}
	switch {
	case f.perRule == nil || policy < 0:
	case pass:
		f.perRule[policy].Allowed.Inc()
	default:
		f.perRule[policy].Denied.Inc()
	}
}

// hint tells access logs whether log rules match.
func (f *rbac) hint(c *filters.Connection, logged bool) {
	value := "false"
	if logged {
		value = "true"
		f.stats.Logged.Inc()
	} else {
		f.stats.NotLogged.Inc()
	}
	c.SetMetadata("envoy.common", "access_log_hint", value)
}

// An rbacDenial is in the slot of a connection that is held before it is closed.
type rbacDenial struct {
	timer   timer.Timer
	c       *filters.Connection
	details string
}

// OnTimer implements timer.Firer.
func (d *rbacDenial) OnTimer(int64) { d.c.Close(0, d.details) }

// deny closes a connection, now or after the delay.
func (f *rbac) deny(c *filters.Connection, policy int) filters.NetworkVerdict {
	name := "none"
	if policy >= 0 {
		name = strings.ReplaceAll(f.rules.policies[policy].name, " ", "_")
	}
	c.Details = "rbac_access_denied_matched_policy[" + name + "]"
	if f.delay <= 0 {
		return filters.NetworkClose
	}
	d := &rbacDenial{c: c, details: c.Details}
	c.SetSlot(f.slot, d)
	d.timer.Init(d)
	f.loop.Wheel().Set(&d.timer, f.loop.Now()+int64(f.delay))
	return filters.NetworkPause
}

// OnEnd implements filters.EndFilter.
func (f *rbac) OnEnd(c *filters.Connection) {
	if d, held := c.Slot(f.slot).(*rbacDenial); held {
		f.loop.Wheel().Unlink(&d.timer)
	}
}

// rbacContinuous is an rbac that decides again with all bytes that come. It is a type of its own because whoever
// looks at bytes keeps them from being spliced.
type rbacContinuous struct{ *rbac }

// OnRead implements filters.ReadFilter.
func (f *rbacContinuous) OnRead(c *filters.Connection, b []byte, _ bool) filters.NetworkVerdict {
	if len(b) == 0 {
		return filters.NetworkContinue
	}
	return f.check(c)
}
