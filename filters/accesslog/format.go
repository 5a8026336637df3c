package accesslog

import (
	"errors"
	"math"
)

// defaultLine is Envoy's default format.
const defaultLine = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"`

// Limits of a format.
const (
	// FormatBytesMax bounds the text of a format, and of all texts of a JSON format together.
	FormatBytesMax = 16 << 10
	// FormatDepthMax bounds how deep objects and arrays of a JSON format are nested.
	FormatDepthMax = 16
)

// A Format prints records, one line each. It is immutable: loops share it.
type Format struct {
	steps []step
	end   string // "\n" of a line, "" of a value
	share int    // bytes of each value in a line that has to be cut
}

// noLimit is more than any value has, in bytes.
const noLimit = math.MaxInt

// A step is one thing to do: a piece of literal text, or a value.
type step struct {
	kind stepKind
	omit bool      // omit_empty_values
	lit  []byte    // literal, or what stands before the value: `"name":`
	op   *operator // the value; nil for literals
}

type stepKind uint8

const (
	stepLiteral stepKind = iota
	stepText             // a value in text: escaped, "-" if absent
	stepString           // a value inside a JSON string
	stepTyped            // a value as a JSON value: a number, a string or null
	stepMember           // a member of a JSON object that is left out if its value is absent
	stepRaw              // a value as it is, nothing if absent
	stepClose            // the end of a JSON object some of whose members may be missing
)

// Compile compiles the format of an entry. An error names the operator and what to write
// instead; see [FormatError].
func Compile(cfg *Config) (*Format, error) {
	switch {
	case cfg.Format != "" && len(cfg.JSONFormat) > 0:
		return nil, problem("format and json_format are both given", "keep one of them")
	case len(cfg.JSONFormat) > 0:
		return compileJSON(cfg.JSONFormat, cfg.OmitEmptyValues)
	case cfg.Format == "json":
		return compileMembers(defaultJSON, cfg.OmitEmptyValues)
	case cfg.Format == "":
		return compileText(defaultLine, cfg.OmitEmptyValues)
	}
	return compileText(cfg.Format, cfg.OmitEmptyValues)
}

// finish makes a Format of compiled steps.
func finish(steps []step) *Format {
	literals, values := 1, 0
	for i := range steps {
		literals += len(steps[i].lit)
		if steps[i].op != nil {
			values++
		}
	}
	// Six bytes is the most an escape makes of one.
	return &Format{steps: steps, end: "\n", share: max(1, (LineBytesMax-literals)/(6*max(1, values)))}
}

// CompileValue compiles the value of a field that is added to a request or response. Its operators
// print what they find as it is, and nothing if there is nothing: [codec.Fields] makes values safe.
// [Format.Append] adds no newline.
func CompileValue(text string) (*Format, error) {
	if len(text) > FormatBytesMax {
		return nil, tooLong(len(text))
	}
	p := stepBuilder{kind: stepRaw}
	if err := p.template(text); err != nil {
		return nil, err
	}
	f := finish(p.finish())
	f.end = ""
	return f, nil
}

// Append appends the line of r with its newline. It allocates nothing but room in dst. If the
// line would exceed [LineBytesMax], every value is cut to its share of that: a peer cannot
// keep out of the log by being long.
//
// Hot path: BenchmarkFormat.
func (f *Format) Append(dst []byte, r *Record) []byte {
	dst, _ = f.appendLine(dst, r)
	return dst
}

// appendLine is Append, and reports whether values were cut.
func (f *Format) appendLine(dst []byte, r *Record) (out []byte, shortened bool) {
	n := len(dst)
	dst = f.append(dst, r, noLimit)
	if len(dst)-n > LineBytesMax {
		return f.append(dst[:n], r, f.share), true
	}
	return dst, false
}

// append appends the line with values of at most limit bytes, before they are escaped.
func (f *Format) append(dst []byte, r *Record, limit int) []byte {
	for i := range f.steps {
		s := &f.steps[i]
		if s.kind == stepLiteral {
			dst = append(dst, s.lit...)
			continue
		}
		dst = s.append(dst, r, limit)
	}
	return append(dst, f.end...)
}

// append appends one step that is not a literal.
func (s *step) append(dst []byte, r *Record, limit int) []byte {
	n := len(dst)
	switch s.kind {
	case stepRaw:
		dst, _ = s.op.append(dst, r, limit, escapeNone)
		return dst
	case stepText, stepString:
		how := escapeAsText
		if s.kind == stepString {
			how = escapeAsJSON
		}
		dst, ok := s.op.append(dst, r, limit, how)
		if ok || s.omit {
			return dst
		}
		return append(dst, '-')
	case stepTyped:
		dst, ok := s.op.appendTyped(dst, r, limit)
		if ok {
			return dst
		}
		return append(dst, "null"...)
	case stepMember:
		dst, ok := s.op.appendTyped(append(dst, s.lit...), r, limit)
		if !ok {
			return dst[:n]
		}
		return append(dst, ',')
	case stepClose:
		// No value ends in a comma: strings end in a quote. It is the one of the last member.
		if dst[n-1] == ',' {
			dst = dst[:n-1]
		}
		return append(dst, '}')
	}
	panic("BUG: accesslog: literal step")
}

// A FormatError tells what is wrong with a format, for a person who is writing one.
type FormatError struct {
	Path    string // inside json_format, such as ".request.size" or ".sizes[1]"; or ""
	Problem string
	Hint    string // what to write instead, or ""
}

// problem makes a FormatError of a text, and a hint or "".
func problem(text, hint string) error { return &FormatError{Problem: text, Hint: hint} }

// Error implements error.
func (e *FormatError) Error() string {
	s := e.Problem
	if e.Path != "" {
		s = "json_format" + e.Path + ": " + s
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// asFormatError returns the FormatError in an error of Compile.
func asFormatError(err error) *FormatError {
	var e *FormatError
	if errors.As(err, &e) {
		return e
	}
	return &FormatError{Problem: err.Error()}
}

// inside puts a step in front of the path of an error.
func inside(step string, err error) error {
	e := *asFormatError(err)
	e.Path = step + e.Path
	return &e
}
