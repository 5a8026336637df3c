package l7

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"millrace/codec"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/route"
)

// CORSConfig configures the "cors" filter, which answers preflight requests of browsers and marks
// responses that other origins may read (Fetch standard, "CORS protocol"). The policy holds for all routes
// that forward and have none of their own in per_filter_config; redirects and direct responses are left alone.
type CORSConfig struct {
	// AllowOriginStringMatch are the origins that may read responses. Default: none.
	AllowOriginStringMatch []CORSOrigin `json:"allow_origin_string_match" max:"256"`
	// AllowMethods is sent as access-control-allow-methods, such as "GET, PUT". Default: not sent.
	AllowMethods string `json:"allow_methods"`
	// AllowHeaders is sent as access-control-allow-headers. Default: not sent.
	AllowHeaders string `json:"allow_headers"`
	// ExposeHeaders is sent as access-control-expose-headers. Default: not sent.
	ExposeHeaders string `json:"expose_headers"`
	// MaxAge is how long a browser may remember a preflight, in whole seconds. Default: not sent.
	MaxAge *time.Duration `json:"max_age"`
	// AllowCredentials lets pages of these origins send cookies along and read the answer. Default: false.
	AllowCredentials bool `json:"allow_credentials"`
	// AllowPrivateNetworkAccess answers preflights that ask for access to a private network. Default: false.
	AllowPrivateNetworkAccess bool `json:"allow_private_network_access"`
	// ForwardNotMatchingPreflights sends preflights of other origins upstream; otherwise they are answered
	// with 200 and no permission. Default: true.
	ForwardNotMatchingPreflights bool `json:"forward_not_matching_preflights" default:"true"`
}

// CORSRouteConfig is a policy in place of the filter's.
type CORSRouteConfig struct {
	filters.RouteOverride
	CORSConfig
}

// CORSOrigin matches an origin. As a string it is the whole origin, or "*" for any. Exactly one field is given.
type CORSOrigin struct {
	// Exact is the whole origin, such as "https://shop.example.com", or "*" for any.
	Exact *string `json:"exact"`
	// Prefix is what the origin starts with. Mind that "https://shop.example" also starts
	// "https://shop.example.evil.com".
	Prefix *string `json:"prefix"`
	// Suffix is what the origin ends with, such as ".example.com".
	Suffix *string `json:"suffix"`
	// Contains is a part of the origin.
	Contains *string `json:"contains"`
	// SafeRegex is a regular expression (RE2) for the whole origin.
	SafeRegex *string `json:"safe_regex" v3:"safe_regex.regex"`
}

// corsRegexBytesMax bounds a regular expression, in bytes.
const corsRegexBytesMax = 1024

// DecodeConfigString takes the short form.
func (c *CORSOrigin) DecodeConfigString(s string) error {
	if s == "" {
		return fmt.Errorf("an origin is empty")
	}
	c.Exact = &s
	return nil
}

// Validate reports origins that are no origins.
func (c *CORSOrigin) Validate(report func(path, problem, hint string)) {
	n := 0
	for _, given := range []bool{
		c.Exact != nil, c.Prefix != nil, c.Suffix != nil, c.Contains != nil, c.SafeRegex != nil,
	} {
		if given {
			n++
		}
	}
	if n != 1 {
		report("", fmt.Sprintf("%d matches are given", n), "give one of exact, prefix, suffix, contains and safe_regex")
	}
	if c.Exact != nil && *c.Exact != "*" && *c.Exact != "null" && !strings.Contains(*c.Exact, "://") {
		report("exact", fmt.Sprintf("%q is not an origin", *c.Exact),
			fmt.Sprintf("write the scheme too, such as %q", "https://"+*c.Exact))
	}
	if _, err := c.regex(); err != nil {
		report("safe_regex", err.Error(), "")
	}
}

// Validate reports a policy that lets every site act as the user.
func (c *CORSConfig) Validate(report func(path, problem, hint string)) {
	for i, o := range c.AllowOriginStringMatch {
		if c.AllowCredentials && o.Exact != nil && *o.Exact == "*" {
			report(fmt.Sprintf("allow_origin_string_match[%d]", i),
				`"*" with allow_credentials lets every site act as the user`, "name the origins")
		}
	}
}

func (c *CORSOrigin) regex() (*regexp.Regexp, error) {
	if c.SafeRegex == nil {
		return nil, nil
	}
	if len(*c.SafeRegex) > corsRegexBytesMax {
		return nil, fmt.Errorf("regular expression of %d bytes exceeds %d", len(*c.SafeRegex), corsRegexBytesMax)
	}
	return regexp.Compile(`\A(?:` + *c.SafeRegex + `)\z`)
}

// cors is the filter on one loop.
type cors struct {
	policy     *corsPolicy
	stats      *corsStats
	lastOrigin string // see text
}

// corsPolicy is one policy. It is immutable: loops share it.
type corsPolicy struct {
	origins       []corsOrigin
	methods       string
	headers       string
	expose        string
	maxAge        string
	credentials   bool
	private       bool
	forwardOthers bool
}

type corsOrigin struct {
	kind  corsMatch
	value []byte
	regex *regexp.Regexp
}

type corsMatch uint8

const (
	corsExact corsMatch = iota
	corsAny
	corsPrefix
	corsSuffix
	corsContains
	corsRegex
)

// corsStats counts one connection manager on one loop.
type corsStats struct {
	OriginValid   stats.Counter `stat:"origin_valid" help:"requests with an origin that may read the response"`
	OriginInvalid stats.Counter `stat:"origin_invalid" help:"requests with an origin that may not"`
}

func newCORS(cfg *CORSConfig, env *filters.Env) (any, error) {
	p, err := newCORSPolicy(cfg)
	if err != nil {
		return nil, err
	}
	return &cors{policy: p, stats: stats.Register[corsStats](env.Stats, scopeOf(env, "cors"))}, nil
}

// newCORSRoute makes what PerRoute gives.
func newCORSRoute(cfg *CORSRouteConfig) (any, error) { return newCORSPolicy(&cfg.CORSConfig) }

func newCORSPolicy(cfg *CORSConfig) (*corsPolicy, error) {
	p := &corsPolicy{
		methods: cfg.AllowMethods, headers: cfg.AllowHeaders, expose: cfg.ExposeHeaders,
		credentials: cfg.AllowCredentials, private: cfg.AllowPrivateNetworkAccess,
		forwardOthers: cfg.ForwardNotMatchingPreflights,
	}
	if cfg.MaxAge != nil {
		p.maxAge = strconv.FormatInt(int64(*cfg.MaxAge/time.Second), 10)
	}
	for i := range cfg.AllowOriginStringMatch {
		o, err := newCORSOrigin(&cfg.AllowOriginStringMatch[i])
		if err != nil {
			return nil, fmt.Errorf("allow_origin_string_match[%d]: %w", i, err)
		}
		p.origins = append(p.origins, o)
	}
	return p, nil
}

// policyOf returns the policy for the route of the stream.
func (f *cors) policyOf(s *filters.Stream) *corsPolicy {
	if p, ok := s.PerRoute().(*corsPolicy); ok {
		return p
	}
	return f.policy
}

func newCORSOrigin(c *CORSOrigin) (o corsOrigin, err error) {
	switch {
	case c.Exact != nil && *c.Exact == "*":
		o.kind = corsAny
	case c.Exact != nil:
		o = corsOrigin{kind: corsExact, value: []byte(*c.Exact)}
	case c.Prefix != nil:
		o = corsOrigin{kind: corsPrefix, value: []byte(*c.Prefix)}
	case c.Suffix != nil:
		o = corsOrigin{kind: corsSuffix, value: []byte(*c.Suffix)}
	case c.Contains != nil:
		o = corsOrigin{kind: corsContains, value: []byte(*c.Contains)}
	default:
		o.kind = corsRegex
		o.regex, err = c.regex()
		if o.regex == nil && err == nil {
			err = fmt.Errorf("no match is given")
		}
	}
	return o, err
}

// What the slot of a stream says.
const (
	corsNone      = iota // no origin, or not one of ours
	corsActual           // the response may be read by the request's origin
	corsPreflight        // answered here: may the origin send such a request
)

// OnRequestHead implements filters.RequestHeadFilter.
func (f *cors) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	origin := s.Request.Lookup("origin")
	if len(origin) == 0 || s.Route == nil || s.Route.Action != route.ActionForward {
		return filters.Continue
	}
	p := f.policyOf(s)
	allowed := p.allows(origin)
	if allowed {
		f.stats.OriginValid.Inc()
		*s.Slot() = filters.Slot{N: corsActual, P: p}
	} else {
		f.stats.OriginInvalid.Inc()
	}
	preflight := s.Request.Method() == codec.MethodOPTIONS && len(s.Request.Lookup("access-control-request-method")) > 0
	if !preflight || !allowed && p.forwardOthers {
		return filters.Continue
	}
	if allowed {
		s.Slot().N = corsPreflight
	}
	return s.Reply(200, "cors_response")
}

// OnResponseHead implements filters.ResponseHeadFilter.
func (f *cors) OnResponseHead(s *filters.Stream, _ bool) filters.Verdict {
	kind := s.Slot().N
	p, ok := s.Slot().P.(*corsPolicy) // the one the request was measured by
	if kind == corsNone || !ok {
		return filters.Continue
	}
	h := &s.Response.Fields
	h.SetString("access-control-allow-origin", f.text(s.Request.Lookup("origin")))
	if p.credentials {
		h.SetString("access-control-allow-credentials", "true")
	}
	if kind == corsActual {
		setGiven(h, "access-control-expose-headers", p.expose)
		return filters.Continue
	}
	setGiven(h, "access-control-allow-methods", p.methods)
	setGiven(h, "access-control-allow-headers", p.headers)
	setGiven(h, "access-control-max-age", p.maxAge)
	if p.private && string(s.Request.Lookup("access-control-request-private-network")) == "true" {
		h.SetString("access-control-allow-private-network", "true")
	}
	return filters.Continue
}

// text makes a string of an origin. The one before is kept: most requests come from one site, and then
// it costs no allocation.
func (f *cors) text(origin []byte) string {
	if string(origin) != f.lastOrigin {
		f.lastOrigin = string(origin)
	}
	return f.lastOrigin
}

func setGiven(h *codec.Fields, name, value string) {
	if value != "" {
		h.SetString(name, value)
	}
}

// allows reports whether the origin may read responses.
func (p *corsPolicy) allows(origin []byte) bool {
	for i := range p.origins {
		if p.origins[i].matches(origin) {
			return true
		}
	}
	return false
}

func (o *corsOrigin) matches(origin []byte) bool {
	switch o.kind {
	case corsAny:
		return true
	case corsExact:
		return bytes.Equal(origin, o.value)
	case corsPrefix:
		return bytes.HasPrefix(origin, o.value)
	case corsSuffix:
		return bytes.HasSuffix(origin, o.value)
	case corsContains:
		return bytes.Contains(origin, o.value)
	case corsRegex:
		return o.regex.Match(origin)
	}
	panic("BUG: cors: unknown match")
}
