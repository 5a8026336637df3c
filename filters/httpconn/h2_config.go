package httpconn

import (
	"time"

	"millrace/codec"
	"millrace/codec/h2"
)

// HTTP2Config is http2_protocol_options of the connection manager.
type HTTP2Config struct {
	// MaxConcurrentStreams is how many requests a connection may have under way; more are refused (REFUSED_STREAM).
	// Deviation: Envoy's default is 1024.
	MaxConcurrentStreams uint32 `json:"max_concurrent_streams" default:"100" min:"1" max:"65536"`
	// InitialStreamWindowSize is how much of the body of one request may be under way before an upstream has taken it.
	// Deviation: Envoy's default is 16 MiB.
	InitialStreamWindowSize uint32 `json:"initial_stream_window_size" default:"256KiB" min:"65535" max:"2147483647" unit:"bytes"`
	// InitialConnectionWindowSize is the same of all requests of a connection together. Deviation: Envoy's
	// default is 24 MiB.
	InitialConnectionWindowSize uint32 `json:"initial_connection_window_size" default:"1MiB" min:"65535" max:"2147483647" unit:"bytes"`
	// HpackTableSize is the size of the table of header fields in either direction.
	HpackTableSize uint32 `json:"hpack_table_size" default:"4KiB" min:"0" max:"64KiB" unit:"bytes"`
	// AllowConnect offers extended CONNECT (RFC 8441): WebSocket over HTTP/2. Which protocols a request may then
	// upgrade to is said by upgrades.
	AllowConnect bool `json:"allow_connect" default:"false"`
	// ConnectionKeepalive sends PINGs. Default: none.
	ConnectionKeepalive *KeepaliveConfig `json:"connection_keepalive"`
	// SettingsTimeout is how long the peer may take to acknowledge our SETTINGS. 0s: for ever.
	SettingsTimeout time.Duration `json:"settings_timeout" default:"10s" min:"0s"`

	// MaxOutboundControlFrames is how many frames of the protocol itself (acknowledgements, window updates, resets)
	// may wait for a peer that does not read. Beyond, the connection ends.
	MaxOutboundControlFrames int `json:"max_outbound_control_frames" default:"1000" min:"1"`
	// MaxHeldBytes is how much memory the heads of a connection's requests, and what of its responses the peer does not
	// take, may use. Beyond, a new request is refused (REFUSED_STREAM), and a response that wants more is reset
	// (ENHANCE_YOUR_CALM). While the connections of a loop hold more than a quarter of its blocks, it is at most
	// 256 KiB; from a sixteenth on, a stream whose client takes nothing is reset after 10 seconds.
	MaxHeldBytes int `json:"max_held_bytes" default:"16MiB" min:"64KiB" max:"1GiB" unit:"bytes"`
	// MaxSwollenHeadBytes is how much memory the heads of a connection's requests under way may use beyond 4 KiB each.
	// Beyond, a new request is refused (REFUSED_STREAM); one alone always has its place. While the swollen heads of a
	// loop use more than one in 256 of its blocks, it is at most 64 KiB.
	MaxSwollenHeadBytes int `json:"max_swollen_head_bytes" default:"1MiB" min:"0" max:"1GiB" unit:"bytes"`
	// MaxHeaderSwellBytes is how much longer than hpack_table_size and twice its length on the wire a header block may
	// be when it is decoded. Only a head that names the same entry of the table again and again is: it is answered
	// with 431.
	MaxHeaderSwellBytes int `json:"max_header_swell_bytes" default:"4KiB" min:"1KiB" max:"1GiB" unit:"bytes"`
	// MaxContinuationFrames is how many CONTINUATION frames a header block may have. Beyond, the connection ends.
	MaxContinuationFrames int `json:"max_continuation_frames" default:"10" min:"0" max:"1000"`
	// MaxResetsBurst is how many streams may be reset at once, by the peer or because of what it did, and
	// MaxResetsPerSecond how many in the long run. A malformed request, and a stream beyond max_concurrent_streams when the
	// peer has acknowledged that, count five times. Beyond, the connection ends.
	MaxResetsBurst int32 `json:"max_resets_burst" default:"100" min:"1" max:"1000000"`
	// MaxResetsPerSecond is how many streams may be reset in the long run: see max_resets_burst.
	MaxResetsPerSecond int32 `json:"max_resets_per_second" default:"10" min:"0" max:"1000000"`
	// MaxControlFramesBurst is how many frames that carry nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown
	// ones) may come at once beside those that traffic explains. Beyond, the connection ends.
	MaxControlFramesBurst int32 `json:"max_control_frames_burst" default:"1000" min:"10" max:"1000000"`
	// MaxControlFramesPerSecond is how many of them may come in the long run.
	MaxControlFramesPerSecond int32 `json:"max_control_frames_per_second" default:"100" min:"0" max:"1000000"`
	// MaxControlFramesPerData is how many more of them each frame with data or a head allows, in either direction: clients give
	// their windows back in small steps.
	MaxControlFramesPerData int32 `json:"max_control_frames_per_data" default:"20" min:"0" max:"1000"`
	// MaxConsecutiveInboundFramesWithEmptyPayload is how many frames without content and without an end may come
	// in a row. Beyond, the connection ends. Deviation: Envoy's default is 1.
	MaxConsecutiveInboundFramesWithEmptyPayload int32 `json:"max_consecutive_inbound_frames_with_empty_payload" default:"10" min:"0" max:"10000"`
}

// KeepaliveConfig is connection_keepalive of http2_protocol_options.
type KeepaliveConfig struct {
	// Interval between two PINGs.
	Interval time.Duration `json:"interval" required:"true" min:"1ms"`
	// Timeout is how long the peer may take to answer one. Beyond, the connection ends.
	Timeout time.Duration `json:"timeout" required:"true" min:"1ms"`
	// IntervalJitter is the share of the interval by which it varies at random, in percent.
	IntervalJitter float64 `json:"interval_jitter" default:"15" unit:"percent"`
}

// DefaultHTTP2Config returns the defaults.
func DefaultHTTP2Config() HTTP2Config {
	return HTTP2Config{
		MaxConcurrentStreams: 100, InitialStreamWindowSize: 256 << 10, InitialConnectionWindowSize: 1 << 20,
		HpackTableSize: 4096, SettingsTimeout: 10 * time.Second, MaxOutboundControlFrames: 1000,
		MaxHeldBytes: 16 << 20, MaxSwollenHeadBytes: 1 << 20, MaxHeaderSwellBytes: 4 << 10, MaxContinuationFrames: 10, MaxResetsBurst: 100, MaxResetsPerSecond: 10,
		MaxControlFramesBurst: 1000, MaxControlFramesPerSecond: 100, MaxControlFramesPerData: 20,
		MaxConsecutiveInboundFramesWithEmptyPayload: 10,
	}
}

// options returns what the codec needs of c.
func (c *HTTP2Config) options(l *codec.Limits) h2.Options {
	o := h2.DefaultOptions(l)
	o.ConcurrentStreams = c.MaxConcurrentStreams
	o.StreamWindow, o.ConnWindow = c.InitialStreamWindowSize, c.InitialConnectionWindowSize
	o.TableBytes, o.EncoderTableBytes = c.HpackTableSize, c.HpackTableSize
	o.ConnectProtocol = c.AllowConnect
	o.SwellBytes = c.MaxHeaderSwellBytes
	o.Continuations = c.MaxContinuationFrames
	o.Resets, o.ResetsPerSecond = c.MaxResetsBurst, c.MaxResetsPerSecond
	o.ControlFrames, o.ControlFramesPerSecond = c.MaxControlFramesBurst, c.MaxControlFramesPerSecond
	o.ControlFramesPerData = c.MaxControlFramesPerData
	o.EmptyFrames = c.MaxConsecutiveInboundFramesWithEmptyPayload
	return o
}
