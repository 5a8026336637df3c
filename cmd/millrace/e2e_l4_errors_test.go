package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestConfigErrors holds what check says of bad files, all at once and each with its place, to golden files.
func TestConfigErrors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "errors", "*.json"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	place := regexp.MustCompile(`^testdata/errors/\w+\.json:\d+:\d+: [^ :]+: `)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			code, out, errs := runMain("", "check", "-c", file)
			if code != exitRefused || out != "" {
				t.Errorf("exit code %d, stdout %q", code, out)
			}
			for line := range strings.Lines(errs) {
				if !place.MatchString(line) {
					t.Errorf("the line %q has no place, path and problem", line)
				}
			}
			golden := strings.TrimSuffix(file, ".json") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(errs), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if errs == string(want) {
				return
			}
			for _, line := range missingLines(string(want), errs) {
				t.Errorf("lacks: %s", line)
			}
			for _, line := range missingLines(errs, string(want)) {
				t.Errorf("has:   %s", line)
			}
			t.Errorf("not what %s has; go test ./cmd/millrace -run TestConfigErrors -update writes it anew", golden)
		})
	}
}

// missingLines lists the lines of a that b does not have.
func missingLines(a, b string) (missing []string) {
	has := map[string]bool{}
	for line := range strings.Lines(b) {
		has[line] = true
	}
	for line := range strings.Lines(a) {
		if !has[line] {
			missing = append(missing, strings.TrimSuffix(line, "\n"))
		}
	}
	return missing
}
