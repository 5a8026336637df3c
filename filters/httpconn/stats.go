package httpconn

import (
	"millrace/codec"
	"millrace/engine/stats"
)

// managerStats counts one connection manager on one loop: "http.<stat_prefix>.".
type managerStats struct {
	CxTotal           stats.Counter `stat:"downstream_cx_total" help:"connections accepted"`
	CxActive          stats.Gauge   `stat:"downstream_cx_active" help:"connections now open"`
	CxHTTP1Total      stats.Counter `stat:"downstream_cx_http1_total" help:"HTTP/1 connections that have begun"`
	CxHTTP1Active     stats.Gauge   `stat:"downstream_cx_http1_active" help:"HTTP/1 connections now open"`
	CxHTTP2Total      stats.Counter `stat:"downstream_cx_http2_total" help:"HTTP/2 connections accepted"`
	CxHTTP2Active     stats.Gauge   `stat:"downstream_cx_http2_active" help:"HTTP/2 connections now open"`
	CxUpgradesTotal   stats.Counter `stat:"downstream_cx_upgrades_total" help:"connections that became tunnels"`
	CxUpgradesActive  stats.Gauge   `stat:"downstream_cx_upgrades_active" help:"tunnels now open"`
	CxDestroy         stats.Counter `stat:"downstream_cx_destroy" help:"connections ended"`
	CxDestroyLocal    stats.Counter `stat:"downstream_cx_destroy_local" help:"connections ended by the proxy"`
	CxDestroyRemote   stats.Counter `stat:"downstream_cx_destroy_remote" help:"connections ended by the peer"`
	CxDestroyActiveRq stats.Counter `stat:"downstream_cx_destroy_active_rq" help:"connections ended with a request under way"`
	CxDestroyLocalRq  stats.Counter `stat:"downstream_cx_destroy_local_active_rq" help:"connections ended by the proxy with a request under way"`
	CxDestroyRemoteRq stats.Counter `stat:"downstream_cx_destroy_remote_active_rq" help:"connections ended by the peer with a request under way"`
	CxProtocolError   stats.Counter `stat:"downstream_cx_protocol_error" help:"connections ended for a protocol error"`
	// Broken says which rule it was, by the name of the access log's detail.
	Broken              stats.Enum[codec.Reason] `stat:"downstream_cx_protocol_error." help:"connections ended because of this rule"`
	CxDrainClose        stats.Counter            `stat:"downstream_cx_drain_close" help:"connections closed by draining"`
	CxIdleTimeout       stats.Counter            `stat:"downstream_cx_idle_timeout" help:"connections closed at idle_timeout"`
	CxMaxDuration       stats.Counter            `stat:"downstream_cx_max_duration_reached" help:"connections closed at max_connection_duration"`
	CxMaxRequests       stats.Counter            `stat:"downstream_cx_max_requests_reached" help:"connections closed at max_requests_per_connection"`
	CxRxBytes           stats.Counter            `stat:"downstream_cx_rx_bytes_total" help:"bytes received"`
	CxTxBytes           stats.Counter            `stat:"downstream_cx_tx_bytes_total" help:"bytes sent"`
	CxLengthMs          stats.Histogram          `stat:"downstream_cx_length_ms" unit:"us" help:"life of a connection, milliseconds"`
	PausedReading       stats.Counter            `stat:"downstream_flow_control_paused_reading_total" help:"times reading of a request was paused"`
	ResumedReading      stats.Counter            `stat:"downstream_flow_control_resumed_reading_total" help:"times reading of a request was resumed"`
	RqTotal             stats.Counter            `stat:"downstream_rq_total" help:"requests whose head was complete, or refused"`
	RqHTTP1Total        stats.Counter            `stat:"downstream_rq_http1_total" help:"HTTP/1 requests"`
	RqHTTP2Total        stats.Counter            `stat:"downstream_rq_http2_total" help:"HTTP/2 requests"`
	RqPrematureResets   stats.Counter            `stat:"downstream_rq_too_many_premature_resets" help:"connections ended because too many of their requests were reset"`
	RqActive            stats.Gauge              `stat:"downstream_rq_active" help:"requests under way"`
	RqRxReset           stats.Counter            `stat:"downstream_rq_rx_reset" help:"requests given up by the peer"`
	RqTxReset           stats.Counter            `stat:"downstream_rq_tx_reset" help:"requests whose response the proxy broke off"`
	RqNonRelativePath   stats.Counter            `stat:"downstream_rq_non_relative_path" help:"requests without a path that starts with a slash"`
	RqTooLarge          stats.Counter            `stat:"downstream_rq_too_large" help:"requests refused with 413"`
	RsTooLarge          stats.Counter            `stat:"rs_too_large" help:"responses too large to be buffered"`
	RqCompleted         stats.Counter            `stat:"downstream_rq_completed" help:"responses sent"`
	Rq1xx               stats.Counter            `stat:"downstream_rq_1xx" help:"1xx responses sent"`
	Rq2xx               stats.Counter            `stat:"downstream_rq_2xx" help:"2xx responses sent"`
	Rq3xx               stats.Counter            `stat:"downstream_rq_3xx" help:"3xx responses sent"`
	Rq4xx               stats.Counter            `stat:"downstream_rq_4xx" help:"4xx responses sent"`
	Rq5xx               stats.Counter            `stat:"downstream_rq_5xx" help:"5xx responses sent"`
	RqUpgradeRefused    stats.Counter            `stat:"downstream_rq_ws_on_non_ws_route" help:"upgrades refused because the route has none"`
	RqIdleTimeout       stats.Counter            `stat:"downstream_rq_idle_timeout" help:"requests ended at stream_idle_timeout"`
	RqTimeout           stats.Counter            `stat:"downstream_rq_timeout" help:"requests ended at request_timeout"`
	RqHeaderTimeout     stats.Counter            `stat:"downstream_rq_header_timeout" help:"requests ended at request_headers_timeout"`
	TxFlushTimeout      stats.Counter            `stat:"downstream_cx_tx_flush_timeout" help:"connections cut off because the peer took nothing of the last response for stream_idle_timeout"`
	RqMaxDuration       stats.Counter            `stat:"downstream_rq_max_duration_reached" help:"requests ended at max_stream_duration"`
	RqEarlyResponse     stats.Counter            `stat:"downstream_rq_response_before_rq_complete" help:"responses complete before their request"`
	RqFailedPath        stats.Counter            `stat:"downstream_rq_failed_path_normalization" help:"requests refused for their path"`
	RqRedirectedPath    stats.Counter            `stat:"downstream_rq_redirected_with_normalized_path" help:"requests redirected to their normalized path"`
	RqTime              stats.Histogram          `stat:"downstream_rq_time" unit:"us" help:"first byte in to last byte out, milliseconds"`
	DroppedUnderscores  stats.Counter            `stat:"http1.dropped_headers_with_underscores" help:"fields dropped for an underscore"`
	RejectedUnderscores stats.Counter            `stat:"http1.requests_rejected_with_underscores_in_headers" help:"requests refused for an underscore"`
}

// countStatus counts a response by its class.
func (m *managerStats) countStatus(status int) {
	m.RqCompleted.Inc()
	switch status / 100 {
	case 1:
		m.Rq1xx.Inc()
	case 2:
		m.Rq2xx.Inc()
	case 3:
		m.Rq3xx.Inc()
	case 4:
		m.Rq4xx.Inc()
	case 5:
		m.Rq5xx.Inc()
	}
}

// listenerStats counts the responses of one manager for one listener on one loop:
// "listener.<address>.http.<stat_prefix>.".
type listenerStats struct {
	RqCompleted stats.Counter `stat:"downstream_rq_completed" help:"responses sent"`
	Rq1xx       stats.Counter `stat:"downstream_rq_1xx" help:"1xx responses sent"`
	Rq2xx       stats.Counter `stat:"downstream_rq_2xx" help:"2xx responses sent"`
	Rq3xx       stats.Counter `stat:"downstream_rq_3xx" help:"3xx responses sent"`
	Rq4xx       stats.Counter `stat:"downstream_rq_4xx" help:"4xx responses sent"`
	Rq5xx       stats.Counter `stat:"downstream_rq_5xx" help:"5xx responses sent"`
}

// countStatus counts a response by its class.
func (l *listenerStats) countStatus(status int) {
	l.RqCompleted.Inc()
	switch status / 100 {
	case 1:
		l.Rq1xx.Inc()
	case 2:
		l.Rq2xx.Inc()
	case 3:
		l.Rq3xx.Inc()
	case 4:
		l.Rq4xx.Inc()
	case 5:
		l.Rq5xx.Inc()
	}
}
