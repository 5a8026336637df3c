package grpcjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// read parses a message of the response.
func (c *Call) read(message []byte) (*dynamicpb.Message, error) {
	m := dynamicpb.NewMessage(c.Method.output)
	err := proto.UnmarshalOptions{Resolver: c.Method.set.types, RecursionLimit: depthMax}.Unmarshal(message, m)
	if err != nil {
		return nil, fmt.Errorf("message %s: %s", c.Method.output.FullName(), errText(err))
	}
	return m, nil
}

// AppendResponse appends a message of the response as JSON.
func (c *Call) AppendResponse(dst, message []byte) ([]byte, error) {
	m, err := c.read(message)
	if err != nil {
		return dst, err
	}
	return c.appendJSON(dst, m, c.rule.response)
}

// AppendRaw appends what a google.api.HttpBody in a message of the response holds.
func (c *Call) AppendRaw(dst, message []byte) (out []byte, contentType string, err error) {
	m, err := c.read(message)
	if err != nil {
		return dst, "", err
	}
	body := protoreflect.Message(m)
	for _, f := range c.rule.response {
		body = body.Get(f).Message()
	}
	fields := body.Descriptor().Fields()
	dst = append(dst, body.Get(fields.ByName(httpBodyData)).Bytes()...)
	return dst, body.Get(fields.ByName(httpBodyContentType)).String(), nil
}

// appendJSON appends m, or one field of it.
func (c *Call) appendJSON(dst []byte, m protoreflect.Message, path []protoreflect.FieldDescriptor) ([]byte, error) {
	for _, f := range path {
		if f.Message() == nil || f.Cardinality() == protoreflect.Repeated {
			return c.appendField(dst, m, f)
		}
		m = m.Get(f).Message()
	}
	return c.Method.set.appendMessage(dst, m)
}

// appendField appends the value of a field that is no message by itself.
func (c *Call) appendField(dst []byte, m protoreflect.Message, f protoreflect.FieldDescriptor) ([]byte, error) {
	only := m.New()
	if m.Has(f) {
		only.Set(f, m.Get(f))
	}
	s := c.Method.set
	b, err := protojson.MarshalOptions{
		EmitUnpopulated: true, UseEnumNumbers: s.options.Print.EnumNumbers, UseProtoNames: s.options.Print.ProtoNames, Resolver: s.types,
	}.Marshal(only.Interface())
	if err != nil {
		return dst, errors.New(errText(err))
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil {
		return dst, err
	}
	name := f.JSONName()
	if s.options.Print.ProtoNames {
		name = f.TextName()
	}
	return s.appendPrinted(dst, object[name]), nil
}

// appendMessage appends a message as JSON.
func (s *Set) appendMessage(dst []byte, m protoreflect.Message) ([]byte, error) {
	p := &s.options.Print
	b, err := protojson.MarshalOptions{
		EmitDefaultValues: p.Defaults, UseEnumNumbers: p.EnumNumbers, UseProtoNames: p.ProtoNames, Resolver: s.types,
	}.Marshal(m.Interface())
	if err != nil {
		return dst, errors.New(errText(err))
	}
	return s.appendPrinted(dst, b), nil
}

// appendPrinted appends JSON of package protojson, which has spaces at random, with those that are wanted.
func (s *Set) appendPrinted(dst, b []byte) []byte {
	b = compact(b)
	if !s.options.Print.Whitespace {
		return append(dst, b...)
	}
	var out bytes.Buffer
	if json.Indent(&out, b, "", " ") != nil {
		return append(dst, b...)
	}
	return append(append(dst, out.Bytes()...), '\n')
}

// compact takes white space out of valid JSON, in place.
func compact(b []byte) []byte {
	out := b[:0]
	text, escape := false, false
	for _, c := range b {
		switch {
		case text:
			text = c != '"' || escape
			escape = c == '\\' && !escape
		case c == '"':
			text = true
		case c == ' ' || c == '\n':
			continue
		}
		out = append(out, c)
	}
	return out
}

// AppendStatus appends a google.rpc.Status as JSON: a serialized one, or if that is empty one of code and message.
func (s *Set) AppendStatus(dst, details []byte, code int32, message string) ([]byte, error) {
	st := &status.Status{}
	if len(details) > 0 {
		err := proto.UnmarshalOptions{Resolver: s.types, RecursionLimit: depthMax}.Unmarshal(details, st)
		if err != nil {
			return dst, errors.New(errText(err))
		}
	} else {
		st.Code, st.Message = code, message
	}
	return s.appendMessage(dst, st.ProtoReflect())
}
