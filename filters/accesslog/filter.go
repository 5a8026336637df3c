package accesslog

import (
	"bytes"
	"time"
)

// A filter decides whether a record is logged. It is immutable: loops share it.
type filter struct {
	kind   filterKind
	op     compareOp
	value  uint64 // of comparisons
	flags  Flags
	header headerMatch
	set    uint64 // of log types and gRPC codes: a bit for each
	not    bool   // everything but set
	pair   metadataMatch
	share  uint64 // of sample: a record is logged if its draw is below; see shareOf
	all    bool   // of sample: every record
	parts  []filter
}

type filterKind uint8

const (
	filterNone filterKind = iota // everything is logged
	filterStatus
	filterDuration
	filterNotHealthCheck
	filterFlags
	filterHeader
	filterSample
	filterType
	filterGRPC
	filterMetadata
	filterAnd
	filterOr
)

type compareOp uint8

const (
	opEqual compareOp = iota
	opAtLeast
	opAtMost
	opNot
)

var compareOps = map[string]compareOp{"": opEqual, "eq": opEqual, "ge": opAtLeast, "le": opAtMost, "ne": opNot}

// newFilter compiles a filter that Validate has passed. nil logs everything.
func newFilter(c *FilterConfig) (f filter, err error) {
	switch {
	case c == nil:
	case c.StatusCode != nil:
		f = filter{kind: filterStatus, op: compareOps[c.StatusCode.Op], value: uint64(c.StatusCode.Value)}
	case c.Duration != nil:
		f = filter{kind: filterDuration, op: compareOps[c.Duration.Op], value: uint64(c.Duration.Value)}
	case c.NotHealthCheck != nil:
		f = filter{kind: filterNotHealthCheck}
	case c.ResponseFlags != nil:
		f = filter{kind: filterFlags, flags: c.ResponseFlags.mask()}
	case c.Header != nil:
		f.kind = filterHeader
		f.header, err = newHeaderMatch(c.Header)
	case c.Sample != nil:
		f = filter{kind: filterSample, share: shareOf(c.Sample.Percent), all: c.Sample.Percent >= 100}
	case c.LogType != nil:
		f = filter{kind: filterType, set: c.LogType.mask(), not: c.LogType.Exclude}
	case c.GRPCStatus != nil:
		f = filter{kind: filterGRPC, set: c.GRPCStatus.mask(), not: c.GRPCStatus.Exclude}
	case c.Metadata != nil:
		f = filter{kind: filterMetadata, pair: metadataMatch(*c.Metadata)}
	case c.And != nil:
		f.kind = filterAnd
		f.parts, err = newFilters(c.And)
	case c.Or != nil:
		f.kind = filterOr
		f.parts, err = newFilters(c.Or)
	}
	return f, err
}

func newFilters(configs []FilterConfig) ([]filter, error) {
	parts := make([]filter, 0, len(configs))
	for i := range configs {
		f, err := newFilter(&configs[i])
		if err != nil {
			return nil, err
		}
		parts = append(parts, f)
	}
	return parts, nil
}

// mask returns the flags that are named, or all.
func (c *FlagsConfig) mask() Flags {
	mask := Flags(0)
	for _, name := range c.Flags {
		f, _ := ParseFlag(name)
		mask |= f
	}
	if len(c.Flags) == 0 {
		return flagsEnd - 1
	}
	return mask
}

// mask returns the types that are named.
func (c *LogTypeConfig) mask() (mask uint64) {
	for _, name := range c.Types {
		if t, ok := parseType(name); ok {
			mask |= 1 << t
		}
	}
	return mask
}

// mask returns the codes that are named.
func (c *GRPCStatusConfig) mask() (mask uint64) {
	for _, name := range c.Statuses {
		if code, ok := parseGRPCName(name); ok {
			mask |= 1 << code
		}
	}
	return mask
}

// match reports whether r is logged.
func (f *filter) match(r *Record) bool {
	switch f.kind {
	case filterNone:
		return true
	case filterStatus:
		return f.op.holds(uint64(r.Status), f.value)
	case filterDuration:
		return f.op.holds(uint64(max(r.End-r.Start, 0)/int64(time.Millisecond)), f.value)
	case filterNotHealthCheck:
		return !r.HealthCheck
	case filterFlags:
		return r.Flags&f.flags != 0
	case filterHeader:
		return f.header.match(r)
	case filterSample:
		return f.all || mix(r.StreamID) < f.share
	case filterType:
		return f.set>>r.Type&1 != 0 != f.not
	case filterGRPC:
		return f.set>>grpcFilterCode(r)&1 != 0 != f.not
	case filterMetadata:
		return f.pair.match(r)
	case filterAnd:
		for i := range f.parts {
			if !f.parts[i].match(r) {
				return false
			}
		}
		return true
	case filterOr:
		for i := range f.parts {
			if f.parts[i].match(r) {
				return true
			}
		}
		return false
	}
	panic("BUG: accesslog: unknown filter")
}

func (op compareOp) holds(have, want uint64) bool {
	switch op {
	case opAtLeast:
		return have >= want
	case opAtMost:
		return have <= want
	case opNot:
		return have != want
	case opEqual:
		return have == want
	}
	panic("BUG: accesslog: unknown comparison")
}

// shareOf turns a percentage below 100 into a bound on 64-bit numbers.
func shareOf(percent float64) uint64 { return uint64(percent/100*(1<<32)) << 32 }

// mix makes a number whose bits all depend on all bits of n (splitmix64), so that what is logged
// is independent of other choices made by the same draw, such as the one of a weighted cluster.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// A headerMatch looks at one field of the request.
type headerMatch struct {
	field  field
	kind   headerKind
	value  []byte
	invert bool
}

type headerKind uint8

const (
	headerPresent headerKind = iota
	headerAbsent
	headerExact
	headerPrefix
	headerSuffix
	headerContains
)

func newHeaderMatch(c *HeaderConfig) (m headerMatch, err error) {
	m.invert = c.InvertMatch
	m.field, err = newField(c.Name, requestPseudos)
	for kind, value := range map[headerKind]*string{
		headerExact: c.Exact, headerPrefix: c.Prefix, headerSuffix: c.Suffix, headerContains: c.Contains,
	} {
		if value != nil {
			m.kind, m.value = kind, []byte(*value)
		}
	}
	if c.Present != nil && !*c.Present {
		m.kind = headerAbsent
	}
	return m, err
}

// match reports whether the request has the field as wanted. As in Envoy, an absent field has no
// value, so it matches no value, inverted or not.
func (m *headerMatch) match(r *Record) bool {
	var v []byte
	if r.Request != nil {
		v = m.field.ofRequest(r.Request)
	}
	switch m.kind {
	case headerPresent:
		return (v != nil) != m.invert
	case headerAbsent:
		return (v == nil) != m.invert
	}
	return v != nil && m.holds(v) != m.invert
}

// holds compares the value of a field that is there.
func (m *headerMatch) holds(v []byte) bool {
	switch m.kind {
	case headerExact:
		return bytes.Equal(v, m.value)
	case headerPrefix:
		return bytes.HasPrefix(v, m.value)
	case headerSuffix:
		return bytes.HasSuffix(v, m.value)
	case headerContains:
		return bytes.Contains(v, m.value)
	}
	panic("BUG: accesslog: unknown header match")
}

// A metadataMatch looks at one value of the metadata.
type metadataMatch MetadataConfig

// match reports whether the value is the wanted one.
func (m *metadataMatch) match(r *Record) bool {
	v, ok := r.Metadata[m.Namespace][m.Key]
	if !ok {
		return m.MatchIfNotFound
	}
	return (m.Value == "" || v == m.Value) != m.Invert
}
