package accesslog

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// A member is one name and its template, in an order of our own.
type member struct{ name, template string }

// defaultJSON is the format "json": the fields of Envoy's default line and what one looks for
// next. Names are those that service meshes on Envoy use.
var defaultJSON = []member{
	{"start_time", "%START_TIME%"},
	{"method", "%REQ(:METHOD)%"},
	{"path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"},
	{"protocol", "%PROTOCOL%"},
	{"authority", "%REQ(:AUTHORITY)%"},
	{"response_code", "%RESPONSE_CODE%"},
	{"response_code_details", "%RESPONSE_CODE_DETAILS%"},
	{"response_flags", "%RESPONSE_FLAGS%"},
	{"bytes_received", "%BYTES_RECEIVED%"},
	{"bytes_sent", "%BYTES_SENT%"},
	{"duration", "%DURATION%"},
	{"upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"},
	{"x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"},
	{"user_agent", "%REQ(USER-AGENT)%"},
	{"request_id", "%REQ(X-REQUEST-ID)%"},
	{"downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"},
	{"downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"},
	{"route_name", "%ROUTE_NAME%"},
	{"upstream_cluster", "%UPSTREAM_CLUSTER%"},
	{"upstream_host", "%UPSTREAM_HOST%"},
	{"upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"},
	{"upstream_request_attempt_count", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"},
	{"upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"},
}

// A jsonBuilder compiles a tree of JSON values.
type jsonBuilder struct {
	stepBuilder
	size int // of all texts so far, in bytes
}

// compileJSON compiles json_format.
func compileJSON(tree map[string]any, omit bool) (*Format, error) {
	b := jsonBuilder{stepBuilder: stepBuilder{omit: omit, kind: stepString}}
	if err := b.object(tree, 1); err != nil {
		return nil, err
	}
	return finish(b.finish()), nil
}

// compileMembers compiles a flat object whose members have an order.
func compileMembers(members []member, omit bool) (*Format, error) {
	b := jsonBuilder{stepBuilder: stepBuilder{omit: omit, kind: stepString}}
	b.literal("{")
	for i, m := range members {
		if err := b.member(m.name, m.template, i == len(members)-1, 1); err != nil {
			return nil, err
		}
	}
	b.close()
	return finish(b.finish()), nil
}

// object adds an object, members by name.
func (b *jsonBuilder) object(tree map[string]any, depth int) error {
	b.literal("{")
	names := slices.Sorted(maps.Keys(tree))
	for i, name := range names {
		if err := b.member(name, tree[name], i == len(names)-1, depth); err != nil {
			return inside("."+name, err)
		}
	}
	b.close()
	return nil
}

// member adds `"name":value` and what separates it from the next one.
func (b *jsonBuilder) member(name string, value any, last bool, depth int) error {
	b.size += len(name)
	prefix := string(appendQuoted(nil, name)) + ":"
	if s, ok := value.(string); ok && b.omit {
		op, err := soleOperator(s)
		if err != nil {
			return err
		}
		if op != nil {
			b.size += len(s)
			b.add(step{kind: stepMember, lit: []byte(prefix), op: op})
			return b.checkSize()
		}
	}
	b.literal(prefix)
	if err := b.value(value, depth+1); err != nil {
		return err
	}
	if b.omit || !last {
		b.literal(",")
	}
	return nil
}

// close ends an object.
func (b *jsonBuilder) close() {
	if b.omit {
		b.add(step{kind: stepClose})
		return
	}
	b.literal("}")
}

// value adds any value of the tree.
func (b *jsonBuilder) value(value any, depth int) error {
	if depth > FormatDepthMax {
		return &FormatError{Problem: fmt.Sprintf("values are nested deeper than %d", FormatDepthMax)}
	}
	switch v := value.(type) {
	case nil:
		b.literal("null")
	case bool:
		b.literal(strconv.FormatBool(v))
	case float64:
		b.literal(strconv.FormatFloat(v, 'g', -1, 64))
	case string:
		return b.text(v)
	case map[string]any:
		return b.object(v, depth)
	case []any:
		return b.array(v, depth)
	default:
		return problem(fmt.Sprintf("a value of type %T", value),
			"write an object, an array, a string, a number or a boolean")
	}
	return nil
}

// array adds an array. Its elements are never left out, so that places keep their meaning.
func (b *jsonBuilder) array(values []any, depth int) error {
	b.literal("[")
	for i, v := range values {
		if i > 0 {
			b.literal(",")
		}
		if err := b.value(v, depth+1); err != nil {
			return inside(fmt.Sprintf("[%d]", i), err)
		}
	}
	b.literal("]")
	return nil
}

// text adds a string: a typed value if it is a single operator.
func (b *jsonBuilder) text(s string) error {
	b.size += len(s)
	if err := b.checkSize(); err != nil {
		return err
	}
	op, err := soleOperator(s)
	if err != nil {
		return err
	}
	if op != nil {
		b.add(step{kind: stepTyped, op: op})
		return nil
	}
	b.literal(`"`)
	if err := b.template(s); err != nil {
		return err
	}
	b.literal(`"`)
	return nil
}

func (b *jsonBuilder) checkSize() error {
	if b.size > FormatBytesMax {
		return tooLong(b.size)
	}
	return nil
}

// soleOperator returns the operator that s is, or nil if s is anything else.
func soleOperator(s string) (*operator, error) {
	if len(s) < 2 || s[0] != '%' || s[1] == '%' {
		return nil, nil
	}
	op, n, err := parseOperator(s[1:])
	if err != nil || n != len(s)-1 {
		return nil, err
	}
	return op, nil
}

// appendQuoted appends a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	return append(appendJSON(append(dst, '"'), s), '"')
}
