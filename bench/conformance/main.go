package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	millrace string
	peers    string
	run      *regexp.Regexp
	verbose  bool
	serve    string // a suite's name: be the server under test
}

// exits are what the exit code says.
const (
	exitFailed  = 1 // a case failed
	exitNothing = 2 // nothing could be run
)

func main() {
	runtime.LockOSThread() // children are signalled when the thread that started them ends: that must be the main one
	opts, err := parseFlags(os.Args[1:])
	if err != nil {
		os.Exit(exitNothing)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	code := 0
	if opts.serve != "" {
		err = serve(ctx, opts, os.Stdin, os.Stdout)
	} else {
		code, err = runAll(ctx, opts, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		code = exitNothing
	}
	stop()
	os.Exit(code)
}

func parseFlags(args []string) (options, error) {
	var o options
	cache, _ := os.UserCacheDir() // without one the flag must be given
	fs := flag.NewFlagSet("conformance", flag.ContinueOnError)
	fs.StringVar(&o.millrace, "millrace", "bin/millrace", "`path` of the millrace under test")
	fs.StringVar(&o.peers, "peers", filepath.Join(cache, "millrace", "peers"), "`folder` in which bench/peers has built the programs of the suite")
	run := fs.String("run", ".", "run the suites whose name matches this `regexp`")
	fs.BoolVar(&o.verbose, "v", false, "show what the suite prints even if nothing failed")
	fs.StringVar(&o.serve, "serve", "", "be the server under test of the `suite` of that name; it is started like that by the runner")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.run, err = regexp.Compile(*run); err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("%q is no flag", fs.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
	return o, err
}

// runAll runs the chosen suites and writes a line for each.
func runAll(ctx context.Context, opts options, out io.Writer) (code int, err error) {
	dir, err := os.MkdirTemp("", "millrace-conformance-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for _, s := range suites {
		if !opts.run.MatchString(s.name) {
			continue
		}
		begin := time.Now()
		got, text, err := s.run(ctx, opts, dir)
		if err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", s.name, err, text)
		}
		fmt.Fprintf(out, "%-18s %4d cases, %4d passed, %d failed, %d excused, %v\n", s.name, got.cases, got.passed, got.failed, got.excused, time.Since(begin).Round(time.Millisecond))
		bad := got.failed > 0 || got.cases != s.cases || got.passed+got.excused != s.cases
		if bad {
			fmt.Fprintf(out, "%s: want %d cases, and all passed\n", s.name, s.cases)
			code = exitFailed
		}
		if opts.verbose || bad {
			fmt.Fprintln(out, text)
		}
	}
	return code, nil
}

// A tally is what the suite says at its end.
type tally struct{ cases, passed, failed, excused int }

var (
	totalLine = regexp.MustCompile(`(?m)^Total cases: (\d+)$`)
	endLine   = regexp.MustCompile(`(?m)^(\d+) passed, (\d+) failed$(?:\n\(Another (\d+) failed as expected)?`)
)

// run runs one suite to its end.
func (s suite) run(ctx context.Context, opts options, dir string) (tally, string, error) {
	self, err := os.Executable()
	if err != nil {
		return tally{}, "", err
	}
	conf := filepath.Join(dir, s.name+".yaml")
	if err := os.WriteFile(conf, []byte(s.features), 0o600); err != nil {
		return tally{}, "", err
	}
	args := []string{"--mode", "server", "--conf", conf, "-p", strconv.Itoa(4 * runtime.NumCPU()), "--max-servers", "2"}
	for _, pattern := range s.known {
		args = append(args, "--known-failing", pattern)
	}
	args = append(args, "--", self, "-serve", s.name, "-millrace", opts.millrace, "-peers", opts.peers)
	cmd := exec.CommandContext(ctx, filepath.Join(opts.peers, "connectconformance"), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = time.Second
	b, err := cmd.CombinedOutput()
	text := string(b)
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) { // failed cases end it too
		return tally{}, text, err
	}
	got, err := parseTally(text)
	return got, text, err
}

// parseTally reads the last lines of the suite's report.
func parseTally(text string) (got tally, err error) {
	total, end := totalLine.FindStringSubmatch(text), endLine.FindStringSubmatch(text)
	if total == nil || end == nil {
		return got, errors.New("the suite printed no totals")
	}
	for _, f := range []struct {
		text string
		into *int
	}{{total[1], &got.cases}, {end[1], &got.passed}, {end[2], &got.failed}, {cmp.Or(end[3], "0"), &got.excused}} {
		if *f.into, err = strconv.Atoi(f.text); err != nil {
			return got, err
		}
	}
	return got, nil
}
