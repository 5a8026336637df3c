package grpcjson

import (
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// shopProto is a file of the package shop, as protoc would describe it.
const shopProto = `{
 "name": "shop.proto", "package": "shop", "syntax": "proto3",
 "dependency": ["google/api/annotations.proto", "google/api/httpbody.proto", "google/protobuf/timestamp.proto", "google/protobuf/field_mask.proto", "google/protobuf/wrappers.proto", "google/protobuf/any.proto"],
 "enumType": [{"name": "Color", "value": [{"name": "NONE", "number": 0}, {"name": "RED", "number": 1}]}],
 "messageType": [
  {"name": "Item", "field": [
   {"name": "name", "number": 1, "type": "TYPE_STRING", "label": "LABEL_OPTIONAL", "jsonName": "name"},
   {"name": "unit_price", "number": 2, "type": "TYPE_INT64", "label": "LABEL_OPTIONAL", "jsonName": "unitPrice"},
   {"name": "color", "number": 3, "type": "TYPE_ENUM", "typeName": ".shop.Color", "label": "LABEL_OPTIONAL", "jsonName": "color"},
   {"name": "tags", "number": 4, "type": "TYPE_STRING", "label": "LABEL_REPEATED", "jsonName": "tags"},
   {"name": "part", "number": 5, "type": "TYPE_MESSAGE", "typeName": ".shop.Item", "label": "LABEL_OPTIONAL", "jsonName": "part"},
   {"name": "made", "number": 6, "type": "TYPE_MESSAGE", "typeName": ".google.protobuf.Timestamp", "label": "LABEL_OPTIONAL", "jsonName": "made"},
   {"name": "weight", "number": 7, "type": "TYPE_DOUBLE", "label": "LABEL_OPTIONAL", "jsonName": "weight"},
   {"name": "code", "number": 8, "type": "TYPE_BYTES", "label": "LABEL_OPTIONAL", "jsonName": "code"},
   {"name": "sold", "number": 9, "type": "TYPE_BOOL", "label": "LABEL_OPTIONAL", "jsonName": "sold"},
   {"name": "count", "number": 10, "type": "TYPE_UINT32", "label": "LABEL_OPTIONAL", "jsonName": "count"},
   {"name": "parts", "number": 11, "type": "TYPE_MESSAGE", "typeName": ".shop.Item", "label": "LABEL_REPEATED", "jsonName": "parts"},
   {"name": "mask", "number": 12, "type": "TYPE_MESSAGE", "typeName": ".google.protobuf.FieldMask", "label": "LABEL_OPTIONAL", "jsonName": "mask"},
   {"name": "limit", "number": 13, "type": "TYPE_MESSAGE", "typeName": ".google.protobuf.Int32Value", "label": "LABEL_OPTIONAL", "jsonName": "limit"},
   {"name": "fresh", "number": 14, "type": "TYPE_MESSAGE", "typeName": ".google.protobuf.BoolValue", "label": "LABEL_OPTIONAL", "jsonName": "fresh"},
   {"name": "ratio", "number": 15, "type": "TYPE_FLOAT", "label": "LABEL_OPTIONAL", "jsonName": "ratio"},
   {"name": "colors", "number": 16, "type": "TYPE_ENUM", "typeName": ".shop.Color", "label": "LABEL_REPEATED", "jsonName": "colors"}
  ]},
  {"name": "Upload", "field": [
   {"name": "id", "number": 1, "type": "TYPE_STRING", "label": "LABEL_OPTIONAL", "jsonName": "id"},
   {"name": "file", "number": 2, "type": "TYPE_MESSAGE", "typeName": ".google.api.HttpBody", "label": "LABEL_OPTIONAL", "jsonName": "file"}
  ]}
 ],
 "service": [{"name": "Items", "method": [
  {"name": "Get", "inputType": ".shop.Item", "outputType": ".shop.Item", "options": {"[google.api.http]": {"get": "/v1/items/{name}", "additionalBindings": [{"get": "/v1/{part.name=parts/*}/items/{name}"}, {"get": "/v1/search"}]}}},
  {"name": "Put", "inputType": ".shop.Item", "outputType": ".shop.Item", "options": {"[google.api.http]": {"put": "/v1/items/{name}", "body": "*"}}},
  {"name": "Part", "inputType": ".shop.Item", "outputType": ".shop.Item", "options": {"[google.api.http]": {"post": "/v1/items/{name}:part", "body": "part", "responseBody": "part"}}},
  {"name": "Price", "inputType": ".shop.Item", "outputType": ".shop.Item", "options": {"[google.api.http]": {"post": "/v1/items/{name}:price", "body": "unit_price", "responseBody": "unit_price"}}},
  {"name": "Tags", "inputType": ".shop.Item", "outputType": ".shop.Item", "options": {"[google.api.http]": {"patch": "/v1/items/{name}/tags", "body": "tags", "responseBody": "tags"}}},
  {"name": "File", "inputType": ".shop.Item", "outputType": ".google.api.HttpBody", "options": {"[google.api.http]": {"get": "/v1/files/{name=**}"}}},
  {"name": "Upload", "inputType": ".shop.Upload", "outputType": ".shop.Upload", "options": {"[google.api.http]": {"post": "/v1/upload/{id}", "body": "file", "responseBody": "file"}}},
  {"name": "Head", "inputType": ".shop.Item", "outputType": ".shop.Item", "options": {"[google.api.http]": {"custom": {"kind": "HEAD", "path": "/v1/items/{name}"}}}},
  {"name": "Any", "inputType": ".shop.Item", "outputType": ".shop.Item", "options": {"[google.api.http]": {"custom": {"kind": "*", "path": "/v1/any"}}}},
  {"name": "Plain", "inputType": ".shop.Item", "outputType": ".shop.Item"}
 ]}]}`

// descriptorSet is the serialized set of a file and all it needs.
func descriptorSet(t testing.TB, file string) []byte {
	t.Helper()
	fd := &descriptorpb.FileDescriptorProto{}
	if err := protojson.Unmarshal([]byte(file), fd); err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, known := range []proto.Message{
		&descriptorpb.FileDescriptorProto{}, &anypb.Any{}, &timestamppb.Timestamp{}, &fieldmaskpb.FieldMask{}, &wrapperspb.BoolValue{},
		&annotations.Http{}, &httpbody.HttpBody{},
	} {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(known.ProtoReflect().Descriptor().ParentFile()))
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(annotations.File_google_api_annotations_proto), fd)
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newShop loads shopProto.
func newShop(t testing.TB, o Options) *Set {
	t.Helper()
	s, problems := Load(descriptorSet(t, shopProto), []string{"shop.Items"}, o)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

// message serializes a message of the call's output that is given in JSON.
func message(t testing.TB, c *Call, text string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(c.Method.output)
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// request returns what a request becomes, as JSON, or "error: …".
func request(t testing.TB, s *Set, method, path, body string) string {
	t.Helper()
	c, err := s.Match([]byte(method), []byte(path))
	if err != nil {
		return "error: " + err.Error()
	}
	b, err := c.AppendRequest(nil, []byte(body), "text/plain")
	if err != nil {
		return "error: " + err.Error()
	}
	m := dynamicpb.NewMessage(c.Method.input)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return c.Method.Path + " " + string(compact(text))
}
