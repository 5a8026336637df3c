package route

import (
	"fmt"
	"strings"

	"millrace/codec"
	"millrace/codec/ascii"
)

// reporter takes what is wrong with a configuration; paths start inside the struct that reports.
type reporter = func(path, problem, hint string)

// within returns a reporter for a struct that lies at path in the one of report.
func within(report reporter, path string) reporter {
	return func(p, problem, hint string) {
		switch {
		case p == "":
			p = path
		case p[0] != '[':
			p = path + "." + p
		default:
			p = path + p
		}
		report(strings.TrimPrefix(p, "."), problem, hint)
	}
}

// validateAll runs the Validate of every struct, as the loader does by walking the tree.
// Unreachable routes are left to checkReachable.
func (cfg *Config) validateAll(report reporter) {
	cfg.validateOwn(report)
	for i := range cfg.Routes {
		cfg.Routes[i].validateAll(within(report, fmt.Sprintf("routes[%d]", i)))
	}
	validateValues(&cfg.HeaderMutations, report)
	validateMirrors(&cfg.RequestMirrorPolicies, report)
	for i := range cfg.VirtualHosts {
		vh, report := &cfg.VirtualHosts[i], within(report, fmt.Sprintf("virtual_hosts[%d]", i))
		vh.validateOwn(report)
		validateValues(&vh.HeaderMutations, report)
		if vh.RetryPolicy != nil {
			vh.RetryPolicy.validateAll(within(report, "retry_policy"))
		}
		validateMirrors(vh.RequestMirrorPolicies, report)
		for j := range vh.Routes {
			vh.Routes[j].validateAll(within(report, fmt.Sprintf("routes[%d]", j)))
		}
	}
}

func (cfg *RouteConfig) validateAll(report reporter) {
	cfg.Validate(report)
	validateValues(&cfg.HeaderMutations, report)
	cfg.Match.validateAll(within(report, "match"))
	if cfg.Route != nil {
		cfg.Route.validateAll(within(report, "route"))
	}
	if cfg.Redirect != nil {
		cfg.Redirect.Validate(within(report, "redirect"))
		cfg.Redirect.RegexRewrite.validateAll(within(report, "redirect.regex_rewrite"))
	}
	if cfg.DirectResponse != nil {
		cfg.DirectResponse.Validate(within(report, "direct_response"))
	}
}

func (cfg *MatchConfig) validateAll(report reporter) {
	cfg.Validate(report)
	validateHeaders(cfg.Headers, "headers", report)
	for i := range cfg.QueryParameters {
		cfg.QueryParameters[i].Validate(within(report, fmt.Sprintf("query_parameters[%d]", i)))
	}
	for i := range cfg.Cookies {
		cfg.Cookies[i].Validate(within(report, fmt.Sprintf("cookies[%d]", i)))
	}
}

func (cfg *ForwardConfig) validateAll(report reporter) {
	cfg.Validate(report)
	cfg.RegexRewrite.validateAll(within(report, "regex_rewrite"))
	cfg.HostRewritePathRegex.validateAll(within(report, "host_rewrite_path_regex"))
	if cfg.RetryPolicy != nil {
		cfg.RetryPolicy.validateAll(within(report, "retry_policy"))
	}
	validateMirrors(cfg.RequestMirrorPolicies, report)
	for i := range cfg.WeightedClusters {
		w, report := &cfg.WeightedClusters[i], within(report, fmt.Sprintf("weighted_clusters[%d]", i))
		w.Validate(report)
		validateValues(&w.HeaderMutations, report)
	}
}

func (cfg *RetryPolicyConfig) validateAll(report reporter) {
	cfg.Validate(report)
	validateHeaders(cfg.RetriableHeaders, "retriable_headers", report)
	validateHeaders(cfg.RetriableRequestHeaders, "retriable_request_headers", report)
}

func (cfg *RegexRewriteConfig) validateAll(report reporter) {
	if cfg != nil {
		cfg.Validate(report)
	}
}

func validateHeaders(list []HeaderMatchConfig, path string, report reporter) {
	for i := range list {
		list[i].Validate(within(report, fmt.Sprintf("%s[%d]", path, i)))
	}
}

// validateValues runs the Validate of the headers to add.
func validateValues(m *HeaderMutations, report reporter) {
	for i := range m.RequestHeadersToAdd {
		m.RequestHeadersToAdd[i].Validate(within(report, fmt.Sprintf("request_headers_to_add[%d]", i)))
	}
	for i := range m.ResponseHeadersToAdd {
		m.ResponseHeadersToAdd[i].Validate(within(report, fmt.Sprintf("response_headers_to_add[%d]", i)))
	}
}

// References reports every cluster that routes name, unless validate_clusters is off.
func (cfg *Config) References(report func(path, kind, name string)) {
	if !cfg.ValidateClusters {
		return
	}
	hosts := cfg.virtualHosts()
	mirrorReferences(&cfg.RequestMirrorPolicies, "", report)
	for i := range hosts {
		mirrorReferences(hosts[i].RequestMirrorPolicies, cfg.hostPath(i), report)
		for j := range hosts[i].Routes {
			f := hosts[i].Routes[j].Route
			if f == nil {
				continue
			}
			path := fmt.Sprintf("%sroutes[%d].route.", cfg.hostPath(i), j)
			if f.Cluster != "" {
				report(path+"cluster", "cluster", f.Cluster)
			}
			mirrorReferences(f.RequestMirrorPolicies, path, report)
			for k := range f.WeightedClusters {
				report(fmt.Sprintf("%sweighted_clusters[%d].name", path, k), "cluster", f.WeightedClusters[k].Name)
			}
		}
	}
}

// Validate reports what tags cannot say of a route configuration.
func (cfg *Config) Validate(report func(path, problem, hint string)) {
	cfg.validateOwn(report)
	checkRoutes(cfg.Routes, report)
}

func (cfg *Config) validateOwn(report reporter) {
	if len(cfg.Routes) > 0 && len(cfg.VirtualHosts) > 0 {
		report("routes",
			"routes and virtual_hosts exclude each other", "move the routes into a virtual host for \"*\"")
	}
	cfg.validateHosts(report)
	for i, name := range cfg.InternalOnlyHeaders {
		checkFieldName(name, fmt.Sprintf("internal_only_headers[%d]", i), report)
	}
	cfg.validateNames(report)
	cfg.validateSizes(report)
}

// validateHosts reports names and domains that are given twice.
func (cfg *Config) validateHosts(report reporter) {
	names, domains, routes := map[string]int{}, map[string]string{}, len(cfg.Routes)
	for i := range cfg.VirtualHosts {
		vh := &cfg.VirtualHosts[i]
		if first, dup := names[vh.Name]; dup {
			report(fmt.Sprintf("virtual_hosts[%d].name", i),
				fmt.Sprintf("name %q is that of virtual_hosts[%d] already", vh.Name, first), "")
		} else {
			names[vh.Name] = i
		}
		for j, domain := range vh.Domains {
			key, path := strings.ToLower(domain), fmt.Sprintf("virtual_hosts[%d].domains[%d]", i, j)
			if cfg.IgnorePortInHostMatching && hasPort(domain) {
				report(path, fmt.Sprintf("domain %q can never match: ignore_port_in_host_matching takes the port off the host", domain),
					"leave the port out")
			}
			if first, dup := domains[key]; dup {
				report(path,
					fmt.Sprintf("domain %q is given already at %s", domain, first), "a domain belongs to one virtual host")
			} else {
				domains[key] = path
			}
		}
		routes += len(vh.Routes)
	}
	if routes > routesMax {
		report("", fmt.Sprintf("%d routes exceed %d", routes, routesMax), "")
	}
}

// hasPort reports whether a domain ends in a port.
func hasPort(domain string) bool {
	i := portIndex([]byte(domain))
	return i >= 0 && ascii.All([]byte(domain[i+1:]), ascii.Digit)
}

// validateSizes reports bodies of direct responses that are too long, and too much text.
func (cfg *Config) validateSizes(report reporter) {
	hosts, text := cfg.virtualHosts(), 0
	for i := range hosts {
		for j := range hosts[i].Routes {
			_, path := hosts[i].Routes[j].Match.kind()
			text += len(path)
			d := hosts[i].Routes[j].DirectResponse
			if d != nil && len(d.Body) > int(cfg.MaxDirectResponseBodySizeBytes) {
				report(fmt.Sprintf("%sroutes[%d].direct_response.body", cfg.hostPath(i), j),
					fmt.Sprintf("body of %d bytes exceeds max_direct_response_body_size_bytes %d", len(d.Body), cfg.MaxDirectResponseBodySizeBytes),
					"")
			}
		}
	}
	if text > textBytesMax {
		report("", fmt.Sprintf("paths and prefixes of %d bytes together exceed %d", text, textBytesMax), "")
	}
}

// Validate reports what tags cannot say of a virtual host.
func (vh *VirtualHostConfig) Validate(report func(path, problem, hint string)) {
	vh.validateOwn(report)
	checkRoutes(vh.Routes, report)
}

func (vh *VirtualHostConfig) validateOwn(report reporter) {
	for i, domain := range vh.Domains {
		if _, _, problem := parseDomain(domain); problem != "" {
			report(fmt.Sprintf("domains[%d]", i),
				fmt.Sprintf("%s: %q", problem, domain),
				"such as \"www.example.com\", \"*.example.com\", \"www.example.*\" or \"*\"")
		}
	}
	vh.validateNames(report)
}

// Validate reports what tags cannot say of a route.
func (cfg *RouteConfig) Validate(report func(path, problem, hint string)) {
	n := count(cfg.Route != nil, cfg.Redirect != nil, cfg.DirectResponse != nil)
	if n != 1 {
		report("", fmt.Sprintf("a route has exactly one of route, redirect and direct_response, not %d", n), "")
	}
	cfg.validateConnect(report)
	cfg.validateNames(report)
}

// validateNames reports names that cannot be removed. The headers to add speak for themselves.
// It is not called Validate, so that the structs which embed it do not seem to have one.
func (m *HeaderMutations) validateNames(report reporter) {
	for i, name := range m.RequestHeadersToRemove {
		checkMutable(name, fmt.Sprintf("request_headers_to_remove[%d]", i), report)
	}
	for i, name := range m.ResponseHeadersToRemove {
		checkMutable(name, fmt.Sprintf("response_headers_to_remove[%d]", i), report)
	}
	checkCount(len(m.RequestHeadersToAdd), "request_headers_to_add", report)
	checkCount(len(m.RequestHeadersToRemove), "request_headers_to_remove", report)
	checkCount(len(m.ResponseHeadersToAdd), "response_headers_to_add", report)
	checkCount(len(m.ResponseHeadersToRemove), "response_headers_to_remove", report)
}

// checkCount reports too many header mutations.
func checkCount(n int, path string, report reporter) {
	if n > mutationsPerLevel {
		report(path, fmt.Sprintf("%d headers exceed %d", n, mutationsPerLevel), "")
	}
}

// Validate reports what tags cannot say of a header to add.
func (h *HeaderValueConfig) Validate(report func(path, problem, hint string)) {
	checkMutable(h.Key, "key", report)
	if !ascii.IsValue([]byte(h.Value)) {
		report("value", fmt.Sprintf("value %q has a character that no header value can have", h.Value), "")
	}
}

// checkMutable reports a name of a header that configuration may not change:
// those which frame a message or name its target belong to the codec.
func checkMutable(name, path string, report reporter) {
	if strings.HasPrefix(name, ":") {
		report(path,
			fmt.Sprintf("header %q cannot be changed", name), "rewrite the host or path with the fields of route")
		return
	}
	switch codec.KnownField([]byte(name)) {
	case codec.FieldHost:
		report(path,
			fmt.Sprintf("header %q cannot be changed", name), "use host_rewrite_literal or host_rewrite_header")
	case codec.FieldConnection, codec.FieldContentLength, codec.FieldTransferEncoding, codec.FieldTE, codec.FieldTrailer,
		codec.FieldUpgrade, codec.FieldKeepAlive, codec.FieldProxyConnection:
		report(path,
			fmt.Sprintf("header %q cannot be changed: it frames the message or belongs to one connection", name), "")
	default:
		checkFieldName(name, path, report)
	}
}

// checkFieldName reports a name that no header can have.
func checkFieldName(name, path string, report reporter) {
	if name == "" || !ascii.All([]byte(name), ascii.Token) {
		report(path, fmt.Sprintf("%q is not a header name", name), "")
	}
}

// count returns how many are true.
func count(given ...bool) int {
	n := 0
	for _, g := range given {
		if g {
			n++
		}
	}
	return n
}
