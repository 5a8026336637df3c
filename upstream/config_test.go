package upstream

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestDecodeConfigString(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in string
		ok bool
	}{
		{"10.0.0.1:80", true},
		{"[::1]:80", true},
		{"unix:/run/app.sock", true},
		{"unix:@abstract", true},
		{"example.com:80", true},
		{"_http._tcp.example.com", true},
		{"ex ample.com:80", false},
		{"10.0.0.1", false},
		{"", false},
	} {
		h := HostConfig{Weight: 7}
		err := h.DecodeConfigString(tt.in)
		if (err == nil) != tt.ok {
			t.Errorf("DecodeConfigString(%q) = %v, want ok %t", tt.in, err, tt.ok)
		}
		if want := (HostConfig{Address: tt.in, Weight: 1}); tt.ok && !reflect.DeepEqual(h, want) {
			t.Errorf("DecodeConfigString(%q) gives %+v, want %+v", tt.in, h, want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*Config)
		want []string // paths
	}{
		{"defaults", func(*Config) {}, nil},
		{"http2", func(c *Config) { c.Protocol = "http2" }, nil},
		{"auto needs TLS", func(c *Config) { c.Protocol = "auto" }, []string{"protocol"}},
		{"http2 with a PROXY header", func(c *Config) { c.Protocol, c.ProxyProtocol = "http2", &ProxyProtocolConfig{Version: "v1"} },
			[]string{"proxy_protocol"}},
		{"PINGs overlap", func(c *Config) {
			c.HTTP2.ConnectionKeepalive = &KeepaliveConfig{Interval: time.Second, Timeout: time.Second}
		}, []string{"http2_protocol_options.connection_keepalive.interval"}},
		{"bad address", func(c *Config) { c.Hosts = []HostConfig{{Address: "web"}} }, []string{"hosts[0].address"}},
		{"no one host", func(c *Config) {
			c.Hosts = []HostConfig{{Address: ":80"}, {Address: "10.0.0.1:0"}, {Address: "0.0.0.0:80"}, {Address: "unix:@a"}}
		}, []string{"hosts[0].address", "hosts[1].address", "hosts[2].address"}},
		{"twice", func(c *Config) {
			c.Hosts = []HostConfig{{Address: "127.0.0.1:80"}, {Address: "127.0.0.1:81"}, {Address: "127.0.0.1:80"}}
		}, []string{"hosts[2].address"}},
		{"zones", func(c *Config) { z := DefaultZoneAwareConfig(); c.ZoneAware = &z }, nil},
		{"zones and weights of localities", func(c *Config) {
			c.ZoneAware, c.LocalityWeightedLbConfig = &ZoneAwareConfig{}, &LocalityWeightedConfig{}
		}, []string{"zone_aware_lb_config"}},
		{"zones and a hash", func(c *Config) { c.ZoneAware, c.LbPolicy = &ZoneAwareConfig{}, "maglev" }, []string{"zone_aware_lb_config"}},
		{"thresholds in two places", func(c *Config) {
			c.CircuitBreakers.MaxRequests = 5
			c.CircuitBreakers.Default = &Thresholds{}
		}, []string{"circuit_breakers"}},
		{"thresholds by priority", func(c *Config) {
			c.CircuitBreakers.Default, c.CircuitBreakers.High = &Thresholds{}, &Thresholds{}
		}, nil},
	} {
		c := DefaultConfig("c")
		tt.edit(&c)
		var got []string
		c.Validate(func(path, _, _ string) { got = append(got, path) })
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: problems at %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestThresholds(t *testing.T) {
	t.Parallel()
	four, eight, nine := uint32(4), uint32(8), uint32(9)
	direct := CircuitBreakers{MaxConnections: 1, MaxPendingRequests: 2, MaxRequests: 3, MaxRetries: &four}
	both := CircuitBreakers{Default: &Thresholds{MaxRetries: &eight}, High: &Thresholds{MaxRetries: &nine}}
	for _, tt := range []struct {
		name string
		b    CircuitBreakers
		p    Priority
		want Thresholds
	}{
		{"direct", direct, Default, Thresholds{1, 2, 3, &four, nil}},
		{"direct leaves high alone", direct, High, DefaultThresholds()},
		{"default", both, Default, Thresholds{MaxRetries: &eight}},
		{"high", both, High, Thresholds{MaxRetries: &nine}},
	} {
		if got := tt.b.Thresholds(tt.p); got != tt.want {
			t.Errorf("%s: Thresholds(%d) = %+v, want %+v", tt.name, tt.p, got, tt.want)
		}
	}
}

func TestConfigAccessors(t *testing.T) {
	t.Parallel()
	c := DefaultConfig("web")
	if got := c.StatName(); got != "web" {
		t.Errorf("StatName = %q, want the name", got)
	}
	c.AltStatName = "w"
	if got := c.StatName(); got != "w" {
		t.Errorf("StatName = %q, want the other name", got)
	}
	c.MaxResponseHeadersKb, c.MaxHeadersCount = 8, 9
	if l := c.Limits(); l.HeadBytes != 8<<10 || l.FieldCount != 9 {
		t.Errorf("Limits = %+v, want 8 KiB and 9 fields", l)
	}
	o := DefaultConfig("web")
	if c.SameConnections(&o) {
		t.Error("SameConnections with other head limits = true")
	}
	c.MaxResponseHeadersKb, c.MaxHeadersCount = o.MaxResponseHeadersKb, o.MaxHeadersCount
	if c.LbPolicy = "random"; !c.SameConnections(&o) {
		t.Error("SameConnections with another policy = false")
	}
}
