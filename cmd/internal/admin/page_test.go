package admin

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"millrace/engine/stats"
)

// nullWriter counts what a page writes.
type nullWriter struct {
	*httptest.ResponseRecorder
	written int
}

func (w *nullWriter) Write(b []byte) (int, error) {
	w.written += len(b)
	return len(b), nil
}

// BenchmarkStatsPage: 10,000 clusters on 2 loops.
func BenchmarkStatsPage(b *testing.B) {
	reg := new(stats.Registry)
	for i := range 10_000 {
		for loop := range 2 {
			set := new(clusterSet)
			set.Codes.Inc(200)
			set.Length.Record(uint64(i))
			reg.Add(stats.ClusterScope(fmt.Sprintf("cluster_%05d", i)).OnLoop(loop), set)
		}
	}
	srv := New(Deps{Stats: reg})
	for name, target := range map[string]string{"text": "/stats", "json": "/stats?format=json", "prometheus": "/stats/prometheus",
		"filter": "/stats?filter=c.*_00001.upstream_rq_total"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := &nullWriter{ResponseRecorder: httptest.NewRecorder()}
				srv.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+target, nil))
				b.ReportMetric(float64(w.written), "page-bytes")
			}
		})
	}
}

// TestPagesPooled: a page of any length is built in a buffer that stays small.
func TestPagesPooled(t *testing.T) {
	t.Parallel()
	w := &nullWriter{ResponseRecorder: httptest.NewRecorder()}
	p := newPage(w, httptest.NewRequest("GET", "/", nil), textType)
	for range 100_000 {
		p.line("a line of a page, ", "of some fifty bytes, no more than that")
		p.spill()
	}
	if cap(p.B) > 4*pageChunk {
		t.Errorf("a page of %d bytes needed a buffer of %d", w.written, cap(p.B))
	}
	p.end()
}
