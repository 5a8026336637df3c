package accesslog

import (
	"bytes"

	"millrace/codec"
)

// The parts of a traceparent of version 00: "00-" trace-id "-" parent-id "-" trace-flags, of 32, 16 and 2 digits.
// W3C Trace Context section 3.2.
const (
	traceIDBegin     = 3
	traceIDEnd       = traceIDBegin + 32
	traceParentEnd   = traceIDEnd + 1 + 16
	traceParentBytes = traceParentEnd + 1 + 2
)

// traceID prints the trace that the request belongs to by its traceparent field; nothing if that is not valid.
func traceID(o *operator, r *Record) []byte {
	v := requestField(o, r)
	if len(v) < traceParentBytes || v[2] != '-' || v[traceIDEnd] != '-' || v[traceParentEnd] != '-' {
		return nil
	}
	// "If a higher version is detected, the implementation SHOULD try to parse it": more may follow a dash then.
	version := v[:2]
	if !isHex(version) || string(version) == "ff" || len(v) > traceParentBytes && (string(version) == "00" || v[traceParentBytes] != '-') {
		return nil
	}
	id, parent, flags := v[traceIDBegin:traceIDEnd], v[traceIDEnd+1:traceParentEnd], v[traceParentEnd+1:traceParentBytes]
	if !isHex(id) || !isHex(parent) || !isHex(flags) || isZeros(id) || isZeros(parent) {
		return nil
	}
	return id
}

// isHex reports whether b consists of digits of hexadecimal numbers in lower case.
func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZeros(b []byte) bool { return len(bytes.Trim(b, "0")) == 0 }

// traceOperator is TRACE_ID.
func traceOperator() operator {
	return operator{bytes: traceID, field: field{id: codec.KnownField([]byte("traceparent")), name: "traceparent"}}
}
