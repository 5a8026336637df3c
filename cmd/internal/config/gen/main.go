// Command gen writes what is made from the config structs: fielddocs.json, the
// comments of their fields, and the reference page in docs. Run both steps by
// "go generate ./cmd/internal/config"; the page contains the comments, so they
// come first.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/server"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run does one step. The working directory is that of package config.
func run(args []string) error {
	if len(args) != 1 {
		return errors.New(`want "fields" or "page"`)
	}
	switch args[0] {
	case "fields":
		text, err := collect("../../..")
		if err != nil {
			return err
		}
		return writeIfChanged("fielddocs.json", text)
	case "page":
		return writeIfChanged("../../../docs/config-reference.md", config.Reference(server.Registry()))
	}
	return fmt.Errorf("unknown step %q", args[0])
}

// writeIfChanged leaves the file alone if it has the text already, so that
// nothing is built again for it.
func writeIfChanged(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return os.WriteFile(path, text, 0o644)
}
