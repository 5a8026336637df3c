package upstream

import (
	"fmt"
	"time"

	"millrace/engine"
)

// BindConfig says where connections to hosts come from.
type BindConfig struct {
	// SourceAddress is the address to connect from, such as "10.0.0.5:0"; port 0 lets the kernel pick one. It must
	// be of the family of all hosts. Required.
	SourceAddress string `json:"source_address" required:"true"`
	// Freebind allows an address that the machine does not have yet. Default false.
	Freebind bool `json:"freebind" default:"false"`
}

// ConnectionOptions are options of the sockets to hosts.
type ConnectionOptions struct {
	// TCPKeepalive probes silent connections. Absent: the kernel does not probe.
	TCPKeepalive *TCPKeepalive `json:"tcp_keepalive"`
}

// TCPKeepalive is how silent connections are probed. Zero fields take the kernel's own setting.
type TCPKeepalive struct {
	// KeepaliveProbes is the number of unanswered probes after which the connection ends. 0 to 127. Default 0.
	KeepaliveProbes int `json:"keepalive_probes" default:"0" min:"0" max:"127"`
	// KeepaliveTime is the silence before the first probe, in whole seconds. 0 to 32767s. Default 0.
	KeepaliveTime time.Duration `json:"keepalive_time" default:"0s" min:"0s" max:"32767s"`
	// KeepaliveInterval is the time between probes, in whole seconds. 0 to 32767s. Default 0.
	KeepaliveInterval time.Duration `json:"keepalive_interval" default:"0s" min:"0s" max:"32767s"`
}

// Validate reports times that the kernel cannot keep.
func (k *TCPKeepalive) Validate(report func(path, problem, hint string)) {
	for _, f := range []struct {
		path string
		d    time.Duration
	}{{"keepalive_time", k.KeepaliveTime}, {"keepalive_interval", k.KeepaliveInterval}} {
		if f.d%time.Second != 0 {
			report(f.path, fmt.Sprintf("%s is not a whole number of seconds", f.d), "")
		}
	}
}

// checkSource reports a source address from which hosts cannot be reached.
func (c *Config) checkSource(report func(path, problem, hint string)) {
	if c.UpstreamBindConfig == nil {
		return
	}
	const path = "upstream_bind_config.source_address"
	src, err := engine.ParseAddr(c.UpstreamBindConfig.SourceAddress)
	switch {
	case err != nil:
		report(path, err.Error(), "")
		return
	case src.IsUnix() || src.NetIP().IsUnspecified() && src.Port() == 0:
		report(path, fmt.Sprintf("%q is no address to connect from", c.UpstreamBindConfig.SourceAddress), "write an IP address and port 0")
		return
	}
	for i := range c.Hosts {
		a, err := engine.ParseAddr(c.Hosts[i].Address)
		if err == nil && (a.IsUnix() || a.NetIP().Is4() != src.NetIP().Is4()) {
			report(path, fmt.Sprintf("%q is not of the family of hosts[%d]", c.UpstreamBindConfig.SourceAddress, i),
				"put hosts of the other family into a cluster of their own")
			return
		}
	}
}

// DialOptions returns how to connect to the hosts, nil for the defaults.
func (c *Config) DialOptions() *engine.DialOptions {
	b, k := c.UpstreamBindConfig, c.UpstreamConnectionOptions.TCPKeepalive
	if b == nil && k == nil {
		return nil
	}
	o := &engine.DialOptions{}
	if b != nil {
		if a, err := engine.ParseAddr(b.SourceAddress); err == nil { // Validate has seen it
			o.Source, o.Freebind = a, b.Freebind
		}
	}
	if k != nil {
		o.KeepAlive = &engine.KeepAlive{Probes: k.KeepaliveProbes, Idle: k.KeepaliveTime, Interval: k.KeepaliveInterval}
	}
	return o
}

// sameDial reports whether connections are opened in the same way.
func (c *Config) sameDial(o *Config) bool {
	return equal(c.UpstreamBindConfig, o.UpstreamBindConfig) &&
		equal(c.UpstreamConnectionOptions.TCPKeepalive, o.UpstreamConnectionOptions.TCPKeepalive)
}

// equal compares what two pointers point to.
func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}
