package route

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"millrace/codec"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	Path    string // such as "virtual_hosts[0].routes[2].match.prefix"
	Problem string // quotes the offending value
	Hint    string // what to write instead, or ""
	// Warning says that the table is as good as the configuration means it: a route is unreachable or
	// names an unknown cluster. A file is refused for that, xDS and imports are not.
	Warning bool
}

func (p Problem) String() string {
	s := p.Path + ": " + p.Problem
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}

// Compile makes the table of a configuration. clusterID gives the id of a
// cluster by name; newFormat compiles header values with operators and may be
// nil if there are none. A configuration with problems gives no table, unless all are warnings.
//
// Compile finds again what Validate reports, so it may be called without the loader.
func Compile(cfg *Config, clusterID func(name string) (uint32, bool), newFormat NewFormat) (*Table, []Problem) {
	c := newCompiler(cfg, clusterID, newFormat)
	cfg.validateAll(c.report)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	c.checkReachable()
	c.compile()
	for i := range c.problems {
		if !c.problems[i].Warning {
			return nil, c.problems
		}
	}
	return c.table, c.problems
}

// checkReachable warns of routes that nothing can reach.
func (c *compiler) checkReachable() {
	hosts := c.cfg.virtualHosts()
	for i := range hosts {
		prefix := c.cfg.hostPath(i)
		checkRoutes(hosts[i].Routes, func(path, problem, hint string) { c.warn(prefix+path, problem, hint) })
	}
}

// compiler is the state of one Compile.
type compiler struct {
	cfg       *Config
	clusterID func(name string) (uint32, bool)
	newFormat NewFormat
	table     *Table // not a part of the compiler, which would live as long
	problems  []Problem
	arena     arena
	hasher    hasher
	shared    map[forwardKey]*forward
}

func newCompiler(cfg *Config, clusterID func(name string) (uint32, bool), newFormat NewFormat) *compiler {
	return &compiler{
		cfg: cfg, clusterID: clusterID, newFormat: newFormat, table: new(Table),
		arena: newArena(), hasher: newHasher(), shared: map[forwardKey]*forward{},
	}
}

func (c *compiler) report(path, problem, hint string) {
	c.problems = append(c.problems, Problem{Path: path, Problem: problem, Hint: hint})
}

func (c *compiler) warn(path, problem, hint string) {
	c.problems = append(c.problems, Problem{Path: path, Problem: problem, Hint: hint, Warning: true})
}

// virtualHosts returns the virtual hosts, also those of the short form, and the path in front of each one's.
func (cfg *Config) virtualHosts() []VirtualHostConfig {
	if len(cfg.Routes) > 0 && len(cfg.VirtualHosts) == 0 {
		return []VirtualHostConfig{{Name: "*", Domains: []string{"*"}, Routes: cfg.Routes, RequireTLS: "none"}}
	}
	return cfg.VirtualHosts
}

// hostPath returns the path of virtual host i in the configuration: "" for the short form.
func (cfg *Config) hostPath(i int) string {
	if len(cfg.VirtualHosts) == 0 {
		return ""
	}
	return fmt.Sprintf("virtual_hosts[%d].", i)
}

func (c *compiler) compile() {
	t, hosts := c.table, c.cfg.virtualHosts()
	t.name = c.arena.str(c.cfg.Name)
	t.specificWins = c.cfg.MostSpecificHeaderMutationsWins
	t.ignoreParams = c.cfg.IgnorePathParametersInPathMatching
	for _, name := range c.cfg.InternalOnlyHeaders {
		t.internalOnly = append(t.internalOnly, c.arena.str(strings.ToLower(name)))
	}
	t.mutations = c.level(&c.cfg.HeaderMutations, "")

	routes := 0
	for i := range hosts {
		routes += len(hosts[i].Routes)
	}
	t.vhosts = make([]VirtualHost, 0, len(hosts)) // pointers into both stay good
	t.routes = make([]Route, 0, routes)
	domains := [4]map[string]int32{{}, {}, {}, {}}
	for i := range hosts {
		c.virtualHost(&hosts[i], c.cfg.hostPath(i))
		for _, domain := range hosts[i].Domains {
			kind, text, _ := parseDomain(domain)
			domains[kind][c.arena.str(text)] = int32(i)
		}
	}
	t.hosts = hostIndex{
		exact: newDomainTable(domains[domainExact]), suffix: newDomainTable(domains[domainSuffix]),
		prefix: newDomainTable(domains[domainPrefix]), any: -1, ignorePort: c.cfg.IgnorePortInHostMatching,
	}
	if vh, ok := domains[domainAny][""]; ok {
		t.hosts.any = vh
	}
	t.conds = slices.Clip(t.conds)
}

// virtualHost compiles one virtual host and its routes.
func (c *compiler) virtualHost(cfg *VirtualHostConfig, path string) {
	t := c.table
	t.vhosts = append(t.vhosts, VirtualHost{
		Name:                          c.arena.str(cfg.Name),
		IncludeRequestAttemptCount:    cfg.IncludeRequestAttemptCount,
		IncludeAttemptCountInResponse: cfg.IncludeAttemptCountInResponse,
		table:                         t,
		first:                         uint32(len(t.routes)),
		mutations:                     c.level(&cfg.HeaderMutations, path),
	})
	vh := &t.vhosts[len(t.vhosts)-1]
	switch cfg.RequireTLS {
	case "external_only":
		vh.requireTLS = tlsExternalOnly
	case "all":
		vh.requireTLS = tlsAll
	}
	if vh.requireTLS != tlsNone {
		vh.tlsRedirect = &Route{
			Name: "require_tls", VirtualHost: vh, Action: ActionRedirect, Status: 301, IdleTimeout: IdleTimeoutUnset,
			index: ^uint32(0), redirect: &redirect{scheme: "https"},
		}
	}
	retry := c.retry(cfg.RetryPolicy)
	for i := range cfg.Routes {
		c.route(&cfg.Routes[i], vh, retry, fmt.Sprintf("%sroutes[%d]", path, i))
	}
	vh.end = uint32(len(t.routes))
	vh.index = newPathIndex(t.routes[vh.first:vh.end], vh.first)
}

// route compiles one route.
func (c *compiler) route(cfg *RouteConfig, vh *VirtualHost, retry *RetryPolicy, path string) {
	t := c.table
	r := Route{
		Name: c.arena.str(cfg.Name), VirtualHost: vh, Hash: c.hasher.of(cfg), IdleTimeout: IdleTimeoutUnset,
		index: uint32(len(t.routes)), condFirst: uint32(len(t.conds)),
	}
	c.match(&cfg.Match, &r)
	r.condEnd = uint32(len(t.conds))
	if l := c.level(&cfg.HeaderMutations, path+"."); !l.empty() {
		r.mutations = &l
	}
	switch {
	case cfg.Route != nil:
		r.Retry = retry
		c.forward(cfg.Route, &r, path+".route")
	case cfg.Redirect != nil:
		r.Action = ActionRedirect
		r.Status, r.redirect = cfg.Redirect.ResponseCode, c.redirect(cfg.Redirect)
	default:
		r.Action = ActionDirectResponse
		r.Status, r.body = cfg.DirectResponse.Status, c.arena.str(cfg.DirectResponse.Body)
	}
	t.routes = append(t.routes, r)
}

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
			lo: int64(f.Value*(fractionUnit/100) + 0.5),
		})
	}
}

// headerCondition compiles a matcher of one header.
func (c *compiler) headerCondition(cfg *HeaderMatchConfig) condition {
	name := strings.ToLower(cfg.Name)
	cond := condition{name: c.arena.str(name), invert: cfg.InvertMatch, empty: cfg.TreatMissingHeaderAsEmpty}
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
	c.stringCondition(&cond, &cfg.StringMatchConfig, cfg.Present)
	if cfg.Range != nil {
		cond.test, cond.lo, cond.hi = testRange, cfg.Range.Start, cfg.Range.End
	}
	return cond
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

// forward compiles where a route forwards to.
func (c *compiler) forward(cfg *ForwardConfig, r *Route, path string) {
	f := forward{
		clusterHeader: c.arena.str(strings.ToLower(cfg.ClusterHeader)),
		hostLiteral:   c.arena.str(cfg.HostRewriteLiteral),
		hostHeader:    c.arena.str(strings.ToLower(cfg.HostRewriteHeader)),
		hostRewrite:   c.regexRewrite(cfg.HostRewritePathRegex),
		rewrite:       c.rewrite(cfg.PrefixRewrite, cfg.PathRewrite, cfg.RegexRewrite),
		upgradesSet:   cfg.Upgrades != nil,
		cluster:       ClusterByHeader,
	}
	if cfg.Cluster != "" {
		f.cluster = c.cluster(cfg.Cluster, path+".cluster")
	}
	for i := range cfg.WeightedClusters {
		c.weight(&cfg.WeightedClusters[i], &f, fmt.Sprintf("%s.weighted_clusters[%d].", path, i))
	}
	if cfg.Upgrades != nil {
		for _, u := range *cfg.Upgrades {
			f.upgrades = append(f.upgrades, c.arena.str(strings.ToLower(u)))
		}
	}
	r.Timeout, r.Status, r.AppendXForwardedHost = cfg.Timeout, cfg.ClusterNotFoundResponseCode, cfg.AppendXForwardedHost
	if cfg.IdleTimeout != nil {
		r.IdleTimeout = *cfg.IdleTimeout
	}
	if cfg.Priority == "high" {
		r.Priority = PriorityHigh
	}
	if cfg.RetryPolicy != nil {
		r.Retry = c.retry(cfg.RetryPolicy)
	}
	r.forward = c.share(f)
}

// forwardKey is all of a forward that has no pointers to more.
type forwardKey struct {
	clusterHeader, hostLiteral, hostHeader, text string
	kind                                         rewriteKind
	cluster                                      uint32
}

// share returns one forward for all routes that forward alike, as most routes of a big table do.
func (c *compiler) share(f forward) *forward {
	if f.weights != nil || f.upgradesSet || f.hostRewrite != nil || f.rewrite.regex != nil {
		return &f
	}
	key := forwardKey{f.clusterHeader, f.hostLiteral, f.hostHeader, f.rewrite.text, f.rewrite.kind, f.cluster}
	if s, ok := c.shared[key]; ok {
		return s
	}
	c.shared[key] = &f
	return &f
}

// weight adds one weighted cluster.
func (c *compiler) weight(cfg *WeightedClusterConfig, f *forward, path string) {
	w := weight{hostLiteral: c.arena.str(cfg.HostRewriteLiteral), cluster: c.cluster(cfg.Name, path+"name")}
	if l := c.level(&cfg.HeaderMutations, path); !l.empty() {
		w.mutations = &l
	}
	f.weightSum += uint64(cfg.Weight)
	w.end = f.weightSum
	f.weights = append(f.weights, w)
}

// cluster returns the id of a cluster. An unknown one is a problem unless validate_clusters is off.
func (c *compiler) cluster(name, path string) uint32 {
	id, ok := c.clusterID(name)
	if ok {
		return id
	}
	if c.cfg.ValidateClusters {
		c.warn(path, fmt.Sprintf("unknown cluster %q", name), "")
	}
	return ClusterNone
}

// rewrite compiles a rewrite of the path. At most one is given.
func (c *compiler) rewrite(prefix, whole string, regex *RegexRewriteConfig) rewrite {
	switch {
	case prefix != "":
		return rewrite{kind: rewritePrefix, text: c.arena.str(prefix)}
	case whole != "":
		return rewrite{kind: rewriteWhole, text: c.arena.str(whole)}
	case regex != nil:
		return rewrite{kind: rewriteRegex, regex: c.regexRewrite(regex)}
	}
	return rewrite{}
}

func (c *compiler) regexRewrite(cfg *RegexRewriteConfig) *regexRewrite {
	if cfg == nil {
		return nil
	}
	re := regexp.MustCompile(cfg.Pattern) // checked by Validate
	parts, _ := parseSubstitution(cfg.Substitution, re.NumSubexp())
	return &regexRewrite{regex: re, parts: parts}
}

// redirect compiles the target of a redirect.
func (c *compiler) redirect(cfg *RedirectConfig) *redirect {
	rd := redirect{
		scheme: c.arena.str(cfg.SchemeRedirect), host: c.arena.str(cfg.HostRedirect), path: c.arena.str(cfg.PathRedirect),
		pathHasQuery: strings.Contains(cfg.PathRedirect, "?"), stripQuery: cfg.StripQuery,
		rewrite: c.rewrite(cfg.PrefixRewrite, "", cfg.RegexRewrite),
	}
	if cfg.HTTPSRedirect {
		rd.scheme = "https"
	}
	if cfg.PortRedirect != 0 {
		rd.port = fmt.Sprintf(":%d", cfg.PortRedirect)
	}
	return &rd
}

// retry compiles a policy. Nil gives nil.
func (c *compiler) retry(cfg *RetryPolicyConfig) *RetryPolicy {
	if cfg == nil {
		return nil
	}
	p := RetryPolicy{
		NumRetries: cfg.NumRetries, PerTryTimeout: cfg.PerTryTimeout, PerTryIdleTimeout: cfg.PerTryIdleTimeout,
		BackOffBase: cfg.RetryBackOff.BaseInterval, BackOffMax: cfg.RetryBackOff.MaxInterval,
	}
	p.On, _ = ParseRetryOn([]byte(cfg.RetryOn))
	if p.BackOffMax == 0 {
		p.BackOffMax = backOffGrowth * p.BackOffBase
	}
	for _, code := range cfg.RetriableStatusCodes {
		p.setStatus(code)
	}
	for i := range cfg.RetriableHeaders {
		p.responseHeaders = append(p.responseHeaders, c.headerCondition(&cfg.RetriableHeaders[i]))
	}
	for i := range cfg.RetriableRequestHeaders {
		p.requestHeaders = append(p.requestHeaders, c.headerCondition(&cfg.RetriableRequestHeaders[i]))
	}
	return &p
}

// backOffGrowth is the default of max_interval as a multiple of base_interval.
const backOffGrowth = 10

// level compiles the mutations of one level.
func (c *compiler) level(cfg *HeaderMutations, path string) levelMutations {
	l := levelMutations{
		request:  c.headMutations(cfg.RequestHeadersToAdd, cfg.RequestHeadersToRemove, path+"request_headers_to_add"),
		response: c.headMutations(cfg.ResponseHeadersToAdd, cfg.ResponseHeadersToRemove, path+"response_headers_to_add"),
	}
	c.table.mutates = c.table.mutates || !l.empty()
	return l
}

func (c *compiler) headMutations(add []HeaderValueConfig, remove []string, path string) (hm headMutations) {
	for _, name := range remove {
		hm.remove = append(hm.remove, c.arena.str(strings.ToLower(name)))
	}
	for i := range add {
		hm.add = append(hm.add, c.mutation(&add[i], fmt.Sprintf("%s[%d].value", path, i)))
	}
	return hm
}

// mutation compiles one header to add.
func (c *compiler) mutation(cfg *HeaderValueConfig, path string) mutation {
	m := mutation{name: c.arena.str(strings.ToLower(cfg.Key)), format: formatNone, keepEmpty: cfg.KeepEmptyValue}
	m.id = codec.KnownField([]byte(m.name))
	switch cfg.AppendAction {
	case "add_if_absent":
		m.action = addIfAbsent
	case "overwrite_if_exists_or_add":
		m.action = overwriteOrAdd
	case "overwrite_if_exists":
		m.action = overwriteIfExists
	}
	if literal, ok := literalValue(cfg.Value); ok {
		m.value = c.arena.str(literal)
		return m
	}
	if c.newFormat == nil {
		c.report(path, fmt.Sprintf("value %q has operators, which cannot stand here", cfg.Value), "write %% for a percent sign")
		return m
	}
	id, err := c.newFormat(cfg.Value)
	if err != nil {
		c.report(path, err.Error(), "")
	}
	m.format = id
	return m
}

// literalValue returns the text of a value without operators: %% is a percent sign.
func literalValue(s string) (string, bool) {
	plain := strings.ReplaceAll(s, "%%", "")
	return strings.ReplaceAll(s, "%%", "%"), !strings.Contains(plain, "%")
}

// mustRegex compiles an expression that Validate has checked, for a match of the whole text.
func mustRegex(text string) *regexp.Regexp { return regexp.MustCompile(`\A(?:` + text + `)\z`) }

// checkRegex says what is wrong with an expression.
func checkRegex(text string) error {
	if len(text) > regexLenMax {
		return fmt.Errorf("regular expression of %d bytes exceeds %d", len(text), regexLenMax)
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		if e := (*syntax.Error)(nil); errors.As(err, &e) {
			return fmt.Errorf("regular expression %q: %s", text, e.Code)
		}
		return err
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return err
	}
	if len(prog.Inst) > regexInstMax {
		return fmt.Errorf("regular expression compiles to %d instructions, which exceeds %d", len(prog.Inst), regexInstMax)
	}
	return nil
}

// parseSubstitution cuts a substitution into literals and groups.
func parseSubstitution(s string, groups int) ([]substPart, error) {
	var parts []substPart
	var lit strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			lit.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case i == len(s):
			return nil, errors.New("substitution ends in a single backslash")
		case s[i] == '\\':
			lit.WriteByte('\\')
		case s[i] < '0' || s[i] > '9':
			return nil, fmt.Errorf(`substitution has \%c; only \0 to \9 and \\ are known`, s[i])
		case int(s[i]-'0') > groups:
			return nil, fmt.Errorf(`substitution has \%c, but the pattern has %d groups`, s[i], groups)
		default:
			if lit.Len() > 0 {
				parts = append(parts, substPart{lit.String(), -1})
				lit.Reset()
			}
			parts = append(parts, substPart{"", int(s[i] - '0')})
		}
	}
	if lit.Len() > 0 {
		parts = append(parts, substPart{lit.String(), -1})
	}
	return parts, nil
}
