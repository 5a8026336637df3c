package main

import (
	"testing"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/server"
)

// FuzzLoad: no text makes the checks of the real structs panic, not even where
// values could not be read; what is accepted is accepted again in its canonical
// form.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{smallest, edge, `{"clusters": [{"name": "a", "circuit_breakers": {"default": {}, "high": {"max_requests": "x"}}}]}`,
		`{"listeners": [{"address": ":1", "filters": [{"name": "http_connection_manager", "config": {
		  "route_config": {"routes": [{"match": {"safe_regex": "(", "headers": [{"name": ":x", "range": {"start": 1}}]}, "redirect": {"regex_rewrite": {}}}]},
		  "http_filters": [{"name": "buffer", "config": {}}, {"name": "health_check", "config": {"headers": [{}]}}, 3],
		  "access_log": [{"path": "", "json_format": {"a": [1]}, "filter": {"and": [{"or": []}]}}]}}]}]}`} {
		f.Add([]byte(s))
	}
	reg := server.Registry()
	f.Fuzz(func(t *testing.T, text []byte) {
		c, errs := config.Load("f", text, reg)
		if (c == nil) != errs.Fatal() {
			t.Fatalf("Load(%q) = %v, %v", text, c, errs)
		}
		if c == nil {
			return
		}
		canonical := config.Marshal(c)
		again, errs := config.Load("f", canonical, reg)
		if errs.Fatal() || config.Hash(again) != config.Hash(c) {
			t.Fatalf("Load(%q) has canonical text that loads differently: %s: %v", text, canonical, errs)
		}
	})
}
