package main

import (
	"bytes"
	"context"
	"encoding/base64"
	wire "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
)

// ordersProto is the service under test, as protoc would describe it.
const ordersProto = `{
 "name": "shop.proto", "package": "shop", "syntax": "proto3", "dependency": ["google/api/annotations.proto", "google/api/httpbody.proto"],
 "messageType": [{"name": "Order", "field": [
   {"name": "id", "number": 1, "type": "TYPE_STRING", "label": "LABEL_OPTIONAL", "jsonName": "id"},
   {"name": "count", "number": 2, "type": "TYPE_INT32", "label": "LABEL_OPTIONAL", "jsonName": "count"},
   {"name": "sent_by", "number": 3, "type": "TYPE_STRING", "label": "LABEL_OPTIONAL", "jsonName": "sentBy"}]}],
 "service": [{"name": "Orders", "method": [
  {"name": "Get", "inputType": ".shop.Order", "outputType": ".shop.Order", "options": {"[google.api.http]": {"get": "/v1/orders/{id}"}}},
  {"name": "Create", "inputType": ".shop.Order", "outputType": ".shop.Order", "options": {"[google.api.http]": {"post": "/v1/orders", "body": "*"}}},
  {"name": "Watch", "inputType": ".shop.Order", "outputType": ".shop.Order", "serverStreaming": true, "options": {"[google.api.http]": {"get": "/v1/orders/{id}:watch"}}},
  {"name": "Upload", "inputType": ".shop.Order", "outputType": ".shop.Order", "clientStreaming": true, "options": {"[google.api.http]": {"post": "/v1/orders:upload", "body": "*"}}},
  {"name": "Chat", "inputType": ".shop.Order", "outputType": ".shop.Order", "clientStreaming": true, "serverStreaming": true, "options": {"[google.api.http]": {"post": "/v1/orders:chat", "body": "*"}}},
  {"name": "File", "inputType": ".shop.Order", "outputType": ".google.api.HttpBody", "options": {"[google.api.http]": {"get": "/v1/files/{id}"}}},
  {"name": "Download", "inputType": ".shop.Order", "outputType": ".google.api.HttpBody", "serverStreaming": true, "options": {"[google.api.http]": {"get": "/v1/downloads/{id}"}}}
 ]}]}`

// orders is the type of the messages.
var orders = func() protoreflect.MessageDescriptor {
	files, err := protodesc.NewFiles(ordersSet())
	if err != nil {
		panic(err)
	}
	d, err := files.FindDescriptorByName("shop.Order")
	if err != nil {
		panic(err)
	}
	return d.(protoreflect.MessageDescriptor)
}

// ordersSet is the descriptor set of ordersProto.
func ordersSet() *descriptorpb.FileDescriptorSet {
	fd := &descriptorpb.FileDescriptorProto{}
	if err := protojson.Unmarshal([]byte(ordersProto), fd); err != nil {
		panic(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, m := range []proto.Message{&descriptorpb.FileDescriptorProto{}, &anypb.Any{}, &annotations.Http{}, &httpbody.HttpBody{}} {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(m.ProtoReflect().Descriptor().ParentFile()))
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(annotations.File_google_api_annotations_proto), fd)
	return set
}

// An orderType makes messages.
type orderType struct{ protoreflect.MessageDescriptor }

// order makes a message from JSON.
func (d orderType) order(text string) *dynamicpb.Message {
	m := dynamicpb.NewMessage(d)
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		panic(err)
	}
	return m
}

// text is a message as JSON without spaces.
func orderText(m proto.Message) string {
	b, err := protojson.Marshal(m)
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		panic(err)
	}
	return out.String()
}

// serve is the gRPC server: every method of shop.Orders.
func (d orderType) serve(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	in := dynamicpb.NewMessage(d)
	next := func() (string, int, error) {
		err := stream.RecvMsg(in)
		fields := d.Fields()
		return in.Get(fields.ByName("id")).String(), int(in.Get(fields.ByName("count")).Int()), err
	}
	send := func(text string, args ...any) error { return stream.SendMsg(d.order(fmt.Sprintf(text, args...))) }
	if method == "/shop.Orders/Upload" {
		ids, n := "", 0
		for {
			id, _, err := next()
			if errors.Is(err, io.EOF) {
				return send(`{"id": %q, "count": %d}`, ids, n)
			}
			if err != nil {
				return err
			}
			ids, n = ids+id, n+1
		}
	}
	id, count, err := next()
	switch {
	case method == "/shop.Orders/Chat":
		for ; err == nil; id, _, err = next() {
			if err := send(`{"id": %q}`, id+"!"); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	case err != nil:
		return err
	case id == "missing":
		st, _ := status.New(codes.NotFound, "no such order: 100%").WithDetails(&errdetails.ErrorInfo{Reason: "GONE", Domain: "shop"})
		return st.Err()
	case id == "late":
		<-stream.Context().Done()
		return stream.Context().Err()
	case method == "/shop.Orders/Watch":
		for i := range count {
			if err := send(`{"id": %q, "count": %d}`, id, i); err != nil {
				return err
			}
		}
		if id == "broken" {
			return status.Error(codes.Aborted, "broken")
		}
		return nil
	case method == "/shop.Orders/File":
		return stream.SendMsg(&httpbody.HttpBody{ContentType: "text/csv", Data: []byte("id\n" + id + "\n")})
	case method == "/shop.Orders/Download":
		for i := range 3 {
			if err := stream.SendMsg(&httpbody.HttpBody{ContentType: "text/x-log", Data: fmt.Appendf(nil, "%s %d\n", id, i)}); err != nil {
				return err
			}
		}
		return nil
	}
	md, _ := metadata.FromIncomingContext(stream.Context())
	stream.SetTrailer(metadata.Pairs("x-cost", "7"))
	return send(`{"id": %q, "count": %d, "sentBy": %q}`, id, count, strings.Join(md.Get("x-client"), ","))
}

// startOrders runs the server and returns its address.
func startOrders(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.UnknownServiceHandler(orderType{orders()}.serve))
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	return ln.Addr().String()
}

// startGRPC runs a proxy in front of the server, with the filters.
func startGRPC(t *testing.T, filters string) *proxy {
	t.Helper()
	return startProxy(t, oneRoute(startOrders(t), `"http_filters": [`+filters+`{"name": "router"}]`, `, "timeout": "0s"`[2:], `"protocol": "http2"`))
}

// dialGRPC connects a client of gRPC.
func dialGRPC(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// grpcContext bounds a call.
func grpcContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	t.Cleanup(cancel)
	return ctx
}

// TestGRPC: calls of every kind pass, with metadata, trailers and errors, and are counted.
func TestGRPC(t *testing.T) {
	t.Parallel()
	p := startGRPC(t, `{"name": "grpc_stats", "config": {"individual_method_stats_allowlist": [{"name": "shop.Orders", "method_names": ["Get", "Watch"]}]}},`)
	c := dialGRPC(t, p.addr(""))
	ctx := grpcContext(t)
	d := orderType{orders()}
	out := dynamicpb.NewMessage(d)

	var trailer metadata.MD
	err := c.Invoke(metadata.AppendToOutgoingContext(ctx, "x-client", "e2e"), "/shop.Orders/Get", d.order(`{"id": "a", "count": 3}`), out, grpc.Trailer(&trailer))
	if got, want := orderText(out), `{"id":"a","count":3,"sentBy":"e2e"}`; err != nil || got != want {
		t.Errorf("unary: %s, %v; want %s", got, err, want)
	}
	if got := trailer.Get("x-cost"); len(got) != 1 || got[0] != "7" {
		t.Errorf("trailer x-cost: %q; want 7", got)
	}
	err = c.Invoke(ctx, "/shop.Orders/Get", d.order(`{"id": "missing"}`), out)
	if st := status.Convert(err); st.Code() != codes.NotFound || st.Message() != "no such order: 100%" || len(st.Details()) != 1 {
		t.Errorf("error: %v with %d details", err, len(st.Details()))
	}
	// The deadline is watched by client and server: when the server's clock is first, it resets the stream, and the client
	// hears of that instead.
	for try := 0; ; try++ {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		err := c.Invoke(short, "/shop.Orders/Get", d.order(`{"id": "late"}`), out)
		cancel()
		if status.Code(err) == codes.DeadlineExceeded {
			break
		}
		if status.Code(err) != codes.Unavailable || try == 10 {
			t.Fatalf("deadline: %v", err)
		}
	}

	watch, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/shop.Orders/Watch")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = watch.SendMsg(d.order(`{"id": "broken", "count": 100}`)), watch.CloseSend()
	n := 0
	for err = watch.RecvMsg(out); err == nil; err = watch.RecvMsg(out) {
		n++
	}
	if n != 100 || status.Code(err) != codes.Aborted {
		t.Errorf("server streaming: %d messages, %v", n, err)
	}

	upload, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/shop.Orders/Upload")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := upload.SendMsg(d.order(`{"id": "` + id + `"}`)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = upload.CloseSend(), upload.RecvMsg(out)
	if got, want := orderText(out), `{"id":"abc","count":3}`; err != nil || got != want {
		t.Errorf("client streaming: %s, %v; want %s", got, err, want)
	}

	chat, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/shop.Orders/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"x", "y", "z"} { // each answer comes before the next message goes
		err := errors.Join(chat.SendMsg(d.order(`{"id": "`+id+`"}`)), chat.RecvMsg(out))
		if got, want := orderText(out), `{"id":"`+id+`!"}`; err != nil || got != want {
			t.Fatalf("both streaming: %s, %v; want %s", got, err, want)
		}
	}
	_ = chat.CloseSend()
	if err := chat.RecvMsg(out); !errors.Is(err, io.EOF) {
		t.Errorf("both streaming: %v at the end", err)
	}

	p.wantStat("cluster.web.grpc.shop.Orders.Get.success", 1)
	p.wantStat("cluster.web.grpc.shop.Orders.Get.5", 1)
	p.wantStat("cluster.web.grpc.shop.Orders.Watch.10", 1)
	p.wantStat("cluster.web.grpc.shop.Orders.Watch.response_message_count", 100)
	p.wantStat("cluster.web.grpc.0", 2)
	p.wantStat("cluster.web.grpc.request_message_count", 6)
}

// post sends a request with a body and returns the response.
func (p *proxy) post(path, contentType string, body []byte) (*http.Response, string) {
	p.t.Helper()
	resp, err := http.Post(p.url(path), contentType, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, bodyOf(p.t, resp)
}

// grpcFrame frames a message.
func grpcFrame(t *testing.T, flags byte, m []byte) []byte {
	t.Helper()
	return append(wire.BigEndian.AppendUint32([]byte{flags}, uint32(len(m))), m...)
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// webFrames takes a body of grpc-web apart: messages as JSON, and the lines of the trailers.
func webFrames(t *testing.T, d orderType, body string) (out []string) {
	t.Helper()
	for b := []byte(body); len(b) > 0; {
		if len(b) < 5 {
			t.Fatalf("%d bytes behind the frames", len(b))
		}
		n := int(wire.BigEndian.Uint32(b[1:]))
		if len(b) < 5+n {
			t.Fatalf("a frame of %d bytes has %d", n, len(b)-5)
		}
		if b[0]&0x80 != 0 {
			out = append(out, string(b[5:5+n]))
		} else {
			m := dynamicpb.NewMessage(d)
			if err := proto.Unmarshal(b[5:5+n], m); err != nil {
				t.Fatal(err)
			}
			out = append(out, orderText(m))
		}
		b = b[5+n:]
	}
	return out
}

// TestGRPCWeb: a client of grpc-web on HTTP/1.1, in binary and in base64.
func TestGRPCWeb(t *testing.T) {
	t.Parallel()
	p := startGRPC(t, `{"name": "grpc_web"},`)
	d := orderType{orders()}
	request := grpcFrame(t, 0, marshal(t, d.order(`{"id": "a", "count": 2}`)))
	resp, body := p.post("/shop.Orders/Get", "application/grpc-web+proto", request)
	if got, want := strings.Join(webFrames(t, d, body), " "), "{\"id\":\"a\",\"count\":2} grpc-status:0\r\ngrpc-message:\r\nx-cost:7\r\n"; resp.StatusCode != 200 || !sameWeb(got, want) {
		t.Errorf("unary: %d %q; want %q", resp.StatusCode, got, want)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/grpc-web+proto" {
		t.Errorf("content-type %q", got)
	}
	encoded := []byte(base64.StdEncoding.EncodeToString(request[:4]) + base64.StdEncoding.EncodeToString(request[4:]))
	resp, body = p.post("/shop.Orders/Watch", "application/grpc-web-text", encoded)
	if got := strings.Join(webFrames(t, d, decodeGroups(t, body)), " "); resp.StatusCode != 200 || !strings.HasPrefix(got, `{"id":"a"} {"id":"a","count":1} grpc-status:0`) {
		t.Errorf("server streaming, base64: %d %q", resp.StatusCode, got)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/grpc-web-text+proto" {
		t.Errorf("content-type %q", got)
	}
	resp, body = p.post("/shop.Orders/Get", "application/grpc-web", grpcFrame(t, 0, marshal(t, d.order(`{"id": "missing"}`))))
	if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status")+body == "" {
		t.Errorf("an error: %d %v %q", resp.StatusCode, resp.Header, body)
	}
	resp, body = p.post("/shop.Orders/Get", "application/grpc-web-text", []byte("A"))
	if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != "13" || !strings.Contains(resp.Header.Get("Grpc-Message"), "base64") || body != "" {
		t.Errorf("no base64: %d %v %q", resp.StatusCode, resp.Header, body)
	}
	p.wantStat("cluster.web.grpc-web.shop.Orders.Get.success", 1)
	p.wantStat("cluster.web.grpc-web.shop.Orders.Get.5", 1)
	p.wantStat("http.e2e.grpc_web.rq_malformed", 1)
}

// sameWeb compares frames; servers may leave an empty grpc-message out.
func sameWeb(got, want string) bool {
	return got == want || got == strings.Replace(want, "grpc-message:\r\n", "", 1)
}

// decodeGroups decodes base64 that is padded in the middle.
func decodeGroups(t *testing.T, text string) string {
	t.Helper()
	var out []byte
	for ; len(text) >= 4; text = text[4:] {
		b, err := base64.StdEncoding.DecodeString(text[:4])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return string(out)
}

// TestGRPCBridge: a client of HTTP/1.1 that knows no trailers.
func TestGRPCBridge(t *testing.T) {
	t.Parallel()
	p := startGRPC(t, `{"name": "grpc_http1_bridge", "config": {"upgrade_protobuf_to_grpc": true, "ignore_query_parameters": true}},`)
	d := orderType{orders()}
	message := marshal(t, d.order(`{"id": "a"}`))
	resp, body := p.post("/shop.Orders/Get", "application/grpc", grpcFrame(t, 0, message))
	if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != "0" || body != string(grpcFrame(t, 0, message)) || resp.ContentLength != int64(len(body)) {
		t.Errorf("a call: %d %v %q", resp.StatusCode, resp.Header, body)
	}
	for _, chunked := range []bool{false, true} {
		var r io.Reader = bytes.NewReader(message)
		if chunked {
			r = io.MultiReader(r, strings.NewReader(""))
		}
		resp, err := http.Post(p.url("/shop.Orders/Get?x=1"), "application/x-protobuf", r)
		if err != nil {
			t.Fatal(err)
		}
		if body := bodyOf(t, resp); resp.StatusCode != 200 || body != string(message) || resp.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("a bare message, chunked %v: %d %v %q", chunked, resp.StatusCode, resp.Header, body)
		}
	}
	resp, body = p.post("/shop.Orders/Get", "application/grpc", grpcFrame(t, 0, marshal(t, d.order(`{"id": "missing"}`))))
	if resp.StatusCode != 503 || resp.Header.Get("Grpc-Status") != "5" || resp.Header.Get("Grpc-Message") != "no such order: 100%25" {
		t.Errorf("an error: %d %v %q", resp.StatusCode, resp.Header, body)
	}
	p.wantStat("cluster.web.grpc.shop.Orders.Get.success", 3)
	p.wantStat("cluster.web.grpc.shop.Orders.Get.failure", 1)
}

// transcoder is the filter's entry in a configuration.
func transcoder(t *testing.T, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.pb")
	if err := os.WriteFile(path, marshal(t, ordersSet()), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"name": "grpc_json_transcoder", "config": {"proto_descriptor": %q, "services": ["shop.Orders"]%s}},`, path, leadingComma(more))
}

// TestGRPCJSON: clients that call gRPC with JSON, on HTTP/1.1.
func TestGRPCJSON(t *testing.T) {
	t.Parallel()
	p := startGRPC(t, transcoder(t, `"convert_grpc_status": true, "request_validation_options": {"reject_unknown_method": true}`))
	const jsonType = "application/json"
	for _, tt := range []struct {
		method, path, body string
		status             int
		contentType, want  string
	}{
		{"GET", "/v1/orders/a%20b?count=3", "", 200, jsonType, `{"id":"a b","count":3}`},
		{"POST", "/v1/orders", `{"id": "n", "count": 4}`, 200, jsonType, `{"id":"n","count":4}`},
		{"POST", "/v1/orders", `{"id": 4}`, 400, "text/plain", `(line 1:8): invalid value for string field id: 4`},
		{"GET", "/v1/orders/missing", "", 404, jsonType,
			`{"code":5,"message":"no such order: 100%","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"GONE","domain":"shop"}]}`},
		{"GET", "/v1/orders/w:watch?count=3", "", 200, jsonType, `[{"id":"w"},{"id":"w","count":1},{"id":"w","count":2}]`},
		{"GET", "/v1/orders/w:watch", "", 200, jsonType, `[]`},
		{"GET", "/v1/orders/missing:watch", "", 404, jsonType,
			`{"code":5,"message":"no such order: 100%","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"GONE","domain":"shop"}]}`},
		{"POST", "/v1/orders:upload", `[{"id": "a"}, {"id": "b"}]`, 200, jsonType, `{"id":"ab","count":2}`},
		{"POST", "/v1/orders:upload", `{}`, 400, "text/plain", `the body is not an array`},
		{"POST", "/v1/orders:chat", `[{"id": "a"}, {"id": "b"}]`, 200, jsonType, `[{"id":"a!"},{"id":"b!"}]`},
		{"GET", "/v1/files/7", "", 200, "text/csv", "id\n7\n"},
		{"GET", "/v1/downloads/7", "", 200, "text/x-log", "7 0\n7 1\n7 2\n"},
		{"GET", "/v1/nothing", "", 404, "text/plain", "no method has a rule for this request"},
	} {
		for _, chunked := range []bool{false, true} {
			var r io.Reader = strings.NewReader(tt.body)
			if chunked {
				r = io.MultiReader(r, strings.NewReader(""))
			}
			rq, err := http.NewRequest(tt.method, p.url(tt.path), r)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(rq)
			if err != nil {
				t.Fatal(err)
			}
			body := strings.ReplaceAll(bodyOf(t, resp), "\u00a0", " ")
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.contentType || body != tt.want {
				t.Errorf("%s %s chunked=%v: %d %s %q; want %d %s %q", tt.method, tt.path, chunked, resp.StatusCode,
					resp.Header.Get("Content-Type"), body, tt.status, tt.contentType, tt.want)
			}
		}
	}
	c := dialGRPC(t, p.addr("")) // calls of gRPC pass as they are
	d := orderType{orders()}
	out := dynamicpb.NewMessage(d)
	rq := d.order(`{"id": "a"}`)
	if err := c.Invoke(grpcContext(t), "/shop.Orders/Get", rq, out); err != nil || orderText(out) != `{"id":"a"}` {
		t.Errorf("a call of gRPC: %s, %v", orderText(out), err)
	}
}

// TestGRPCJSONChat: answers come while the request is still being sent.
func TestGRPCJSONChat(t *testing.T) {
	t.Parallel()
	p := startGRPC(t, transcoder(t, `"print_options": {"stream_newline_delimited": true}`))
	r, w := io.Pipe()
	rq, err := http.NewRequest("POST", p.url("/v1/orders:chat"), r)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(w, `[{"id": "a"}`) }()
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, id := range []string{"a", "b", "c"} {
		line := make([]byte, len(`{"id":"a!"}`)+1)
		if _, err := io.ReadFull(resp.Body, line); err != nil || string(line) != `{"id":"`+id+`!"}`+"\n" {
			t.Fatalf("answer %q, %v", line, err)
		}
		if id != "c" {
			_, _ = fmt.Fprintf(w, ", {\"id\": %q}", string(rune(id[0]+1)))
		}
	}
	_, _ = io.WriteString(w, "]")
	_ = w.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("behind the answers: %q, %v", rest, err)
	}
}
