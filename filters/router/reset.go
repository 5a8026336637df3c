package router

import (
	"strconv"

	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream/pool"
)

// resetText is the beginning of the body of every answer to a reset, as in Envoy.
const resetText = "upstream connect error or disconnect/reset before headers. reset reason: "

// overflowReply answers what a circuit breaker refused.
var overflowReply = filters.LocalReply{
	Status: 503, Body: resetText + "overflow", Details: "upstream_reset_before_response_started{overflow}",
	Flags: accesslog.FlagUpstreamOverflow, Overloaded: true,
}

// keptTooMuchReply answers a request whose body outgrew the buffer limit while it waited to be sent again.
var keptTooMuchReply = filters.LocalReply{
	Status: 507, Body: "exceeded request buffer limit while retrying upstream",
	Details: "request_payload_exceeded_retry_buffer_limit",
}

// resetBodies are the bodies of the answers, by reason.
var resetBodies = [...]string{
	pool.ConnectFailure:        resetText + "remote connection failure",
	pool.ConnectTimeout:        resetText + "connection timeout",
	pool.ConnectionTermination: resetText + "connection termination",
	pool.RemoteReset:           resetText + "remote reset",
	pool.ProtocolError:         resetText + "protocol error",
	pool.Overflow:              resetText + "overflow",
	pool.LocalClose:            resetText + "local reset",
	pool.RefusedStream:         resetText + "remote refused stream reset",
	pool.PendingTimeout:        resetText + "overflow",
}

// resetDetails are the %RESPONSE_CODE_DETAILS%, by reason.
var resetDetails = [...]string{
	pool.ConnectFailure:        "upstream_reset_before_response_started{remote_connection_failure}",
	pool.ConnectTimeout:        "upstream_reset_before_response_started{connection_timeout}",
	pool.ConnectionTermination: "upstream_reset_before_response_started{connection_termination}",
	pool.RemoteReset:           "upstream_reset_before_response_started{remote_reset}",
	pool.ProtocolError:         "upstream_reset_before_response_started{protocol_error}",
	pool.Overflow:              "upstream_reset_before_response_started{overflow}",
	pool.LocalClose:            "upstream_reset_before_response_started{local_reset}",
	pool.RefusedStream:         "upstream_reset_before_response_started{remote_refused_stream_reset}",
	pool.PendingTimeout:        "upstream_reset_before_response_started{pending_timeout}",
}

// resetFlag returns the response flag of a reset.
func resetFlag(why pool.ResetReason) accesslog.Flags {
	switch why {
	case pool.ConnectFailure, pool.ConnectTimeout:
		return accesslog.FlagUpstreamConnectionFailure
	case pool.ConnectionTermination:
		return accesslog.FlagUpstreamConnectionTermination
	case pool.RemoteReset, pool.RefusedStream:
		return accesslog.FlagUpstreamRemoteReset
	case pool.ProtocolError:
		return accesslog.FlagUpstreamProtocolError
	case pool.Overflow, pool.PendingTimeout:
		return accesslog.FlagUpstreamOverflow
	default:
		return accesslog.FlagLocalReset
	}
}

// resetStatus returns the status a reset is answered with: garbage is 502, all else 503.
func resetStatus(why pool.ResetReason) int {
	if why == pool.ProtocolError {
		return 502
	}
	return 503
}

// appendUint appends n in decimal.
func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }
