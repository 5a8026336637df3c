package main

import (
	"fmt"
	"io"
	"os"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/server"
)

var checkCommand = command{
	name: "check", args: "-c FILE",
	short: "check a configuration file",
	long: `Checks a configuration file, and the certificates that it names, without touching
a socket or a running proxy. Every problem is printed with its place, file:line:col, and the exit code is 1.

  millrace check -c edge.json
  generate | millrace check -c -`,
	run: runCheck,
}

func runCheck(e *env, c *command, args []string) int {
	f := newFlags(e, c)
	path := f.String("c", "", "`file` to check; - reads standard input.")
	if code, ok := parse(e, c, f, args, 0); !ok {
		return code
	}
	if *path == "" {
		return usageError(e, c, "no configuration file: give -c FILE")
	}
	text, name, err := readConfig(e, *path)
	if err != nil {
		fmt.Fprintln(e.stderr, err)
		return exitRefused
	}
	cfg, errs := server.Load(name, text, server.Registry())
	for _, problem := range errs {
		fmt.Fprintln(e.stderr, problem)
	}
	if errs.Fatal() {
		return exitRefused
	}
	fmt.Fprintf(e.stdout, "%s: ok: %d listeners, %d clusters, hash %016x\n", name, len(cfg.Listeners), len(cfg.Clusters), config.Hash(cfg))
	return exitFine
}

// readConfig reads the file to check.
func readConfig(e *env, path string) (text []byte, name string, err error) {
	if path == "-" {
		text, err = io.ReadAll(e.stdin)
		return text, "stdin", err
	}
	text, err = os.ReadFile(path)
	return text, path, err
}

var schemaCommand = command{
	name: "schema", args: "",
	short: "print the JSON Schema of the configuration",
	long: `Prints the JSON Schema of configuration files, for editors and generators.

  millrace schema > millrace.schema.json`,
	run: runSchema,
}

func runSchema(e *env, c *command, args []string) int {
	f := newFlags(e, c)
	reference := f.Bool("reference", false, "print the reference page, in Markdown, instead.")
	if code, ok := parse(e, c, f, args, 0); !ok {
		return code
	}
	page := config.Schema
	if *reference {
		page = config.Reference
	}
	_, _ = e.stdout.Write(page(server.Registry()))
	return exitFine
}
