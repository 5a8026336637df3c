package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxErrors is the most problems one run reports; a last entry counts the rest.
const MaxErrors = 1000

// An Error is one problem in a config file, placed so that an editor can jump to it.
// Load reports every problem it finds, not only the first.
type Error struct {
	File      string
	Line, Col int    // 1-based, Col in bytes
	Path      string // such as "clusters[2].lb_policy", or "" for the whole file
	Problem   string // quotes the offending value
	Hint      string // what to write instead, or ""
	Related   *Place // the other place of the problem, or nil
	Warning   bool   // Warning is set when the file may be used as it is.
}

// A Place is the other end of a problem: where a name was first given, or where
// the things are defined that a reference missed.
type Place struct {
	Line, Col int
	Note      string // such as "first given" or "clusters[0].name"
}

// Error formats e in the file:line:col form that editors and compilers share.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s:%d:%d: ", e.File, e.Line, e.Col)
	if e.Warning {
		s += "warning: "
	}
	if e.Path != "" {
		s += e.Path + ": "
	}
	s += e.Problem
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	if e.Related != nil {
		s += fmt.Sprintf(" (%s at %s:%d:%d)", e.Related.Note, e.File, e.Related.Line, e.Related.Col)
	}
	return s
}

// dropped reports whether e was one too many, and so has no place.
func (e *Error) dropped() bool { return e.Line == 0 }

// Errors are the problems of one file, sorted by place.
type Errors []*Error

// Error formats one problem a line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Fatal reports whether any of es is more than a warning.
func (es Errors) Fatal() bool {
	return slices.ContainsFunc(es, func(e *Error) bool { return !e.Warning })
}

// Err returns es as an error, or nil if the file may be used.
func (es Errors) Err() error {
	if !es.Fatal() {
		return nil
	}
	return es
}

// sort orders es by place, then by text, so that output is the same in every run.
func (es Errors) sort() {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Problem, b.Problem))
	})
}
