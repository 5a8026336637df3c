package accesslog

import (
	"fmt"
	"slices"
	"strings"
)

// FilterConfig says which streams get a line. Exactly one field is given.
type FilterConfig struct {
	// StatusCode compares the status code of the response.
	StatusCode *Comparison `json:"status_code" v3:"status_code_filter"`
	// Duration compares the time from the first byte in to the end, in milliseconds.
	Duration *Comparison `json:"duration" v3:"duration_filter"`
	// NotHealthCheck leaves out what the health_check filter has recognized.
	NotHealthCheck *struct{} `json:"not_health_check" v3:"not_health_check_filter"`
	// ResponseFlags wants one of the flags, or any flag if none is named.
	ResponseFlags *FlagsConfig `json:"response_flags" v3:"response_flag_filter"`
	// Header wants a field of the request.
	Header *HeaderConfig `json:"header" v3:"header_filter.header"`
	// Sample logs a share of the streams.
	Sample *SampleConfig `json:"sample" v3:"runtime_filter"`
	// LogType wants one of the moments at which a line is written.
	LogType *LogTypeConfig `json:"log_type" v3:"log_type_filter"`
	// GRPCStatus wants one of the gRPC status codes.
	GRPCStatus *GRPCStatusConfig `json:"grpc_status" v3:"grpc_status_filter"`
	// Metadata wants a value of the metadata.
	Metadata *MetadataConfig `json:"metadata" v3:"metadata_filter"`
	// And wants all of its filters, of which there are two or more.
	And []FilterConfig `json:"and" v3:"and_filter.filters"`
	// Or wants one of its filters, of which there are two or more.
	Or []FilterConfig `json:"or" v3:"or_filter.filters"`
}

// Comparison compares a number of the stream with a value.
type Comparison struct {
	// Op is how to compare: "eq", "ge", "le" or "ne", as in Envoy. Default: "eq".
	Op string `json:"op" default:"eq" enum:"eq,ge,le,ne" v3:"comparison.op"`
	// Value to compare with: a status code, or milliseconds. 0 to 4294967295.
	Value uint32 `json:"value" required:"true" v3:"comparison.value.default_value"`
}

// FlagsConfig names response flags.
type FlagsConfig struct {
	// Flags are short names such as "UF". Default: any flag.
	Flags []string `json:"flags"`
}

// HeaderConfig matches a field of the request. At most one of exact, prefix, suffix, contains and present is given;
// with none of them the field must be present.
type HeaderConfig struct {
	// Name of the field, in any case, or :method, :path, :authority, :scheme.
	Name string `json:"name" required:"true"`
	// Exact is the whole value.
	Exact *string `json:"exact" v3:"string_match.exact"`
	// Prefix is what the value starts with.
	Prefix *string `json:"prefix" v3:"string_match.prefix"`
	// Suffix is what the value ends with.
	Suffix *string `json:"suffix" v3:"string_match.suffix"`
	// Contains is a part of the value.
	Contains *string `json:"contains" v3:"string_match.contains"`
	// Present says whether the field has to be there or has to be absent.
	Present *bool `json:"present" v3:"present_match"`
	// InvertMatch turns the result around. Default: false.
	InvertMatch bool `json:"invert_match"`
}

// SampleConfig logs a share of the streams, drawn once for each stream.
type SampleConfig struct {
	// Percent of the streams, 0 to 100.
	Percent float64 `json:"percent" unit:"percent" required:"true" v3:"percent_sampled"`
}

// LogTypeConfig names types of lines, as ACCESS_LOG_TYPE prints them.
type LogTypeConfig struct {
	// Types are names such as "TcpConnectionEnd", "DownstreamEnd" or "NotSet", the log of a listener.
	Types []string `json:"types" required:"true"`
	// Exclude logs all but these. Default: false.
	Exclude bool `json:"exclude"`
}

// GRPCStatusConfig names gRPC status codes. A stream without a gRPC status has the one that its HTTP status stands for, and
// one without that is UNKNOWN, as in Envoy.
type GRPCStatusConfig struct {
	// Statuses are names such as "UNAVAILABLE".
	Statuses []string `json:"statuses" required:"true"`
	// Exclude logs all but these. Default: false.
	Exclude bool `json:"exclude"`
}

// MetadataConfig wants a value of the metadata that filters have set.
type MetadataConfig struct {
	// Namespace of the value, such as "envoy.filters.listener.proxy_protocol".
	Namespace string `json:"namespace" required:"true" v3:"matcher.filter"`
	// Key of the value.
	Key string `json:"key" required:"true" v3:"matcher.path"`
	// Value it has to have. Default: any.
	Value string `json:"value" v3:"matcher.value"`
	// Invert turns the result around for values that are there. Default: false.
	Invert bool `json:"invert" v3:"matcher.invert"`
	// MatchIfNotFound is the result without such a value. Default: true.
	MatchIfNotFound bool `json:"match_if_not_found" default:"true"`
}

// FilterDepthMax is how deep and- and or-filters may be nested.
const FilterDepthMax = 16

// Validate reports what is wrong with the filter beyond its types.
func (c *FilterConfig) Validate(report func(path, problem, hint string)) {
	switch given := c.given(); {
	case given == 0:
		report("", "no filter is given", "give one of status_code, duration, not_health_check, "+
			"response_flags, header, sample, log_type, grpc_status, metadata, and, or; leave filter out to log everything")
	case given > 1:
		report("", fmt.Sprintf("%d filters are given", given), `join them with "and" or "or"`)
	}
	if len(c.And) == 1 {
		report("and", "one filter alone", "give two or more, or the filter without and")
	}
	if len(c.Or) == 1 {
		report("or", "one filter alone", "give two or more, or the filter without or")
	}
	if c.depth() > FilterDepthMax {
		report("", fmt.Sprintf("filters are nested deeper than %d", FilterDepthMax), "")
	}
}

// Validate reports unknown flags.
func (c *FlagsConfig) Validate(report func(path, problem, hint string)) {
	for i, name := range c.Flags {
		if _, ok := ParseFlag(name); !ok {
			report(fmt.Sprintf("flags[%d]", i), fmt.Sprintf("unknown response flag %q", name), "see docs/access-log.md")
		}
	}
}

// Validate reports unknown types.
func (c *LogTypeConfig) Validate(report func(path, problem, hint string)) {
	for i, name := range c.Types {
		if _, ok := parseType(name); !ok {
			report(fmt.Sprintf("types[%d]", i), fmt.Sprintf("unknown type %q", name), "write one of "+strings.Join(typeNames[:], ", "))
		}
	}
}

// Validate reports unknown codes.
func (c *GRPCStatusConfig) Validate(report func(path, problem, hint string)) {
	for i, name := range c.Statuses {
		if _, ok := parseGRPCName(name); !ok {
			report(fmt.Sprintf("statuses[%d]", i), fmt.Sprintf("unknown gRPC status %q", name), "write a name such as UNAVAILABLE")
		}
	}
}

// parseType returns the type of that name.
func parseType(name string) (Type, bool) {
	i := slices.Index(typeNames[:], name)
	return Type(max(i, 0)), i >= 0
}

// Validate reports a bad name and matches that exclude one another.
func (c *HeaderConfig) Validate(report func(path, problem, hint string)) {
	n := 0
	for _, given := range []bool{
		c.Exact != nil, c.Prefix != nil, c.Suffix != nil, c.Contains != nil, c.Present != nil,
	} {
		if given {
			n++
		}
	}
	if _, err := newField(c.Name, requestPseudos); err != nil && c.Name != "" {
		report("name", err.Error(), "write the name of a field, or :method, :path, :authority or :scheme")
	}
	if n > 1 {
		report("", fmt.Sprintf("%d matches are given", n), "keep one of exact, prefix, suffix, contains and present")
	}
}

// given returns how many of the fields are set.
func (c *FilterConfig) given() int {
	n := 0
	for _, given := range []bool{
		c.StatusCode != nil, c.Duration != nil, c.NotHealthCheck != nil, c.ResponseFlags != nil,
		c.Header != nil, c.Sample != nil, c.LogType != nil, c.GRPCStatus != nil, c.Metadata != nil, c.And != nil, c.Or != nil,
	} {
		if given {
			n++
		}
	}
	return n
}

// depth returns how deep the filters are nested; 1 for one without and and or.
func (c *FilterConfig) depth() int {
	d := 0
	for i := range c.And {
		d = max(d, c.And[i].depth())
	}
	for i := range c.Or {
		d = max(d, c.Or[i].depth())
	}
	return d + 1
}
