package codectest

import (
	"os"
	"path/filepath"
	"testing"
)

// Halves returns b cut at byte at, which is taken modulo the length.
func Halves(b []byte, at int) [][]byte {
	at %= len(b) + 1
	return [][]byte{b[:at], b[at:]}
}

// Bytes returns b cut after every byte.
func Bytes(b []byte) [][]byte { return Every(b, 1) }

// Every returns b cut after every n bytes.
func Every(b []byte, n int) (pieces [][]byte) {
	for ; len(b) > n; b = b[n:] {
		pieces = append(pieces, b[:n])
	}
	return append(pieces, b)
}

// AddSeeds adds every file of dir to the corpus of a fuzz target that takes
// bytes and, after them, the other arguments.
func AddSeeds(f *testing.F, dir string, other ...any) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) == 0 {
		f.Fatalf("AddSeeds(%q): %d files, %v; want some", dir, len(names), err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append([]any{b}, other...)...)
	}
}
