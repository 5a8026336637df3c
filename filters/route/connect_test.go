package route

import (
	"testing"
	"time"

	"millrace/codec"
)

// TestTerminates: CONNECT ends here where the route says so, and POST only where that is said too.
func TestTerminates(t *testing.T) {
	t.Parallel()
	table := compile(t, `{"routes": [
		{"match": {"connect_matcher": {}}, "route": {"cluster": "c1", "connect_config": {"proxy_protocol_config": {"version": "v2"}}}},
		{"match": {"path": "/post"}, "route": {"cluster": "c1", "connect_config": {"allow_post": true}}},
		{"match": {"prefix": "/"}, "route": {"cluster": "c1"}}]}`)
	for _, tt := range []struct {
		route   int
		method  codec.Method
		ends    bool
		version int
	}{
		{0, codec.MethodCONNECT, true, 2}, {0, codec.MethodPOST, false, 2},
		{1, codec.MethodPOST, true, 0}, {1, codec.MethodGET, false, 0},
		{2, codec.MethodPOST, false, 0}, {2, codec.MethodCONNECT, false, 0},
	} {
		var h codec.RequestHead
		h.SetMethod(tt.method)
		r := table.Route(tt.route)
		if got := r.Terminates(&h); got != tt.ends {
			t.Errorf("route %d, method %v: %v", tt.route, tt.method, got)
		}
		if v := r.ConnectProxyVersion(); v != tt.version {
			t.Errorf("route %d: version %d", tt.route, v)
		}
	}
	if u := table.Route(0).Upgrade([]byte("connect")); u != UpgradeAllowed {
		t.Errorf("connect_config does not allow CONNECT: %v", u)
	}
	if u := table.Route(2).Upgrade([]byte("connect")); u != UpgradeUnset {
		t.Errorf("without it: %v", u)
	}
}

// TestOlderGRPCTimeout: the older names mean what the newer do.
func TestOlderGRPCTimeout(t *testing.T) {
	t.Parallel()
	r := compile(t, `{"routes": [{"match": {"prefix": "/"},
		"route": {"cluster": "c1", "max_grpc_timeout": "10s", "grpc_timeout_offset": "1s"}}]}`).Route(0)
	for value, want := range map[string]time.Duration{"5S": 4 * time.Second, "1M": 9 * time.Second} {
		var h codec.RequestHead
		h.AddString("grpc-timeout", value)
		if d, ok := r.GRPCTimeout(&h); !ok || d != want {
			t.Errorf("%s: %v, %v; want %v", value, d, ok, want)
		}
	}
}
