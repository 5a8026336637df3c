package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// h2Client speaks HTTP/2 without TLS.
func h2Client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// do sends a request by HTTP/2 and returns the response.
func (p *proxy) doH2(c *http.Client, method, path, contentType string, body []byte) (*http.Response, string) {
	p.t.Helper()
	rq, err := http.NewRequest(method, p.url(path), bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	rq.Header.Set("Content-Type", contentType)
	resp, err := c.Do(rq)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, bodyOf(p.t, resp)
}

// TestGRPCFiltersTogether: many clients of all kinds at once, by HTTP/2, on one proxy.
func TestGRPCFiltersTogether(t *testing.T) {
	t.Parallel()
	p := startGRPC(t, `{"name": "grpc_http1_bridge"}, {"name": "grpc_web"},`+transcoder(t, "")+`{"name": "grpc_stats", "config": {"stats_for_all_methods": true}},`)
	d := orderType{orders()}
	c := dialGRPC(t, p.addr(""))
	client := h2Client(t)
	ctx := grpcContext(t)
	const rounds = 30
	var wg sync.WaitGroup
	each := func(f func(id string)) {
		wg.Go(func() {
			for i := range rounds {
				f(fmt.Sprintf("%s-%d", strings.Repeat("x", i*100), i))
			}
		})
	}
	each(func(id string) {
		out := dynamicpb.NewMessage(d)
		if err := c.Invoke(ctx, "/shop.Orders/Get", d.order(`{"id": "`+id+`"}`), out); err != nil || orderText(out) != `{"id":"`+id+`"}` {
			t.Errorf("gRPC: %s, %v", orderText(out), err)
		}
	})
	each(func(id string) {
		resp, body := p.doH2(client, "POST", "/shop.Orders/Watch", "application/grpc-web", grpcFrame(t, 0, marshal(t, d.order(`{"id": "`+id+`", "count": 5}`))))
		if got := webFrames(t, d, body); resp.ProtoMajor != 2 || len(got) != 6 || got[4] != `{"id":"`+id+`","count":4}` {
			t.Errorf("grpc-web: HTTP/%d %q", resp.ProtoMajor, got)
		}
	})
	each(func(id string) {
		resp, body := p.doH2(client, "POST", "/v1/orders", "application/json", []byte(`{"id": "`+id+`"}`))
		if resp.StatusCode != 200 || body != `{"id":"`+id+`"}` {
			t.Errorf("JSON: %d %q", resp.StatusCode, body)
		}
	})
	each(func(id string) {
		resp, body := p.doH2(client, "GET", "/v1/orders/"+id+":watch?count=3", "", nil)
		if want := `[{"id":"` + id + `"},{"id":"` + id + `","count":1},{"id":"` + id + `","count":2}]`; resp.StatusCode != 200 || body != want || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("a stream of JSON: %d %q, trailers %v", resp.StatusCode, body, resp.Trailer)
		}
	})
	wg.Wait()
	p.wantStat("cluster.web.grpc.shop.Orders.Watch.response_message_count", rounds*8)
	p.wantStat("cluster.web.grpc.shop.Orders.Create.success", rounds)
}

// TestGRPCLong: messages longer than windows and buffers pass, and those that JSON has to be made of are refused beyond the limit.
func TestGRPCLong(t *testing.T) {
	t.Parallel()
	p := startGRPC(t, `{"name": "grpc_web"},`+transcoder(t, `"max_request_body_size": "2MiB", "max_response_body_size": "3MiB"`))
	d := orderType{orders()}
	long := func(n int) string { return strings.Repeat("x", n) }
	out := dynamicpb.NewMessage(d)
	c := dialGRPC(t, p.addr(""))
	if err := c.Invoke(grpcContext(t), "/shop.Orders/Get", d.order(`{"id": "`+long(3<<20)+`"}`), out); err != nil || len(orderText(out)) != 3<<20+len(`{"id":""}`) {
		t.Errorf("gRPC: %d bytes, %v", len(orderText(out)), err)
	}
	_, body := p.post("/shop.Orders/Get", "application/grpc-web", grpcFrame(t, 0, marshal(t, d.order(`{"id": "`+long(3<<20)+`"}`))))
	if got := webFrames(t, d, body); len(got) != 2 || len(got[0]) != 3<<20+len(`{"id":""}`) {
		t.Errorf("grpc-web: %d frames", len(got))
	}
	for _, tt := range []struct {
		path, body string
		status     int
	}{
		{"/v1/orders", `{"id": "` + long(1900<<10) + `"}`, 200},
		{"/v1/orders", `{"id": "` + long(2<<20) + `"}`, 413},
		{"/v1/orders:upload", `[` + strings.TrimSuffix(strings.Repeat(`{"id": "`+long(1<<20)+`"},`, 2), ",") + `]`, 200},
		{"/v1/orders:upload", `[{"id": "` + long(2<<20) + `"}]`, 413},
		{"/v1/orders:upload", `[` + strings.TrimSuffix(strings.Repeat(`{"id": "`+long(1<<20)+`"},`, 3), ",") + `]`, 500},
	} {
		resp, err := http.Post(p.url(tt.path), "application/json", strings.NewReader(tt.body))
		if err != nil {
			if tt.status != 413 { // which may come while the request is still being sent
				t.Errorf("%s with %d bytes: %v", tt.path, len(tt.body), err)
			}
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || tt.status == 200 && len(body) < 1<<20 {
			t.Errorf("%s with %d bytes: %d with %d bytes; want %d", tt.path, len(tt.body), resp.StatusCode, len(body), tt.status)
		}
	}
}

// TestGRPCNoHost: what each kind of client is told when there is nobody upstream.
func TestGRPCNoHost(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	p := startProxy(t, oneRoute(ln.Addr().String(), `"http_filters": [{"name": "grpc_http1_bridge"}, {"name": "grpc_web"}, `+transcoder(t, "")+`{"name": "router"}]`,
		"", `"protocol": "http2"`))
	d := orderType{orders()}
	err = dialGRPC(t, p.addr("")).Invoke(grpcContext(t), "/shop.Orders/Get", d.order(`{}`), dynamicpb.NewMessage(d))
	if status.Code(err) != codes.Unavailable {
		t.Errorf("gRPC: %v", err)
	}
	for _, tt := range []struct {
		path, contentType string
		status            int
		grpc              string
	}{
		{"/shop.Orders/Get", "application/grpc-web", 200, "14"},
		{"/shop.Orders/Get", "application/grpc", 503, "14"},
		{"/v1/orders", "application/json", 503, ""},
	} {
		resp, body := p.post(tt.path, tt.contentType, []byte("{}"))
		if resp.StatusCode != tt.status || resp.Header.Get("Grpc-Status") != tt.grpc || (body == "") == (tt.grpc == "") {
			t.Errorf("%s: %d, grpc-status %q, %q; want %d, %q", tt.contentType, resp.StatusCode, resp.Header.Get("Grpc-Status"), body, tt.status, tt.grpc)
		}
	}
}

// TestGRPCWebCancel: a client that goes ends the call upstream, with abort_on_half_close also one that goes in order.
func TestGRPCWebCancel(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := orderType{orders()}
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		err := stream.SendMsg(d.order(`{"id": "first"}`))
		<-stream.Context().Done()
		close(ended)
		return errors.Join(err, stream.Context().Err())
	}))
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	p := startProxy(t, oneRoute(ln.Addr().String(), `"abort_on_half_close": true, "http_filters": [{"name": "grpc_web"}, {"name": "router"}]`, "", `"protocol": "http2"`))
	c := dial(t, p.addr(""))
	c.send("POST /shop.Orders/Watch HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00")
	c.wantHead("200 OK", "application/grpc-web+proto")
	c.bytes(len("c\r\n\x00\x00\x00\x00\x07\n\x05first")) // the message does not wait for the next
	_ = c.Close()
	<-ended
}

// TestGRPCReload: a reload notices another descriptor set, and refuses one that lacks a service.
func TestGRPCReload(t *testing.T) {
	t.Parallel()
	filter := transcoder(t, `"request_validation_options": {"reject_unknown_method": true}`)
	p := startGRPC(t, filter)
	if resp, _ := p.post("/v1/orders", "application/json", []byte("{}")); resp.StatusCode != 200 {
		t.Errorf("before: %d", resp.StatusCode)
	}
	file := filter[strings.Index(filter, "/"):]
	file = file[:strings.Index(file, `"`)]
	set := ordersSet()
	shop := set.File[len(set.File)-1]
	shop.Service[0].Method = shop.Service[0].Method[:1]
	if err := os.WriteFile(filepath.Clean(file), marshal(t, set), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	if !eventually(func() bool {
		resp, _ := p.post("/v1/orders", "application/json", []byte("{}"))
		return resp.StatusCode == 404
	}) {
		t.Error("the method that is gone can still be called")
	}
	shop.Service = []*descriptorpb.ServiceDescriptorProto{}
	if err := os.WriteFile(filepath.Clean(file), marshal(t, set), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	if !eventually(func() bool { return strings.Contains(p.logText(), `no service \"shop.Orders\"`) }) {
		t.Error("a descriptor set without the service is taken")
	}
	if resp, _ := http.Get(p.url("/v1/orders/7")); resp == nil || resp.StatusCode != 200 {
		t.Errorf("after a refused reload: %v", resp)
	}
}

// TestGRPCJSONOldClients: HTTP/1.0, which knows no chunks, and requests one behind the other on a connection.
func TestGRPCJSONOldClients(t *testing.T) {
	t.Parallel()
	p := startGRPC(t, transcoder(t, ""))
	c := dial(t, p.addr(""))
	c.send("GET /v1/orders/w:watch?count=2 HTTP/1.0\r\nHost: a\r\n\r\n")
	if head := c.wantHead("200 OK"); strings.Contains(strings.ToLower(head), "transfer-encoding") {
		t.Errorf("chunks for HTTP/1.0: %q", head)
	}
	if got, want := c.rest(), `[{"id":"w"},{"id":"w","count":1}]`; got != want {
		t.Errorf("HTTP/1.0 gets %q; want %q", got, want)
	}
	c = dial(t, p.addr(""))
	c.send("GET /v1/orders/1 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /v1/orders HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n{\"id\": \"2\"}" +
		"GET /v1/orders/w:watch?count=1 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"GET /v1/orders/3?count=x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	c.wantHead("200 OK", "content-length: 10")
	if got := c.bytes(10); got != `{"id":"1"}` {
		t.Errorf("the first answer is %q", got)
	}
	c.wantHead("100 Continue")
	c.wantHead("200 OK", "content-length: 10")
	if got := c.bytes(10); got != `{"id":"2"}` {
		t.Errorf("the second answer is %q", got)
	}
	c.wantHead("200 OK", "ransfer-")
	const third = "b\r\n[{\"id\":\"w\"}\r\n1\r\n]\r\n0\r\n"
	if got, want := c.bytes(len(third)), third; got != want {
		t.Errorf("the third answer is %q; want %q", got, want)
	}
	c.wantHead("grpc-status: 0") // the trailers
	if rest := c.rest(); !strings.Contains(rest, "400 Bad Request") || !strings.HasSuffix(rest, `shop.Order.count: "x" is no value for it`) {
		t.Errorf("the rest is %q", rest)
	}
}
