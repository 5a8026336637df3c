package accesslog

import (
	"strconv"
	"strings"
)

// withoutPort takes the port off a name of a host.
func withoutPort(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > 0 && !strings.HasPrefix(name, "unix:") {
		return name[:i]
	}
	return name
}

// attemptChoice says what an operator prints of each attempt.
type attemptChoice uint8

const (
	attemptAddress attemptChoice = iota
	attemptIP
	attemptName
	attemptBareName
	attemptConnID
)

// attempted appends the attempts in order, separated with commas. One without a connection has no number.
func attempted(dst []byte, o *operator, r *Record) []byte {
	n := len(dst)
	for i := range r.Attempted {
		before := len(dst)
		if before > n {
			dst = append(dst, ',')
		}
		begin := len(dst)
		if dst = o.attempt.append(dst, &r.Attempted[i]); len(dst) == begin {
			dst = dst[:before]
		}
	}
	return dst
}

// append appends what is wanted of one attempt. Names are of the configuration, and get no escape: whatever would need
// one is printed as "_".
func (c attemptChoice) append(dst []byte, a *Attempt) []byte {
	switch c {
	case attemptAddress:
		return appendAddress(dst, &a.Addr)
	case attemptIP:
		return appendIP(dst, &a.Addr)
	case attemptName:
		return appendPlain(dst, a.Host)
	case attemptBareName:
		return appendPlain(dst, withoutPort(a.Host))
	case attemptConnID:
		if a.ConnID == 0 {
			return dst
		}
		return strconv.AppendUint(dst, a.ConnID, 10)
	}
	panic("BUG: accesslog: unknown part of an attempt")
}

// appendPlain appends s with "_" in place of what would need an escape.
func appendPlain(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if escapes[c] != plain {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}
