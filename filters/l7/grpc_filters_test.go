package l7

import (
	"encoding/base64"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/filters"
)

// TestGRPCWebRequest: what of a request of grpc-web goes upstream.
func TestGRPCWebRequest(t *testing.T) {
	t.Parallel()
	f, _ := newFake(t, "grpc_web", &GRPCWebConfig{}, nil)
	s := f.request("POST /a.B/C", "Content-Type: application/grpc-web-text+proto", "Content-Length: 8")
	s.Request.ContentLength = 8
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte("YWJ"), false)
	s.PassData(filters.Request, []byte("jZA=="), true)
	if got := f.body(filters.Request); got != "abcd." {
		t.Errorf("the body is %q", got)
	}
	h := &s.Request
	if h.ContentLength != -1 || h.Has(codec.FieldContentLength) || string(h.Get(codec.FieldContentType)) != "application/grpc+proto" ||
		string(h.Get(codec.FieldTE)) != "trailers" || string(h.Lookup("grpc-accept-encoding")) != "identity" {
		t.Errorf("the head has length %d, content-type %q, te %q", h.ContentLength, h.Get(codec.FieldContentType), h.Get(codec.FieldTE))
	}
	for _, body := range []string{"YWJ", "Y?==", "YWJj=", "YWJjY"} {
		s := f.request("POST /a.B/C", "Content-Type: application/grpc-web-text")
		s.Pass(filters.Request, false)
		s.PassData(filters.Request, []byte(body), true)
		if log := strings.Join(f.log, "\n"); !strings.Contains(log, "reply 400 grpc_base_64_decode_failed") {
			t.Errorf("%q: %s", body, log)
		}
	}
	s = f.request("POST /a.B/C", "Content-Type: application/json")
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte("{}"), true)
	s.Pass(filters.Response, false)
	s.PassTrailers(filters.Response, fields("a: b"))
	f.want("request head length=-1 chunked=false end=false", `request data "{}" end=true`, "response 0", "response trailers")
}

// TestGRPCWebResponse: what of a response reaches a client of grpc-web.
func TestGRPCWebResponse(t *testing.T) {
	t.Parallel()
	f, filter := newFake(t, "grpc_web", &GRPCWebConfig{}, nil)
	for _, tt := range []struct {
		name, accept string
		drive        func(s *filters.Stream)
		contentType  string
		body         string
		status       string
	}{
		{"trailers", "", func(s *filters.Stream) {
			f.respondHead(200, false, "Content-Type: application/grpc+json", "Content-Length: 5")
			s.PassData(filters.Response, []byte("abc"), false)
			s.PassTrailers(filters.Response, fields("Grpc-Status: 5", "x-a: b"))
		}, "application/grpc-web+json", "abc\x80\x00\x00\x00\x16grpc-status:5\r\nx-a:b\r\n.", ""},
		{"base64", "application/grpc-web-text", func(s *filters.Stream) {
			f.respondHead(200, false, "Content-Type: application/grpc")
			s.PassData(filters.Response, []byte("a"), false)
			s.PassData(filters.Response, []byte("bc"), false)
			s.PassTrailers(filters.Response, fields("grpc-status: 0"))
		}, "application/grpc-web-text+proto", "YQ==YmM=" + base64.StdEncoding.EncodeToString([]byte("\x80\x00\x00\x00\x0fgrpc-status:0\r\n")) + ".", ""},
		{"no trailers", "", func(s *filters.Stream) {
			f.respondHead(200, false, "Content-Type: application/grpc")
			s.PassData(filters.Response, []byte("abc"), true)
		}, "application/grpc-web+proto", "abc.", ""},
		{"trailers only", "", func(*filters.Stream) {
			f.respondHead(200, true, "Content-Type: application/grpc", "grpc-status: 7")
		}, "application/grpc-web+proto", "", "7"},
		{"an error page", "", func(s *filters.Stream) {
			f.respondHead(503, false, "Content-Type: text/html", "Content-Length: 9")
			s.PassData(filters.Response, []byte("<p>50%"), false)
			s.PassData(filters.Response, []byte(" ü"), true)
		}, "application/grpc-web+proto", ".", "14 <p>50%25 %C3%BC"},
		{"a long page", "", func(s *filters.Stream) {
			f.respondHead(404, false, "Content-Type: text/html")
			for range 100 {
				s.PassData(filters.Response, []byte(strings.Repeat("x", 100)), false)
			}
			s.PassTrailers(filters.Response, fields("a: b"))
		}, "application/grpc-web+proto", ".", "12 " + strings.Repeat("x", grpcWebMessageMax)},
		{"an empty page", "", func(*filters.Stream) { f.respondHead(401, true) }, "application/grpc-web+proto", "", "16 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := f.request("POST /a.B/C", "Content-Type: application/grpc-web", "Accept: "+tt.accept)
			s.Info.Cluster = "web"
			s.Pass(filters.Request, true)
			tt.drive(s)
			if got := f.body(filters.Response); got != tt.body {
				t.Errorf("the body is %q; want %q", got, tt.body)
			}
			h := &s.Response
			if got := string(h.Get(codec.FieldContentType)); got != tt.contentType {
				t.Errorf("content-type %q; want %q", got, tt.contentType)
			}
			status := string(h.Lookup("grpc-status"))
			if v := h.Lookup("grpc-message"); v != nil {
				status += " " + string(v)
			}
			if status != tt.status {
				t.Errorf("status %q; want %q", status, tt.status)
			}
			filter.(filters.Destroyer).OnDestroy(s)
		})
	}
	if c := filter.(*grpcWeb).counts; c.count("web.grpc-web.a.B.C.success") != 1 || c.count("web.grpc-web.a.B.C.failure") != 5 {
		t.Errorf("%d calls went well, %d did not; want 1 and 5", c.count("web.grpc-web.a.B.C.success"), c.count("web.grpc-web.a.B.C.failure"))
	}
}

// TestGRPCBridge: what a client of HTTP/1.1 gets.
func TestGRPCBridge(t *testing.T) {
	t.Parallel()
	f, _ := newFake(t, "grpc_http1_bridge", &GRPCHTTP1BridgeConfig{UpgradeProtobufToGRPC: true, IgnoreQueryParameters: true}, nil)
	grpc := []string{"Content-Type: application/grpc"}
	s := f.request("POST /a.B/C", grpc...)
	s.Pass(filters.Request, true)
	f.respondHead(200, false, grpc...)
	s.PassData(filters.Response, []byte("abc"), false)
	if len(f.log) != 1 {
		t.Errorf("before the end: %q", f.log)
	}
	s.PassTrailers(filters.Response, fields("grpc-status: 3", "grpc-message: no"))
	f.want("request head length=-1 chunked=false end=true", "response 503", `response data "abc" end=false`, `response data "" end=true`)
	f.wantResponse("grpc-status", "3")
	f.wantResponse("grpc-message", "no")
	f.wantResponse("content-length", "3")

	s = f.request("POST /a.B/C?q", "Content-Type: application/x-protobuf", "Content-Length: 3")
	s.Request.ContentLength = 3
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte("abc"), true)
	f.respondHead(200, false, grpc...)
	s.PassData(filters.Response, []byte("\x00\x00\x00"), false)
	s.PassData(filters.Response, []byte("\x00\x02de"), false)
	s.PassTrailers(filters.Response, fields("grpc-status: 0"))
	if got := f.body(filters.Request); got != "\x00\x00\x00\x00\x03abc." || string(s.Request.Path()) != "/a.B/C" {
		t.Errorf("a bare message goes upstream as %q, to %s", got, s.Request.Path())
	}
	if got := f.body(filters.Response); got != "de." {
		t.Errorf("the response is %q", got)
	}
	f.wantResponse("content-type", "application/x-protobuf")
	f.wantResponse("content-length", "2")

	for _, tt := range []struct {
		name    string
		version uint8
		fields  []string
	}{{"HTTP/2", codec.Version20, grpc}, {"JSON", codec.Version11, []string{"Content-Type: application/json"}}} {
		s := f.request("POST /a.B/C", tt.fields...)
		s.Request.Version = tt.version
		s.Pass(filters.Request, true)
		f.respondHead(200, false, grpc...)
		s.PassTrailers(filters.Response, fields("grpc-status: 3"))
		if got := f.body(filters.Response); got != " trailers" || s.Response.Status != 200 {
			t.Errorf("%s: %q, status %d", tt.name, got, s.Response.Status)
		}
	}
}

// TestGRPCStats: what is counted, and under which name.
func TestGRPCStats(t *testing.T) {
	t.Parallel()
	grpc := []string{"Content-Type: application/grpc"}
	for _, tt := range []struct {
		cfg    GRPCStatsConfig
		prefix string
	}{
		{GRPCStatsConfig{}, "web.grpc."},
		{GRPCStatsConfig{StatsForAllMethods: true}, "web.grpc.a.B.C."},
		{GRPCStatsConfig{StatsForAllMethods: true, ReplaceDotsInGRPCServiceName: true}, "web.grpc.a_B.C."},
		{GRPCStatsConfig{IndividualMethodStatsAllowlist: []GRPCStatsService{{"a.B", []string{"C"}}}}, "web.grpc.a.B.C."},
		{GRPCStatsConfig{IndividualMethodStatsAllowlist: []GRPCStatsService{{"a.B", []string{"D"}}}}, "web.grpc."},
	} {
		f, filter := newFake(t, "grpc_stats", &tt.cfg, nil)
		call := func(respond func(s *filters.Stream)) {
			s := f.request("POST /a.B/C", grpc...)
			s.Info.Cluster = "web"
			s.Pass(filters.Request, false)
			s.PassData(filters.Request, []byte(grpcMessage(0, "a")+grpcMessage(0, "b")), true)
			respond(s)
			filter.(filters.Destroyer).OnDestroy(s)
		}
		call(func(s *filters.Stream) {
			f.respondHead(200, false, grpc...)
			s.PassData(filters.Response, []byte(grpcMessage(0, "abc")), false)
			s.PassTrailers(filters.Response, fields("grpc-status: 0"))
		})
		call(func(*filters.Stream) { f.respondHead(200, true, append(grpc, "grpc-status: 5")...) })
		call(func(*filters.Stream) { f.respondHead(503, true) })
		call(func(s *filters.Stream) { // breaks off
			f.respondHead(200, false, grpc...)
			s.PassData(filters.Response, []byte(grpcMessage(0, "abc")), false)
		})
		c := filter.(*grpcStats).counts
		for name, want := range map[string]uint64{
			"total": 3, "success": 1, "failure": 2, "0": 1, "5": 1, "14": 1, "request_message_count": 8, "response_message_count": 2,
		} {
			if tt.prefix == "web.grpc." && (name == "success" || name == "failure") {
				want = 0 // the router counts those
			}
			if got := c.count(tt.prefix + name); got != want {
				t.Errorf("%+v: %s%s is %d; want %d", tt.cfg, tt.prefix, name, got, want)
			}
		}
	}
}

func TestGRPCValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{problems((&GRPCStatsConfig{StatsForAllMethods: true, IndividualMethodStatsAllowlist: []GRPCStatsService{{Name: "a/b"}}}).Validate),
			"individual_method_stats_allowlist: all methods are counted apart\n" +
				`individual_method_stats_allowlist[0].name: "a/b" is not the name of a service`},
		{problems((&GRPCHTTP1BridgeConfig{IgnoreQueryParameters: true}).Validate),
			"ignore_query_parameters: without upgrade_protobuf_to_grpc it has no effect"},
		{problems((&GRPCHTTP1BridgeConfig{}).Validate), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("problems\n%s\nwant\n%s", tt.got, tt.want)
		}
	}
}
