package codec

import "encoding/binary"

// FieldID names a field the proxy knows. There are fewer than 64, so that the ones
// present fit in a bitmap.
type FieldID uint8

const (
	FieldOther FieldID = iota // a field with a name of its own
	FieldHost
	FieldConnection
	FieldContentLength
	FieldTransferEncoding
	FieldTE
	FieldTrailer
	FieldUpgrade
	FieldKeepAlive
	FieldProxyConnection
	FieldExpect
	FieldVia
	FieldServer
	FieldDate
	FieldLocation
	FieldContentType
	FieldUserAgent
	FieldReferer
	FieldCookie
	FieldSetCookie
	FieldAuthorization
	FieldAccept
	FieldAcceptEncoding
	FieldCacheControl
	FieldXForwardedFor
	FieldXForwardedProto
	FieldXForwardedHost
	FieldXForwardedPort
	FieldXRequestID
	FieldXEnvoyInternal
	FieldXEnvoyExternalAddress
	FieldXEnvoyOriginalPath
	FieldXEnvoyOriginalHost
	FieldXEnvoyRetryOn
	FieldXEnvoyMaxRetries
	FieldXEnvoyUpstreamRqTimeoutMs
	FieldXEnvoyUpstreamRqPerTryTimeoutMs
	FieldXEnvoyExpectedRqTimeoutMs
	FieldXEnvoyAttemptCount
	FieldXEnvoyUpstreamServiceTime
	FieldXEnvoyOverloaded
	FieldXEnvoyForceTrace
	FieldXEnvoyDecoratorOperation
	FieldXEnvoyDownstreamServiceCluster
	FieldXEnvoyDownstreamServiceNode
	FieldXEnvoyUpstreamHealthcheckedCluster
	FieldXEnvoyImmediateHealthCheckFail
	FieldXEnvoyRateLimited
	FieldXEnvoyRetryGrpcOn
	FieldXEnvoyHedgeOnPerTryTimeout
	FieldXEnvoyUpstreamAltStatName
	FieldXEnvoyUpstreamRqTimeoutAltResponse
	FieldXEnvoyRetriableStatusCodes
	FieldXEnvoyRetriableHeaderNames
	FieldXEnvoyIPTags
	FieldXEnvoyOriginalURL
	FieldXEnvoyIsTimeoutRetry
	FieldProxyAuthenticate
	FieldProxyAuthorization
	FieldContentEncoding
	FieldRetryAfter
	fieldCount

	FieldRemoved FieldID = 255 // what an entry becomes when it is removed
)

// Invariant: every id has its bit.
const _ = uint(64 - fieldCount)

// fieldNameMax is the longest name a Field can hold, in bytes.
const fieldNameMax = 1<<16 - 1

var fieldNames = [fieldCount]string{
	FieldHost:                               "host",
	FieldConnection:                         "connection",
	FieldContentLength:                      "content-length",
	FieldTransferEncoding:                   "transfer-encoding",
	FieldTE:                                 "te",
	FieldTrailer:                            "trailer",
	FieldUpgrade:                            "upgrade",
	FieldKeepAlive:                          "keep-alive",
	FieldProxyConnection:                    "proxy-connection",
	FieldExpect:                             "expect",
	FieldVia:                                "via",
	FieldServer:                             "server",
	FieldDate:                               "date",
	FieldLocation:                           "location",
	FieldContentType:                        "content-type",
	FieldUserAgent:                          "user-agent",
	FieldReferer:                            "referer",
	FieldCookie:                             "cookie",
	FieldSetCookie:                          "set-cookie",
	FieldAuthorization:                      "authorization",
	FieldAccept:                             "accept",
	FieldAcceptEncoding:                     "accept-encoding",
	FieldCacheControl:                       "cache-control",
	FieldXForwardedFor:                      "x-forwarded-for",
	FieldXForwardedProto:                    "x-forwarded-proto",
	FieldXForwardedHost:                     "x-forwarded-host",
	FieldXForwardedPort:                     "x-forwarded-port",
	FieldXRequestID:                         "x-request-id",
	FieldXEnvoyInternal:                     "x-envoy-internal",
	FieldXEnvoyExternalAddress:              "x-envoy-external-address",
	FieldXEnvoyOriginalPath:                 "x-envoy-original-path",
	FieldXEnvoyOriginalHost:                 "x-envoy-original-host",
	FieldXEnvoyRetryOn:                      "x-envoy-retry-on",
	FieldXEnvoyMaxRetries:                   "x-envoy-max-retries",
	FieldXEnvoyUpstreamRqTimeoutMs:          "x-envoy-upstream-rq-timeout-ms",
	FieldXEnvoyUpstreamRqPerTryTimeoutMs:    "x-envoy-upstream-rq-per-try-timeout-ms",
	FieldXEnvoyExpectedRqTimeoutMs:          "x-envoy-expected-rq-timeout-ms",
	FieldXEnvoyAttemptCount:                 "x-envoy-attempt-count",
	FieldXEnvoyUpstreamServiceTime:          "x-envoy-upstream-service-time",
	FieldXEnvoyOverloaded:                   "x-envoy-overloaded",
	FieldXEnvoyForceTrace:                   "x-envoy-force-trace",
	FieldXEnvoyDecoratorOperation:           "x-envoy-decorator-operation",
	FieldXEnvoyDownstreamServiceCluster:     "x-envoy-downstream-service-cluster",
	FieldXEnvoyDownstreamServiceNode:        "x-envoy-downstream-service-node",
	FieldXEnvoyUpstreamHealthcheckedCluster: "x-envoy-upstream-healthchecked-cluster",
	FieldXEnvoyImmediateHealthCheckFail:     "x-envoy-immediate-health-check-fail",
	FieldXEnvoyRateLimited:                  "x-envoy-ratelimited",
	FieldXEnvoyRetryGrpcOn:                  "x-envoy-retry-grpc-on",
	FieldXEnvoyHedgeOnPerTryTimeout:         "x-envoy-hedge-on-per-try-timeout",
	FieldXEnvoyUpstreamAltStatName:          "x-envoy-upstream-alt-stat-name",
	FieldXEnvoyUpstreamRqTimeoutAltResponse: "x-envoy-upstream-rq-timeout-alt-response",
	FieldXEnvoyRetriableStatusCodes:         "x-envoy-retriable-status-codes",
	FieldXEnvoyRetriableHeaderNames:         "x-envoy-retriable-header-names",
	FieldXEnvoyIPTags:                       "x-envoy-ip-tags",
	FieldXEnvoyOriginalURL:                  "x-envoy-original-url",
	FieldXEnvoyIsTimeoutRetry:               "x-envoy-is-timeout-retry",
	FieldProxyAuthenticate:                  "proxy-authenticate",
	FieldProxyAuthorization:                 "proxy-authorization",
	FieldContentEncoding:                    "content-encoding",
	FieldRetryAfter:                         "retry-after",
}

// String returns the name in lower case, "" for FieldOther and FieldRemoved.
func (id FieldID) String() string {
	if id < fieldCount {
		return fieldNames[id]
	}
	return ""
}

// knownSlots is a hash table without collisions over fieldNames: slot to id. The multiplier was
// searched for at random; when a new name collides, search for another one.
var knownSlots = makeKnownSlots()

const (
	knownBits = 9
	knownMul  = 0xe531edcf43c73b0d
)

func makeKnownSlots() (t [1 << knownBits]FieldID) {
	for id := FieldHost; id < fieldCount; id++ {
		slot := knownSlot([]byte(fieldNames[id]))
		if t[slot] != FieldOther {
			panic("BUG: codec: known field names collide: " + fieldNames[id])
		}
		t[slot] = id
	}
	return t
}

// knownSlot hashes the length and four characters that tell the names apart.
//
// Precondition: len(name) >= 2.
func knownSlot(name []byte) uint64 {
	n := len(name)
	h := uint64(n)<<32 | uint64(name[0]|0x20)<<24 | uint64(name[n-1]|0x20)<<16 |
		uint64(name[n*3/4]|0x20)<<8 | uint64(name[n/2]|0x20)
	return h * knownMul >> (64 - knownBits)
}

// KnownField returns the id of name, in any spelling, or FieldOther.
//
// Hot path: BenchmarkKnownField. One hash, one comparison.
func KnownField(name []byte) FieldID {
	if len(name) < 2 {
		return FieldOther
	}
	id := knownSlots[knownSlot(name)]
	if id == FieldOther || !equalKnown(name, fieldNames[id]) {
		return FieldOther
	}
	return id
}

// equalKnown reports whether name is known, which is in lower case, in any spelling.
func equalKnown(name []byte, known string) bool {
	if len(name) != len(known) {
		return false
	}
	i := 0
	for ; i+8 <= len(name); i += 8 {
		x := binary.LittleEndian.Uint64(name[i:])
		k := known[i : i+8]
		c := uint64(k[0]) | uint64(k[1])<<8 | uint64(k[2])<<16 | uint64(k[3])<<24 |
			uint64(k[4])<<32 | uint64(k[5])<<40 | uint64(k[6])<<48 | uint64(k[7])<<56
		// Letters have bit 0x40, "-" has not: only letters may differ, and only in bit 0x20.
		if (x^c)&^(c>>1&0x2020202020202020) != 0 {
			return false
		}
	}
	for ; i < len(name); i++ {
		c := known[i]
		if (name[i]^c)&^(c>>1&0x20) != 0 {
			return false
		}
	}
	return true
}

// knownFieldString is KnownField for a string. Names longer than any known one
// are told apart before the copy, which stays on the stack.
func knownFieldString(name string) FieldID {
	var b [40]byte
	if len(name) > len(b) {
		return FieldOther
	}
	return KnownField(b[:copy(b[:], name)])
}
