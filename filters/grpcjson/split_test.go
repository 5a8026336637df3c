package grpcjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// split feeds text in pieces of n bytes.
func split(text string, n int) (elements []string, err error) {
	var s Splitter
	for b := []byte(text); len(b) > 0 && err == nil; {
		k := min(n, len(b))
		err = s.Feed(b[:k], 100, func(e []byte) error {
			elements = append(elements, string(e))
			return nil
		})
		b = b[k:]
	}
	if err == nil {
		err = s.End()
	}
	return elements, err
}

func TestSplitter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{"", "", nil},
		{" [ ] ", "", nil},
		{"[1]", "1", nil},
		{`[1, "a]\"[," , {"b": [1, "}"]},[ ],null]`, `1|"a]\"[,"|{"b": [1, "}"]}|[ ]|null`, nil},
		{"[1", "", errUnfinished},
		{"[", "", errUnfinished},
		{"[1,", "1", errUnfinished},
		{"{}", "", errNotArray},
		{"[]x", "", errBehind},
		{"[1,]", "1", errNoElement},
		{"[,1]", "", errNoElement},
		{"[1 2]", "1", errNoComma},
		{`["a"b]`, `"a"`, errNoComma},
		{"[" + strings.Repeat("1", 101) + "]", "", ErrTooLong},
	} {
		for n := 1; n <= max(1, len(tt.in)); n++ {
			got, err := split(tt.in, n)
			if strings.Join(got, "|") != tt.want || !errors.Is(err, tt.err) {
				t.Fatalf("%q in pieces of %d: %q, %v; want %q, %v", tt.in, n, got, err, tt.want, tt.err)
			}
		}
	}
}

// FuzzSplitter: the elements do not depend on where the pieces are cut, and those of valid JSON are what package json finds.
func FuzzSplitter(f *testing.F) {
	for _, text := range []string{"[]", `[1, "a]\"[," , {"b": [1, "}"]},[ ],null]`, "[1,]", `["\\"]`, "[}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		whole, err := split(text, len(text)+1)
		bits, bitsErr := split(text, 1)
		if strings.Join(whole, "|") != strings.Join(bits, "|") || !errors.Is(bitsErr, err) {
			t.Errorf("%q: whole %q, %v; byte by byte %q, %v", text, whole, err, bits, bitsErr)
		}
		var want []json.RawMessage
		if errors.Is(err, ErrTooLong) || json.Unmarshal([]byte(text), &want) != nil || want == nil {
			return
		}
		if err != nil || len(want) != len(whole) {
			t.Fatalf("%q: %q, %v; want %d elements", text, whole, err, len(want))
		}
		for i := range want {
			if !bytes.Equal(want[i], []byte(whole[i])) {
				t.Errorf("%q: element %d is %q; want %q", text, i, whole[i], want[i])
			}
		}
	})
}

// FuzzCompact: only space outside of strings goes.
func FuzzCompact(f *testing.F) {
	f.Add(`{"a b": [1, 2], "c\" \\": " "}`)
	f.Fuzz(func(t *testing.T, text string) {
		var want bytes.Buffer
		if json.Compact(&want, []byte(text)) != nil || strings.ContainsAny(text, "\t\r") {
			return
		}
		if got := compact([]byte(text)); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("compact(%q) = %q; want %q", text, got, want.Bytes())
		}
	})
}
