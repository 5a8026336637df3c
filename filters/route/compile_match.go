package route

import (
	"strings"

	"millrace/codec"
)

// match compiles the match of a route.
func (c *compiler) match(cfg *MatchConfig, r *Route) {
	kind, text := cfg.kind()
	r.path = pathMatch{kind: kind, fold: !cfg.CaseSensitive && kind < pathRegex}
	switch {
	case kind == pathRegex:
		r.path.text = c.arena.str(text)
		r.path.regex = mustRegex(text)
	case r.path.fold:
		r.path.text = c.arena.str(strings.ToLower(text))
	default:
		r.path.text = c.arena.str(text)
	}
	for i := range cfg.Headers {
		c.table.conds = append(c.table.conds, c.headerCondition(&cfg.Headers[i]))
	}
	for i := range cfg.QueryParameters {
		q := &cfg.QueryParameters[i]
		cond := condition{from: fromQuery, name: c.arena.str(q.Name)}
		c.stringCondition(&cond, &q.StringMatchConfig, q.Present)
		c.table.conds = append(c.table.conds, cond)
	}
	for i := range cfg.Cookies {
		k := &cfg.Cookies[i]
		cond := condition{from: fromCookie, name: c.arena.str(k.Name), invert: k.InvertMatch}
		c.stringCondition(&cond, &k.StringMatchConfig, nil)
		c.table.conds = append(c.table.conds, cond)
	}
	if f := cfg.RuntimeFraction; f != nil {
		c.table.conds = append(c.table.conds, condition{
			from: fromRandom, test: testFraction, name: c.arena.str(f.RuntimeKey),
			lo: int64(f.millionths()),
		})
	}
}

// headerCondition compiles a matcher of one header.
func (c *compiler) headerCondition(cfg *HeaderMatchConfig) condition {
	cond := condition{invert: cfg.InvertMatch, empty: cfg.TreatMissingHeaderAsEmpty}
	c.header(&cond, cfg.Name)
	c.stringCondition(&cond, &cfg.StringMatchConfig, cfg.Present)
	if cfg.Range != nil {
		cond.test, cond.lo, cond.hi = testRange, cfg.Range.Start, cfg.Range.End
	}
	return cond
}

// header makes cond look at a header or pseudo-header.
func (c *compiler) header(cond *condition, name string) {
	name = strings.ToLower(name)
	cond.name = c.arena.str(name)
	switch name {
	case ":method":
		cond.from = fromMethod
	case ":path":
		cond.from = fromPath
	case ":authority", "host":
		cond.from = fromAuthority
	case ":scheme":
		cond.from = fromScheme
	default:
		cond.from = fromHeader
		if cond.id = codec.KnownField([]byte(name)); cond.id != codec.FieldOther {
			cond.from = fromKnown
		}
	}
}

// stringCondition compiles how a value is compared.
func (c *compiler) stringCondition(cond *condition, cfg *StringMatchConfig, present *bool) {
	value := ""
	switch {
	case cfg.Exact != nil:
		cond.test, value = testExact, *cfg.Exact
	case cfg.Prefix != "":
		cond.test, value = testPrefix, cfg.Prefix
	case cfg.Suffix != "":
		cond.test, value = testSuffix, cfg.Suffix
	case cfg.Contains != "":
		cond.test, value = testContains, cfg.Contains
	case cfg.SafeRegex != "":
		cond.test, cond.regex = testRegex, mustRegex(cfg.SafeRegex)
	case present != nil && !*present:
		cond.test = testAbsent
	}
	if cfg.IgnoreCase {
		cond.fold, value = true, strings.ToLower(value)
	}
	cond.value = c.arena.str(value)
}
