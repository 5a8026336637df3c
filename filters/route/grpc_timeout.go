package route

import (
	"time"

	"millrace/codec"
	"millrace/codec/ascii"
)

// GRPCTimeout returns how long a request may last that tells so in grpc-timeout, 0 for ever. It reports false if the route
// does not go by that, or the request does not tell.
func (r *Route) GRPCTimeout(h *codec.RequestHead) (d time.Duration, ok bool) {
	if r.forward == nil || r.forward.duration == nil || r.forward.duration.GRPCTimeoutHeaderMax == nil {
		return 0, false
	}
	if d, ok = ParseGRPCTimeout(h.Lookup("grpc-timeout")); !ok {
		return 0, false
	}
	cfg := r.forward.duration
	if most := *cfg.GRPCTimeoutHeaderMax; most > 0 && (d == 0 || d > most) {
		d = most
	}
	if off := cfg.GRPCTimeoutHeaderOffset; off < d {
		d -= off
	}
	return d, true
}

// MaxStreamDuration returns how long a stream may last, 0 for ever, where the connection manager says most: what the route
// says counts for more, and what a gRPC request says of itself, which has a deadline of its own then, for most.
func (r *Route) MaxStreamDuration(h *codec.RequestHead, most time.Duration) time.Duration {
	if r.forward == nil || r.forward.duration == nil {
		return most
	}
	if _, ok := r.GRPCTimeout(h); ok {
		return 0
	}
	if d := r.forward.duration.MaxStreamDuration; d != nil {
		return *d
	}
	return most
}

// grpcTimeoutDigits is the most digits of a grpc-timeout, by its specification.
const grpcTimeoutDigits = 8

// ParseGRPCTimeout reads a grpc-timeout: up to eight digits and a unit.
func ParseGRPCTimeout(b []byte) (d time.Duration, ok bool) {
	if len(b) < 2 || len(b) > grpcTimeoutDigits+1 {
		return 0, false
	}
	n, ok := ascii.ParseInt(b[:len(b)-1])
	if !ok {
		return 0, false
	}
	switch b[len(b)-1] {
	case 'H':
		return time.Duration(min(n, int64(1<<63-1)/int64(time.Hour))) * time.Hour, true
	case 'M':
		return time.Duration(n) * time.Minute, true
	case 'S':
		return time.Duration(n) * time.Second, true
	case 'm':
		return time.Duration(n) * time.Millisecond, true
	case 'u':
		return time.Duration(n) * time.Microsecond, true
	case 'n':
		return time.Duration(n), true
	}
	return 0, false
}

// duration returns what the route says of how long streams last, and of grpc-timeout by either name; nil for nothing.
func (cfg *ForwardConfig) duration() *StreamDurationConfig {
	if cfg.MaxGRPCTimeout != nil {
		d := &StreamDurationConfig{GRPCTimeoutHeaderMax: cfg.MaxGRPCTimeout}
		if cfg.GRPCTimeoutOffset != nil {
			d.GRPCTimeoutHeaderOffset = *cfg.GRPCTimeoutOffset
		}
		return d
	}
	return cfg.MaxStreamDuration
}

// validateGRPCTimeout reports the older names beside the newer, and an offset of nothing.
func (cfg *ForwardConfig) validateGRPCTimeout(report reporter) {
	switch older := cfg.MaxGRPCTimeout != nil; {
	case older && cfg.MaxStreamDuration != nil:
		report("max_grpc_timeout", "max_grpc_timeout is another name of what max_stream_duration says", "write max_stream_duration alone")
	case !older && cfg.GRPCTimeoutOffset != nil:
		report("grpc_timeout_offset", "without max_grpc_timeout it has no effect", "give max_grpc_timeout, or write max_stream_duration")
	}
}
