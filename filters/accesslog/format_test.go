package accesslog

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/engine"
)

// base is the start of the test stream on the loop's clock.
const base = int64(1_000_000_000)

func ms(n int64) int64 { return n * int64(time.Millisecond) }

func addr(s string) engine.Addr {
	ap := netip.MustParseAddrPort(s)
	return engine.AddrFrom(ap.Addr(), ap.Port(), 0)
}

// newRecord is a request that went well.
func newRecord() *Record {
	req, resp := new(codec.RequestHead), new(codec.ResponseHead)
	req.Reset()
	req.SetMethod(codec.MethodGET)
	req.SetPath([]byte("/shop/cart?item=7"))
	req.AddString("Host", "shop.example.com")
	req.AddString("User-Agent", "curl/8.5.0")
	req.AddString("X-Request-Id", "0d9b1a7e-4c2f-4f2a-9d57-7a3b5c6d7e8f")
	req.AddString("X-Forwarded-For", "203.0.113.9")
	req.AddString("X-Tenant", "blue")
	resp.Reset()
	resp.Status = 200
	resp.AddString("Content-Type", "text/plain")
	resp.AddString("X-Envoy-Upstream-Service-Time", "12")
	return &Record{
		Info: Info{
			Start: base, RequestEnd: base + ms(1), UpstreamReady: base + ms(2), UpstreamFirstTx: base + ms(2),
			UpstreamLastTx: base + ms(3), UpstreamFirstRx: base + ms(14), UpstreamLastRx: base + ms(15),
			DownstreamFirstTx: base + ms(14), DownstreamLastTx: base + ms(16),
			RequestBytes: 5, ResponseBytes: 1234, RequestHeadBytes: 160, ResponseHeadBytes: 90, Status: 200,
			WireReceived: 171, WireSent: 1345, UpstreamBodyRx: base + ms(14) + ms(1)/2,
			Attempts: 1, Details: "via_upstream", Cluster: "web", UpstreamHost: "10.0.0.1:80",
		},
		Request: req, Response: resp,
		StartUnix: time.Date(2024, 2, 29, 13, 4, 5, 67_089_012, time.UTC).UnixNano(), End: base + ms(17),
		Protocol: codec.Version11, UpstreamProtocol: codec.Version11, RouteName: "cart", VirtualHost: "shop", FilterChain: "main",
		Remote: addr("203.0.113.9:0"), DirectRemote: addr("192.0.2.1:40000"), Local: addr("198.51.100.2:8080"),
		UpstreamRemote: addr("10.0.0.1:80"), UpstreamLocal: addr("10.0.0.9:51000"),
		UpstreamWireSent: 165, UpstreamWireReceived: 1324, ConnID: 77, UpstreamConnID: 78, StreamID: 123456789,
		UpstreamHeadSent: 158, UpstreamHeadReceived: 88,
		Attempted: []Attempt{{Host: "b\"c:80", Addr: addr("10.0.0.2:80")}, {Host: "10.0.0.1:80", Addr: addr("10.0.0.1:80"), ConnID: 78}},
		Metadata:  map[string]map[string]string{"pp": {"PP2_TYPE_AUTHORITY": `a"b`}},
	}
}

func mustCompile(t testing.TB, cfg *Config) *Format {
	t.Helper()
	f, err := Compile(cfg)
	if err != nil {
		t.Fatalf("Compile(%+v) = %v", cfg, err)
	}
	return f
}

func TestDefaultLine(t *testing.T) {
	t.Parallel()
	got := string(mustCompile(t, &Config{}).Append(nil, newRecord()))
	want := `[2024-02-29T13:04:05.067Z] "GET /shop/cart?item=7 HTTP/1.1" 200 - 5 1234 17 12 "203.0.113.9" ` +
		`"curl/8.5.0" "0d9b1a7e-4c2f-4f2a-9d57-7a3b5c6d7e8f" "shop.example.com" "10.0.0.1:80"` + "\n"
	if got != want {
		t.Errorf("default line\n got %q\nwant %q", got, want)
	}
}

func TestEmptyRecord(t *testing.T) {
	t.Parallel()
	got := string(mustCompile(t, &Config{}).Append(nil, &Record{}))
	want := `[1970-01-01T00:00:00.000Z] "- - -" 0 - 0 0 - - "-" "-" "-" "-" "-"` + "\n"
	if got != want {
		t.Errorf("line of an empty record\n got %q\nwant %q", got, want)
	}
	for i := range definitions {
		d := &definitions[i]
		if d.needsArg {
			continue
		}
		for _, cfg := range []*Config{
			{Format: "%" + d.name + "%"},
			{JSONFormat: map[string]any{"v": "%" + d.name + "%"}},
		} {
			mustCompile(t, cfg).Append(nil, &Record{}) // must not panic
		}
	}
}

func TestOperators(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ format, want string }{
		{"100%%", "100%"},
		{"%START_TIME(%Y/%m/%d %H:%M:%S)%", "2024/02/29 13:04:05"},
		{"%START_TIME(%s)%", "1709211845"},
		{"%START_TIME(%s.%3f)%", "1709211845.067"},
		{"%START_TIME(%S.%6f)% x", "05.067089 x"},
		{"%START_TIME(%f)%", "067089012"},
		{"%START_TIME(%a %e %b %j %y %I%p %T%z %Z %%)%", "Thu 29 Feb 060 24 01PM 13:04:05+0000 UTC %"},
		{"%START_TIME(%D %R %r %F %C %u%w %k %l %P %A %B %h)%", "02/29/24 13:04 01:04:05 PM 2024-02-29 20 44 13  1 pm Thursday February Feb"},
		{"%START_TIME(%c)%", "Thu Feb 29 13:04:05 2024"},
		{"%EMIT_TIME%", "2024-02-29T13:04:05.084Z"},
		{"%DURATION% %REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "17 1 3 14 2"},
		{"%UPSTREAM_CONNECTION_POOL_READY_DURATION%", "2"},
		{"%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)% %COMMON_DURATION(US_TX_END:US_RX_BEG)%", "2000 11"},
		{"%COMMON_DURATION(US_RX_BEG:US_TX_BEG:ns)%", "-"},
		{"%BYTES_RECEIVED% %BYTES_SENT% %REQUEST_HEADERS_BYTES% %RESPONSE_HEADERS_BYTES%", "5 1234 160 90"},
		{"%PROTOCOL% %UPSTREAM_PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%", "HTTP/1.1 HTTP/1.1 200 via_upstream"},
		{"%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %CONNECTION_TERMINATION_DETAILS% %ACCESS_LOG_TYPE%", "- - - DownstreamEnd"},
		{"%REQ(x-tenant)% %REQ(X-Tenant):2% %REQ(X-NONE?X-TENANT)% %REQ(X-NONE)%", "blue bl blue -"},
		{"%REQ(:METHOD)% %REQ(:PATH):5% %REQ(:AUTHORITY)% %REQ(:SCHEME)%", "GET /shop shop.example.com -"},
		{"%REQ_WITHOUT_QUERY(:PATH)% %PATH% %PATH(NQ:PATH)% %PATH(WQ:ORIG)%", "/shop/cart /shop/cart?item=7 /shop/cart -"},
		{"%QUERY_PARAM(item)% %QUERY_PARAM(tem)% %QUERY_PARAM(ITEM)%", "7 - -"},
		{"%RESP(content-type)% %RESPONSE_HEADER(x?Content-Type):4% %TRAILER(x)%", "text/plain text -"},
		{"%ROUTE_NAME% %VIRTUAL_HOST_NAME% %UPSTREAM_CLUSTER%", "cart shop web"},
		{"%UPSTREAM_HOST% %UPSTREAM_HOST_NAME_WITHOUT_PORT% %UPSTREAM_CONNECTION_ID% %UPSTREAM_REQUEST_ATTEMPT_COUNT%", "10.0.0.1:80 10.0.0.1 78 1"},
		{"%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%", "10.0.0.9:51000 10.0.0.9 51000"},
		{"%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_PORT%", "10.0.0.1:80 80"},
		{"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%", "203.0.113.9 203.0.0.0/16"},
		{"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "192.0.2.1:40000 198.51.100.2:8080 8080"},
		{"%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED%", "165 1324"},
		{"%DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_LOCAL_PORT%", "198.51.100.2:8080 198.51.100.2 8080"},
		{"%FILTER_CHAIN_NAME%", "main"},
		{"%CONNECTION_ID% %STREAM_ID% %REQUESTED_SERVER_NAME%", "77 0d9b1a7e-4c2f-4f2a-9d57-7a3b5c6d7e8f -"},
		{"tab\there\n", "tab\there"},
		{"%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% %DOWNSTREAM_HEADER_BYTES_SENT%", "171 1345 90"},
		{"%UPSTREAM_HEADER_BYTES_SENT% %UPSTREAM_HEADER_BYTES_RECEIVED% %BYTES_RETRANSMITTED%", "158 88 0"},
		{"%COMMON_DURATION(US_CX_BEG:US_CX_END)% %COMMON_DURATION(US_RX_BODY_BEG:US_RX_END:us)%", "- 500"},
		{"%ROUNDTRIP_DURATION% %DOWNSTREAM_HANDSHAKE_DURATION% %COMMON_DURATION(DS_RX_BEG:US_HS_END)%", "- - -"},
		{"%QUERY_PARAMS% %QUERY_PARAMS(ORIG):4%", "item=7 item"},
		{"%UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%", "10.0.0.2:80,10.0.0.1:80 10.0.0.2,10.0.0.1"},
		{"%UPSTREAM_HOST_NAMES_ATTEMPTED% %UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%", "b_c:80,10.0.0.1:80 b_c,10.0.0.1"},
		{"%UPSTREAM_CONNECTION_IDS_ATTEMPTED%", "78"},
		{"%DYNAMIC_METADATA(pp:PP2_TYPE_AUTHORITY)% %DYNAMIC_METADATA(pp:x)% %METADATA(DYNAMIC:pp:PP2_TYPE_AUTHORITY):3%", "a\\x22b - a\\x22b"},
		{"%DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_CERT_V_START(%Y)% %TLS_JA3_FINGERPRINT%", "- - -"},
		{"%GRPC_STATUS% %GRPC_STATUS_NUMBER% %LOCAL_REPLY_BODY% %CUSTOM_FLAGS%", "- - - -"},
	} {
		t.Run(tt.format, func(t *testing.T) {
			t.Parallel()
			got := string(mustCompile(t, &Config{Format: tt.format}).Append(nil, newRecord()))
			if got != tt.want+"\n" {
				t.Errorf("format %q = %q; want %q", tt.format, got, tt.want+"\n")
			}
		})
	}
}

func TestEnvironment(t *testing.T) { // not parallel: changes the environment
	t.Setenv("MILLRACE_TEST_ZONE", `eu"1`)
	got := string(mustCompile(t, &Config{Format: "%ENVIRONMENT(MILLRACE_TEST_ZONE)% %ENVIRONMENT(MILLRACE_TEST_ZONE):2%"}).Append(nil, newRecord()))
	if want := `eu\x221 eu` + "\n"; got != want {
		t.Errorf("ENVIRONMENT = %q; want %q", got, want)
	}
}

func TestOmitEmptyValues(t *testing.T) {
	t.Parallel()
	got := string(mustCompile(t, &Config{Format: `"%REQ(X-NONE)%" %RESPONSE_FLAGS%|`, OmitEmptyValues: true}).Append(nil, newRecord()))
	if want := "\"\" |\n"; got != want {
		t.Errorf("text = %q; want %q", got, want)
	}
}

func TestUniqueID(t *testing.T) {
	t.Parallel()
	f := mustCompile(t, &Config{Format: "%UNIQUE_ID%"})
	a, b := f.Append(nil, newRecord()), f.Append(nil, newRecord())
	if len(a) != uuidBytes+1 || !isUUID(a[:uuidBytes]) || a[14] != '4' || !strings.ContainsRune("89ab", rune(a[19])) || bytes.Equal(a, b) {
		t.Errorf("UNIQUE_ID = %q, then %q; want two UUIDs of version 4", a, b)
	}
}

func TestFormatErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ format, want string }{
		{"%RESPONSE_CDOE%", `unknown operator "RESPONSE_CDOE"; did you mean %RESPONSE_CODE%?`},
		{"%NOTHING_LIKE_IT%", "docs/access-log.md lists the operators"},
		{"%CEL(x)%", "is Envoy's, but nothing here gives it a value"},
		{"%COALESCE%", `operator "COALESCE" needs an argument`},
		{"%COALESCE(x)%", "the list of operators is not readable"},
		{`%COALESCE({"operators": []})%`, `there is no operator in "operators"`},
		{`%COALESCE({"operators": ["REQ"]})%`, `operator "REQ" needs an argument`},
		{`%COALESCE({"operators": ["NOPE"]})%`, `unknown operator "NOPE"`},
		{`%COALESCE({"operators": [{"command": "PROTOCOL", "length": 1}]})%`, "not readable"},
		{`%COALESCE({"operators": [{"command": "PROTOCOL", "max_length": -1}]})%`, "below 0"},
		{`%COALESCE({"operators": ["PROTOCOL"]} x)%`, "something follows"},
		{`%COALESCE({"operators": [{"command": "COALESCE", "param": "{}"}]})%`, "COALESCE inside of itself"},
		{"%DOWNSTREAM_TLS_VERSION(x)%", "takes no argument"},
		{"%DOWNSTREAM_PEER_CERT_V_END(%Q)%", "unknown conversion %Q"},
		{"%GRPC_STATUS(x)%", `unknown form "x"`},
		{"%QUERY_PARAMS(x)%", `unknown argument "x"`},
		{"%DYNAMIC_METADATA(a)%", `"a" is not a namespace and a key`},
		{"%METADATA(CLUSTER:a:b)%", `no metadata of type "CLUSTER" here`},
		{"%REQ%", `operator "REQ" needs an argument; write %REQ(NAME)%`},
		{"%REQ(:STATUS)%", `there is no ":status"`},
		{"%RESP(:STATUS)%", "the status is %RESPONSE_CODE%"},
		{"%REQ(a b)%", `"a b" is not the name of a field`},
		{"%REQ(a", `operator "REQ" has no closing parenthesis`},
		{"%REQ(a)", `operator "REQ" has no closing parenthesis`},
		{"%REQ(a):x%", `operator "REQ" has no closing parenthesis`},
		{"%PROTOCOL", `operator "PROTOCOL" has no closing %`},
		{"%PROTOCOL:%", "length \"\" is not a number"},
		{"%PROTOCOL:0%", "length \"0\" is not a number"},
		{"%PROTOCOL(x)%", "takes no argument"},
		{"%DURATION:3%", "is a number and takes no length"},
		{"50% off", `no operator after the % at "% off"`},
		{"%COMMON_DURATION(A:B)%", `unknown point in time "A"`},
		{"%COMMON_DURATION(DS_RX_BEG)%", "is not a start, an end and a unit"},
		{"%COMMON_DURATION(DS_RX_BEG:DS_TX_END:h)%", `unknown unit "h"`},
		{"%START_TIME(%Q)%", "unknown conversion %Q"},
		{"%START_TIME(%3S)%", "1 to 9 digits are for %f"},
		{"%START_TIME(%Y\")%", "may not stand in a time"},
		{"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(129)%", "is not a number from 0 to 128"},
		{"%PATH(XX)%", `unknown argument "XX"`},
		{"%RESPONSE_CODE_DETAILS(X)%", `unknown argument "X"`},
		{"a\nb", "each stream is one line"},
		{strings.Repeat("x", FormatBytesMax+1), "exceeds 16384"},
	} {
		_, err := Compile(&Config{Format: tt.format})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Compile(%.40q) = %v; want %q in it", tt.format, err, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{Path: "a"}, ""},
		{Config{Path: "a", Format: "json"}, ""},
		{Config{Path: "a", Format: "%X%"}, `format|unknown operator "X"|docs/access-log.md lists the operators`},
		{Config{Path: "a", Format: "x", JSONFormat: map[string]any{"a": 1.0}}, "json_format|format and json_format are both given|keep one of them"},
		{Config{Path: "a", JSONFormat: map[string]any{"a": map[string]any{"b": "%RESPONSE_COD%"}}},
			`json_format.a.b|unknown operator "RESPONSE_COD"|did you mean %RESPONSE_CODE%?`},
	} {
		var got []string
		tt.cfg.Validate(func(path, problem, hint string) { got = append(got, path+"|"+problem+"|"+hint) })
		if s := strings.Join(got, "\n"); s != tt.want {
			t.Errorf("Validate(%+v) reports %q; want %q", tt.cfg, s, tt.want)
		}
	}
}

// TestLineBytesMax: a peer with long values still gets a line.
func TestLineBytesMax(t *testing.T) {
	t.Parallel()
	r := newRecord()
	r.Request.SetString("User-Agent", strings.Repeat("\x80\"", 25<<10))
	r.Request.SetString("X-Forwarded-For", strings.Repeat("\\", 30<<10))
	for _, format := range []string{"", "json"} {
		f := mustCompile(t, &Config{Format: format})
		line, cut := f.appendLine([]byte("before"), r)
		if line = bytes.TrimPrefix(line, []byte("before")); len(line) > LineBytesMax || !cut {
			t.Errorf("format %q: line of %d bytes, cut %v; want at most %d, true", format, len(line), cut, LineBytesMax)
		}
		if !bytes.Contains(line, []byte("shop.example.com")) || bytes.Count(line, []byte("\n")) != 1 {
			t.Errorf("format %q: the line lost more than the ends of values: %.200q", format, line)
		}
		if format == "json" && !json.Valid(line) {
			t.Errorf("cut JSON is not JSON: %.200q", line)
		}
	}
}

func TestCompileValue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "203.0.113.9"},
		{"a %REQ(X-QUOTED)%|%REQ(X-NONE)%|%RESPONSE_FLAGS%|%% b", `a "q\"|||% b`},
		{"%REQ(X-QUOTED):2%", `"q`},
	} {
		f, err := CompileValue(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		r := newRecord()
		r.Request.AddString("X-Quoted", `"q\"`)
		if got := string(f.Append(nil, r)); got != tt.want {
			t.Errorf("value %q = %q; want %q", tt.text, got, tt.want)
		}
	}
	if _, err := CompileValue("%X%"); err == nil {
		t.Error("CompileValue of an unknown operator succeeds")
	}
}

func TestCoalesce(t *testing.T) {
	t.Parallel()
	r := newRecord()
	for _, tt := range []struct{ format, want string }{
		{`%COALESCE({"operators": ["REQUESTED_SERVER_NAME", {"command": "REQ", "param": "host"}]})%!`, "shop.example.com!"},
		{`%COALESCE({"operators": [{"command": "REQ", "param": "host", "max_length": 4}, "PROTOCOL"]})%`, "shop"},
		{`%COALESCE({"operators": ["REQUESTED_SERVER_NAME", {"command": "REQ", "param": "host"}]}):6%`, "shop.e"},
		{`%COALESCE({"operators": ["REQUESTED_SERVER_NAME", "TRACE_ID"]})%`, "-"},
		{`%COALESCE({"operators": ["RESPONSE_CODE"]})%`, "200"},
		{`%COALESCE({"operators": [{"command": "REQ", "param": "x"}, {"command": "START_TIME", "param": "%s"}]})%`, "1709211845"},
	} {
		if got := string(mustCompile(t, &Config{Format: tt.format}).Append(nil, r)); strings.TrimSpace(got) != tt.want {
			t.Errorf("%s = %q, want %q", tt.format, got, tt.want)
		}
	}
	f := mustCompile(t, &Config{JSONFormat: map[string]any{
		"a": `%COALESCE({"operators": ["TRACE_ID", "RESPONSE_CODE"]})%`, "b": `%COALESCE({"operators": ["TRACE_ID"]})%`,
		"c": `%COALESCE({"operators": ["TRACE_ID", {"command": "DYNAMIC_METADATA", "param": "pp:PP2_TYPE_AUTHORITY"}]})%`,
	}})
	if got := strings.TrimSpace(string(f.Append(nil, r))); got != `{"a":200,"b":null,"c":"a\"b"}` {
		t.Errorf("in JSON: %s", got)
	}
}

func TestTraceID(t *testing.T) {
	t.Parallel()
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	f := mustCompile(t, &Config{Format: "%TRACE_ID%"})
	for _, tt := range []struct{ in, want string }{
		{"00-" + id + "-00f067aa0ba902b7-01", id},
		{"01-" + id + "-00f067aa0ba902b7-01-more", id},
		{"00-" + id + "-00f067aa0ba902b7-01-more", "-"},
		{"01-" + id + "-00f067aa0ba902b7-01more", "-"},
		{"ff-" + id + "-00f067aa0ba902b7-01", "-"},
		{"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01", "-"},
		{"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01", "-"},
		{"00-" + id + "-0000000000000000-01", "-"},
		{"00-" + id + "-00f067aa0ba902b7-0g", "-"},
		{"00_" + id + "-00f067aa0ba902b7-01", "-"},
		{"00-" + id, "-"},
		{"", "-"},
	} {
		r := newRecord()
		r.Request.AddString("traceparent", tt.in)
		if got := strings.TrimSpace(string(f.Append(nil, r))); got != tt.want {
			t.Errorf("TRACE_ID of %q = %q, want %q", tt.in, got, tt.want)
		}
	}
	if got := strings.TrimSpace(string(f.Append(nil, newRecord()))); got != "-" {
		t.Errorf("TRACE_ID without the field = %q", got)
	}
}
