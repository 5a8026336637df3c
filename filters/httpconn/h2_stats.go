package httpconn

import (
	"millrace/codec"
	"millrace/engine/stats"
)

// http2Stats counts the downstream side of HTTP/2 of all managers on one loop: "http2.".
type http2Stats struct {
	StreamsActive   stats.Gauge              `stat:"streams_active" help:"streams now open"`
	PendingSend     stats.Gauge              `stat:"pending_send_bytes" help:"bytes of responses that wait for a window"`
	Held            stats.Gauge              `stat:"held_bytes" help:"bytes of heads of requests and of responses that wait for a window"`
	Swollen         stats.Gauge              `stat:"swollen_head_bytes" help:"bytes of heads of requests beyond 4 KiB each"`
	RxReset         stats.Counter            `stat:"rx_reset" help:"streams reset by the peer"`
	TxReset         stats.Counter            `stat:"tx_reset" help:"streams reset by the proxy"`
	RxMessaging     stats.Counter            `stat:"rx_messaging_error" help:"streams reset because of what the peer sent"`
	Broken          stats.Enum[codec.Reason] `stat:"stream_error." help:"streams reset because of this rule"`
	HeaderOverflow  stats.Counter            `stat:"header_overflow" help:"requests answered with 431 or 414, or connections ended, for their header block"`
	StreamRefused   stats.Counter            `stat:"stream_refused_errors" help:"streams refused: max_concurrent_streams, max_swollen_head_bytes, max_held_bytes, or no memory"`
	Trailers        stats.Counter            `stat:"trailers" help:"requests with trailers"`
	GoAwaySent      stats.Counter            `stat:"goaway_sent" help:"GOAWAY frames sent"`
	KeepaliveMissed stats.Counter            `stat:"keepalive_timeout" help:"connections ended because a PING was not answered"`
	TxFlushTimeout  stats.Counter            `stat:"tx_flush_timeout" help:"streams reset because the peer opened no window for stream_idle_timeout"`
	PendingOverflow stats.Counter            `stat:"pending_send_overflow" help:"streams reset because of max_held_bytes"`
	ControlFlood    stats.Counter            `stat:"outbound_control_flood" help:"connections ended because of max_outbound_control_frames"`
	EmptyFlood      stats.Counter            `stat:"inbound_empty_frames_flood" help:"connections ended because of empty frames"`
	PriorityFlood   stats.Counter            `stat:"inbound_priority_frames_flood" help:"connections ended because of PRIORITY frames"`
	WindowFlood     stats.Counter            `stat:"inbound_window_update_frames_flood" help:"connections ended because of WINDOW_UPDATE frames"`
	OtherFlood      stats.Counter            `stat:"inbound_control_frames_flood" help:"connections ended because of PING, SETTINGS or unknown frames"`
	ContinueFlood   stats.Counter            `stat:"continuation_flood" help:"connections ended because of CONTINUATION frames"`
	Inadequate      stats.Counter            `stat:"inadequate_security" help:"connections ended because of the cipher suite of their TLS"`
	SettingsTimeout stats.Counter            `stat:"settings_timeout" help:"connections ended because SETTINGS were not acknowledged"`
}

// countConn counts the rule for which a connection ends.
func (st *http2Stats) countConn(why codec.Reason) {
	switch why {
	case codec.ReasonEmptyFrames:
		st.EmptyFlood.Inc()
	case codec.ReasonPriorityFlood:
		st.PriorityFlood.Inc()
	case codec.ReasonWindowUpdateFlood:
		st.WindowFlood.Inc()
	case codec.ReasonPingFlood, codec.ReasonSettingsFlood, codec.ReasonUnknownFlood:
		st.OtherFlood.Inc()
	case codec.ReasonContinuations:
		st.ContinueFlood.Inc()
	case codec.ReasonHeadTooLarge:
		st.HeaderOverflow.Inc()
	case codec.ReasonSettingsTimeout:
		st.SettingsTimeout.Inc()
	}
}

// countStream counts the rule for which a stream was reset.
func (st *http2Stats) countStream(why codec.Reason) {
	st.Broken.Inc(why)
	st.TxReset.Inc()
	switch why {
	case codec.ReasonTooManyStreams:
		st.StreamRefused.Inc()
	case codec.ReasonHeadTooLarge, codec.ReasonTooManyFields, codec.ReasonTargetTooLong, codec.ReasonHeadSwells:
		st.HeaderOverflow.Inc()
	default:
		st.RxMessaging.Inc()
	}
}
