package l7

import (
	"os"
	"strings"
	"testing"
)

// TestDocs: docs/http-filters.md has a section for every filter.
func TestDocs(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/http-filters.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range Builtin() {
		if !strings.Contains(string(b), "\n## "+spec.Name+"\n") {
			t.Errorf("docs/http-filters.md lacks the filter %s", spec.Name)
		}
	}
}
