package l7

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"millrace/filters/grpcjson"
)

// GRPCJSONTranscoderConfig configures the "grpc_json_transcoder" filter, which lets clients call gRPC with JSON over HTTP, as the
// google.api.http annotations of the methods say.
type GRPCJSONTranscoderConfig struct {
	// ProtoDescriptor is the file with the services: a google.protobuf.FileDescriptorSet as protoc writes it with --include_imports and
	// --descriptor_set_out. At most 64 MiB. One of it and proto_descriptor_bin is given.
	ProtoDescriptor string `json:"proto_descriptor"`
	// ProtoDescriptorSHA256 is the checksum the file has to have, in hexadecimal. Default: the one it has when the configuration is
	// read, so that a reload notices another one.
	ProtoDescriptorSHA256 string `json:"proto_descriptor_sha256"`
	// ProtoDescriptorBin is the descriptor set itself, in base64.
	ProtoDescriptorBin string `json:"proto_descriptor_bin"`
	// Services are the full names of those that can be called, such as "shop.v1.Orders".
	Services []string `json:"services" required:"true" max:"1000"`
	// PrintOptions say how JSON of responses looks.
	PrintOptions GRPCJSONPrint `json:"print_options"`
	// MatchIncomingRequestRoute keeps the route that the HTTP request has. Otherwise the route is matched again, with the path of gRPC:
	// "/shop.v1.Orders/Get". Default: false.
	MatchIncomingRequestRoute bool `json:"match_incoming_request_route"`
	// IgnoredQueryParameters are parameters that no field is looked for.
	IgnoredQueryParameters []string `json:"ignored_query_parameters" max:"1000"`
	// AutoMapping lets every method of the services be called by POST /<service>/<method> with the message as the body. Default: false.
	AutoMapping bool `json:"auto_mapping"`
	// IgnoreUnknownQueryParameters takes requests with parameters that no field has the name of. Otherwise such a request is not for
	// the method: it passes as it is, or is refused, see request_validation_options. Default: false.
	IgnoreUnknownQueryParameters bool `json:"ignore_unknown_query_parameters"`
	// ConvertGRPCStatus makes the body of an error a google.rpc.Status in JSON, from grpc-status-details-bin if the upstream sends it.
	// Default: false, which sends no body, and the status in grpc-status and grpc-message.
	ConvertGRPCStatus bool `json:"convert_grpc_status"`
	// URLUnescapeSpec says which percent-encoded characters become what they stand for in variables of several segments.
	URLUnescapeSpec string `json:"url_unescape_spec" default:"all_characters_except_reserved" enum:"all_characters_except_reserved,all_characters_except_slash,all_characters"`
	// QueryParamUnescapePlus makes a space of "+" in the query. Default: false.
	QueryParamUnescapePlus bool `json:"query_param_unescape_plus"`
	// MatchUnregisteredCustomVerb takes what follows the last colon of a path for a verb, even if no method has it. Default: false.
	MatchUnregisteredCustomVerb bool `json:"match_unregistered_custom_verb"`
	// CaseInsensitiveEnumParsing takes names of enum values in paths and queries in any case. Default: false.
	CaseInsensitiveEnumParsing bool `json:"case_insensitive_enum_parsing"`
	// RequestValidationOptions say which requests are refused.
	RequestValidationOptions GRPCJSONValidation `json:"request_validation_options"`
	// MaxRequestBodySize is the longest body of a request that has to be read whole, and the longest element of one that streams;
	// a longer one is answered with 413. Default: the buffer limit of the listener.
	MaxRequestBodySize *int `json:"max_request_body_size" unit:"bytes" min:"1" max:"1GiB"`
	// MaxResponseBodySize is the longest message of a response; a longer one is answered with 500. Default: the buffer limit of the
	// listener.
	MaxResponseBodySize *int `json:"max_response_body_size" unit:"bytes" min:"1" max:"1GiB"`

	set *grpcjson.Set // made by Validate, for all loops
}

// GRPCJSONPrint says how JSON looks.
type GRPCJSONPrint struct {
	// AddWhitespace puts each field on a line of its own. Not for what streams. Default: false.
	AddWhitespace bool `json:"add_whitespace"`
	// AlwaysPrintPrimitiveFields prints numbers, strings, booleans, lists and maps also if they are zero or empty. Default: false.
	AlwaysPrintPrimitiveFields bool `json:"always_print_primitive_fields"`
	// AlwaysPrintEnumsAsInts prints enum values as numbers. Default: false.
	AlwaysPrintEnumsAsInts bool `json:"always_print_enums_as_ints"`
	// PreserveProtoFieldNames prints names of fields as the proto file has them, not in lowerCamelCase. Default: false.
	PreserveProtoFieldNames bool `json:"preserve_proto_field_names"`
	// StreamNewlineDelimited prints a stream as messages with a newline behind each, not as an array. Default: false.
	StreamNewlineDelimited bool `json:"stream_newline_delimited"`
	// StreamSSEStyleDelimited prints a stream as server-sent events. Default: false.
	StreamSSEStyleDelimited bool `json:"stream_sse_style_delimited"`
}

// GRPCJSONValidation says which requests are refused.
type GRPCJSONValidation struct {
	// RejectUnknownMethod answers requests for no method with 404. Otherwise they pass as they are. Default: false.
	RejectUnknownMethod bool `json:"reject_unknown_method"`
	// RejectUnknownQueryParameters answers requests with unknown parameters with 400. Default: false.
	RejectUnknownQueryParameters bool `json:"reject_unknown_query_parameters"`
	// RejectBindingBodyFieldCollisions answers requests whose body has a field that path or query set too with 400. Otherwise path
	// and query win. Default: false.
	RejectBindingBodyFieldCollisions bool `json:"reject_binding_body_field_collisions"`
}

// descriptorFileMax is the longest file with a descriptor set, in bytes.
const descriptorFileMax = 64 << 20

// Validate reads the descriptor set and reports what is wrong with it.
func (c *GRPCJSONTranscoderConfig) Validate(report func(path, problem, hint string)) {
	p := &c.PrintOptions
	if p.StreamNewlineDelimited && p.StreamSSEStyleDelimited {
		report("print_options", "stream_newline_delimited and stream_sse_style_delimited exclude one another", "keep one of them")
	}
	if c.IgnoreUnknownQueryParameters && c.RequestValidationOptions.RejectUnknownQueryParameters {
		report("ignore_unknown_query_parameters", "unknown parameters are refused, too", "leave out reject_unknown_query_parameters, or this")
	}
	if len(c.Services) == 0 {
		return
	}
	c.load(report)
}

// load makes the set, and reports why it cannot.
func (c *GRPCJSONTranscoderConfig) load(report func(path, problem, hint string)) {
	field := "proto_descriptor"
	var descriptors []byte
	var err error
	switch {
	case (c.ProtoDescriptor != "") == (c.ProtoDescriptorBin != ""):
		report("", "neither or both of proto_descriptor and proto_descriptor_bin are given", "give one of them")
		return
	case c.ProtoDescriptor != "":
		if descriptors, err = readDescriptors(c.ProtoDescriptor); err != nil {
			report(field, err.Error(), "")
			return
		}
		sum := sha256.Sum256(descriptors)
		text := hex.EncodeToString(sum[:])
		if c.ProtoDescriptorSHA256 != "" && !strings.EqualFold(c.ProtoDescriptorSHA256, text) {
			report("proto_descriptor_sha256", fmt.Sprintf("the checksum of %q is %s", c.ProtoDescriptor, text), "")
			return
		}
		c.ProtoDescriptorSHA256 = text
	default:
		field = "proto_descriptor_bin"
		if descriptors, err = base64.StdEncoding.DecodeString(c.ProtoDescriptorBin); err != nil {
			report(field, "it is not base64", "")
			return
		}
	}
	set, problems := grpcjson.Load(descriptors, c.Services, c.options())
	for _, p := range problems {
		if p.Service < 0 {
			report(field, p.Text, p.Hint)
		} else {
			report(fmt.Sprintf("services[%d]", p.Service), p.Text, p.Hint)
		}
	}
	if len(problems) == 0 {
		c.set = set
	}
}

// readDescriptors reads a file of bounded length.
func readDescriptors(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the descriptor set: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, descriptorFileMax+1))
	if err != nil {
		return nil, fmt.Errorf("reading the descriptor set: %w", err)
	}
	if len(b) > descriptorFileMax {
		return nil, fmt.Errorf("the descriptor set %q is longer than %d bytes", path, descriptorFileMax)
	}
	return b, nil
}

// unescapeSpecs are the values of url_unescape_spec.
var unescapeSpecs = map[string]grpcjson.Unescape{
	"all_characters_except_slash": grpcjson.UnescapeExceptSlash,
	"all_characters":              grpcjson.UnescapeAll,
}

func (c *GRPCJSONTranscoderConfig) options() grpcjson.Options {
	p := &c.PrintOptions
	return grpcjson.Options{
		Print: grpcjson.Print{
			Whitespace: p.AddWhitespace, Defaults: p.AlwaysPrintPrimitiveFields, EnumNumbers: p.AlwaysPrintEnumsAsInts,
			ProtoNames: p.PreserveProtoFieldNames,
		},
		AutoMapping: c.AutoMapping, IgnoredQuery: c.IgnoredQueryParameters, IgnoreUnknownQuery: c.IgnoreUnknownQueryParameters,
		QueryPlus: c.QueryParamUnescapePlus, Unescape: unescapeSpecs[c.URLUnescapeSpec], UnknownVerb: c.MatchUnregisteredCustomVerb,
		FoldEnums: c.CaseInsensitiveEnumParsing, RejectCollisions: c.RequestValidationOptions.RejectBindingBodyFieldCollisions,
	}
}

// loaded returns the set: the one that Validate made, if it was called.
func (c *GRPCJSONTranscoderConfig) loaded() (*grpcjson.Set, error) {
	if c.set != nil {
		return c.set, nil
	}
	var errs []error
	own := *c // c is shared by the loops
	own.load(func(path, problem, _ string) { errs = append(errs, fmt.Errorf("%s: %s", path, problem)) })
	return own.set, errors.Join(errs...)
}
