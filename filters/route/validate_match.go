package route

import (
	"fmt"
	"strings"

	"millrace/codec/ascii"
)

// kind returns how a match looks at the path, and its text.
func (cfg *MatchConfig) kind() (pathKind, string) {
	switch {
	case cfg.Prefix != "":
		return pathPrefix, cfg.Prefix
	case cfg.Path != "":
		return pathExact, cfg.Path
	case cfg.PathSeparatedPrefix != "":
		return pathSeparated, cfg.PathSeparatedPrefix
	case cfg.SafeRegex != "":
		return pathRegex, cfg.SafeRegex
	default:
		return pathConnect, ""
	}
}

// kinds returns how many ways to look at the path are given. A good match has one.
func (cfg *MatchConfig) kinds() int {
	return count(cfg.Prefix != "", cfg.Path != "", cfg.PathSeparatedPrefix != "", cfg.SafeRegex != "", cfg.ConnectMatcher != nil)
}

// conditions returns how many conditions there are beside the path.
func (cfg *MatchConfig) conditions() int {
	return len(cfg.Headers) + len(cfg.QueryParameters) + len(cfg.Cookies) + count(cfg.RuntimeFraction != nil)
}

// Validate reports what tags cannot say of a match.
func (cfg *MatchConfig) Validate(report func(path, problem, hint string)) {
	if n := cfg.kinds(); n != 1 {
		report("",
			fmt.Sprintf("a match has exactly one of prefix, path, safe_regex, path_separated_prefix and connect_matcher, not %d", n),
			"\"prefix\": \"/\" fits every path")
		return
	}
	if c := cfg.conditions(); c > conditionsPerRoute {
		report("", fmt.Sprintf("%d conditions exceed %d", c, conditionsPerRoute), "")
	}
	switch kind, text := cfg.kind(); kind {
	case pathConnect:
	case pathRegex:
		if err := CheckRegex(text); err != nil {
			report("safe_regex", err.Error(), "")
		}
	default:
		cfg.validateText(kind, text, report)
	}
}

// validateText reports a text that no path can begin with.
func (cfg *MatchConfig) validateText(kind pathKind, text string, report reporter) {
	switch {
	case text[0] != '/':
		report(kind.String(),
			fmt.Sprintf("%s %q can never match: paths begin with \"/\"", kind, text), "write \"/"+text+"\"")
	case strings.ContainsAny(text, "?#"):
		report(kind.String(),
			fmt.Sprintf("%s %q can never match: the query is left out when paths are compared", kind, text),
			"use query_parameters")
	case !ascii.All([]byte(text), ascii.Target):
		report(kind.String(),
			fmt.Sprintf("%s %q has a character that no path can have", kind, text), "write it as %XX")
	case kind == pathSeparated && strings.HasSuffix(text, "/"):
		report(kind.String(), fmt.Sprintf("path_separated_prefix %q ends in \"/\"", text), "leave the \"/\" out")
	}
}

// validateString reports what is wrong with a comparison. others is how many other kinds are given
// beside it. It is not called Validate, so that the structs which embed it do not seem to have one.
func (cfg *StringMatchConfig) validateString(others int, report reporter) {
	n := others + count(cfg.Exact != nil, cfg.Prefix != "", cfg.Suffix != "", cfg.Contains != "", cfg.SafeRegex != "")
	if n > 1 {
		report("", fmt.Sprintf("%d kinds of comparison are given, at most one may be", n), "use one matcher for each")
	}
	if cfg.SafeRegex == "" {
		return
	}
	if err := CheckRegex(cfg.SafeRegex); err != nil {
		report("safe_regex", err.Error(), "")
	}
	if cfg.IgnoreCase {
		report("ignore_case", "ignore_case has no meaning for safe_regex", "begin the expression with (?i)")
	}
}

// Validate reports what tags cannot say of a header matcher.
func (cfg *HeaderMatchConfig) Validate(report func(path, problem, hint string)) {
	switch strings.ToLower(cfg.Name) {
	case ":method", ":path", ":authority", ":scheme":
	default:
		checkFieldName(cfg.Name, "name", report)
	}
	cfg.validateString(count(cfg.Range != nil, cfg.Present != nil), report)
	if r := cfg.Range; r != nil && r.End <= r.Start {
		report("range.end", fmt.Sprintf("range from %d up to, but not including, %d is empty", r.Start, r.End), "")
	}
}

// Validate reports what tags cannot say of a query matcher.
func (cfg *QueryParameterMatchConfig) Validate(report func(path, problem, hint string)) {
	if strings.ContainsAny(cfg.Name, "&=#") || !ascii.All([]byte(cfg.Name), ascii.Target) {
		report("name", fmt.Sprintf("no query parameter can be called %q", cfg.Name), "")
	}
	cfg.validateString(count(cfg.Present != nil), report)
}

// Validate reports what tags cannot say of a cookie matcher.
func (cfg *CookieMatchConfig) Validate(report func(path, problem, hint string)) {
	if !ascii.All([]byte(cfg.Name), ascii.Token) {
		report("name", fmt.Sprintf("no cookie can be called %q", cfg.Name), "")
	}
	cfg.validateString(0, report)
}
