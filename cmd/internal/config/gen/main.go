// Command gen collects the comments of config structs into fielddocs.json,
// from where the reference page and the JSON Schema take their descriptions.
// Run it by "go generate ./cmd/internal/config".
package main

import (
	"bytes"
	"fmt"
	"os"
)

func main() {
	text, err := collect("../../..")
	if err == nil {
		err = writeIfChanged("fielddocs.json", text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// writeIfChanged leaves the file alone if it has the text already, so that
// nothing is built again for it.
func writeIfChanged(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return os.WriteFile(path, text, 0o644)
}
