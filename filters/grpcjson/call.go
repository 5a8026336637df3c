package grpcjson

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Call is one HTTP request for a method.
type Call struct {
	// Method that is called.
	Method *Method

	rule    *rule
	binds   []bind
	started bool // a message of the request has been made
}

// A bind is a value from the path or the query.
type bind struct {
	field []protoreflect.FieldDescriptor
	text  string
}

// ErrNoMatch is the error of a request that is for no method.
var ErrNoMatch = errors.New("no method has a rule for this request")

// An UnknownParameter is a parameter of the query that no field has the name of.
type UnknownParameter string

// Error implements error.
func (p UnknownParameter) Error() string {
	return fmt.Sprintf("unknown query parameter %q", clip(string(p)))
}

func clip(text string) string { return text[:min(len(text), valueMax)] }

// Match finds the method that a request is for: by the method of HTTP, and the path with its query. A request that is for none
// costs no allocation.
func (s *Set) Match(method, target []byte) (*Call, error) {
	var room [32][]byte
	path, query, _ := bytes.Cut(target, []byte{'?'})
	segments := splitPath(room[:0], path)
	var verb []byte
	if n := len(segments) - 1; n >= 0 {
		last := segments[n]
		if i := bytes.LastIndexByte(last, ':'); i >= 0 && (s.options.UnknownVerb || s.verbs[string(last[i+1:])]) {
			segments[n], verb = last[:i], last[i+1:]
		}
	}
	r := s.root.find(segments, verb, method)
	if r == nil {
		return nil, ErrNoMatch
	}
	c := &Call{Method: r.method, rule: r}
	if err := c.bindQuery(string(query)); err != nil {
		return nil, err
	}
	c.bindPath(segments) // behind the query: it wins
	return c, nil
}

// bindPath takes the variables out of a path.
func (c *Call) bindPath(segments [][]byte) {
	r := c.rule
	for i := range r.template.vars {
		v := &r.template.vars[i]
		how, to := c.Method.set.options.Unescape, v.to
		if to < 0 {
			to = len(segments)
		}
		if v.single() {
			how = UnescapeAll
		}
		text := string(bytes.Join(segments[min(v.from, to):to], slash))
		c.binds = append(c.binds, bind{r.vars[i], unescape(text, how, false)})
	}
}

// bindQuery finds the fields of the parameters of a query.
func (c *Call) bindQuery(query string) error {
	s := c.Method.set
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = unescape(name, UnescapeAll, s.options.QueryPlus)
		if s.ignored[name] {
			continue
		}
		field, err := fieldPath(c.Method.input, name)
		if err == nil {
			err = bindable(field[len(field)-1], true)
		}
		switch {
		case err == nil:
			c.binds = append(c.binds, bind{field, unescape(value, UnescapeAll, s.options.QueryPlus)})
		case !s.options.IgnoreUnknownQuery:
			return UnknownParameter(name)
		}
	}
	return nil
}
