package compare

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var site = Site{Port: 8001, AdminPort: 8002, OriginPort: 8003, Loops: 2}

func TestMillraceConfigIsJSON(t *testing.T) {
	t.Parallel()
	for _, routes := range []int{0, 1, 250} {
		s := site
		s.Routes, s.Generation = routes, 7
		text := millraceConfig(s)
		if !json.Valid([]byte(text)) {
			t.Errorf("millraceConfig with %d routes is not JSON:\n%.2000s", routes, text)
		}
		if got := strings.Count(text, `"prefix"`); got != routes+1 {
			t.Errorf("millraceConfig with %d routes has %d of them, want %d", routes, got, routes+1)
		}
	}
}

func TestConfigsHoldTheSite(t *testing.T) {
	t.Parallel()
	s := site
	s.Routes, s.Generation = 201, 7
	for name, config := range map[string]func(Site) string{
		"millrace": millraceConfig, "nginx": nginxConfig, "haproxy": haproxyConfig,
	} {
		text := config(s)
		for _, want := range []string{"127.0.0.1:8001", "127.0.0.1:8003", "/generation-7/", "/service-200/", "host-2.example.com"} {
			if !strings.Contains(text, want) {
				t.Errorf("config of %s lacks %q", name, want)
			}
		}
		if strings.Contains(text, "%!") {
			t.Errorf("config of %s has a formatting error", name)
		}
		if config(s) != text {
			t.Errorf("config of %s differs from one call to the next", name)
		}
		s2 := s
		s2.Generation++
		if config(s2) == text {
			t.Errorf("config of %s is the same in another generation", name)
		}
	}
}

func TestConfigsOfHTTP2(t *testing.T) {
	t.Parallel()
	s := site
	s.H2, s.OriginH2 = true, true
	for name, tt := range map[string]struct {
		config func(Site) string
		want   []string
	}{
		"millrace": {millraceConfig, []string{`"protocol": "http2"`}},
		"nginx":    {nginxConfig, []string{"http2;"}}, // it has no HTTP/2 upstream
		"haproxy":  {haproxyConfig, []string{"bind 127.0.0.1:8001 backlog 4096 proto h2\n", "server origin 127.0.0.1:8003 proto h2 "}},
	} {
		text := tt.config(s)
		for _, want := range tt.want {
			if !strings.Contains(text, want) || strings.Contains(tt.config(site), want) {
				t.Errorf("config of %s: %q with HTTP/2 %v, want it there and not without", name, want, strings.Contains(text, want))
			}
		}
	}
}

func TestPeersDoTheSameHeaderWork(t *testing.T) {
	t.Parallel()
	for _, text := range []string{nginxConfig(site), haproxyConfig(site)} {
		for _, want := range []string{"X-Forwarded-Proto", "X-Request-Id"} {
			if !strings.Contains(text, want) {
				t.Errorf("config lacks %q:\n%s", want, text)
			}
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin := filepath.Join(dir, "millrace")
	if err := os.WriteFile(bin, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	s := site
	s.Dir = dir
	argv, err := Builtin(bin, "")[0].Write(s)
	cf := filepath.Join(dir, "millrace.json")
	if err != nil || len(argv) < 4 || argv[0] != bin || argv[3] != cf {
		t.Fatalf("Write = %q, %v; want %s run -c %s", argv, err, bin, cf)
	}
	if b, err := os.ReadFile(cf); err != nil || string(b) != millraceConfig(s) {
		t.Errorf("the config on disk is not what millraceConfig made: %v", err)
	}
	if _, err := (Peer{Name: "gone", Binary: dir + "/gone"}).Write(s); err == nil {
		t.Error("Write of a peer without a binary: no error")
	}
}

func TestStreamConfigs(t *testing.T) {
	t.Parallel()
	for _, traffic := range []Traffic{TCP, UDP} {
		s := site
		s.Traffic = traffic
		if text := millraceConfig(s); !json.Valid([]byte(text)) {
			t.Errorf("millraceConfig is not JSON:\n%s", text)
		}
		for _, p := range Builtin("millrace", "floor") {
			if p.Config == nil {
				continue
			}
			text := p.Config(s)
			for _, want := range []string{"127.0.0.1:8001", "127.0.0.1:8003"} {
				if !strings.Contains(text, want) || strings.Contains(text, "%!") {
					t.Errorf("config of %s lacks %q, or is malformed:\n%s", p.Name, want, text)
				}
			}
			if strings.Contains(text, "http") || strings.Contains(text, "udp") != (traffic == UDP && p.Binary != "haproxy") {
				t.Errorf("config of %s is not for this traffic:\n%s", p.Name, text)
			}
		}
	}
}

func TestCarries(t *testing.T) {
	t.Parallel()
	for _, p := range Builtin("millrace", "floor") {
		if err := p.Carries(HTTP); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if err := p.Carries(UDP); err == nil && p.Binary == "haproxy" {
			t.Errorf("%s carries datagrams", p.Name)
		}
	}
}
