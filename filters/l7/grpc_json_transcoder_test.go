package l7

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"millrace/codec"
	"millrace/filters"
)

// echoSet is a descriptor set of a service with a method of each kind.
func echoSet(t *testing.T) []byte {
	t.Helper()
	fd := &descriptorpb.FileDescriptorProto{}
	err := protojson.Unmarshal([]byte(`{
 "name": "echo.proto", "package": "echo", "syntax": "proto3", "dependency": ["google/api/annotations.proto"],
 "messageType": [{"name": "Text", "field": [{"name": "text", "number": 1, "type": "TYPE_STRING", "label": "LABEL_OPTIONAL", "jsonName": "text"}]}],
 "service": [{"name": "Echo", "method": [
  {"name": "Get", "inputType": ".echo.Text", "outputType": ".echo.Text", "options": {"[google.api.http]": {"get": "/get/{text}"}}},
  {"name": "Post", "inputType": ".echo.Text", "outputType": ".echo.Text", "options": {"[google.api.http]": {"post": "/post", "body": "*"}}},
  {"name": "Down", "inputType": ".echo.Text", "outputType": ".echo.Text", "serverStreaming": true, "options": {"[google.api.http]": {"post": "/down", "body": "*"}}},
  {"name": "Up", "inputType": ".echo.Text", "outputType": ".echo.Text", "clientStreaming": true, "options": {"[google.api.http]": {"post": "/up", "body": "*"}}}
 ]}]}`), fd)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{fd}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// echoConfig is a config for echoSet.
func echoConfig(t *testing.T) *GRPCJSONTranscoderConfig {
	t.Helper()
	return &GRPCJSONTranscoderConfig{
		ProtoDescriptorBin: base64.StdEncoding.EncodeToString(echoSet(t)), Services: []string{"echo.Echo"},
	}
}

// echoText is a framed message of the service.
func echoText(text string) string { return grpcMessage(0, "\n"+string(rune(len(text)))+text) }

const grpcContent = "Content-Type: application/grpc"

// TestGRPCJSONRequest: what of a request goes upstream, and when.
func TestGRPCJSONRequest(t *testing.T) {
	t.Parallel()
	cfg := echoConfig(t)
	cfg.MaxRequestBodySize = ptr(30)
	cfg.RequestValidationOptions = GRPCJSONValidation{RejectUnknownMethod: true, RejectUnknownQueryParameters: true}
	f, filter := newFake(t, "grpc_json_transcoder", cfg, nil)
	s := f.request("POST /post", "Content-Type: application/json", "Content-Length: 15", "Expect: 100-continue")
	s.Request.Expect100 = true
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte(`{"text": `), false)
	f.want("informational 100", "clear route")
	s.PassData(filters.Request, []byte(`"a"}`), true)
	if got := f.body(filters.Request); got != echoText("a")+"." {
		t.Errorf("the message is %q", got)
	}
	h := &s.Request
	if string(h.Path()) != "/echo.Echo/Post" || h.Has(codec.FieldContentLength) || h.Has(codec.FieldExpect) ||
		string(h.Get(codec.FieldXEnvoyOriginalPath)) != "/post" || string(h.Lookup("x-envoy-original-method")) != "POST" {
		t.Errorf("the head is for %s, from %s", h.Path(), h.Get(codec.FieldXEnvoyOriginalPath))
	}
	s = f.request("GET /get/x")
	s.Pass(filters.Request, true)
	f.want("clear route", "request head length=-1 chunked=true end=false", `request data "\x00\x00\x00\x00\x03\n\x01x" end=true`)
	s = f.request("GET /get/x") // whose body nobody wants
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte("what"), false)
	s.PassTrailers(filters.Request, fields("a: b"))
	f.want("clear route", "request head length=-1 chunked=true end=false", `request data "\x00\x00\x00\x00\x03\n\x01x" end=true`)
	s = f.request("POST /up")
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte(`[{"text": "a"}, {"te`), false)
	s.PassData(filters.Request, []byte(`xt": "b"}`), false)
	s.PassData(filters.Request, []byte(`]`), true)
	f.want("clear route", "request head length=-1 chunked=true end=false", `request data "\x00\x00\x00\x00\x03\n\x01a" end=false`,
		`request data "\x00\x00\x00\x00\x03\n\x01b" end=false`, `request data "" end=true`)
	for _, tt := range []struct{ line, body, want string }{
		{"POST /post", `{"text": "` + strings.Repeat("x", 20) + `"}`, "reply 413 grpc_json_transcode_failure_request_too_large"},
		{"POST /post", `{"text"`, "reply 400 grpc_json_transcode_failure"},
		{"POST /post?what=1", `{}`, "reply 400 grpc_json_transcode_failure"},
		{"POST /up", `[{"text": "` + strings.Repeat("x", 20) + `"}]`, "reply 413 grpc_json_transcode_failure_request_too_large"},
		{"POST /up", `[{"text"`, "reply 400 grpc_json_transcode_failure"},
		{"POST /up", `7`, "reply 400 grpc_json_transcode_failure"},
		{"POST /what", `{}`, "reply 404 grpc_json_transcode_failure"},
	} {
		s := f.request(tt.line)
		if s.Pass(filters.Request, false) {
			s.PassData(filters.Request, []byte(tt.body), true)
		}
		if log := strings.Join(f.log, "\n"); !strings.Contains(log, tt.want) {
			t.Errorf("%s %q: %s; want %s", tt.line, tt.body, log, tt.want)
		}
	}
	if st := filter.(*grpcJSON).stats; st.RqTooLarge.Load() != 2 || st.RqInvalid.Load() != 3 || st.RqUnmatched.Load() != 2 {
		t.Errorf("counted %d, %d, %d", st.RqTooLarge.Load(), st.RqInvalid.Load(), st.RqUnmatched.Load())
	}
	for _, fields := range [][]string{{grpcContent}, {"Upgrade: websocket"}} {
		s := f.request("POST /post", fields...)
		s.Request.Upgrade = fields[0] != grpcContent
		s.Pass(filters.Request, true)
		f.want("request head length=-1 chunked=false end=true")
	}
}

// TestGRPCJSONResponse: what of a response reaches the client.
func TestGRPCJSONResponse(t *testing.T) {
	t.Parallel()
	trailers := func(list ...string) func(*filters.Stream) {
		return func(s *filters.Stream) { s.PassTrailers(filters.Response, fields(list...)) }
	}
	data := func(b string, end bool) func(*filters.Stream) {
		return func(s *filters.Stream) { s.PassData(filters.Response, []byte(b), end) }
	}
	all := func(steps ...func(*filters.Stream)) []func(*filters.Stream) { return steps }
	for _, tt := range []struct {
		name, path string
		print      GRPCJSONPrint
		convert    bool
		steps      []func(*filters.Stream)
		status     int
		body       string // or what the log has to say
		grpc       string
	}{
		{"unary", "/post", GRPCJSONPrint{}, false, all(data(echoText("a"), false), trailers("grpc-status: 0")), 200, `{"text":"a"}.`, "0"},
		{"unary in pieces", "/post", GRPCJSONPrint{}, false, all(data(echoText("a")[:3], false), data(echoText("a")[3:], false), trailers("grpc-status: 0")), 200, `{"text":"a"}.`, "0"},
		{"no status", "/post", GRPCJSONPrint{}, false, all(data(echoText("a"), true)), 503, `{"text":"a"}.`, ""},
		{"error", "/post", GRPCJSONPrint{}, false, all(data(echoText("a"), false), trailers("grpc-status: 3", "grpc-message: a%20b")), 400, ".", "3 a%20b"},
		{"error converted", "/post", GRPCJSONPrint{}, true, all(trailers("grpc-status: 3", "grpc-message: a%20%e4%")), 400, `{"code":3,"message":"a �%"}.`, ""},
		{"broken details", "/post", GRPCJSONPrint{}, true, all(trailers("grpc-status: 3", "grpc-status-details-bin: ?")), 400, ".", "3"},
		{"broken message", "/post", GRPCJSONPrint{}, false, all(data(grpcMessage(0, "\xff"), false)), 502, "reply 502 grpc_json_transcode_failure", ""},
		{"compressed", "/post", GRPCJSONPrint{}, false, all(data(grpcMessage(1, "x"), false)), 502, "reply 502 grpc_json_transcode_failure", ""},
		{"cut short", "/post", GRPCJSONPrint{}, false, all(data(echoText("abc")[:6], true)), 502, "reply 502 grpc_json_transcode_failure", ""},
		{"too long", "/post", GRPCJSONPrint{}, false, all(data("\x00\x00\x10\x00\x00", false)), 500, "reply 500 response_payload_too_large", ""},
		{"stream", "/down", GRPCJSONPrint{}, false, all(data(echoText("a"), false), data(echoText("b")+echoText("c")[:2], false), data(echoText("c")[2:], false), trailers("grpc-status: 0")),
			200, `[{"text":"a"},{"text":"b"},{"text":"c"}] trailers`, ""},
		{"lines", "/down", GRPCJSONPrint{StreamNewlineDelimited: true}, false, all(data(echoText("a")+echoText("b"), false), trailers("grpc-status: 0")),
			200, "{\"text\":\"a\"}\n{\"text\":\"b\"}\n trailers", ""},
		{"events", "/down", GRPCJSONPrint{StreamSSEStyleDelimited: true}, false, all(data(echoText("a"), false), trailers("grpc-status: 0")),
			200, "data: {\"text\":\"a\"}\n\n trailers", ""},
		{"empty stream", "/down", GRPCJSONPrint{}, false, all(trailers("grpc-status: 0")), 200, "[] trailers", ""},
		{"broken stream", "/down", GRPCJSONPrint{}, false, all(data(echoText("a"), false), data(grpcMessage(0, "\xff"), false)), 200, "reset grpc_json_transcode_failure", ""},
		{"stream cut short", "/down", GRPCJSONPrint{}, false, all(data(echoText("a")[:7], true)), 200, "reset grpc_json_transcode_failure", ""},
		{"long message in a stream", "/down", GRPCJSONPrint{}, false, all(data("\x00\x00\x10\x00\x00", false)), 200, "reset grpc_json_transcode_failure", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := echoConfig(t)
			cfg.PrintOptions, cfg.ConvertGRPCStatus, cfg.MaxResponseBodySize = tt.print, tt.convert, ptr(1<<19)
			f, _ := newFake(t, "grpc_json_transcoder", cfg, nil)
			s := f.request("POST " + tt.path)
			s.Pass(filters.Request, true)
			f.log = nil
			f.respondHead(200, false, grpcContent, "Content-Length: 7")
			for _, step := range tt.steps {
				step(s)
			}
			if log := strings.Join(f.log, "\n"); f.body(filters.Response) != tt.body && !strings.Contains(log, tt.body) {
				t.Errorf("events\n%s\nwant %q", log, tt.body)
			}
			h := &s.Response
			status := string(h.Lookup("grpc-status"))
			if v := h.Lookup("grpc-message"); v != nil {
				status += " " + string(v)
			}
			if h.Status != tt.status || status != tt.grpc {
				t.Errorf("status %d, %q; want %d, %q", h.Status, status, tt.status, tt.grpc)
			}
		})
	}
	f, _ := newFake(t, "grpc_json_transcoder", echoConfig(t), nil)
	for _, path := range []string{"/post", "/down"} { // trailers only, and an error page
		s := f.request("POST " + path)
		s.Pass(filters.Request, true)
		f.log = nil
		f.respondHead(200, true, grpcContent, "grpc-status: 16")
		f.want("response 401")
		s = f.request("POST " + path)
		s.Pass(filters.Request, true)
		f.log = nil
		f.respondHead(404, false, "Content-Type: text/html", "Content-Length: 4")
		s.PassData(filters.Response, []byte("gone"), true)
		f.want("response 404", `response data "gone" end=true`)
		f.wantResponse("content-length", "4")
	}
}

// TestGRPCJSONValidate: what is wrong with a config, and the checksum that a good one gets.
func TestGRPCJSONValidate(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "echo.pb")
	if err := os.WriteFile(file, echoSet(t), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := &GRPCJSONTranscoderConfig{ProtoDescriptor: file, Services: []string{"echo.Echo"}}
	if got := problems(cfg.Validate); got != "" || len(cfg.ProtoDescriptorSHA256) != 64 || cfg.set == nil {
		t.Errorf("problems %q, checksum %q", got, cfg.ProtoDescriptorSHA256)
	}
	if got := problems(cfg.Validate); got != "" {
		t.Errorf("with its own checksum: %s", got)
	}
	set := echoConfig(t).ProtoDescriptorBin
	echo := []string{"echo.Echo"}
	for _, tt := range []struct {
		cfg  GRPCJSONTranscoderConfig
		want string
	}{
		{GRPCJSONTranscoderConfig{Services: echo}, ": neither or both of proto_descriptor and proto_descriptor_bin are given"},
		{GRPCJSONTranscoderConfig{Services: echo, ProtoDescriptor: file, ProtoDescriptorBin: set}, ": neither or both of proto_descriptor and proto_descriptor_bin are given"},
		{GRPCJSONTranscoderConfig{Services: echo, ProtoDescriptor: file + "x"}, "proto_descriptor: reading the descriptor set: open " + file + "x: no such file or directory"},
		{GRPCJSONTranscoderConfig{Services: echo, ProtoDescriptor: file, ProtoDescriptorSHA256: "00"}, "proto_descriptor_sha256: the checksum of \"" + file + "\" is " + cfg.ProtoDescriptorSHA256},
		{GRPCJSONTranscoderConfig{Services: echo, ProtoDescriptorBin: "?"}, "proto_descriptor_bin: it is not base64"},
		{GRPCJSONTranscoderConfig{Services: []string{"echo.Echo", "Echo"}, ProtoDescriptorBin: set}, `services[1]: no service "Echo" in the descriptor set`},
		{GRPCJSONTranscoderConfig{Services: echo, ProtoDescriptorBin: set, PrintOptions: GRPCJSONPrint{StreamNewlineDelimited: true, StreamSSEStyleDelimited: true}},
			"print_options: stream_newline_delimited and stream_sse_style_delimited exclude one another"},
		{GRPCJSONTranscoderConfig{Services: echo, ProtoDescriptorBin: set, IgnoreUnknownQueryParameters: true, RequestValidationOptions: GRPCJSONValidation{RejectUnknownQueryParameters: true}},
			"ignore_unknown_query_parameters: unknown parameters are refused, too"},
	} {
		if got := problems(tt.cfg.Validate); got != tt.want {
			t.Errorf("problems\n%s\nwant\n%s", got, tt.want)
		}
	}
}
