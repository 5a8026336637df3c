package route

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"millrace/codec/ascii"
)

// Validate reports what tags cannot say of a route to a cluster.
func (cfg *ForwardConfig) Validate(report func(path, problem, hint string)) {
	if n := count(cfg.Cluster != "", len(cfg.WeightedClusters) > 0, cfg.ClusterHeader != ""); n != 1 {
		report("",
			fmt.Sprintf("exactly one of cluster, weighted_clusters and cluster_header says where to, not %d", n), "")
	}
	if cfg.ClusterHeader != "" {
		checkFieldName(cfg.ClusterHeader, "cluster_header", report)
	}
	cfg.validateWeights(report)
	if !slices.Contains([]int{0, 404, 500, 503}, cfg.ClusterNotFoundResponseCode) {
		report("cluster_not_found_response_code",
			fmt.Sprintf("code %d is not 503, 404 or 500", cfg.ClusterNotFoundResponseCode), "")
	}
	cfg.validateRewrites(report)
	cfg.validateGRPCTimeout(report)
	for i := range cfg.HashPolicy {
		cfg.HashPolicy[i].validate(fmt.Sprintf("hash_policy[%d]", i), report)
	}
	if cfg.Upgrades != nil {
		for i, u := range *cfg.Upgrades {
			checkUpgrade(u, fmt.Sprintf("upgrades[%d]", i), report)
		}
	}
}

// checkUpgrade reports a protocol that is no token, or is told in another way.
func checkUpgrade(name, path string, report reporter) {
	if name == "" || !ascii.All([]byte(strings.Replace(name, "/", "", 1)), ascii.Token) {
		report(path, fmt.Sprintf("%q is not the name of a protocol", name), "such as \"websocket\" or \"connect\"")
	}
}

// validateWeights reports weights which sum to nothing.
func (cfg *ForwardConfig) validateWeights(report reporter) {
	sum := uint64(0)
	for i := range cfg.WeightedClusters {
		sum += uint64(cfg.WeightedClusters[i].Weight)
	}
	switch n := len(cfg.WeightedClusters); {
	case n > weightsPerRoute:
		report("weighted_clusters", fmt.Sprintf("%d clusters exceed %d", n, weightsPerRoute), "")
	case n > 0 && sum == 0:
		report("weighted_clusters", "all weights are 0", "give at least one cluster a weight")
	}
}

// validateRewrites reports rewrites that exclude each other or make no target.
func (cfg *ForwardConfig) validateRewrites(report reporter) {
	if n := count(cfg.PrefixRewrite != "", cfg.PathRewrite != "", cfg.RegexRewrite != nil); n > 1 {
		report("",
			fmt.Sprintf("at most one of prefix_rewrite, regex_rewrite and path_rewrite rewrites the path, not %d", n),
			"")
	}
	checkPathText(cfg.PrefixRewrite, "prefix_rewrite", false, report)
	checkPathText(cfg.PathRewrite, "path_rewrite", false, report)
	if n := count(cfg.HostRewriteLiteral != "", cfg.HostRewriteHeader != "", cfg.HostRewritePathRegex != nil, cfg.AutoHostRewrite); n > 1 {
		report("",
			fmt.Sprintf("at most one of host_rewrite_literal, host_rewrite_header, host_rewrite_path_regex and auto_host_rewrite rewrites the host, not %d", n),
			"")
	}
	checkHostText(cfg.HostRewriteLiteral, "host_rewrite_literal", report)
	if cfg.HostRewriteHeader != "" {
		checkFieldName(cfg.HostRewriteHeader, "host_rewrite_header", report)
	}
}

// checkPathText reports a text that cannot stand at the beginning of a target. "" passes.
func checkPathText(text, path string, query bool, report reporter) {
	switch {
	case text == "":
	case text[0] != '/':
		report(path, fmt.Sprintf("%s %q does not begin with \"/\"", path, text), "write \"/"+text+"\"")
	case !query && strings.Contains(text, "?") || strings.Contains(text, "#"):
		report(path, fmt.Sprintf("%s %q has a query or fragment", path, text), "")
	case !ascii.All([]byte(text), ascii.Target):
		report(path, fmt.Sprintf("%s %q has a character that no path can have", path, text), "write it as %XX")
	}
}

// checkHostText reports a text that cannot be a host. "" passes.
func checkHostText(text, path string, report reporter) {
	if !ascii.All([]byte(text), ascii.Host) {
		report(path, fmt.Sprintf("%s %q has a character that no host can have", path, text), "")
	}
}

// Validate reports what tags cannot say of a weighted cluster.
func (cfg *WeightedClusterConfig) Validate(report func(path, problem, hint string)) {
	checkHostText(cfg.HostRewriteLiteral, "host_rewrite_literal", report)
	cfg.validateNames(report)
}

// Validate reports a pattern or substitution that does not compile.
func (cfg *RegexRewriteConfig) Validate(report func(path, problem, hint string)) {
	if err := CheckRegex(cfg.Pattern); err != nil {
		report("pattern", err.Error(), "")
		return
	}
	if _, err := parseSubstitution(cfg.Substitution, regexp.MustCompile(cfg.Pattern).NumSubexp()); err != nil {
		report("substitution", err.Error(), "")
		return
	}
	if !ascii.All([]byte(cfg.Substitution), ascii.Target) || strings.ContainsAny(cfg.Substitution, "?#") {
		report("substitution",
			fmt.Sprintf("substitution %q has a character that no path can have", cfg.Substitution), "write it as %XX")
	}
}

// Validate reports what tags cannot say of a redirect.
func (cfg *RedirectConfig) Validate(report func(path, problem, hint string)) {
	if cfg.HTTPSRedirect && cfg.SchemeRedirect != "" {
		report("scheme_redirect", "https_redirect and scheme_redirect exclude each other", "")
	}
	if !slices.Contains([]string{"", "http", "https"}, cfg.SchemeRedirect) {
		report("scheme_redirect", fmt.Sprintf("scheme %q is not http or https", cfg.SchemeRedirect), "")
	}
	checkHostText(cfg.HostRedirect, "host_redirect", report)
	if n := count(cfg.PathRedirect != "", cfg.PrefixRewrite != "", cfg.RegexRewrite != nil); n > 1 {
		report("",
			fmt.Sprintf("at most one of path_redirect, prefix_rewrite and regex_rewrite makes the path, not %d", n), "")
	}
	checkPathText(cfg.PathRedirect, "path_redirect", true, report)
	checkPathText(cfg.PrefixRewrite, "prefix_rewrite", false, report)
	if !slices.Contains([]int{0, 301, 302, 303, 307, 308}, cfg.ResponseCode) {
		report("response_code", fmt.Sprintf("code %d is not 301, 302, 303, 307 or 308", cfg.ResponseCode), "")
	}
}

// Validate reports a body with a status that has none.
func (cfg *DirectResponseConfig) Validate(report func(path, problem, hint string)) {
	if cfg.Body != "" && (cfg.Status == 204 || cfg.Status == 304) {
		report("body", fmt.Sprintf("a response with status %d has no body", cfg.Status), "")
	}
}
