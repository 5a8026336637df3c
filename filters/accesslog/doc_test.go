package accesslog

import (
	"os"
	"strings"
	"testing"
)

// TestDocs: docs/access-log.md knows every operator, flag and counter.
func TestDocs(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := range definitions {
		name := strings.TrimSuffix(definitions[i].name, "_WITHOUT_PORT")
		if !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "`"+name+"(") {
			t.Errorf("docs/access-log.md lacks the operator %s", definitions[i].name)
		}
	}
	for _, name := range envoyOnly {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/access-log.md does not say that %s is refused", name)
		}
	}
	for _, name := range pointNames[:pointEnd] {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/access-log.md lacks the point %s", name)
		}
	}
	for _, f := range flagNames {
		if !strings.Contains(text, "| "+f.short+" | "+f.long+" |") {
			t.Errorf("docs/access-log.md lacks the flag %s", f.short)
		}
	}
	for _, m := range defaultJSON {
		if !strings.Contains(text, "`"+m.name+"`") {
			t.Errorf("docs/access-log.md lacks the member %s", m.name)
		}
	}
	if !strings.Contains(text, defaultLine) {
		t.Error("docs/access-log.md has another default line")
	}
}
