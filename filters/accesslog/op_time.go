package accesslog

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const timeUsage = "%START_TIME% or %START_TIME(%Y-%m-%dT%H:%M:%S.%3f%z)%"

func startTime(dst []byte, o *operator, r *Record) []byte {
	return o.appendTime(dst, r.StartUnix)
}

// emitTime is the moment the line is made, which is when the stream ended.
func emitTime(dst []byte, o *operator, r *Record) []byte {
	return o.appendTime(dst, r.StartUnix+r.End-r.Start)
}

// appendTime appends a wall time, nanoseconds since 1970. The default form is
// ISO 8601 with milliseconds.
func (o *operator) appendTime(dst []byte, unix int64) []byte {
	return o.appendMoment(dst, time.Unix(0, unix))
}

func (o *operator) appendMoment(dst []byte, t time.Time) []byte {
	if !o.local {
		t = t.UTC()
	}
	if o.clock == nil {
		return appendISO(dst, t, o.local)
	}
	for i := range o.clock {
		dst = o.clock[i].append(dst, t)
	}
	return dst
}

// appendISO appends the default form.
//
// Hot path: BenchmarkFormat. In one piece, since most lines have it.
func appendISO(dst []byte, t time.Time, zone bool) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b := [24]byte([]byte("0000-00-00T00:00:00.000Z"))
	putDigits(b[0:4], year)
	putDigits(b[5:7], int(month))
	putDigits(b[8:10], day)
	putDigits(b[11:13], hour)
	putDigits(b[14:16], minute)
	putDigits(b[17:19], second)
	putDigits(b[20:23], t.Nanosecond()/int(time.Millisecond))
	if zone {
		return appendZone(append(dst, b[:23]...), t)
	}
	return append(dst, b[:]...)
}

// strftime is a compiled format of times.
type strftime []clockStep

// A clockStep prints literal text, then one part of a time.
type clockStep struct {
	lit    string
	conv   byte // as after the percent sign; 0 is none
	digits int  // of %f
}

// parseTime compiles a format of strftime(3), with %f, %3f, %6f and such for fractions of a second.
func parseTime(o *operator, arg string) error {
	for rest := arg; rest != ""; {
		lit, after, found := strings.Cut(rest, "%")
		if i := strings.IndexFunc(lit, func(r rune) bool { return r > '~' || escapes[byte(r)] != plain }); i >= 0 {
			return fmt.Errorf("%q may not stand in a time", lit[i:])
		}
		s := clockStep{lit: lit}
		if found {
			n := 0
			for n < len(after) && after[n] >= '0' && after[n] <= '9' {
				n++
			}
			if n == len(after) {
				return fmt.Errorf("the time %q ends in the middle of a conversion", arg)
			}
			s.conv = after[n]
			if err := s.setDigits(after[:n]); err != nil {
				return err
			}
			after = after[n+1:]
		}
		o.clock = append(o.clock, s)
		rest = after
	}
	return nil
}

// setDigits checks the conversion and the digits in front of it.
func (s *clockStep) setDigits(digits string) error {
	const known = "aAbBcCdDeFhHIjklmMpPrRsSTuwyYzZ%f"
	if strings.IndexByte(known, s.conv) < 0 {
		return fmt.Errorf("unknown conversion %%%c in the time", s.conv)
	}
	s.digits = 9
	if digits == "" {
		return nil
	}
	n, err := strconv.Atoi(digits)
	if s.conv != 'f' || err != nil || n < 1 || n > 9 {
		return fmt.Errorf("conversion %%%s%c; 1 to 9 digits are for %%f", digits, s.conv)
	}
	s.digits = n
	return nil
}

// append appends the step's text. A flat table.
func (s *clockStep) append(dst []byte, t time.Time) []byte {
	dst = append(dst, s.lit...)
	switch s.conv {
	case 'Y':
		return appendPadded(dst, t.Year(), 4)
	case 'C':
		return appendPadded(dst, t.Year()/100, 2)
	case 'y':
		return appendPadded(dst, t.Year()%100, 2)
	case 'm':
		return appendPadded(dst, int(t.Month()), 2)
	case 'd':
		return appendPadded(dst, t.Day(), 2)
	case 'e':
		return appendSpaced(dst, t.Day())
	case 'j':
		return appendPadded(dst, t.YearDay(), 3)
	case 'b', 'h':
		return append(dst, t.Month().String()[:3]...)
	case 'B':
		return append(dst, t.Month().String()...)
	case 'a':
		return append(dst, t.Weekday().String()[:3]...)
	case 'A':
		return append(dst, t.Weekday().String()...)
	case 'u':
		return appendPadded(dst, (int(t.Weekday())+6)%7+1, 1)
	case 'w':
		return appendPadded(dst, int(t.Weekday()), 1)
	case 'H':
		return appendPadded(dst, t.Hour(), 2)
	case 'k':
		return appendSpaced(dst, t.Hour())
	case 'I':
		return appendPadded(dst, (t.Hour()+11)%12+1, 2)
	case 'l':
		return appendSpaced(dst, (t.Hour()+11)%12+1)
	case 'M':
		return appendPadded(dst, t.Minute(), 2)
	case 'S':
		return appendPadded(dst, t.Second(), 2)
	case 'p':
		return append(dst, halfOfDay(t)...)
	case 'P':
		return append(dst, halfOfDay(t)[0]|0x20, 'm')
	case 'f':
		return appendFraction(dst, t.Nanosecond(), s.digits)
	case 's':
		return strconv.AppendInt(dst, t.Unix(), 10)
	case 'F':
		return appendDate(dst, t)
	case 'T':
		return appendClock(dst, t)
	case 'R':
		return appendClock(dst, t)[:len(dst)+len("15:04")]
	case 'r':
		return append(append(appendClock(dst, t.Add(twelveHours(t))), ' '), halfOfDay(t)...)
	case 'D':
		dst = append(appendPadded(dst, int(t.Month()), 2), '/')
		dst = append(appendPadded(dst, t.Day(), 2), '/')
		return appendPadded(dst, t.Year()%100, 2)
	case 'c':
		return t.AppendFormat(dst, time.ANSIC)
	case 'z':
		return appendZone(dst, t)
	case 'Z':
		return t.AppendFormat(dst, "MST")
	case '%':
		return append(dst, '%')
	}
	return dst
}

func halfOfDay(t time.Time) string {
	if t.Hour() < 12 {
		return "AM"
	}
	return "PM"
}

// twelveHours is what leads from an hour of 24 to one of 12.
func twelveHours(t time.Time) time.Duration {
	return time.Duration((t.Hour()+11)%12+1-t.Hour()) * time.Hour
}

func appendDate(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	dst = append(appendPadded(dst, year, 4), '-')
	dst = append(appendPadded(dst, int(month), 2), '-')
	return appendPadded(dst, day, 2)
}

func appendClock(dst []byte, t time.Time) []byte {
	hour, minute, second := t.Clock()
	dst = append(appendPadded(dst, hour, 2), ':')
	dst = append(appendPadded(dst, minute, 2), ':')
	return appendPadded(dst, second, 2)
}

// appendZone appends the offset from UTC, +0000.
func appendZone(dst []byte, t time.Time) []byte {
	_, offset := t.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = appendPadded(append(dst, sign), offset/3600, 2)
	return appendPadded(dst, offset/60%60, 2)
}

// appendFraction appends the first digits of a fraction of a second.
func appendFraction(dst []byte, ns, digits int) []byte {
	return appendPadded(dst, ns, 9)[:len(dst)+digits]
}

// appendPadded appends n with zeros up to width. Precondition: n is not negative and has no
// more digits than that, but for years after 9999.
func appendPadded(dst []byte, n, width int) []byte {
	const zeros = "000000000"
	dst = append(dst, zeros[:width]...)
	putDigits(dst[len(dst)-width:], n)
	return dst
}

// putDigits fills b with the last digits of n.
func putDigits(b []byte, n int) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// appendSpaced appends n with a space in front if it has one digit.
func appendSpaced(dst []byte, n int) []byte {
	if n < 10 {
		dst = append(dst, ' ')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}
