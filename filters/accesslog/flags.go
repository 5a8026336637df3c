package accesslog

import (
	"math/bits"
	"strings"
)

// Flags say what went wrong with a stream, or was done to it. They are the %RESPONSE_FLAGS%
// of the log; a stream may have several.
type Flags uint32

// The flags, in Envoy's order.
const (
	FlagFailedLocalHealthCheck          Flags = 1 << iota // LH: the process fails its health checks
	FlagNoHealthyUpstream                                 // UH: no host is fit to serve
	FlagUpstreamRequestTimeout                            // UT: the upstream did not answer in time
	FlagLocalReset                                        // LR: we reset the upstream connection
	FlagUpstreamRemoteReset                               // UR: the upstream reset the stream
	FlagUpstreamConnectionFailure                         // UF: no connection to the host
	FlagUpstreamConnectionTermination                     // UC: the upstream closed in the middle
	FlagUpstreamOverflow                                  // UO: a circuit breaker is open
	FlagNoRoute                                           // NR: no route matches
	FlagDelayInjected                                     // DI: the fault filter delayed it
	FlagFaultInjected                                     // FI: the fault filter aborted it
	FlagRateLimited                                       // RL: over a rate limit
	FlagUnauthorizedExternal                              // UAEX: the authorization service refused it
	FlagRateLimitServiceError                             // RLSE: the rate limit service failed
	FlagDownstreamConnectionTermination                   // DC: the downstream went away
	FlagUpstreamRetryLimitExceeded                        // URX: retries or connection attempts used up
	FlagStreamIdleTimeout                                 // SI: stream_idle_timeout
	FlagInvalidEnvoyRequestHeaders                        // IH: an x-envoy-* field with a bad value
	FlagDownstreamProtocolError                           // DPE: the request broke the protocol
	FlagUpstreamMaxDuration                               // UMSDR: the upstream's maximum duration
	FlagResponseFromCache                                 // RFCF: answered by a cache
	FlagNoFilterConfig                                    // NFCF: a filter's config did not arrive
	FlagDurationTimeout                                   // DT: max_stream_duration
	FlagUpstreamProtocolError                             // UPE: the response broke the protocol
	FlagNoClusterFound                                    // NC: the route names an unknown cluster
	FlagOverloadManager                                   // OM: ended for overload
	FlagDNSResolutionFailed                               // DF: the host's name did not resolve
	FlagDropOverload                                      // DO: the cluster sheds a share of its load
	FlagDownstreamRemoteReset                             // DR: the downstream reset the stream
	FlagUnconditionalDropOverload                         // UDO: the cluster sheds all of its load
	flagsEnd
)

// flagNames are the two spellings of each flag, by bit.
var flagNames = [...]struct{ short, long string }{
	{"LH", "FailedLocalHealthCheck"},
	{"UH", "NoHealthyUpstream"},
	{"UT", "UpstreamRequestTimeout"},
	{"LR", "LocalReset"},
	{"UR", "UpstreamRemoteReset"},
	{"UF", "UpstreamConnectionFailure"},
	{"UC", "UpstreamConnectionTermination"},
	{"UO", "UpstreamOverflow"},
	{"NR", "NoRouteFound"},
	{"DI", "DelayInjected"},
	{"FI", "FaultInjected"},
	{"RL", "RateLimited"},
	{"UAEX", "UnauthorizedExternalService"},
	{"RLSE", "RateLimitServiceError"},
	{"DC", "DownstreamConnectionTermination"},
	{"URX", "UpstreamRetryLimitExceeded"},
	{"SI", "StreamIdleTimeout"},
	{"IH", "InvalidEnvoyRequestHeaders"},
	{"DPE", "DownstreamProtocolError"},
	{"UMSDR", "UpstreamMaxStreamDurationReached"},
	{"RFCF", "ResponseFromCacheFilter"},
	{"NFCF", "NoFilterConfigFound"},
	{"DT", "DurationTimeout"},
	{"UPE", "UpstreamProtocolError"},
	{"NC", "NoClusterFound"},
	{"OM", "OverloadManagerTerminated"},
	{"DF", "DnsResolutionFailed"},
	{"DO", "DropOverload"},
	{"DR", "DownstreamRemoteReset"},
	{"UDO", "UnconditionalDropOverload"},
}

// AppendShort appends the short names, such as "UF,URX"; nothing for no flags.
func (f Flags) AppendShort(dst []byte) []byte {
	for rest := f & (flagsEnd - 1); rest != 0; rest &= rest - 1 {
		if rest != f&(flagsEnd-1) {
			dst = append(dst, ',')
		}
		dst = append(dst, flagNames[bits.TrailingZeros32(uint32(rest))].short...)
	}
	return dst
}

// AppendLong appends the long names, such as "UpstreamConnectionFailure".
func (f Flags) AppendLong(dst []byte) []byte {
	for rest := f & (flagsEnd - 1); rest != 0; rest &= rest - 1 {
		if rest != f&(flagsEnd-1) {
			dst = append(dst, ',')
		}
		dst = append(dst, flagNames[bits.TrailingZeros32(uint32(rest))].long...)
	}
	return dst
}

// String returns the short names.
func (f Flags) String() string { return string(f.AppendShort(nil)) }

// ParseFlag returns the flag with that short name; ok is false if there is none.
func ParseFlag(short string) (f Flags, ok bool) {
	for i := range flagNames {
		if strings.EqualFold(flagNames[i].short, short) {
			return 1 << i, true
		}
	}
	return 0, false
}
