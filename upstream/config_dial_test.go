package upstream

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// problems returns what Validate reports, a line each.
func problems(validate func(func(path, problem, hint string))) string {
	var all []string
	validate(func(path, problem, _ string) { all = append(all, path+": "+problem) })
	return strings.Join(all, "\n")
}

func TestValidateDial(t *testing.T) {
	t.Parallel()
	source := func(s string, hosts ...string) func(*Config) {
		return func(c *Config) {
			c.UpstreamBindConfig = &BindConfig{SourceAddress: s}
			for _, h := range hosts {
				c.Hosts = append(c.Hosts, HostConfig{Address: h})
			}
		}
	}
	for _, tt := range []struct {
		name string
		edit func(*Config)
		want string // a part of it; "" is none
	}{
		{"source", source("10.0.0.5:0", "10.0.0.1:80"), ""},
		{"source with a port", source("[fd00::1]:99", "[fd00::2]:80"), ""},
		{"any source", source("0.0.0.0:99", "10.0.0.1:80"), ""},
		{"no address", source("nobody", "10.0.0.1:80"), "upstream_bind_config.source_address: "},
		{"nothing to bind", source("0.0.0.0:0"), "is no address to connect from"},
		{"unix source", source("unix:/a"), "is no address to connect from"},
		{"other family", source("10.0.0.5:0", "10.0.0.1:80", "[fd00::2]:80"), "is not of the family of hosts[1]"},
		{"unix host", source("10.0.0.5:0", "unix:/a"), "is not of the family of hosts[0]"},
		{"header", func(c *Config) { c.ProxyProtocol = &ProxyProtocolConfig{Version: "v1"} }, ""},
		{"header of many", func(c *Config) {
			c.ProxyProtocol, c.Protocol = &ProxyProtocolConfig{Version: "v1"}, "http2"
		}, "proxy_protocol: a connection of protocol"},
	} {
		c := DefaultConfig("c")
		tt.edit(&c)
		if got := problems(c.Validate); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	k := &TCPKeepalive{KeepaliveTime: 1500 * time.Millisecond}
	if got := problems(k.Validate); !strings.Contains(got, "keepalive_time: 1.5s is not a whole number of seconds") {
		t.Errorf("keepalive: %q", got)
	}
}

func TestDialOptions(t *testing.T) {
	t.Parallel()
	c := DefaultConfig("c")
	if o := c.DialOptions(); o != nil {
		t.Errorf("DialOptions of the defaults = %+v, want nil", o)
	}
	c.UpstreamBindConfig = &BindConfig{SourceAddress: "10.0.0.5:0", Freebind: true}
	c.UpstreamConnectionOptions.TCPKeepalive = &TCPKeepalive{KeepaliveProbes: 3, KeepaliveTime: time.Minute, KeepaliveInterval: time.Second}
	o := c.DialOptions()
	if o.Source.String() != "10.0.0.5:0" || !o.Freebind || o.KeepAlive.Probes != 3 || o.KeepAlive.Idle != time.Minute || o.KeepAlive.Interval != time.Second {
		t.Errorf("DialOptions = %+v", o)
	}
	same := c
	bind := *c.UpstreamBindConfig
	same.UpstreamBindConfig = &bind
	if !c.SameConnections(&same) {
		t.Error("SameConnections with an equal source = false")
	}
	bind.Freebind = false
	if c.SameConnections(&same) {
		t.Error("SameConnections with another source = true")
	}
}

func TestProxyProtocolConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  ProxyProtocolConfig
		want string
	}{
		{"v1", ProxyProtocolConfig{Version: "v1"}, ""},
		{"v2", ProxyProtocolConfig{Version: "v2", PassThroughTLVs: &PassThroughTLVs{}, AllowUnspecifiedAddress: true,
			AddedTLVs: []TLVConfig{{Type: 224}, {Type: 225}}}, ""},
		{"passed in v1", ProxyProtocolConfig{Version: "v1", PassThroughTLVs: &PassThroughTLVs{}}, "pass_through_tlvs: "},
		{"added in v1", ProxyProtocolConfig{Version: "v1", AddedTLVs: []TLVConfig{{Type: 224}}}, "added_tlvs: "},
		{"unspecified in v1", ProxyProtocolConfig{Version: "v1", AllowUnspecifiedAddress: true}, "allow_unspecified_address: "},
		{"twice", ProxyProtocolConfig{Version: "v2", AddedTLVs: []TLVConfig{{Type: 224}, {Type: 224}}}, "added_tlvs[1].type: type 224 is that of added_tlvs[0]"},
	} {
		if got := problems(tt.cfg.Validate); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		cfg  TLVConfig
		want string
	}{
		{TLVConfig{Type: 224, Value: "x"}, ""},
		{TLVConfig{Type: 224, ValueBase64: "AAE="}, ""},
		{TLVConfig{Type: 224, Value: "x", ValueBase64: "AAE="}, "are both given"},
		{TLVConfig{Type: 224, ValueBase64: "!"}, "is not Base64"},
		{TLVConfig{Type: 224, Value: strings.Repeat("x", tlvBytesMax+1)}, "exceed the maximum"},
		{TLVConfig{Type: 3, Value: "x"}, "has no value to choose"},
	} {
		if got := problems(tt.cfg.Validate); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%.40v: %q, want %q", tt.cfg, got, tt.want)
		}
	}
	for _, tt := range []struct {
		cfg   PassThroughTLVs
		want  string
		keeps []uint8
	}{
		{PassThroughTLVs{MatchType: "include_all"}, "", []uint8{0, 1, 2, 255}},
		{PassThroughTLVs{MatchType: "include_all", TLVType: []int{1}}, "takes all types", []uint8{0, 1, 2, 255}},
		{PassThroughTLVs{MatchType: "include"}, "keeps nothing", nil},
		{PassThroughTLVs{MatchType: "include", TLVType: []int{2, 3}}, "", []uint8{2}},
	} {
		if got := problems(tt.cfg.Validate); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.cfg, got, tt.want)
		}
		for _, kind := range []uint8{0, 1, 2, tlvCRC32C, 255} {
			if got := tt.cfg.Keeps(kind); got != slices.Contains(tt.keeps, kind) {
				t.Errorf("%+v: Keeps(%d) = %v", tt.cfg, kind, got)
			}
		}
	}
	a := &ProxyProtocolConfig{Version: "v2", PassThroughTLVs: &PassThroughTLVs{MatchType: "include", TLVType: []int{1}}}
	b := &ProxyProtocolConfig{Version: "v2", PassThroughTLVs: &PassThroughTLVs{MatchType: "include", TLVType: []int{1}}}
	if !a.same(b) || a.same(nil) || !(*ProxyProtocolConfig)(nil).same(nil) {
		t.Error("same is wrong about equal headers, or none")
	}
	if b.PassThroughTLVs.TLVType[0] = 2; a.same(b) {
		t.Error("same with other types = true")
	}
}
