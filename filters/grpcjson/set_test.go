package grpcjson

import (
	"fmt"
	"strings"
	"testing"
)

// TestRequest: which method a request is for, and what its message is.
func TestRequest(t *testing.T) {
	t.Parallel()
	plain := newShop(t, Options{IgnoredQuery: []string{"key"}})
	other := newShop(t, Options{
		AutoMapping: true, IgnoreUnknownQuery: true, QueryPlus: true, Unescape: UnescapeAll, FoldEnums: true, RejectCollisions: true,
	})
	const get, put = "/shop.Items/Get ", "/shop.Items/Put "
	for _, tt := range []struct {
		set                      *Set
		method, path, body, want string
	}{
		{plain, "GET", "/v1/items/a", "", get + `{"name":"a"}`},
		{plain, "GET", "/v1/items/a%2Fb%20c", "", get + `{"name":"a/b c"}`},
		{plain, "GET", "/v1/items/a/", "", get + `{"name":"a"}`},
		{plain, "GET", "/v1/items//", "", "error: " + ErrNoMatch.Error()},
		{plain, "GET", "/v1/items/a?unit_price=7&unitPrice=8", "", get + `{"name":"a","unitPrice":"8"}`},
		{plain, "GET", "/v1/items/a?tags=x&tags=y%26&key=1", "", get + `{"name":"a","tags":["x","y&"]}`},
		{plain, "GET", "/v1/items/a?part.part.name=b&part.sold=true", "", get + `{"name":"a","part":{"part":{"name":"b"},"sold":true}}`},
		{plain, "GET", "/v1/items/a?name=b", "", get + `{"name":"a"}`},
		{plain, "GET", "/v1/items/a?color=RED&colors=1&colors=RED", "", get + `{"name":"a","color":"RED","colors":["RED","RED"]}`},
		{plain, "GET", "/v1/items/a?color=red", "", `error: shop.Item.color: "red" is no value for it`},
		{plain, "GET", "/v1/items/a?made=2026-01-02T03:04:05Z&mask=name,unitPrice&limit=5&fresh=true", "",
			get + `{"name":"a","made":"2026-01-02T03:04:05Z","mask":"name,unitPrice","limit":5,"fresh":true}`},
		{plain, "GET", "/v1/items/a?fresh=%22true%22", "", `error: shop.Item.fresh: "\"true\"" is no value for it`},
		{plain, "GET", "/v1/items/a?made=x%22", "", `error: shop.Item.made: "x\"" is no value for it`},
		{plain, "GET", "/v1/items/a?weight=1.5&ratio=2&count=3&code=_-8", "", get + `{"name":"a","weight":1.5,"code":"/+8=","count":3,"ratio":2}`},
		{plain, "GET", "/v1/items/a?count=-1", "", `error: shop.Item.count: "-1" is no value for it`},
		{plain, "GET", "/v1/items/a?unit_price=1_0", "", `error: shop.Item.unit_price: "1_0" is no value for it`},
		{plain, "GET", "/v1/items/a?sold=1", "", `error: shop.Item.sold: "1" is no value for it`},
		{plain, "GET", "/v1/items/a%FF", "", `error: shop.Item.name: the value is not UTF-8`},
		{plain, "GET", "/v1/items/a?part=x", "", `error: unknown query parameter "part"`},
		{plain, "GET", "/v1/items/a?parts.name=x", "", `error: unknown query parameter "parts.name"`},
		{plain, "GET", "/v1/items/a?what=x", "", `error: unknown query parameter "what"`},
		{plain, "GET", "/v1/items/a?" + strings.Repeat("part.", 200) + "name=x", "", `error: unknown query parameter "` + strings.Repeat("part.", 12) + `"`},
		{plain, "GET", "/v1/items/a?tags=a+b", "", get + `{"name":"a","tags":["a+b"]}`},
		{plain, "GET", "/v1/parts/p1/items/a", "", get + `{"name":"a","part":{"name":"parts/p1"}}`},
		{plain, "GET", "/v1/search?name=q", "", get + `{"name":"q"}`},
		{plain, "PUT", "/v1/items/a", `{"unitPrice": 3, "name": "z", "what": 1}`, put + `{"name":"a","unitPrice":"3"}`},
		{plain, "PUT", "/v1/items/a", ``, put + `{"name":"a"}`},
		{plain, "PUT", "/v1/items/a", `{"unitPrice": "x"}`, `error: (line 1:15): invalid value for int64 field unitPrice: "x"`},
		{plain, "PUT", "/v1/items/a", `{} {}`, `error: syntax error (line 1:4): unexpected token {`},
		{plain, "PUT", "/v1/items/a", strings.Repeat(`{"part":`, 150) + strings.Repeat("}", 150), `error: exceeded max recursion depth`},
		{plain, "POST", "/v1/items/a:part", `{"name": "p"}`, `/shop.Items/Part {"name":"a","part":{"name":"p"}}`},
		{plain, "POST", "/v1/items/a:b:part", `{"name": "p"}`, `/shop.Items/Part {"name":"a:b","part":{"name":"p"}}`},
		{plain, "POST", "/v1/items/a:part", `{"name": "p"}, "tags": []`, "error: " + errJSON.Error()},
		{plain, "POST", "/v1/items/a:price", `5`, `/shop.Items/Price {"name":"a","unitPrice":"5"}`},
		{plain, "POST", "/v1/items/a:price", `5, "sold": true`, "error: " + errJSON.Error()},
		{plain, "PATCH", "/v1/items/a/tags", `["x", "y"]`, `/shop.Items/Tags {"name":"a","tags":["x","y"]}`},
		{plain, "GET", "/v1/items/a:what", "", get + `{"name":"a:what"}`},
		{plain, "GET", "/v1/files", "", `/shop.Items/File {}`},
		{plain, "GET", "/v1/files/a/b%2Fc%20d", "", `/shop.Items/File {"name":"a/b%2Fc d"}`},
		{other, "GET", "/v1/files/a/b%2Fc%20d", "", `/shop.Items/File {"name":"a/b/c d"}`},
		{plain, "POST", "/v1/upload/7", "bytes", `/shop.Items/Upload {"id":"7","file":{"contentType":"text/plain","data":"Ynl0ZXM="}}`},
		{plain, "HEAD", "/v1/items/a", "", `/shop.Items/Head {"name":"a"}`},
		{plain, "BREW", "/v1/any", "", `/shop.Items/Any {}`},
		{plain, "DELETE", "/v1/items/a", "", "error: " + ErrNoMatch.Error()},
		{plain, "GET", "/", "", "error: " + ErrNoMatch.Error()},
		{plain, "POST", "/shop.Items/Plain", "{}", "error: " + ErrNoMatch.Error()},
		{other, "POST", "/shop.Items/Plain", `{"name": "a"}`, `/shop.Items/Plain {"name":"a"}`},
		{other, "GET", "/v1/items/a?what=x&tags=a+b&color=red", "", get + `{"name":"a","color":"RED","tags":["a b"]}`},
		{other, "PUT", "/v1/items/a", `{"name": "a"}`, "error: shop.Item.name is in the body too"},
	} {
		got := request(t, tt.set, tt.method, tt.path, tt.body)
		if got = strings.ReplaceAll(got, "\u00a0", " "); got != tt.want {
			t.Errorf("%s %s %q:\n got %s\nwant %s", tt.method, tt.path, tt.body, got, tt.want)
		}
	}
}

// TestLoadProblems: what is wrong with a descriptor set, and what is said of it.
func TestLoadProblems(t *testing.T) {
	t.Parallel()
	rule := func(rule string) string {
		return strings.Replace(shopProto, `{"get": "/v1/items/{name}", "additionalBindings": [{"get": "/v1/{part.name=parts/*}/items/{name}"}, {"get": "/v1/search"}]}`, rule, 1)
	}
	for _, tt := range []struct{ file, service, want string }{
		{shopProto, "shop.Item", `0 no service "shop.Item" in the descriptor set; it has shop.Items`},
		{shopProto, "items.Items", `0 no service "items.Items" in the descriptor set; it has shop.Items`},
		{rule(`{"get": "v1"}`), "", `0 method shop.Items.Get: path template "v1": it does not start with "/"; `},
		{rule(`{"get": "/{what}"}`), "", `0 method shop.Items.Get: path template "/{what}": variable "what": message shop.Item has no field "what"; `},
		{rule(`{"get": "/{tags}"}`), "", `0 method shop.Items.Get: path template "/{tags}": variable "tags": there are many of the field; `},
		{rule(`{"get": "/{part}"}`), "", `0 method shop.Items.Get: path template "/{part}": variable "part": the field is a message that text cannot stand for; `},
		{rule(`{"get": "/{name.x}"}`), "", `0 method shop.Items.Get: path template "/{name.x}": variable "name.x": shop.Item.name is no message, or there are many of it; `},
		{rule(`{"post": "/x", "body": "what"}`), "", `0 method shop.Items.Get: body "what": message shop.Item has no field "what"; `},
		{rule(`{"get": "/x", "responseBody": "what"}`), "", `0 method shop.Items.Get: response_body "what": message shop.Item has no field "what"; `},
		{rule(`{"put": "/v1/items/{color}"}`), "", `0 method shop.Items.Put: path template "/v1/items/{name}": another method has it for PUT; `},
		{rule(`{}`), "", `0 method shop.Items.Get: a google.api.http rule has no pattern; `},
	} {
		if tt.service == "" {
			tt.service = "shop.Items"
		}
		_, problems := Load(descriptorSet(t, tt.file), []string{tt.service}, Options{})
		if len(problems) == 0 {
			t.Errorf("no problem; want %s", tt.want)
			continue
		}
		if got := fmt.Sprintf("%d %s; %s", problems[0].Service, problems[0].Text, problems[0].Hint); got != tt.want {
			t.Errorf("problem\n     %s\nwant %s", got, tt.want)
		}
	}
	if _, problems := Load([]byte("no set"), []string{"a"}, Options{}); len(problems) != 1 || problems[0].Service != -1 {
		t.Errorf("a file that is no descriptor set: %v", problems)
	}
}

// TestResponse: what a message becomes.
func TestResponse(t *testing.T) {
	t.Parallel()
	const item = `{"name": "a b", "unitPrice": "7", "color": "RED", "tags": ["x, y"], "part": {"name": "q\" : z"}}`
	for _, tt := range []struct {
		print              Print
		method, path, want string
	}{
		{Print{}, "GET", "/v1/items/a", `{"name":"a b","unitPrice":"7","color":"RED","tags":["x, y"],"part":{"name":"q\" : z"}}`},
		{Print{ProtoNames: true, EnumNumbers: true}, "GET", "/v1/items/a", `{"name":"a b","unit_price":"7","color":1,"tags":["x, y"],"part":{"name":"q\" : z"}}`},
		{Print{}, "POST", "/v1/items/a:part", `{"name":"q\" : z"}`},
		{Print{}, "POST", "/v1/items/a:price", `"7"`},
		{Print{ProtoNames: true}, "POST", "/v1/items/a:price", `"7"`},
		{Print{}, "PATCH", "/v1/items/a/tags", `["x, y"]`},
		{Print{Whitespace: true}, "PATCH", "/v1/items/a/tags", "[\n \"x, y\"\n]\n"},
		{Print{Defaults: true}, "POST", "/v1/items/a:part",
			`{"name":"q\" : z","unitPrice":"0","color":"NONE","tags":[],"weight":0,"code":"","sold":false,"count":0,"parts":[],"ratio":0,"colors":[]}`},
	} {
		s := newShop(t, Options{Print: tt.print})
		c, err := s.Match([]byte(tt.method), []byte(tt.path))
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.AppendResponse(nil, message(t, c, item))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s %s %+v: %s, %v; want %s", tt.method, tt.path, tt.print, got, err, tt.want)
		}
	}
	s := newShop(t, Options{})
	c, _ := s.Match([]byte("POST"), []byte("/v1/upload/1"))
	got, contentType, err := c.AppendRaw(nil, message(t, c, `{"file": {"contentType": "image/png", "data": "Ynl0ZXM="}}`))
	if !c.RawRequest() || !c.RawResponse() || string(got) != "bytes" || contentType != "image/png" || err != nil {
		t.Errorf("AppendRaw = %q, %q, %v", got, contentType, err)
	}
	if _, err := c.AppendResponse(nil, []byte{0xff}); err == nil {
		t.Error("a broken message becomes JSON")
	}
}

// TestStatus: a google.rpc.Status as JSON.
func TestStatus(t *testing.T) {
	t.Parallel()
	s := newShop(t, Options{})
	got, err := s.AppendStatus(nil, nil, 5, "no such item")
	if want := `{"code":5,"message":"no such item"}`; string(got) != want || err != nil {
		t.Errorf("AppendStatus = %s, %v; want %s", got, err, want)
	}
	if _, err := s.AppendStatus(nil, []byte{0xff}, 5, ""); err == nil {
		t.Error("broken details become JSON")
	}
}
