package route

// MatchConfig is what a request must be like: exactly one of prefix, path, safe_regex,
// path_separated_prefix and connect_matcher, and all of the conditions.
type MatchConfig struct {
	// Prefix is the beginning of the path, query left out. Must begin with "/".
	Prefix string `json:"prefix"`
	// Path is the whole path, query left out. Must begin with "/".
	Path string `json:"path"`
	// SafeRegex is a regular expression (RE2) for the whole path, query left out. At most 4096 bytes.
	SafeRegex string `json:"safe_regex" v3:"safe_regex.regex"`
	// PathSeparatedPrefix is a prefix that ends where the path ends or has "/": "/api" fits "/api"
	// and "/api/x", not "/apix". No "/" at its end.
	PathSeparatedPrefix string `json:"path_separated_prefix"`
	// ConnectMatcher fits CONNECT requests, which no other kind does. An extended CONNECT of HTTP/2, as for a WebSocket, is taken
	// for the GET that asks for the same upgrade, and has the path of that.
	ConnectMatcher *ConnectMatcherConfig `json:"connect_matcher"`
	// CaseSensitive compares letters of prefix, path and path_separated_prefix exactly. Default
	// true. A regular expression has its own (?i).
	CaseSensitive bool `json:"case_sensitive" default:"true"`
	// Headers must all match.
	Headers []HeaderMatchConfig `json:"headers" max:"64"`
	// QueryParameters must all match. Names and values are compared as sent, without decoding; of
	// repeated names the first counts.
	QueryParameters []QueryParameterMatchConfig `json:"query_parameters" max:"64"`
	// Cookies must all match.
	Cookies []CookieMatchConfig `json:"cookies" max:"64"`
	// RuntimeFraction takes a random share of the requests. The same random value serves the whole
	// request.
	RuntimeFraction *FractionConfig `json:"runtime_fraction"`
}

// ConnectMatcherConfig has no fields.
type ConnectMatcherConfig struct{}

// FractionConfig is a share of requests.
type FractionConfig struct {
	// Value in percent, 0 to 100, with four decimals.
	Value float64 `json:"value" unit:"percent" required:"true" v3:"default_value"`
	// RuntimeKey names a runtime value that overrides it. There are none yet, so value holds.
	RuntimeKey string `json:"runtime_key"`
}

// millionths returns the share.
func (f *FractionConfig) millionths() uint32 { return uint32(f.Value*(fractionUnit/100) + 0.5) }

// StringMatchConfig compares a value: at most one of the kinds; none means that the value need only
// be present.
type StringMatchConfig struct {
	// Exact is the whole value.
	Exact *string `json:"exact" v3:"string_match.exact"`
	// Prefix is the beginning of the value.
	Prefix string `json:"prefix" v3:"string_match.prefix"`
	// Suffix is the end of the value.
	Suffix string `json:"suffix" v3:"string_match.suffix"`
	// Contains is part of the value.
	Contains string `json:"contains" v3:"string_match.contains"`
	// SafeRegex is a regular expression (RE2) for the whole value. At most 4096 bytes.
	SafeRegex string `json:"safe_regex" v3:"string_match.safe_regex.regex"`
	// IgnoreCase takes letters as equal in either case. Not with safe_regex. Default false.
	IgnoreCase bool `json:"ignore_case" v3:"string_match.ignore_case"`
}

// HeaderMatchConfig is a condition on one header. The values of a repeated header are joined with ",".
type HeaderMatchConfig struct {
	// Name of the header in any case, or ":method", ":path", ":authority" (also "host") or ":scheme".
	Name string `json:"name" required:"true"`

	StringMatchConfig

	// Range fits a decimal number from start up to, but not including, end.
	Range *RangeConfig `json:"range" v3:"range_match"`
	// Present says whether the header must be there. Default true if no other kind is given.
	Present *bool `json:"present" v3:"present_match"`
	// InvertMatch turns the result round. An absent header then still does not match, but for
	// present and treat_missing_header_as_empty. Default false.
	InvertMatch bool `json:"invert_match"`
	// TreatMissingHeaderAsEmpty compares an absent header as one with an empty value. Default false.
	TreatMissingHeaderAsEmpty bool `json:"treat_missing_header_as_empty"`
}

// RangeConfig is a half-open range of integers.
type RangeConfig struct {
	// Start is the smallest number that fits.
	Start int64 `json:"start"`
	// End is the first number above the range.
	End int64 `json:"end"`
}

// QueryParameterMatchConfig is a condition on one query parameter.
type QueryParameterMatchConfig struct {
	// Name of the parameter.
	Name string `json:"name" required:"true"`

	StringMatchConfig

	// Present says whether the parameter must be there. Default true if no other kind is given.
	Present *bool `json:"present" v3:"present_match"`
}

// CookieMatchConfig is a condition on one cookie.
type CookieMatchConfig struct {
	// Name of the cookie.
	Name string `json:"name" required:"true"`

	StringMatchConfig

	// InvertMatch turns the result round. An absent cookie still does not match. Default false.
	InvertMatch bool `json:"invert_match"`
}
