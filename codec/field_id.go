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
	FieldXForwardedClientCert
	FieldXEnvoyOriginalDstHost
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
	FieldXForwardedClientCert:               "x-forwarded-client-cert",
	FieldXEnvoyOriginalDstHost:              "x-envoy-original-dst-host",
}

// fieldNameBytes is fieldNames as slices. Never written.
var fieldNameBytes = makeFieldNameBytes()

func makeFieldNameBytes() (t [fieldCount][]byte) {
	for id, name := range fieldNames {
		t[id] = []byte(name)
	}
	return t
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

// FieldSet is a set of known fields.
type FieldSet uint64

// SetOf returns the set of some fields.
func SetOf(ids ...FieldID) (s FieldSet) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// KnownField returns the id of name, in any spelling, or FieldOther.
//
// Hot path: BenchmarkKnownField. One hash, one comparison.
func KnownField(name []byte) FieldID {
	if len(name) < 2 {
		return FieldOther
	}
	id := knownSlots[knownSlot(name)]
	if id == FieldOther || !equalKnown(name, fieldNameBytes[id]) {
		return FieldOther
	}
	return id
}

// equalKnown reports whether name is known, which is in lower case, in any spelling. Eight or four bytes a step, the
// last step over bytes seen before.
func equalKnown(name, known []byte) bool {
	n := len(name)
	if n != len(known) {
		return false
	}
	if n < 8 {
		return equalShort(name, known)
	}
	for i := 0; i+8 < n; i += 8 {
		if !equalWord(binary.LittleEndian.Uint64(name[i:]), binary.LittleEndian.Uint64(known[i:])) {
			return false
		}
	}
	return equalWord(binary.LittleEndian.Uint64(name[n-8:]), binary.LittleEndian.Uint64(known[n-8:]))
}

func equalShort(name, known []byte) bool {
	n := len(name)
	if n < 4 {
		for i, c := range known {
			if !equalWord(uint64(name[i]), uint64(c)) {
				return false
			}
		}
		return true
	}
	x := uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[n-4:]))<<32
	k := uint64(binary.LittleEndian.Uint32(known)) | uint64(binary.LittleEndian.Uint32(known[n-4:]))<<32
	return equalWord(x, k)
}

// equalWord compares eight bytes with eight lower-case ones. Letters have bit 0x40, "-" has not: only letters may
// differ, and only in bit 0x20.
func equalWord(x, known uint64) bool {
	return (x^known)&^(known>>1&0x2020202020202020) == 0
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
