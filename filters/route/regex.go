package route

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// mustRegex compiles an expression that Validate has checked, for a match of the whole text.
func mustRegex(text string) *regexp.Regexp { return regexp.MustCompile(`\A(?:` + text + `)\z`) }

// CheckRegex says what is wrong with an expression: what one may cost is bounded.
func CheckRegex(text string) error {
	if len(text) > regexLenMax {
		return fmt.Errorf("regular expression of %d bytes exceeds %d", len(text), regexLenMax)
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		if e := (*syntax.Error)(nil); errors.As(err, &e) {
			return fmt.Errorf("regular expression %q: %s", text, e.Code)
		}
		return err
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return err
	}
	if len(prog.Inst) > regexInstMax {
		return fmt.Errorf("regular expression compiles to %d instructions, which exceeds %d", len(prog.Inst), regexInstMax)
	}
	return nil
}

// parseSubstitution cuts a substitution into literals and groups.
func parseSubstitution(s string, groups int) ([]substPart, error) {
	var parts []substPart
	var lit strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			lit.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case i == len(s):
			return nil, errors.New("substitution ends in a single backslash")
		case s[i] == '\\':
			lit.WriteByte('\\')
		case s[i] < '0' || s[i] > '9':
			return nil, fmt.Errorf(`substitution has \%c; only \0 to \9 and \\ are known`, s[i])
		case int(s[i]-'0') > groups:
			return nil, fmt.Errorf(`substitution has \%c, but the pattern has %d groups`, s[i], groups)
		default:
			if lit.Len() > 0 {
				parts = append(parts, substPart{lit.String(), -1})
				lit.Reset()
			}
			parts = append(parts, substPart{"", int(s[i] - '0')})
		}
	}
	if lit.Len() > 0 {
		parts = append(parts, substPart{lit.String(), -1})
	}
	return parts, nil
}
