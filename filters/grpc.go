package filters

import (
	"bytes"
	"strconv"

	"millrace/codec"
	"millrace/codec/ascii"
)

// The gRPC status codes that stand for an HTTP status.
const (
	GRPCUnknown          = 2
	GRPCDeadlineExceeded = 4
	GRPCPermissionDenied = 7
	GRPCUnimplemented    = 12
	GRPCInternal         = 13
	GRPCUnavailable      = 14
	GRPCUnauthenticated  = 16
)

// IsGRPC reports whether a content-type is application/grpc, or that with the name of an encoding behind a plus.
func IsGRPC(contentType []byte) bool {
	const name = "application/grpc"
	if len(contentType) < len(name) || !ascii.EqualFoldString(contentType[:len(name)], name) {
		return false
	}
	rest := contentType[len(name):]
	return len(rest) == 0 || rest[0] == '+' || bytes.HasPrefix(bytes.TrimLeft(rest, " \t"), []byte(";"))
}

// GRPCOfHTTP returns the gRPC status that stands for an HTTP status, by the mapping of the gRPC project.
func GRPCOfHTTP(status int) int {
	switch status {
	case 400:
		return GRPCInternal
	case 401:
		return GRPCUnauthenticated
	case 403:
		return GRPCPermissionDenied
	case 404:
		return GRPCUnimplemented
	case 429, 502, 503, 504:
		return GRPCUnavailable
	}
	return GRPCUnknown
}

// IsGRPCServerError reports whether a gRPC status speaks against the host, as a 5xx does.
func IsGRPCServerError(status []byte) bool {
	switch string(status) {
	case "2", "4", "12", "13", "14", "15":
		return true
	}
	return false
}

// SetGRPCStatus sets grpc-status and grpc-message for a local reply.
func SetGRPCStatus(f *codec.Fields, r *LocalReply) {
	status := r.GRPCStatus
	if status == 0 && r.Status != 200 {
		status = GRPCOfHTTP(r.Status)
	}
	f.SetString("grpc-status", strconv.Itoa(status))
	if r.Body != "" {
		f.SetString("grpc-message", string(AppendGRPCMessage(nil, r.Body)))
	}
}

// AppendGRPCMessage appends text as grpc-message carries it: percent-encoded but for printable ASCII.
func AppendGRPCMessage(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// HTTPOfGRPC returns the HTTP status that stands for a gRPC status, as in Envoy and google.rpc.Code: 500 for what is none.
func HTTPOfGRPC(code int64) int {
	if code >= 0 && code < int64(len(httpOfGRPC)) {
		return httpOfGRPC[code]
	}
	return 500
}

// httpOfGRPC is by gRPC status.
var httpOfGRPC = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
