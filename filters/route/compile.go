package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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
	return CompileAll(cfg, clusterID, newFormat, nil)
}

// CompileAll is Compile with what makes the overrides of per_filter_config. Without it they are left out.
func CompileAll(cfg *Config, clusterID func(name string) (uint32, bool), newFormat NewFormat, newOverride NewOverride) (*Table, []Problem) {
	c := newCompiler(cfg, clusterID, newFormat)
	c.newOverride = newOverride
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

	newOverride NewOverride

	outerMirrors []Mirror // of the table

	table    *Table // not a part of the compiler, which would live as long
	problems []Problem
	arena    arena
	hasher   hasher
	shared   map[forwardKey]*forward
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

// virtualHosts returns the virtual hosts, also those of the short form, and the path in front of
// each one's.
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
	c.outerMirrors = c.mirrors(&c.cfg.RequestMirrorPolicies, nil, "")

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
		IncludeIsTimeoutRetry:         cfg.IncludeIsTimeoutRetryHeader,
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
	outer := outerPolicies{
		retry: c.retry(cfg.RetryPolicy), hedge: cfg.HedgePolicy != nil && cfg.HedgePolicy.HedgeOnPerTryTimeout,
		mirrors: c.mirrors(cfg.RequestMirrorPolicies, c.outerMirrors, path), overrides: c.overrides(0, cfg.PerFilterConfig, path),
	}
	for i := range cfg.Routes {
		c.route(&cfg.Routes[i], vh, &outer, fmt.Sprintf("%sroutes[%d]", path, i))
	}
	vh.end = uint32(len(t.routes))
	vh.index = newPathIndex(t.routes[vh.first:vh.end], vh.first)
}

// outerPolicies are what a virtual host says for those of its routes that do not say it themselves.
type outerPolicies struct {
	retry     *RetryPolicy
	hedge     bool
	mirrors   []Mirror
	overrides uint32
}

// route compiles one route.
func (c *compiler) route(cfg *RouteConfig, vh *VirtualHost, outer *outerPolicies, path string) {
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
	r.overrides = c.overrides(outer.overrides, cfg.PerFilterConfig, path+".")
	switch {
	case cfg.Route != nil:
		r.Retry, r.HedgeOnPerTryTimeout = outer.retry, outer.hedge
		c.forward(cfg.Route, &r, c.mirrors(cfg.Route.RequestMirrorPolicies, outer.mirrors, path+".route."), path+".route")
	case cfg.Redirect != nil:
		r.Action = ActionRedirect
		r.Status, r.redirect = cmp.Or(cfg.Redirect.ResponseCode, 301), c.redirect(cfg.Redirect)
	default:
		r.Action = ActionDirectResponse
		r.Status, r.body = cfg.DirectResponse.Status, c.arena.str(cfg.DirectResponse.Body)
	}
	t.routes = append(t.routes, r)
}
