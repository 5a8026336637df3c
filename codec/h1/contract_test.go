package h1

import (
	"testing"
	"unsafe"

	"millrace/codec"
)

var (
	_ codec.Server = (*Server)(nil)
	_ codec.Client = (*Client)(nil)
)

// An idle connection holds one of them.
var (
	_ [64 - unsafe.Sizeof(Server{})]byte
	_ [64 - unsafe.Sizeof(Client{})]byte
)

func TestErrorTablesHaveAllReasons(t *testing.T) {
	t.Parallel()
	for i := range requestErrors {
		if e := &requestErrors[i]; e.Reason != codec.Reason(i) || e.Code < 400 {
			t.Errorf("requestErrors[%d] = %v", i, e)
		}
		if e := &responseErrors[i]; e.Reason != codec.Reason(i) || e.Code != 502 {
			t.Errorf("responseErrors[%d] = %v", i, e)
		}
	}
}
