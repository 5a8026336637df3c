package grpcjson

import "errors"

// A Splitter cuts a JSON array that comes in pieces into its elements. The zero value is ready. What is inside an element is
// looked at only as far as finding its end needs.
//
//	start ─[─▶ first ─▶ value ─▶ after ─]─▶ done
//	                      ▲        │ ,
//	                      └─ next ◀┘
type Splitter struct {
	state  splitState
	depth  int
	text   bool // within a string
	escape bool // behind a backslash
	buf    []byte
}

type splitState uint8

const (
	splitStart splitState = iota // before the array
	splitFirst                   // behind "["
	splitNext                    // behind ","
	splitValue                   // within an element
	splitAfter                   // behind an element
	splitDone                    // behind the array
)

var (
	errNotArray   = errors.New("the body is not an array")
	errBehind     = errors.New("something follows the array")
	errNoElement  = errors.New("an element of the array is missing")
	errNoComma    = errors.New("no comma between two elements of the array")
	errUnfinished = errors.New("the array does not end")
	// ErrTooLong says that an element is longer than allowed.
	ErrTooLong = errors.New("an element of the array is too long")
)

// Feed takes a piece and calls element for each element that is complete, with bytes that are valid during the call. An
// element may have most bytes.
func (s *Splitter) Feed(b []byte, most int, element func([]byte) error) error {
	for i := 0; i < len(b); {
		if s.state != splitValue {
			n, err := s.between(b[i])
			if err != nil {
				return err
			}
			i += n
			continue
		}
		n, ended := s.scan(b[i:])
		if len(s.buf)+n > most {
			return ErrTooLong
		}
		s.buf = append(s.buf, b[i:i+n]...)
		i += n
		if !ended {
			return nil
		}
		s.state = splitAfter
		if err := element(s.buf); err != nil {
			return err
		}
		s.buf = s.buf[:0]
	}
	return nil
}

// End reports an array that is cut short. No body at all is an empty array.
func (s *Splitter) End() error {
	if s.state != splitDone && s.state != splitStart {
		return errUnfinished
	}
	return nil
}

// between takes a character outside of the elements, and returns how many were used up.
func (s *Splitter) between(c byte) (n int, err error) {
	if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
		return 1, nil
	}
	switch s.state {
	case splitStart:
		if c != '[' {
			return 0, errNotArray
		}
		s.state = splitFirst
		return 1, nil
	case splitFirst, splitNext:
		if c == ']' && s.state == splitFirst {
			s.state = splitDone
			return 1, nil
		}
		if c == ',' || c == ']' {
			return 0, errNoElement
		}
		s.state, s.depth = splitValue, 0
		return 0, nil
	case splitAfter:
		switch c {
		case ',':
			s.state = splitNext
			return 1, nil
		case ']':
			s.state = splitDone
			return 1, nil
		}
		return 0, errNoComma
	case splitDone, splitValue:
	}
	return 0, errBehind
}

// scan goes on with an element. It returns how many bytes belong to it, and whether it ended.
func (s *Splitter) scan(b []byte) (n int, ended bool) {
	for i, c := range b {
		if s.text {
			switch {
			case s.escape:
				s.escape = false
			case c == '\\':
				s.escape = true
			case c == '"':
				if s.text = false; s.depth == 0 {
					return i + 1, true
				}
			}
			continue
		}
		switch c {
		case '"':
			s.text = true
		case '{', '[':
			s.depth++
		case '}', ']':
			if s.depth == 0 { // the array's
				return i, true
			}
			if s.depth--; s.depth == 0 {
				return i + 1, true
			}
		case ',', ' ', '\t', '\r', '\n':
			if s.depth == 0 {
				return i, true
			}
		}
	}
	return len(b), false
}
