//go:build !race

package l7

import (
	"testing"

	"millrace/codec"
	"millrace/filters"
)

// TestGRPCAllocs: calls that pass these filters cost no allocation, nor do requests they have nothing to do with.
func TestGRPCAllocs(t *testing.T) { // AllocsPerRun does not go with t.Parallel
	trailers := fields("grpc-status: 0", "grpc-message: ")
	for _, tt := range []struct {
		name        string
		cfg         any
		contentType string
	}{
		{"grpc_web", &GRPCWebConfig{}, "application/grpc-web+proto"},
		{"grpc_web", &GRPCWebConfig{}, "application/grpc-web-text"},
		{"grpc_web", &GRPCWebConfig{}, "text/plain"},
		{"grpc_http1_bridge", &GRPCHTTP1BridgeConfig{}, "text/plain"},
		{"grpc_json_transcoder", echoConfig(t), "text/plain"},
		{"grpc_stats", &GRPCStatsConfig{StatsForAllMethods: true}, "application/grpc"},
		{"grpc_stats", &GRPCStatsConfig{IndividualMethodStatsAllowlist: []GRPCStatsService{{"a.B", []string{"C"}}}}, "application/grpc"},
		{"grpc_stats", &GRPCStatsConfig{}, "text/plain"},
	} {
		f, filter := newFake(t, tt.name, tt.cfg, nil)
		f.quiet = true
		s := f.request("POST /a.B/C")
		chain := s.Chain()
		contentType, piece := []byte(tt.contentType), []byte("AAAAAAA=")
		path, grpc := []byte("/a.B/C"), []byte("application/grpc")
		run := func() {
			s.Clear()
			s.Init(chain, f)
			s.Info.Cluster = "web"
			s.Request.SetMethod(codec.MethodPOST)
			s.Request.SetPath(path)
			s.Request.Set(codec.FieldContentType, contentType)
			s.Pass(filters.Request, false)
			s.PassData(filters.Request, piece, true)
			s.Response.Status = 200
			s.Response.Set(codec.FieldContentType, grpc)
			s.Pass(filters.Response, false)
			s.PassData(filters.Response, piece, false)
			s.PassTrailers(filters.Response, trailers)
			if d, ok := filter.(filters.Destroyer); ok {
				d.OnDestroy(s)
			}
		}
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: a request with %s costs %v allocations; want 0", tt.name, tt.contentType, n)
		}
	}
}
