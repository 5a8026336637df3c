package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAdminDoc: docs/admin.md names every endpoint and every parameter.
func TestAdminDoc(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "admin.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, e := range endpoints() {
		if !strings.Contains(page, "`"+e.path+"`") {
			t.Errorf("docs/admin.md does not name %s", e.path)
		}
		for _, p := range e.params {
			if !strings.Contains(page, "`"+p.name+"`") && !strings.Contains(page, "`"+p.name+"=") {
				t.Errorf("docs/admin.md does not name the parameter %s of %s", p.name, e.path)
			}
		}
	}
}
