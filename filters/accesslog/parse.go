package accesslog

import (
	"fmt"
	"strconv"
	"strings"
)

// compileText compiles a line of text. One newline at its end, as Envoy's formats have it, is taken off.
func compileText(text string, omit bool) (*Format, error) {
	text = strings.TrimSuffix(text, "\n")
	if len(text) > FormatBytesMax {
		return nil, tooLong(len(text))
	}
	if i := strings.IndexAny(text, "\n\r\x00"); i >= 0 {
		return nil, problem(fmt.Sprintf("%q at byte %d of the format", text[i], i), "each stream is one line")
	}
	p := stepBuilder{omit: omit, kind: stepText}
	if err := p.template(text); err != nil {
		return nil, err
	}
	return finish(p.finish()), nil
}

func tooLong(n int) error {
	return &FormatError{Problem: fmt.Sprintf("format of %d bytes exceeds %d", n, FormatBytesMax)}
}

// A stepBuilder collects steps; literals that follow one another become one.
type stepBuilder struct {
	steps []step
	lit   []byte
	omit  bool
	kind  stepKind // of values in templates: stepText or stepString
}

// literal adds text that is printed as it is.
func (p *stepBuilder) literal(s string) { p.lit = append(p.lit, s...) }

// add adds a step behind the literal text before it.
func (p *stepBuilder) add(s step) {
	p.flush()
	p.steps = append(p.steps, s)
}

func (p *stepBuilder) flush() {
	if len(p.lit) > 0 {
		p.steps = append(p.steps, step{kind: stepLiteral, lit: p.lit})
		p.lit = nil
	}
}

func (p *stepBuilder) finish() []step {
	p.flush()
	return p.steps
}

// template adds a text with operators. Inside JSON its literal parts are escaped.
func (p *stepBuilder) template(text string) error {
	for text != "" {
		before, rest, found := strings.Cut(text, "%")
		p.quoted(before)
		if !found {
			return nil
		}
		if strings.HasPrefix(rest, "%") {
			p.quoted("%")
			text = rest[1:]
			continue
		}
		op, n, err := parseOperator(rest)
		if err != nil {
			return err
		}
		p.add(step{kind: p.kind, omit: p.omit, op: op})
		text = rest[n:]
	}
	return nil
}

// quoted adds literal text of a template.
func (p *stepBuilder) quoted(s string) {
	if p.kind == stepString {
		p.lit = appendJSON(p.lit, s)
		return
	}
	p.lit = append(p.lit, s...)
}

// parseOperator reads what follows a percent sign: NAME%, NAME(argument)% or NAME(argument):length%.
// It returns the length with the closing percent sign.
func parseOperator(s string) (op *operator, n int, err error) {
	for n < len(s) && (s[n] == '_' || s[n] >= 'A' && s[n] <= 'Z' || s[n] >= '0' && s[n] <= '9') {
		n++
	}
	name, call := s[:n], call{}
	if n == 0 {
		return nil, 0, problem(fmt.Sprintf("no operator after the %% at %q", excerpt("%"+s)),
			"write %% for a percent sign")
	}
	if n < len(s) && s[n] == '(' {
		end := closing(s[n:])
		if end < 0 {
			return nil, 0, problem(fmt.Sprintf("operator %q has no closing parenthesis", name),
				fmt.Sprintf("write %%%s(…)%%", name))
		}
		call.arg, call.hasArg = s[n+1:n+end], true
		n += end + 1
	}
	if n < len(s) && s[n] == ':' {
		digits := n + 1
		for n++; n < len(s) && s[n] >= '0' && s[n] <= '9'; n++ {
		}
		call.max, err = strconv.Atoi(s[digits:n])
		if err != nil || call.max == 0 {
			return nil, 0, problem(fmt.Sprintf("operator %q: length %q is not a number above 0", name, s[digits:n]), "")
		}
	}
	if n == len(s) || s[n] != '%' {
		return nil, 0, problem(fmt.Sprintf("operator %q has no closing %%", name),
			fmt.Sprintf("write %%%s%%, and %%%% for a percent sign", name))
	}
	op, err = newOperator(name, call)
	return op, n + 1, err
}

// closing returns the place of the parenthesis that ends the argument s starts with: the first one
// before a percent sign or a length. Formats of times have both inside.
func closing(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] != ')' {
			continue
		}
		rest := s[i+1:]
		if strings.HasPrefix(rest, ":") {
			rest = strings.TrimLeft(rest[1:], "0123456789")
		}
		if strings.HasPrefix(rest, "%") {
			return i
		}
	}
	return -1
}

// excerpt shortens a text for a message.
func excerpt(s string) string {
	const width = 24
	if len(s) > width {
		return s[:width] + "…"
	}
	return s
}
