package main

import (
	"bytes"
	"os"
	"testing"
)

// TestFieldDocsFresh fails when a comment of a config struct changed and the
// collected comments did not.
func TestFieldDocsFresh(t *testing.T) {
	t.Parallel()
	want, err := collect("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../fielddocs.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("fielddocs.json is stale: run go generate ./cmd/internal/config")
	}
}
