package upstream

import (
	"time"

	"millrace/codec"
	"millrace/codec/h2"
)

// HTTP2Config is how HTTP/2 connections to the hosts of a cluster behave.
type HTTP2Config struct {
	// MaxConcurrentStreams is how many requests a connection carries at once, if its host allows as many. More open
	// another connection. 1 to 1000000. Default 1024.
	MaxConcurrentStreams uint32 `json:"max_concurrent_streams" default:"1024" min:"1" max:"1000000"`
	// InitialStreamWindowSize is how much of one response may be under way and not yet taken by the downstream
	// side. A size, 65535 to 2^31-1. Default 256KiB.
	InitialStreamWindowSize uint32 `json:"initial_stream_window_size" default:"256KiB" min:"65535" max:"2147483647" unit:"bytes"`
	// InitialConnectionWindowSize is how much of all responses of a connection may be. A size, 65535 to 2^31-1. Default
	// 1MiB.
	InitialConnectionWindowSize uint32 `json:"initial_connection_window_size" default:"1MiB" min:"65535" max:"2147483647" unit:"bytes"`
	// MaxPausedResponseBytes is how much of responses that slow clients hold up is kept beside the window of their
	// connection, so that they do not hold up the others. Beyond it they do. A size. Default 16MiB.
	MaxPausedResponseBytes uint32 `json:"max_paused_response_bytes" default:"16MiB" max:"1GiB" unit:"bytes"`
	// HpackTableSize bounds the tables of header compression, one for each direction of a connection. A size, up to
	// 64KiB. Default 4096.
	HpackTableSize uint32 `json:"hpack_table_size" default:"4096" max:"64KiB" unit:"bytes"`
	// ConnectionKeepalive asks silent hosts whether they are there. Absent: they are not asked.
	ConnectionKeepalive *KeepaliveConfig `json:"connection_keepalive"`
	// MaxInboundResets is how many requests of a connection its host may reset at once, refusals included, and
	// MaxInboundResetsPerSecond how many in the long run. Beyond it the connection ends. Default 10000, and 1000.
	MaxInboundResets uint32 `json:"max_inbound_resets" default:"10000" min:"1" max:"1000000"`
	// MaxInboundResetsPerSecond: see max_inbound_resets.
	MaxInboundResetsPerSecond uint32 `json:"max_inbound_resets_per_second" default:"1000" min:"1" max:"1000000"`
	// MaxInboundControlFrames is how many frames that carry nothing (PING, SETTINGS, WINDOW_UPDATE and the like) may come
	// on a connection at once, beside those that traffic explains; a tenth as many a second in the long run. Beyond
	// it the connection ends. Default 1000.
	MaxInboundControlFrames uint32 `json:"max_inbound_control_frames" default:"1000" min:"10" max:"1000000"`
	// MaxConsecutiveEmptyFrames is how many frames without content and without an end may come in a row. Beyond
	// it the connection ends. Default 10.
	MaxConsecutiveEmptyFrames uint32 `json:"max_consecutive_inbound_frames_with_empty_payload" default:"10" max:"1000000"`
	// MaxContinuationFrames is how many CONTINUATION frames a head may have. Beyond it the connection ends. Default 10.
	MaxContinuationFrames uint32 `json:"max_continuation_frames" default:"10" max:"1000"`
}

// KeepaliveConfig is when connections are asked, by PING, whether the host is there.
type KeepaliveConfig struct {
	// Interval is the time between PINGs. 0 sends none at regular times. Default 0.
	Interval time.Duration `json:"interval" default:"0s" min:"0s"`
	// Timeout is how long an answer may take before the connection ends. Anything else the host sends is one too.
	// Required, 1ms to 1h.
	Timeout time.Duration `json:"timeout" required:"true" min:"1ms" max:"1h"`
	// IntervalJitter lengthens each interval by a random share of it, up to so many percent. Default 15.
	IntervalJitter float64 `json:"interval_jitter" default:"15" unit:"percent"`
	// ConnectionIdleInterval sends a PING along with the first request on a connection that carried none for so long.
	// 0 is never. Default 0.
	ConnectionIdleInterval time.Duration `json:"connection_idle_interval" default:"0s" min:"0s"`
}

// DefaultHTTP2Config returns the defaults.
func DefaultHTTP2Config() HTTP2Config {
	return HTTP2Config{
		MaxConcurrentStreams:        1024,
		InitialStreamWindowSize:     256 << 10,
		InitialConnectionWindowSize: 1 << 20,
		MaxPausedResponseBytes:      16 << 20,
		HpackTableSize:              4096,
		MaxInboundResets:            10000,
		MaxInboundResetsPerSecond:   1000,
		MaxInboundControlFrames:     1000,
		MaxConsecutiveEmptyFrames:   10,
		MaxContinuationFrames:       10,
	}
}

// IsHTTP2 reports whether the hosts may speak HTTP/2.
func (c *Config) IsHTTP2() bool { return c.Protocol == "http2" || c.IsAuto() }

// IsAuto reports whether each connection speaks what its host agrees to.
func (c *Config) IsAuto() bool { return c.Protocol == "auto" }

// HTTP2Options returns what an HTTP/2 connection to a host is allowed. l is kept.
func (c *Config) HTTP2Options(l *codec.Limits) *h2.Options {
	o, cfg := h2.DefaultOptions(l), &c.HTTP2
	o.ConcurrentStreams = cfg.MaxConcurrentStreams
	o.StreamWindow, o.ConnWindow = cfg.InitialStreamWindowSize, cfg.InitialConnectionWindowSize
	o.TableBytes, o.EncoderTableBytes = cfg.HpackTableSize, cfg.HpackTableSize
	o.Resets, o.ResetsPerSecond = int32(cfg.MaxInboundResets), int32(cfg.MaxInboundResetsPerSecond)
	o.ControlFrames, o.ControlFramesPerSecond = int32(cfg.MaxInboundControlFrames), int32(cfg.MaxInboundControlFrames/10)
	o.EmptyFrames, o.Continuations = int32(cfg.MaxConsecutiveEmptyFrames), int(cfg.MaxContinuationFrames)
	return &o
}

// checkProtocol reports a protocol that cannot be had, and options of it that make no sense.
func (c *Config) checkProtocol(report func(path, problem, hint string)) {
	if c.Protocol == "auto" && c.TLS == nil {
		report("protocol", "\"auto\" chooses by ALPN, which needs TLS to the hosts", "write \"http1\" or \"http2\", or give \"tls\"")
	}
	c.checkALPN(report)
	if k := c.HTTP2.ConnectionKeepalive; k != nil && k.Interval > 0 && k.Interval <= k.Timeout {
		report("http2_protocol_options.connection_keepalive.interval", "it is not above timeout", "")
	}
}

// sameHTTP2 reports whether HTTP/2 connections are treated in the same way.
func (c *Config) sameHTTP2(o *Config) bool {
	a, b := c.HTTP2, o.HTTP2
	same := equal(a.ConnectionKeepalive, b.ConnectionKeepalive)
	a.ConnectionKeepalive, b.ConnectionKeepalive = nil, nil
	return same && a == b
}
