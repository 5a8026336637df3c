package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// newFlags returns the flags of a command, which print its help.
func newFlags(e *env, c *command) *flag.FlagSet {
	f := flag.NewFlagSet("millrace "+c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// parse parses args. It reports false, with the exit code, when the command is over: after --help
// or an error. positional is how many arguments may follow the flags.
func parse(e *env, c *command, f *flag.FlagSet, args []string, positional int) (code int, ok bool) {
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(e.stdout, usage(c, f))
		return exitFine, false
	case err != nil:
		return usageError(e, c, flagProblem(err, f)), false
	case f.NArg() > positional:
		return usageError(e, c, fmt.Sprintf("unexpected argument %q", f.Arg(positional))), false
	}
	return exitFine, true
}

// usageError reports a wrong command line.
func usageError(e *env, c *command, problem string) int {
	fmt.Fprintf(e.stderr, "millrace %s: %s\nUsage: millrace %s %s\nSee millrace %s --help.\n", c.name, problem, c.name, c.args, c.name)
	return exitUsage
}

// flagProblem words an error of package flag, with the nearest flag for an unknown one.
func flagProblem(err error, f *flag.FlagSet) string {
	const unknown = "flag provided but not defined: -"
	text := err.Error()
	if name, ok := strings.CutPrefix(text, unknown); ok {
		var names []string
		f.VisitAll(func(fl *flag.Flag) { names = append(names, fl.Name) })
		hint := suggestion(strings.TrimLeft(name, "-"), names)
		return fmt.Sprintf("unknown flag --%s%s", strings.TrimLeft(name, "-"), strings.Replace(hint, `mean "`, `mean "--`, 1))
	}
	return text
}

// usage is the text of --help.
func usage(c *command, f *flag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: millrace %s %s\n\n%s\n", c.name, c.args, c.long)
	any := false
	f.VisitAll(func(fl *flag.Flag) {
		if !any {
			b.WriteString("\nFlags:\n")
			any = true
		}
		name := "--" + fl.Name
		if len(fl.Name) == 1 {
			name = "-" + fl.Name
		}
		kind, text := flag.UnquoteUsage(fl)
		if kind != "" {
			name += " " + strings.ToUpper(kind)
		}
		fmt.Fprintf(&b, "  %-24s %s", name, text)
		if fl.DefValue != "" && fl.DefValue != "0" && fl.DefValue != "0s" && fl.DefValue != "false" {
			fmt.Fprintf(&b, " Default: %s.", fl.DefValue)
		}
		b.WriteString("\n")
	})
	return b.String()
}

// suggestion returns a hint with the nearest of names, or nothing if none is near.
func suggestion(word string, names []string) string {
	best, at := "", 3
	for _, n := range names {
		if d := distance(strings.ToLower(word), n); d < at {
			best, at = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// newLog returns the process log.
func newLog(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	v := new(slog.LevelVar)
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("--log-level %q is none of debug, info, warn, error", level)
	}
	v.Set(l)
	opt := &slog.HandlerOptions{Level: v}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opt)), v, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), v, nil
	}
	return nil, nil, fmt.Errorf("--log-format %q is none of text, json", format)
}
