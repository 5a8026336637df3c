package h2

import (
	"bytes"

	"millrace/codec/ascii"
)

// isFieldName reports whether b may be the name of a field that is no pseudo-field: a token in lower case.
//
// "A field name MUST NOT contain characters in the ranges 0x00-0x20, 0x41-0x5a, or 0x7f-0xff"
// RFC 9113 section 8.2.1
func isFieldName(b []byte) bool {
	for _, c := range b {
		if !ascii.Is(c, ascii.Token) || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= nameMax
}

// nameMax is the longest name that codec.Fields holds.
const nameMax = 1<<16 - 1

// isFieldValue reports whether b may be the value of a field.
//
// "A field value MUST NOT contain the zero value (ASCII NUL, 0x00), line feed (ASCII LF, 0x0a), or carriage return
// (ASCII CR, 0x0d) at any position. A field value MUST NOT start or end with an ASCII whitespace character"
// RFC 9113 section 8.2.1
func isFieldValue(b []byte) bool {
	n := len(b)
	return n == 0 || b[0] > ' ' && b[n-1] > ' ' && ascii.IsValue(b)
}

// parseStatus returns a status code of three digits, 0 if it is none.
func parseStatus(b []byte) int {
	if len(b) != 3 || !ascii.All(b, ascii.Digit) || b[0] == '0' {
		return 0
	}
	return int(b[0]-'0')*100 + int(b[1]-'0')*10 + int(b[2]-'0')
}

// parseLength returns the length that a Content-Length gives.
func parseLength(b []byte) (int64, bool) { return ascii.ParseInt(b) }

// equalLower reports whether b is s, which is in lower case, in any case.
func equalLower(b []byte, s string) bool { return ascii.EqualFoldString(b, s) }

// parsePriority reads a priority field (RFC 9218 section 4). What it cannot read says nothing.
func parsePriority(b []byte) (urgency uint8, increments bool) {
	urgency = urgencyDefault
	for len(b) > 0 {
		var item []byte
		item, b, _ = bytes.Cut(b, []byte(","))
		item, _, _ = bytes.Cut(item, []byte(";")) // parameters say nothing that is known
		item = bytes.Trim(item, " \t")
		switch {
		case len(item) == 3 && item[0] == 'u' && item[1] == '=' && item[2] >= '0' && item[2] <= '0'+urgencyLowest:
			urgency = item[2] - '0'
		case len(item) == 1 && item[0] == 'i', string(item) == "i=?1":
			increments = true
		case string(item) == "i=?0":
			increments = false
		}
	}
	return urgency, increments
}
