package grpcjson

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fieldPath resolves the names of a field path. Each may be the one of the proto file, or the one in JSON.
func fieldPath(m protoreflect.MessageDescriptor, path string) (list []protoreflect.FieldDescriptor, err error) {
	for name := range strings.SplitSeq(path, ".") {
		if m == nil {
			return nil, fmt.Errorf("%s is no message, or there are many of it", list[len(list)-1].FullName())
		}
		if len(list) == depthMax {
			return nil, fmt.Errorf("more than %d names", depthMax)
		}
		f := m.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			f = m.Fields().ByJSONName(name)
		}
		if f == nil {
			return nil, fmt.Errorf("message %s has no field %q", m.FullName(), name)
		}
		list = append(list, f)
		if m = nil; f.Message() != nil && f.Cardinality() != protoreflect.Repeated {
			m = f.Message()
		}
	}
	return list, nil
}

var (
	errRepeated = errors.New("there are many of the field")
	errMap      = errors.New("the field is a map")
	errMessage  = errors.New("the field is a message that text cannot stand for")
)

// bindable says why a field cannot take a value from a path or a query.
func bindable(f protoreflect.FieldDescriptor, repeated bool) error {
	switch {
	case f.IsMap():
		return errMap
	case f.IsList() && !repeated:
		return errRepeated
	case f.Message() != nil && textForms[f.Message().FullName()] == 0:
		return errMessage
	}
	return nil
}

// textForms are the messages that a text stands for, by how JSON writes it.
var textForms = map[protoreflect.FullName]byte{
	"google.protobuf.Timestamp":   '"',
	"google.protobuf.Duration":    '"',
	"google.protobuf.FieldMask":   '"',
	"google.protobuf.StringValue": '"',
	"google.protobuf.BytesValue":  '"',
	"google.protobuf.Int32Value":  '"',
	"google.protobuf.Int64Value":  '"',
	"google.protobuf.UInt32Value": '"',
	"google.protobuf.UInt64Value": '"',
	"google.protobuf.FloatValue":  '"',
	"google.protobuf.DoubleValue": '"',
	"google.protobuf.BoolValue":   'b',
}

// set gives a field of m a value from text; one of a list is appended.
func (s *Set) set(m protoreflect.Message, path []protoreflect.FieldDescriptor, text string) error {
	for _, f := range path[:len(path)-1] {
		m = m.Mutable(f).Message()
	}
	f := path[len(path)-1]
	var v protoreflect.Value
	var err error
	if f.Message() != nil {
		to := m.NewField(f)
		if f.IsList() {
			to = to.List().NewElement()
		}
		v, err = to, s.setMessage(to.Message(), text)
	} else {
		v, err = s.scalar(f, text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.FullName(), err)
	}
	if f.IsList() {
		m.Mutable(f).List().Append(v)
		return nil
	}
	m.Set(f, v)
	return nil
}

// setMessage fills a message that a text stands for.
func (s *Set) setMessage(m protoreflect.Message, text string) error {
	json := text
	if textForms[m.Descriptor().FullName()] == '"' {
		json = string(appendQuoted(nil, text))
	} else if text != "true" && text != "false" {
		return errValue(text)
	}
	if err := (protojson.UnmarshalOptions{Resolver: s.types}).Unmarshal([]byte(json), m.Interface()); err != nil {
		return errValue(text)
	}
	return nil
}

// valueMax is how much of a value a message repeats, in bytes.
const valueMax = 60

func errValue(text string) error {
	if len(text) > valueMax {
		text = text[:valueMax]
	}
	return fmt.Errorf("%q is no value for it", text)
}

// scalar makes a value of text.
func (s *Set) scalar(f protoreflect.FieldDescriptor, text string) (v protoreflect.Value, err error) {
	switch f.Kind() {
	case protoreflect.BoolKind:
		if text == "true" || text == "false" {
			return protoreflect.ValueOfBool(text == "true"), nil
		}
		return v, errValue(text)
	case protoreflect.StringKind:
		if !utf8.ValidString(text) {
			return v, errors.New("the value is not UTF-8")
		}
		return protoreflect.ValueOfString(text), nil
	case protoreflect.BytesKind:
		return bytesOf(text)
	case protoreflect.EnumKind:
		return s.enum(f.Enum(), text)
	case protoreflect.FloatKind:
		n, err := strconv.ParseFloat(text, 32)
		if err != nil || strings.Contains(text, "_") {
			return v, errValue(text)
		}
		return protoreflect.ValueOfFloat32(float32(n)), nil
	case protoreflect.DoubleKind:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || strings.Contains(text, "_") {
			return v, errValue(text)
		}
		return protoreflect.ValueOfFloat64(n), nil
	}
	return integer(f.Kind(), text)
}

// integer makes a value of one of the kinds of whole numbers.
func integer(kind protoreflect.Kind, text string) (v protoreflect.Value, err error) {
	var n int64
	var u uint64
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err = strconv.ParseInt(text, 10, 32)
		v = protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err = strconv.ParseInt(text, 10, 64)
		v = protoreflect.ValueOfInt64(n)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		u, err = strconv.ParseUint(text, 10, 32)
		v = protoreflect.ValueOfUint32(uint32(u))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		u, err = strconv.ParseUint(text, 10, 64)
		v = protoreflect.ValueOfUint64(u)
	default:
		return v, errMessage
	}
	if err != nil {
		return v, errValue(text)
	}
	return v, nil
}

// bytesOf decodes base64 of either alphabet, with or without padding.
func bytesOf(text string) (v protoreflect.Value, err error) {
	enc := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return v, errValue(text)
	}
	return protoreflect.ValueOfBytes(b), nil
}

// enum finds a value by its name or number.
func (s *Set) enum(e protoreflect.EnumDescriptor, text string) (v protoreflect.Value, err error) {
	values := e.Values()
	if d := values.ByName(protoreflect.Name(text)); d != nil {
		return protoreflect.ValueOfEnum(d.Number()), nil
	}
	if s.options.FoldEnums {
		for i := range values.Len() {
			if strings.EqualFold(string(values.Get(i).Name()), text) {
				return protoreflect.ValueOfEnum(values.Get(i).Number()), nil
			}
		}
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return v, errValue(text)
	}
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
}

// appendQuoted appends text as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendQuoted(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
