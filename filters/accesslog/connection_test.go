package accesslog

import (
	"strings"
	"testing"

	"millrace/codec"
)

// newConnectionRecord is a TCP connection that a proxy forwarded.
func newConnectionRecord() *Record {
	r := newRecord()
	return &Record{
		Info: Info{
			Start: base, UpstreamConnect: base + ms(1), UpstreamReady: base + ms(3), RequestBytes: 700, ResponseBytes: 9000,
			WireReceived: 700, WireSent: 9000, Attempts: 2, Cluster: "db", UpstreamHost: "10.0.0.1:80",
			Flags: FlagUpstreamConnectionFailure,
		},
		Type: TypeTCPConnectionEnd, StartUnix: r.StartUnix, End: base + ms(40),
		Remote: r.Remote, DirectRemote: r.DirectRemote, Local: addr("10.1.1.1:5432"), DirectLocal: r.Local,
		UpstreamRemote: r.UpstreamRemote, UpstreamLocal: r.UpstreamLocal, UpstreamWireSent: 700, UpstreamWireReceived: 9000,
		Attempted: r.Attempted, FilterChain: "db", RequestedServerName: "db.example.com", JA3: "771,49195",
		ConnectionDetails: "rbac_access_denied", Metadata: r.Metadata, ConnID: 5, UpstreamConnID: 6,
		CloseType: CloseRemoteReset, UpstreamCloseType: CloseNormal, CloseReason: "idle timeout",
	}
}

// TestConnectionRecord: a stream without a request prints what it has, and as Envoy does what it has not.
func TestConnectionRecord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ format, want string }{
		{"", `[2024-02-29T13:04:05.067Z] "- - -" 0 UF 700 9000 40 - "-" "-" "-" "-" "10.0.0.1:80"`},
		{"%ACCESS_LOG_TYPE% %FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME% %TLS_JA3_FINGERPRINT%", "TcpConnectionEnd db db.example.com 771,49195"},
		{"%UPSTREAM_CLUSTER% %UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_REQUEST_ATTEMPT_COUNT%", "db 10.0.0.2:80,10.0.0.1:80 2"},
		{"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_PORT%", "10.1.1.1:5432 198.51.100.2:8080 8080"},
		{"%DOWNSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_WIRE_BYTES_SENT% %REQUEST_HEADERS_BYTES% %UPSTREAM_HEADER_BYTES_SENT%", "700 700 0 0"},
		{"%UPSTREAM_CONNECTION_POOL_READY_DURATION% %COMMON_DURATION(US_CX_BEG:US_CX_END:us)%", "3 2000"},
		{"%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %PATH% %QUERY_PARAMS% %QUERY_PARAM(a)%", "- - - - - -"},
		{"%CONNECTION_TERMINATION_DETAILS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS% %GRPC_STATUS_NUMBER%", "rbac_access_denied - - -"},
		{"%DOWNSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_LOCAL_CLOSE_REASON%", "RemoteReset idle timeout"},
		{"%UPSTREAM_DETECTED_CLOSE_TYPE% %UPSTREAM_LOCAL_CLOSE_REASON%", "Normal -"},
		{"%STREAM_ID% %CONNECTION_ID% %UPSTREAM_CONNECTION_ID% %PROTOCOL% %UPSTREAM_PROTOCOL%", "- 5 6 - -"},
	} {
		if got := string(mustCompile(t, &Config{Format: tt.format}).Append(nil, newConnectionRecord())); got != tt.want+"\n" {
			t.Errorf("format %q\n got %q\nwant %q", tt.format, got, tt.want+"\n")
		}
	}
	got := string(mustCompile(t, &Config{JSONFormat: map[string]any{"s": "%RESPONSE_CODE%", "p": "%PROTOCOL%", "n": "%BYTES_SENT%"}}).Append(nil, newConnectionRecord()))
	if want := `{"n":9000,"p":null,"s":0}` + "\n"; got != want {
		t.Errorf("JSON = %q; want %q", got, want)
	}
}

// TestConnectionFilter: filters on what only requests have see an empty request, with the status 0.
func TestConnectionFilter(t *testing.T) {
	t.Parallel()
	types := func(exclude bool, names ...string) FilterConfig {
		return FilterConfig{LogType: &LogTypeConfig{Types: names, Exclude: exclude}}
	}
	for _, tt := range []struct {
		cfg  FilterConfig
		want bool
	}{
		{FilterConfig{StatusCode: &Comparison{"ge", 400}}, false},
		{FilterConfig{StatusCode: &Comparison{"eq", 0}}, true},
		{FilterConfig{StatusCode: &Comparison{"le", 499}}, true},
		{FilterConfig{Duration: &Comparison{"ge", 40}}, true},
		{FilterConfig{Duration: &Comparison{"ge", 41}}, false},
		{FilterConfig{ResponseFlags: &FlagsConfig{[]string{"UF"}}}, true},
		{FilterConfig{Header: &HeaderConfig{Name: ":path"}}, false},
		{FilterConfig{NotHealthCheck: &struct{}{}}, true},
		{types(false, "TcpConnectionEnd", "NotSet"), true},
		{types(false, "TcpPeriodic", "DownstreamEnd"), false},
		{types(true, "TcpPeriodic"), true},
		{types(true, "TcpConnectionEnd"), false},
		{FilterConfig{Metadata: &MetadataConfig{Namespace: "pp", Key: "PP2_TYPE_AUTHORITY"}}, true},
		{FilterConfig{Metadata: &MetadataConfig{Namespace: "pp", Key: "PP2_TYPE_AUTHORITY", Value: "x"}}, false},
		{FilterConfig{Metadata: &MetadataConfig{Namespace: "pp", Key: "PP2_TYPE_AUTHORITY", Value: "x", Invert: true}}, true},
		{FilterConfig{Metadata: &MetadataConfig{Namespace: "none", Key: "x", MatchIfNotFound: true}}, true},
		{FilterConfig{GRPCStatus: &GRPCStatusConfig{Statuses: []string{"UNKNOWN"}}}, true},
	} {
		f, err := newFilter(&tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.match(newConnectionRecord()); got != tt.want {
			t.Errorf("match of %+v = %v; want %v", tt.cfg, got, tt.want)
		}
	}
}

func TestGRPCStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		contentType, trailer, header string
		status                       uint16
		want                         string // CAMEL_STRING, SNAKE_STRING, NUMBER, GRPC_STATUS_NUMBER
		unavailable                  bool   // the filter
	}{
		{"application/grpc", "14", "", 200, "Unavailable UNAVAILABLE 14 14", true},
		{"application/grpc+proto", "0", "5", 200, "OK OK 0 0", false},
		{"application/grpc", "", "5", 200, "NotFound NOT_FOUND 5 5", false},
		{"application/grpc", "99", "", 200, "99 99 99 99", false},
		{"application/grpc", "x", "", 200, "InvalidCode InvalidCode InvalidCode -", false},
		{"application/grpc", "", "", 503, "Unavailable UNAVAILABLE 14 14", true},
		{"application/grpc", "", "", 404, "Unimplemented UNIMPLEMENTED 12 12", false},
		{"application/grpc", "", "", 0, "- - - -", false},
		{"application/grpc-web", "14", "", 200, "- - - -", true},
		{"text/plain", "", "", 502, "- - - -", true},
	} {
		r := newRecord()
		r.Status = tt.status
		r.Request.AddString("Content-Type", tt.contentType)
		if tt.header != "" {
			r.Response.AddString("Grpc-Status", tt.header)
		}
		if tt.trailer != "" {
			r.ResponseTrailers = new(codec.Fields)
			r.ResponseTrailers.AddString("grpc-status", tt.trailer)
		}
		const format = "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%"
		if got := string(mustCompile(t, &Config{Format: format}).Append(nil, r)); got != tt.want+"\n" {
			t.Errorf("%+v: %q", tt, got)
		}
		f, _ := newFilter(&FilterConfig{GRPCStatus: &GRPCStatusConfig{Statuses: []string{"UNAVAILABLE"}}})
		if got := f.match(r); got != tt.unavailable {
			t.Errorf("%+v: the filter of UNAVAILABLE says %v", tt, got)
		}
	}
}

func TestConnectionFilterValidate(t *testing.T) {
	t.Parallel()
	var got []string
	report := func(path, problem, _ string) { got = append(got, path+": "+problem) }
	(&LogTypeConfig{Types: []string{"NotSet", "TcpEnd"}}).Validate(report)
	(&GRPCStatusConfig{Statuses: []string{"OK", "CANCELED", "Ok"}}).Validate(report)
	want := `types[1]: unknown type "TcpEnd"|statuses[2]: unknown gRPC status "Ok"`
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("Validate = %q; want %q", s, want)
	}
}
