package accesslog

import (
	"bytes"
	"fmt"
	"strconv"

	"millrace/codec"
	"millrace/codec/ascii"
)

// grpcNames are the names of gRPC status codes: as GRPC_STATUS prints them, and in capitals.
var grpcNames = [...]struct{ camel, snake string }{
	{"OK", "OK"},
	{"Canceled", "CANCELLED"},
	{"Unknown", "UNKNOWN"},
	{"InvalidArgument", "INVALID_ARGUMENT"},
	{"DeadlineExceeded", "DEADLINE_EXCEEDED"},
	{"NotFound", "NOT_FOUND"},
	{"AlreadyExists", "ALREADY_EXISTS"},
	{"PermissionDenied", "PERMISSION_DENIED"},
	{"ResourceExhausted", "RESOURCE_EXHAUSTED"},
	{"FailedPrecondition", "FAILED_PRECONDITION"},
	{"Aborted", "ABORTED"},
	{"OutOfRange", "OUT_OF_RANGE"},
	{"Unimplemented", "UNIMPLEMENTED"},
	{"Internal", "INTERNAL"},
	{"Unavailable", "UNAVAILABLE"},
	{"DataLoss", "DATA_LOSS"},
	{"Unauthenticated", "UNAUTHENTICATED"},
}

// The gRPC codes that stand for a response without one.
const (
	grpcUnknown          = 2
	grpcPermissionDenied = 7
	grpcUnimplemented    = 12
	grpcInternal         = 13
	grpcUnavailable      = 14
	grpcUnauthenticated  = 16
)

// The forms of GRPC_STATUS.
const (
	grpcCamel  = ""
	grpcSnake  = "SNAKE_STRING"
	grpcNumber = "NUMBER"
)

// parseGRPCStatus reads the form.
func parseGRPCStatus(o *operator, arg string) error {
	switch arg {
	case "", "CAMEL_STRING":
		o.text = grpcCamel
	case grpcSnake, grpcNumber:
		o.text = arg
	default:
		return fmt.Errorf("unknown form %q", arg)
	}
	return nil
}

// grpcStatus prints the status of a gRPC request. A code without a name is printed as a number.
func grpcStatus(dst []byte, o *operator, r *Record) []byte {
	code, ok := grpcCode(r)
	switch {
	case !ok:
		return dst
	case code < 0:
		return append(dst, "InvalidCode"...)
	case o.text == grpcNumber || code >= int64(len(grpcNames)):
		return strconv.AppendInt(dst, code, 10)
	case o.text == grpcSnake:
		return append(dst, grpcNames[code].snake...)
	}
	return append(dst, grpcNames[code].camel...)
}

// grpcStatusNumber is the status as a number.
func grpcStatusNumber(_ *operator, r *Record) (uint64, bool) {
	code, ok := grpcCode(r)
	return uint64(max(code, 0)), ok && code >= 0
}

// grpcCode returns the status of a gRPC request: from the trailers, else the head, else what its HTTP status
// stands for. ok is false for other requests, and without a response; the code is -1 if it cannot be read.
func grpcCode(r *Record) (code int64, ok bool) {
	if r.Request == nil || !isGRPC(r.Request.Get(codec.FieldContentType)) {
		return 0, false
	}
	if v := grpcField(r); v != nil {
		code, ok = ascii.ParseInt(v)
		if !ok {
			code = -1
		}
		return code, true
	}
	return grpcOfHTTP(int(r.Status)), r.Status != 0
}

// grpcField returns grpc-status, nil if there is none. A response without a body has it in its head.
func grpcField(r *Record) (v []byte) {
	if r.ResponseTrailers != nil {
		v = r.ResponseTrailers.Lookup("grpc-status")
	}
	if v == nil && r.Response != nil {
		v = r.Response.Lookup("grpc-status")
	}
	return v
}

// isGRPC reports whether a content-type is application/grpc, or that with the name of an encoding.
func isGRPC(contentType []byte) bool {
	rest, ok := bytes.CutPrefix(contentType, []byte("application/grpc"))
	return ok && (len(rest) == 0 || rest[0] == '+')
}

// grpcOfHTTP is the gRPC status of an HTTP status, by the mapping of the gRPC project.
func grpcOfHTTP(status int) int64 {
	switch status {
	case 400:
		return grpcInternal
	case 401:
		return grpcUnauthenticated
	case 403:
		return grpcPermissionDenied
	case 404:
		return grpcUnimplemented
	case 429, 502, 503, 504:
		return grpcUnavailable
	}
	return grpcUnknown
}

// grpcFilterCode is the code a filter compares: of any stream, one without a status is unknown.
func grpcFilterCode(r *Record) uint {
	v := grpcField(r)
	if v == nil {
		return uint(grpcOfHTTP(int(r.Status)))
	}
	if code, ok := ascii.ParseInt(v); ok && code < int64(len(grpcNames)) {
		return uint(code)
	}
	return grpcUnknown
}

// parseGRPCName returns the code of a name in capitals. CANCELED is another spelling that Envoy takes.
func parseGRPCName(name string) (code int, ok bool) {
	if name == "CANCELED" {
		name = "CANCELLED"
	}
	for i := range grpcNames {
		if grpcNames[i].snake == name {
			return i, true
		}
	}
	return 0, false
}
