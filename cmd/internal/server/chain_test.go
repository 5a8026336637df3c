package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilterChainName: the name of a chain reaches the access log.
func TestFilterChainName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	r := start(t, fmt.Sprintf(`{"listeners": [{"name": "a", "address": "127.0.0.1:0", "filter_chains": [{"name": "edge",
		"filters": [{"name": "http_connection_manager", "config": {
			"access_log": [{"path": %q, "format": "%%FILTER_CHAIN_NAME%% %%QUERY_PARAM(a)%%", "flush_interval": "10ms"}],
			"route_config": {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": "x"}}]}}}]}]}]}`, path))
	r.wantGet("a", "x")
	if !eventually(func() bool { b, _ := os.ReadFile(path); return string(b) == "edge -\n" }) {
		b, err := os.ReadFile(path)
		t.Errorf("the log is %q, %v", b, err)
	}
}

// TestAdminFlagKeepsTheRest: --admin moves the admin port; who may ask for what stays as the file says.
func TestAdminFlagKeepsTheRest(t *testing.T) {
	t.Parallel()
	s, err := Start(Options{
		ConfigPath: "test.json", AdminAddress: "127.0.0.1:0",
		Text: []byte(`{"admin": {"address": "127.0.0.1:9", "allow_paths": ["/ready"], "hosts": ["proxy.internal"]}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := &running{Server: s, t: t}
	if got := r.page("/ready"); got != "LIVE\n" {
		t.Errorf("/ready is %q", got)
	}
	if got := r.page("/config_dump"); !strings.Contains(got, "not allowed") {
		t.Errorf("/config_dump is %q, want a refusal", got)
	}
	s.opt.Text = []byte(`{"admin": {"address": "127.0.0.1:9", "pprof": true}}`)
	rep := s.Reload(t.Context())
	want := `admin: changed from hosts ["proxy.internal"], allow_paths ["/ready"], pprof false to hosts [], allow_paths [], pprof true; this needs a restart`
	if len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], want) {
		t.Errorf("warnings %q, want %s", rep.Warnings, want)
	}
}
