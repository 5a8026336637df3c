package load

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// A Result is what a closed-loop tool reports of one run.
type Result struct {
	Requests int64 // answered with 2xx or 3xx
	Errors   int64 // socket errors, time-outs and other answers
	Elapsed  time.Duration
}

// A Shape is a closed-loop load.
type Shape struct {
	URL         string
	Connections int
	Streams     int // at once on each connection, HTTP/2 only
	Headers     []string
	Duration    time.Duration
}

// WrkArgs is the command line of wrk for s: one thread, as it has one core.
func WrkArgs(s Shape) []string {
	return withHeaders([]string{"wrk", "-t1", fmt.Sprintf("-c%d", s.Connections), fmt.Sprintf("-d%ds", wholeSeconds(s.Duration))}, s)
}

// H2loadArgs is the command line of h2load for s, HTTP/2 without TLS for an http URL.
func H2loadArgs(s Shape) []string {
	return withHeaders([]string{
		"h2load", "-t1", fmt.Sprintf("-c%d", s.Connections), fmt.Sprintf("-m%d", max(s.Streams, 1)),
		fmt.Sprintf("-D%d", wholeSeconds(s.Duration)),
	}, s)
}

func withHeaders(argv []string, s Shape) []string {
	for _, h := range s.Headers {
		argv = append(argv, "-H", h)
	}
	return append(argv, s.URL)
}

// wholeSeconds rounds up: both tools count in seconds.
func wholeSeconds(d time.Duration) int {
	return max(int((d+time.Second-1)/time.Second), 1)
}

var (
	wrkDone    = regexp.MustCompile(`(\d+) requests in ([\d.]+)(us|ms|s|m|h),`)
	wrkErrors  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	h2Finished = regexp.MustCompile(`finished in ([\d.]+)(us|ms|s|m|h),`)
	h2Requests = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
)

// ParseWrk reads the report of wrk.
func ParseWrk(out string) (Result, error) {
	var r Result
	m := wrkDone.FindStringSubmatch(out)
	if m == nil {
		return r, errors.New("no line of finished requests in the report of wrk")
	}
	var err error
	if r.Elapsed, err = time.ParseDuration(m[2] + m[3]); err != nil {
		return r, fmt.Errorf("report of wrk: %w", err)
	}
	r.Errors = sum(wrkErrors.FindStringSubmatch(out))
	bad := sum(wrkStatus.FindStringSubmatch(out))
	r.Errors += bad
	r.Requests = sum(m[:2]) - bad // wrk counts refused requests as done
	return r, nil
}

// ParseH2load reads the report of h2load.
func ParseH2load(out string) (Result, error) {
	var r Result
	fin, req := h2Finished.FindStringSubmatch(out), h2Requests.FindStringSubmatch(out)
	if fin == nil || req == nil {
		return r, errors.New("no line of finished requests in the report of h2load")
	}
	var err error
	if r.Elapsed, err = time.ParseDuration(fin[1] + fin[2]); err != nil {
		return r, fmt.Errorf("report of h2load: %w", err)
	}
	r.Requests = sum([]string{"", req[2]})
	r.Errors = sum(append([]string{""}, req[3:]...))
	return r, nil
}

// sum adds the groups of a match, all of them digits; no match is 0.
func sum(match []string) int64 {
	var n int64
	for _, s := range match[min(1, len(match)):] {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			panic(fmt.Sprintf("BUG: load: %q matched as a number", s))
		}
		n += v
	}
	return n
}
