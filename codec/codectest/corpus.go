package codectest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Case is one entry of a corpus of requests: bytes on one connection, and what a
// server must make of them.
type Case struct {
	Name  string
	Place string // file:line
	Input []byte
	// Requests is how many complete requests are to be seen, in order, before anything else.
	Requests int
	// Status is what the next one is to be refused with, 0 if nothing is to be refused.
	Status int
	// Incomplete says that after the complete requests the input ends inside a message.
	Incomplete bool
}

// ReadCases reads the corpus files dir/*.txt. Their form is
//
//	# a comment
//	case te-cl-both
//	want 400
//	send POST / HTTP/1.1\r\n
//	send Host: a.example\r\n
//	send \r\n
//	fill 60000 x
//
// "send" takes the rest of the line, with the escapes of Go strings; "fill N S" sends S N times.
// "want" is a status, "ok N", "ok N, STATUS" or "ok N, incomplete". An empty line ends a case.
func ReadCases(dir string) ([]Case, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no corpus in %q: %v", dir, err)
	}
	var cases []Case
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(string(text), "\n") {
			place := fmt.Sprintf("%s:%d", name, i+1)
			if cases, err = readCaseLine(cases, line, place); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", place, line, err)
			}
		}
	}
	return cases, nil
}

func readCaseLine(cases []Case, line, place string) ([]Case, error) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "", "#":
		return cases, nil
	case "case":
		return append(cases, Case{Name: rest, Place: place}), nil
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("outside a case")
	}
	c := &cases[len(cases)-1]
	switch word {
	case "want":
		return cases, c.readWant(rest)
	case "send":
		s, err := Unescape(rest)
		c.Input = append(c.Input, s...)
		return cases, err
	case "fill":
		count, what, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			return nil, err
		}
		s, err := Unescape(what)
		c.Input = append(c.Input, strings.Repeat(s, n)...)
		return cases, err
	default:
		return nil, fmt.Errorf("unknown word")
	}
}

func (c *Case) readWant(s string) (err error) {
	ok, rest, more := strings.Cut(s, ", ")
	if n, found := strings.CutPrefix(ok, "ok "); found {
		if c.Requests, err = strconv.Atoi(n); err != nil || !more {
			return err
		}
		s = rest
	}
	if s == "incomplete" {
		c.Incomplete = true
		return nil
	}
	c.Status, err = strconv.Atoi(s)
	return err
}

// Unescape resolves the escapes of Go strings in s. A quote may stand as it is.
func Unescape(s string) (string, error) {
	return strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
}
