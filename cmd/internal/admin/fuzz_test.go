package admin

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// FuzzRequest: no request makes a handler panic, changes something without being a POST, or
// is served under a name that is not ours.
func FuzzRequest(f *testing.F) {
	for _, target := range []string{"/", "/stats?filter=a(b", "/stats/prometheus?usedonly", "/clusters?format=json&filter=%ff", "/config_dump?resource=admin&name_regex=.",
		"/drain_listeners?graceful&skip_exit", "/quitquitquit", "/logging?level=debug", "/healthcheck/../quitquitquit", "//quitquitquit", "/reload?format=json", "/%71uitquitquit"} {
		f.Add("GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		f.Add("POST " + target + " HTTP/1.1\r\nHost: [::1]:80\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\ngraceful")
	}
	f.Add("POST /quitquitquit HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n")
	f.Add("HEAD http://localhost/memory HTTP/1.0\r\nAccept-Encoding: gzip;q=0.\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		if strings.Contains(raw, "memory/collect") {
			return // slow, and no more to find there
		}
		fx := newFixture()
		w := httptest.NewRecorder()
		fx.srv.ServeHTTP(w, r)
		if r.Method != "POST" && len(fx.calls) > 0 {
			t.Errorf("%s asked the process to %q", r.Method, <-fx.calls)
		}
		host := strings.ToLower(hostOnly(r.Host))
		_, notAddr := netip.ParseAddr(host)
		if ours := notAddr == nil || host == "" || host == "localhost" || host == "proxy.example.com"; !ours && w.Code != http.StatusForbidden {
			t.Errorf("Host %q: status %d, want 403", r.Host, w.Code)
		}
		if w.Code < 200 || w.Code > 599 || w.Code == http.StatusInternalServerError {
			t.Errorf("status %d for %q", w.Code, raw)
		}
	})
}

// FuzzConfigDump: the dump of any JSON is JSON.
func FuzzConfigDump(f *testing.F) {
	f.Add(testConfig)
	f.Add(`{"a":{"private_key":{"x":["k"]}},"secret":"s","b":[[],{},"x",1e400,null,true]}`)
	f.Add(`{"":{"":[{"name":1}]}}`)
	f.Fuzz(func(t *testing.T, config string) {
		if !json.Valid([]byte(config)) || !strings.HasPrefix(config, "{") {
			return
		}
		fx := newFixture()
		fx.deps.ConfigDump = func() (ConfigDump, error) { return ConfigDump{JSON: []byte(config)}, nil }
		fx.srv = New(fx.deps)
		text := fx.want(t, 200, "GET", "/config_dump")
		if !json.Valid([]byte(text)) {
			t.Fatalf("the dump of %q is not JSON: %q", config, text)
		}
	})
}
