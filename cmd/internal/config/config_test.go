package config

import (
	"strings"
	"testing"
	"time"
)

// hcm stands for the connection manager: a config with every kind of field.
type hcm struct {
	// StatPrefix names the stats.
	StatPrefix string `json:"stat_prefix" default:"ingress"`
	// CodecType picks the protocol.
	CodecType string `json:"codec_type" default:"auto" enum:"auto,http1,http2"`
	// IdleTimeout ends idle streams.
	IdleTimeout time.Duration `json:"stream_idle_timeout" default:"5m" max:"24h"`
	// HeadersKB limits a head.
	HeadersKB int `json:"max_request_headers_kb" default:"60" min:"1" max:"8192"`
}

func testRegistry() *Registry {
	r := NewRegistry()
	r.Add("network", "http_connection_manager", Filter{New: func() any { return new(hcm) }, Terminal: true})
	return r
}

func TestLoadSmoke(t *testing.T) {
	t.Parallel()
	c, errs := Load("a.json", []byte(`{
  // comment
  "listeners": [{"address": ":8080", "filters": [{"name": "http_connection_manager"}]}],
  "clusters": [{"name": "web", "hosts": ["127.0.0.1:9000"]},],
}`), testRegistry())
	if errs != nil {
		t.Fatalf("Load = %v", errs)
	}
	if got := string(Marshal(c)); !strings.Contains(got, `"stat_prefix":"ingress"`) {
		t.Errorf("Marshal = %s", got)
	}
	_, errs = Load("a.json", []byte(`{
  "listners": [],
  "listeners": [{"address": "8080", "filters": [{"name": "http_connection_manger"},
    {"name": "http_connection_manager", "config": {"codec_type": "http3", "stream_idle_timeout": 5, "max_request_headers_kb": 9000, "max_request_headers_kb": 3}}]}],
  "clusters": [{"name": null, "hosts": ["127.0.0.1"]},],
}`), testRegistry())
	t.Log(errs.Error())
}
