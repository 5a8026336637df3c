package filters

import (
	"testing"

	"millrace/codec"
)

func TestIsGRPC(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/gRPC": true, "application/grpc;charset=utf-8": true,
		"application/grpc ; a=b": true,
		"application/grpc-web":   false, "application/grpcx": false, "application/json": false, "": false,
	} {
		if got := IsGRPC([]byte(in)); got != want {
			t.Errorf("IsGRPC(%q) = %t, want %t", in, got, want)
		}
	}
}

func TestSetGRPCStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		r               LocalReply
		status, message string
	}{
		{LocalReply{Status: 400}, "13", ""},
		{LocalReply{Status: 401}, "16", ""},
		{LocalReply{Status: 403}, "7", ""},
		{LocalReply{Status: 404}, "12", ""},
		{LocalReply{Status: 429}, "14", ""},
		{LocalReply{Status: 502}, "14", ""},
		{LocalReply{Status: 503, Body: "no healthy upstream"}, "14", "no healthy upstream"},
		{LocalReply{Status: 504, GRPCStatus: GRPCDeadlineExceeded}, "4", ""},
		{LocalReply{Status: 500, Body: "50% of ä\n"}, "2", "50%25 of %C3%A4%0A"},
		{LocalReply{Status: 200}, "0", ""},
	} {
		var f codec.Fields
		SetGRPCStatus(&f, &tt.r)
		if got := string(f.Lookup("grpc-status")); got != tt.status {
			t.Errorf("status of %d = %s, want %s", tt.r.Status, got, tt.status)
		}
		if got := string(f.Lookup("grpc-message")); got != tt.message {
			t.Errorf("message %q, want %q", got, tt.message)
		}
	}
}
