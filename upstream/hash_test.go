package upstream

import (
	"strings"
	"testing"
)

// TestHash64: the values of the reference implementation of xxHash64.
func TestHash64(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want uint64
	}{
		{"", 0xef46db3751d8e999},
		{"a", 0xd24ec4f1a98c6e5b},
		{"abc", 0x44bc2cf5ad770999},
		{"Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1},
	} {
		if got := Hash64([]byte(tt.in)); got != tt.want {
			t.Errorf("Hash64(%q) = %#x, want %#x", tt.in, got, tt.want)
		}
	}
	seen := map[uint64]int{} // every path of the tail
	for n := range 100 {
		h := Hash64([]byte(strings.Repeat("x", n)))
		if other, ok := seen[h]; ok {
			t.Errorf("lengths %d and %d have one hash", other, n)
		}
		seen[h] = n
	}
}
