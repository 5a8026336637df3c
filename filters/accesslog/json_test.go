package accesslog

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDefaultJSON(t *testing.T) {
	t.Parallel()
	line := mustCompile(t, &Config{Format: "json"}).Append(nil, newRecord())
	want := `{"start_time":"2024-02-29T13:04:05.067Z","method":"GET","path":"/shop/cart?item=7","protocol":"HTTP/1.1",` +
		`"authority":"shop.example.com","response_code":200,"response_code_details":"via_upstream","response_flags":null,` +
		`"bytes_received":5,"bytes_sent":1234,"duration":17,"upstream_service_time":"12","x_forwarded_for":"203.0.113.9",` +
		`"user_agent":"curl/8.5.0","request_id":"0d9b1a7e-4c2f-4f2a-9d57-7a3b5c6d7e8f","downstream_remote_address":"203.0.113.9:0",` +
		`"downstream_local_address":"198.51.100.2:8080","route_name":"cart","upstream_cluster":"web","upstream_host":"10.0.0.1:80",` +
		`"upstream_local_address":"10.0.0.9:51000","upstream_request_attempt_count":1,"upstream_transport_failure_reason":null}` + "\n"
	if string(line) != want {
		t.Errorf("default JSON\n got %s\nwant %s", line, want)
	}
}

func TestJSONFormat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ tree, want, omitted string }{
		{`{"code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%"}`, `{"code":200,"flags":null}`, `{"code":200}`},
		{`{"flags": "%RESPONSE_FLAGS%"}`, `{"flags":null}`, `{}`},
		{`{"b": 1, "a": {"z": "%REQ(NO)%", "y": "%REQ(:METHOD)%"}}`, `{"a":{"y":"GET","z":null},"b":1}`, `{"a":{"y":"GET"},"b":1}`},
		{`{"a": {"z": "%REQ(NO)%"}}`, `{"a":{"z":null}}`, `{"a":{}}`},
		{`{"a": "%REQ(NO)%/%REQ(:METHOD)%"}`, `{"a":"-/GET"}`, `{"a":"/GET"}`},
		{`{"a": ["x", "%REQ(NO)%", "%RESPONSE_CODE%", true, null, 1.5]}`, `{"a":["x",null,200,true,null,1.5]}`, `{"a":["x",null,200,true,null,1.5]}`},
		{`{"quo\"te": "say \"%PROTOCOL%\" %%"}`, `{"quo\"te":"say \"HTTP/1.1\" %"}`, `{"quo\"te":"say \"HTTP/1.1\" %"}`},
		{`{"a": "", "b": {}, "c": []}`, `{"a":"","b":{},"c":[]}`, `{"a":"","b":{},"c":[]}`},
		{`{"a": "x,"}`, `{"a":"x,"}`, `{"a":"x,"}`},
	} {
		var tree map[string]any
		if err := json.Unmarshal([]byte(tt.tree), &tree); err != nil {
			t.Fatal(err)
		}
		for _, omit := range []bool{false, true} {
			want := tt.want
			if omit {
				want = tt.omitted
			}
			got := mustCompile(t, &Config{JSONFormat: tree, OmitEmptyValues: omit}).Append(nil, newRecord())
			if string(got) != want+"\n" {
				t.Errorf("json_format %s, omit %v = %s; want %s", tt.tree, omit, got, want)
			}
		}
	}
}

func TestJSONFormatErrors(t *testing.T) {
	t.Parallel()
	deep := any("x")
	for range FormatDepthMax {
		deep = []any{deep}
	}
	for _, tt := range []struct {
		tree map[string]any
		want string
	}{
		{map[string]any{"a": "%NOPE%"}, `json_format.a: unknown operator "NOPE"`},
		{map[string]any{"a": []any{"", "%"}}, `json_format.a[1]: no operator after`},
		{map[string]any{"a": make(chan int)}, `json_format.a: a value of type chan int`},
		{map[string]any{"a": deep}, "nested deeper than 16"},
		{map[string]any{"a": strings.Repeat("x", FormatBytesMax)}, "exceeds 16384"},
	} {
		for _, omit := range []bool{false, true} {
			_, err := Compile(&Config{JSONFormat: tt.tree, OmitEmptyValues: omit})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Compile(%.40v) = %v; want %q in it", tt.tree, err, tt.want)
			}
		}
	}
}
