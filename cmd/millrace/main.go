// Command millrace is an edge load balancer and L4/L7 proxy. See README.md and millrace help.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes of the process.
const (
	exitFine    = 0
	exitRefused = 1 // a configuration was refused, or the proxy could not start
	exitUsage   = 2 // the command line was wrong
)

// command is one word after millrace.
type command struct {
	name  string
	args  string // what follows, for the usage line
	short string // one line for the list
	long  string // for --help, with examples
	run   func(e *env, c *command, args []string) int
}

// env is what a command talks to.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// commands lists the commands in the order of the help.
func commands() []command {
	return []command{runCommand, proxyCommand, demoCommand, checkCommand, reloadCommand, schemaCommand, versionCommand}
}

func main() {
	// A reader that goes away must not take the proxy with it: Go lets a broken pipe on
	// standard output or error end the process otherwise.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(dispatch(&env{os.Stdin, os.Stdout, os.Stderr}, os.Args[1:]))
}

// dispatch runs the command that args name.
func dispatch(e *env, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(e.stderr, help())
		return exitUsage
	}
	name := args[0]
	switch name {
	case "help", "-h", "--help":
		return printHelp(e, args[1:])
	case "--version", "-version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(e, &c, args[1:])
		}
	}
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	fmt.Fprintf(e.stderr, "millrace: unknown command %q%s\nSee millrace help.\n", name, suggestion(name, names))
	return exitUsage
}

// printHelp is millrace help [COMMAND].
func printHelp(e *env, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(e.stdout, help())
		return exitFine
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(e, &c, []string{"--help"})
		}
	}
	return dispatch(e, args[:1])
}

// help is the text of millrace help.
func help() string {
	var b strings.Builder
	b.WriteString("millrace is an edge load balancer and proxy: one binary, one JSON file.\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-9s %s\n", c.name, c.short)
	}
	b.WriteString(`
Signals to a running proxy: SIGHUP reloads the file, SIGTERM and SIGINT drain and
then end it (a second one ends it at once), SIGUSR1 reopens the access logs.
Exit codes: 0 fine, 1 refused configuration, 2 usage.

Try: millrace demo
More: millrace COMMAND --help
`)
	return b.String()
}
