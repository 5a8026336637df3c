package grpcjson

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// httpBodyName is the message that stands for a body of any kind.
const httpBodyName = "google.api.HttpBody"

// The fields of google.api.HttpBody.
const (
	httpBodyContentType = "content_type"
	httpBodyData        = "data"
)

// TakesBody reports whether the body of the request is used.
func (c *Call) TakesBody() bool { return c.rule.hasBody }

// RawRequest reports whether the body is no JSON: the method wants it as it is.
func (c *Call) RawRequest() bool {
	return c.rule.hasBody && isHTTPBody(last(c.rule.body, c.Method.input))
}

// RawResponse reports whether the method makes a body of any kind, no JSON.
func (c *Call) RawResponse() bool { return isHTTPBody(last(c.rule.response, c.Method.output)) }

// last returns the message at the end of a field path, nil if it is none.
func last(path []protoreflect.FieldDescriptor, m protoreflect.MessageDescriptor) protoreflect.MessageDescriptor {
	if len(path) == 0 {
		return m
	}
	f := path[len(path)-1]
	if f.Cardinality() == protoreflect.Repeated {
		return nil
	}
	return f.Message()
}

func isHTTPBody(m protoreflect.MessageDescriptor) bool {
	return m != nil && m.FullName() == httpBodyName
}

// AppendRequest appends a message of the request: of its body, one element of it if the client streams, and for the
// first message of what path and query say. contentType is for RawRequest.
func (c *Call) AppendRequest(dst, body []byte, contentType string) ([]byte, error) {
	m := dynamicpb.NewMessage(c.Method.input)
	var err error
	switch {
	case !c.rule.hasBody:
	case c.RawRequest():
		to := protoreflect.Message(m)
		for _, f := range c.rule.body {
			to = to.Mutable(f).Message()
		}
		fields := to.Descriptor().Fields()
		to.Set(fields.ByName(httpBodyContentType), protoreflect.ValueOfString(contentType))
		to.Set(fields.ByName(httpBodyData), protoreflect.ValueOfBytes(body))
	case len(body) > 0:
		err = c.unmarshal(m, body)
	}
	if err != nil {
		return dst, err
	}
	if !c.started {
		c.started = true
		if err := c.bindTo(m); err != nil {
			return dst, err
		}
	}
	out, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, errors.New(errText(err))
	}
	return out, nil
}

// errJSON is the error of a body that ends in the middle, or goes on behind its end: what it is put into could change
// its meaning.
var errJSON = errors.New("the body is not JSON")

// unmarshal reads a body into m.
func (c *Call) unmarshal(m *dynamicpb.Message, body []byte) error {
	if len(c.rule.body) > 0 {
		if !json.Valid(body) {
			return errJSON
		}
		body = wrap(c.rule.body, body)
	}
	// As in Envoy, what is unknown is passed over.
	err := protojson.UnmarshalOptions{
		DiscardUnknown: true, Resolver: c.Method.set.types, RecursionLimit: depthMax,
	}.Unmarshal(body, m)
	if err != nil {
		return errors.New(errText(err))
	}
	return nil
}

// wrap makes an object of a value that is to go into a field.
func wrap(path []protoreflect.FieldDescriptor, value []byte) []byte {
	var out []byte
	for _, f := range path {
		out = append(out, '{')
		out = append(appendQuoted(out, f.JSONName()), ':')
	}
	out = append(out, value...)
	for range path {
		out = append(out, '}')
	}
	return out
}

// bindTo gives fields what the path and the query say.
func (c *Call) bindTo(m protoreflect.Message) error {
	s := c.Method.set
	for _, b := range c.binds {
		if s.options.RejectCollisions && c.rule.hasBody && !b.field[0].IsList() && has(m, b.field) {
			return fmt.Errorf("%s is in the body too", b.field[len(b.field)-1].FullName())
		}
	}
	for _, b := range c.binds {
		if err := s.set(m, b.field, b.text); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether a field is set.
func has(m protoreflect.Message, path []protoreflect.FieldDescriptor) bool {
	for _, f := range path[:len(path)-1] {
		if !m.Has(f) {
			return false
		}
		m = m.Get(f).Message()
	}
	return m.Has(path[len(path)-1])
}
