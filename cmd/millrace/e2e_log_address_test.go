package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestLogHasUpstreamLocalAddress: the log says which connection a request went on, although it is written when
// the connection has been returned.
func TestLogHasUpstreamLocalAddress(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	from := make(chan string, 2)
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) {
		from <- r.RemoteAddr
	}), fmt.Sprintf(`"access_log": [{"path": %q, "flush_interval": "5ms", "format": "%%UPSTREAM_LOCAL_ADDRESS%%"}]`, path), "", ""))
	want := ""
	for range 2 {
		if status, _ := get(t, p.url("/")); status != 200 {
			t.Fatalf("status %d", status)
		}
		want += <-from + "\n"
	}
	var got []byte
	eventually(func() bool { got, _ = os.ReadFile(path); return len(got) >= len(want) })
	if string(got) != want {
		t.Errorf("the log has %q, want %q", got, want)
	}
}
