//go:build !race

package grpcjson

import "testing"

// TestNoMatchAllocs: a request that is for no method costs no allocation.
func TestNoMatchAllocs(t *testing.T) { // AllocsPerRun does not go with t.Parallel
	s := newShop(t, Options{})
	method, path := []byte("GET"), []byte("/images/2026/logo.png:x?size=3")
	n := testing.AllocsPerRun(100, func() {
		if _, err := s.Match(method, path); err == nil {
			t.Error("match")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}
