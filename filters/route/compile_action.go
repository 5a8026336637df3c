package route

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"millrace/upstream"
)

// forward compiles where a route forwards to.
func (c *compiler) forward(cfg *ForwardConfig, r *Route, mirrors []Mirror, path string) {
	f := forward{
		clusterHeader: c.arena.str(strings.ToLower(cfg.ClusterHeader)),
		hostLiteral:   c.arena.str(cfg.HostRewriteLiteral),
		hostHeader:    c.arena.str(strings.ToLower(cfg.HostRewriteHeader)),
		hostRewrite:   c.regexRewrite(cfg.HostRewritePathRegex),
		rewrite:       c.rewrite(cfg.PrefixRewrite, cfg.PathRewrite, cfg.RegexRewrite),
		upgradesSet:   cfg.Upgrades != nil,
		connect:       newConnect(cfg.ConnectConfig),
		cluster:       ClusterByHeader,
	}
	if cfg.Cluster != "" {
		f.cluster = c.cluster(cfg.Cluster, path+".cluster")
	}
	for i := range cfg.WeightedClusters {
		c.weight(&cfg.WeightedClusters[i], &f, fmt.Sprintf("%s.weighted_clusters[%d].", path, i))
		f.weights[i].criteria = upstream.MergeCriteria(cfg.MetadataMatch, cfg.WeightedClusters[i].MetadataMatch)
	}
	x := extras{hashes: c.hashPolicies(cfg.HashPolicy), mirrors: mirrors, criteria: upstream.NewCriteria(cfg.MetadataMatch)}
	if x.hashes != nil || x.mirrors != nil || x.criteria != nil {
		f.extras = &x
	}
	if cfg.Upgrades != nil {
		for _, u := range *cfg.Upgrades {
			f.upgrades = append(f.upgrades, c.arena.str(strings.ToLower(u)))
		}
	}
	r.AutoHostRewrite = cfg.AutoHostRewrite
	r.Timeout, r.Status, r.AppendXForwardedHost = cfg.Timeout, cmp.Or(cfg.ClusterNotFoundResponseCode, 503), cfg.AppendXForwardedHost
	if cfg.IdleTimeout != nil {
		r.IdleTimeout = *cfg.IdleTimeout
	}
	f.duration = cfg.duration()
	if cfg.Priority == "high" {
		r.Priority = PriorityHigh
	}
	if cfg.RetryPolicy != nil {
		r.Retry = c.retry(cfg.RetryPolicy)
	}
	if cfg.HedgePolicy != nil {
		r.HedgeOnPerTryTimeout = cfg.HedgePolicy.HedgeOnPerTryTimeout
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
	if f.weights != nil || f.extras != nil || f.upgradesSet || f.duration != nil || f.connect.ends || f.hostRewrite != nil || f.rewrite.regex != nil {
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
