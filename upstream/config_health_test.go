package upstream

import (
	"slices"
	"strings"
	"testing"
)

func TestHealthCheckValidate(t *testing.T) {
	t.Parallel()
	http := func(edit func(*HealthCheckConfig)) *HealthCheckConfig {
		h := DefaultHealthCheckConfig("http")
		h.Path = "/up"
		edit(&h)
		return &h
	}
	of := func(kind string, edit func(*HealthCheckConfig)) *HealthCheckConfig {
		h := DefaultHealthCheckConfig(kind)
		edit(&h)
		return &h
	}
	send := &Payload{String: "x"}
	for _, tt := range []struct {
		name string
		h    *HealthCheckConfig
		want string // paths
	}{
		{"http", http(func(*HealthCheckConfig) {}), ""},
		{"no path", http(func(h *HealthCheckConfig) { h.Path = "" }), "path"},
		{"a bad path", http(func(h *HealthCheckConfig) { h.Path = "/a b" }), "path"},
		{"a line in the path", http(func(h *HealthCheckConfig) { h.Path = "/a\r\nx: y" }), "path"},
		{"a line in the host", http(func(h *HealthCheckConfig) { h.Host = "a\r\nx: y" }), "host"},
		{"GET with a body", http(func(h *HealthCheckConfig) { h.Send = send }), "send"},
		{"POST with a body", http(func(h *HealthCheckConfig) { h.Method, h.Send = "POST", send }), ""},
		{"two names", http(func(h *HealthCheckConfig) { h.ServiceName, h.ServiceNameMatcher = "a", &NameMatcher{} }), "service_name"},
		{"fields", http(func(h *HealthCheckConfig) {
			h.RequestHeadersToAdd = []HealthHeaderConfig{{Key: "ok"}, {Key: "a b"}, {Key: "Host"}, {Key: "x", Value: "a\nb"}}
		}), "request_headers_to_add[1].key request_headers_to_add[2].key request_headers_to_add[3].value"},
		{"tcp", of("tcp", func(*HealthCheckConfig) {}), ""},
		{"tcp that sends and does not look", of("tcp", func(h *HealthCheckConfig) { h.Send = send }), "send"},
		{"tcp with a path", of("tcp", func(h *HealthCheckConfig) { h.Path = "/" }), "path"},
		{"redis with a service", of("redis", func(h *HealthCheckConfig) { h.ServiceName = "a" }), "service_name"},
		{"grpc with a key", of("grpc", func(h *HealthCheckConfig) { h.RedisKey = "a" }), "redis_key"},
		{"grpc", of("grpc", func(h *HealthCheckConfig) { h.ServiceName, h.Authority = "a", "b" }), ""},
	} {
		var got []string
		tt.h.Validate(func(path, _, _ string) { got = append(got, path) })
		if !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%s: problems at %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestHealthConfigOfCluster(t *testing.T) {
	t.Parallel()
	c := DefaultConfig("c")
	c.IgnoreNewHostsUntilFirstHC = true
	paths := func() (got []string) {
		c.Validate(func(path, _, _ string) { got = append(got, path) })
		return got
	}
	if got := paths(); !slices.Equal(got, []string{"ignore_new_hosts_until_first_hc"}) {
		t.Errorf("without checks: problems at %q", got)
	}
	h := DefaultHealthCheckConfig("tcp")
	h.Port = 9
	c.HealthChecks, c.Hosts = []HealthCheckConfig{h}, []HostConfig{{Address: "unix:@a"}}
	if got := paths(); !slices.Equal(got, []string{"health_checks[0].port"}) {
		t.Errorf("a port of a unix socket: problems at %q", got)
	}
	if f := c.newHostHealth(); f != FailedActiveCheck|PendingActiveCheck {
		t.Errorf("a new host begins with %b", f)
	}
	o := DefaultConfig("c")
	o.HealthChecks = []HealthCheckConfig{h}
	if !c.SameChecks(&o) {
		t.Error("SameChecks with other hosts = false")
	}
	o.HealthChecks = []HealthCheckConfig{DefaultHealthCheckConfig("tcp")}
	if none := DefaultConfig("c"); c.SameChecks(&o) || c.SameChecks(&none) || none.SameChecks(&c) {
		t.Error("SameChecks with other checks, or none = true")
	}
}

func TestHealthShortForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want StatusRange
		ok   bool
	}{
		{"200", StatusRange{200, 201}, true}, {"200-299", StatusRange{200, 300}, true}, {"100-599", StatusRange{100, 600}, true},
		{"99", StatusRange{}, false}, {"600", StatusRange{}, false}, {"2xx", StatusRange{}, false}, {"", StatusRange{}, false},
	} {
		var r StatusRange
		if err := r.DecodeConfigString(tt.in); (err == nil) != tt.ok || tt.ok && r != tt.want {
			t.Errorf("status range %q = %v, %v", tt.in, r, err)
		}
	}
	empty := false
	(&StatusRange{300, 200}).Validate(func(string, string, string) { empty = true })
	if !empty {
		t.Error("an empty range is fine")
	}
	for in, want := range map[string]string{"50494e47": "PING", "": "", "5": "", "xy": ""} {
		var p Payload
		err := p.DecodeConfigString(in)
		if (err == nil) != (want != "") || string(p.Bytes()) != want {
			t.Errorf("payload %q = %q, %v", in, p.Bytes(), err)
		}
	}
	for _, tt := range []struct {
		p    Payload
		good bool
	}{{Payload{Hex: "ff"}, true}, {Payload{String: "a"}, true}, {Payload{}, false}, {Payload{Hex: "f"}, false}, {Payload{Hex: "ff", String: "a"}, false}} {
		good := true
		tt.p.Validate(func(string, string, string) { good = false })
		if good != tt.good {
			t.Errorf("payload %+v is fine: %t", tt.p, good)
		}
	}
	for _, tt := range []struct {
		m    NameMatcher
		good bool
	}{{NameMatcher{Exact: "shop-eu"}, true}, {NameMatcher{Prefix: "shop"}, true}, {NameMatcher{Suffix: "eu"}, true}, {NameMatcher{Contains: "p-e"}, true},
		{NameMatcher{Exact: "shop"}, false}, {NameMatcher{Prefix: "eu"}, false}, {NameMatcher{Suffix: "shop"}, false}, {NameMatcher{Contains: "us"}, false}} {
		if got := tt.m.Matches("shop-eu"); got != tt.good {
			t.Errorf("%+v matches shop-eu: %t", tt.m, got)
		}
	}
	none := 0
	(&NameMatcher{}).Validate(func(string, string, string) { none++ })
	(&NameMatcher{Exact: "a", Prefix: "b"}).Validate(func(string, string, string) { none++ })
	if none != 2 {
		t.Error("matchers of none and of two are fine")
	}
}

func TestReplaceHealth(t *testing.T) {
	t.Parallel()
	var h Host
	for _, tt := range []struct {
		mask, to, want HealthFlag
		changed        bool
	}{
		{FailedOutlier, FailedOutlier, FailedOutlier, true},
		{FailedActiveCheck | ActiveCheckTimeout, FailedActiveCheck | ActiveCheckTimeout, FailedOutlier | FailedActiveCheck | ActiveCheckTimeout, false},
		{ActiveCheckTimeout | ExcludedImmediate, ExcludedImmediate, FailedOutlier | FailedActiveCheck | ExcludedImmediate, true},
		{FailedActiveCheck | ExcludedImmediate, 0, FailedOutlier, true},
		{FailedOutlier, DegradedActiveCheck, 0, true},
	} {
		if changed := h.ReplaceHealth(tt.mask, tt.to); changed != tt.changed || h.Health() != tt.want {
			t.Errorf("ReplaceHealth(%b, %b) = %t, flags %b; want %t, %b", tt.mask, tt.to, changed, h.Health(), tt.changed, tt.want)
		}
	}
}
