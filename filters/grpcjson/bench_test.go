package grpcjson

import "testing"

// BenchmarkTranscode is a small request and its response, both ways.
func BenchmarkTranscode(b *testing.B) {
	s := newShop(b, Options{})
	body := []byte(`{"unitPrice": "7", "color": "RED", "tags": ["x", "y"], "part": {"name": "z"}}`)
	var in, out []byte
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.Match([]byte("PUT"), []byte("/v1/items/a"))
		if err != nil {
			b.Fatal(err)
		}
		if in, err = c.AppendRequest(in[:0], body, ""); err != nil {
			b.Fatal(err)
		}
		if out, err = c.AppendResponse(out[:0], in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNoMatch is what a request pays that is for no method.
func BenchmarkNoMatch(b *testing.B) {
	s := newShop(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Match([]byte("GET"), []byte("/images/2026/logo.png?size=3")); err == nil {
			b.Fatal("match")
		}
	}
}
