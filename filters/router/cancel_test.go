package router_test

import (
	"strings"
	"testing"

	"millrace/codec/h2"
)

// TestHostCancels: a host that cancels its stream has the client's cancelled too, and is not in error for it.
func TestHostCancels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		timeout string
		code    uint32
		begun   bool // the response
		want    []string
		status  string
	}{
		{"in the response", "1H", h2.Cancel, true, []string{"RST 1 CANCEL"}, ""},
		{"with an error in the response", "1n", h2.InternalError, true, []string{"RST 1 INTERNAL_ERROR"}, ""},
		{"before it, overdue", "1n", h2.Cancel, false, nil, "4"},
		{"before it, in time", "1H", h2.Cancel, false, nil, "14"},
		{"before it, with an error", "1n", h2.InternalError, false, nil, "14"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnds(t, true, nil)
			e.ask(flagEnd, append(request2("POST"), "content-type: application/grpc", "grpc-timeout: "+tt.timeout))
			if tt.begun {
				e.answer(200, "", false)
				e.client.until("HEADERS 1 200")
			}
			e.host.frame(frameReset, 0, 1, u32(tt.code))
			e.client.want(tt.want...)
			if tt.status != "" {
				if _, head := e.client.next(); !strings.Contains(head, "grpc-status: "+tt.status+"\n") {
					t.Errorf("%q, want status %s", head, tt.status)
				}
			}
			e.wantQuiet()
		})
	}
}
