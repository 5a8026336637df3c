package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"millrace/bench/proc"
	"millrace/bench/report"
)

// options are the flags.
type options struct {
	proxy       string
	millrace    string
	target      string
	http1       string
	http2       string
	https       string
	pid         int
	path        string
	run         *regexp.Regexp
	time        time.Duration
	rate        float64 // Mbit/s
	latency     time.Duration
	memoryFloor int64
	corpus      string
	remote      bool
	list        bool
}

const usage = `Attacks a proxy on this machine with what is known to bring proxies down, and says what it did to it.

Usage:
  go run ./bench/attack [flags]                           bin/millrace, started with its defaults
  go run ./bench/attack -proxy nginx|haproxy              another proxy, started with its defaults
  go run ./bench/attack -target HOST:PORT -pid PID        one that runs already

Each attack has %v and is bounded in its rate. Beside it a healthy client asks for -path 50 times a second, and the
memory and CPU time of the proxy's process and its children are read from /proc. An attack is survived if

  * no request of the healthy client fails (connection errors, 5xx, 429, more than %v), and its 99th percentile
    is below -latency;
  * resident memory moves by no more than %d %% and -memory-floor;
  * the proxy lives, and is at rest two seconds later;
  * no hidden request reaches the origin (smuggling).

Started proxies are started anew for each attack and are at work before it. What a client waits for that asks the origin
itself, twice, is added to -latency: a busy machine is not the proxy's fault.

A table ends the run. The exit code is 0 if all attacks were survived, 1 if not, 2 if there was nothing to attack.

Examples:
  go run ./bench/attack -run 'reset|bomb' -time 10s
  go run ./bench/attack -target 127.0.0.1:8080 -pid "$(pidof envoy)" -path /healthz
  go run ./bench/attack -http1 127.0.0.1:8080 -http2 127.0.0.1:8082 -pid 4711      cleartext HTTP/2 on a port of its own

Flags:
`

func main() {
	runtime.LockOSThread() // children are signalled when the thread that started them ends: that must be the main one
	opts, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	broken, err := suiteAgainst(ctx, opts, os.Stdout)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(2)
	case broken > 0:
		os.Exit(1)
	}
}

func parseFlags(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("attack", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&o.proxy, "proxy", "millrace", "start this `proxy`: millrace, nginx or haproxy")
	fs.StringVar(&o.millrace, "millrace", "bin/millrace", "`path` of the millrace to start")
	fs.StringVar(&o.target, "target", "", "attack what runs at this `address` instead, over both versions")
	fs.StringVar(&o.http1, "http1", "", "its `address` for HTTP/1.1, if not -target")
	fs.StringVar(&o.http2, "http2", "", "its `address` for HTTP/2 in cleartext, if not -target")
	fs.StringVar(&o.https, "https", "", "its `address` for HTTP/1.1 over TLS")
	fs.IntVar(&o.pid, "pid", 0, "its process; without it memory and CPU time are not judged")
	fs.StringVar(&o.path, "path", smallPath, "what the healthy client asks for")
	run := fs.String("run", ".", "make the attacks whose name matches this `regexp`")
	fs.DurationVar(&o.time, "time", 5*time.Second, "length of each attack")
	fs.Float64Var(&o.rate, "rate", 100, "bound of all attackers together, in `Mbit/s`")
	fs.DurationVar(&o.latency, "latency", time.Second, "bound of the healthy client's 99th percentile")
	floor := fs.Int64("memory-floor", 32, "`MiB` by which memory may move beside its 5 %: 16 attackers that do not read may each fill a queue")
	fs.StringVar(&o.corpus, "corpus", "codec/h1/testdata/smuggling", "`folder` of the cases of the attack named smuggling")
	fs.BoolVar(&o.remote, "remote", false, "allow a target that is not on this machine: only with its owner's consent")
	fs.BoolVar(&o.list, "list", false, "list the attacks and leave")
	fs.Usage = func() {
		fmt.Fprintf(out, usage, 5*time.Second, healthyWait, memoryPct)
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.run, err = regexp.Compile(*run); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	o.memoryFloor = *floor << 20
	return o, o.check(fs.Args())
}

// check refuses what cannot be meant.
func (o *options) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%q is no flag", rest[0])
	}
	if o.time < time.Second || o.rate <= 0 || o.rate > 10000 {
		return fmt.Errorf("-time %v, -rate %v; want at least 1s, and a rate up to 10000", o.time, o.rate)
	}
	for _, addr := range []string{o.target, o.http1, o.http2, o.https} {
		if addr != "" && !o.remote && !isLoopback(addr) {
			return fmt.Errorf("%q is not an address of this machine (127.0.0.1:PORT); -remote allows others", addr)
		}
	}
	return nil
}

// suiteAgainst makes the chosen attacks, writes the table and returns how many were not survived.
func suiteAgainst(ctx context.Context, opts options, out io.Writer) (broken int, err error) {
	chosen := slices.DeleteFunc(suite(), func(a attack) bool { return !opts.run.MatchString(a.name) })
	if opts.list {
		for _, a := range chosen {
			fmt.Fprintf(out, "%-20s %v  %s\n", a.name, a.version, a.about)
		}
		return 0, nil
	}
	dir, err := os.MkdirTemp("", "millrace-attack-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	group := &proc.Group{}
	defer group.StopAll()
	r := &runner{opts: opts}
	if err := r.aim(group, dir); err != nil {
		return 0, err
	}
	fmt.Fprintf(out, "target: %s, HTTP/1.1 at %s, HTTP/2 at %s, HTTPS at %s; %v and at most %v Mbit/s for each attack\n",
		r.target.describe(), orNone(r.target.http1), orNone(r.target.http2), orNone(r.target.https), opts.time, opts.rate)
	if err := r.warmUp(ctx, out); err != nil {
		return 0, err
	}
	var all []*outcome
	for _, a := range chosen {
		if r.target.addr(a.version) == "" {
			continue
		}
		if err := r.refresh(ctx, group, dir, a.version); err != nil {
			return 0, err
		}
		o, err := r.run(ctx, a)
		if err != nil {
			return 0, err
		}
		all = append(all, o)
		if problems := o.verdict(); len(problems) > 0 {
			broken++
		}
		o.print(out)
		if o.died {
			fmt.Fprintf(out, "%s ended: %s\n", r.target.name, r.target.proc.Output())
		}
	}
	printTable(out, all)
	fmt.Fprintf(out, "%d attacks, %d not survived\n", len(all), broken)
	return broken, nil
}

// aim finds the target or starts it.
func (r *runner) aim(g *proc.Group, dir string) (err error) {
	o := r.opts
	if o.target == "" && o.http1 == "" && o.http2 == "" && o.https == "" {
		if r.origin == nil {
			if r.origin, err = startOrigin(); err != nil {
				return err
			}
		}
		r.target, err = startTarget(g, o.proxy, o.millrace, dir, r.origin)
		return err
	}
	r.target = &target{name: "a proxy", http1: o.http1, http2: o.http2, https: o.https, pid: o.pid}
	if o.target != "" {
		r.target.http1, r.target.http2 = o.target, o.target
	}
	return nil
}

// refresh starts a target that is ours anew, so that no attack profits from what an earlier one has left, and lets a
// crowd of ordinary clients bring it to its working size.
func (r *runner) refresh(ctx context.Context, g *proc.Group, dir string, v version) error {
	if r.target.proc != nil {
		r.target.proc.Stop()
		if err := r.aim(g, dir); err != nil {
			return err
		}
	}
	if r.origin == nil {
		return nil // what a stranger's origin has to give is not known
	}
	crowded, cancel := context.WithTimeout(ctx, crowdTime)
	defer cancel()
	crowd(crowded, r.target.addr(v), v)
	return pause(ctx, settleWait/2)
}

// warmUp lets the healthy client alone for a second in each version: it shows what is normal, and a version in which
// nothing succeeds is left out.
func (r *runner) warmUp(ctx context.Context, out io.Writer) error {
	for _, v := range []version{http1, http2, https} {
		addr := r.target.addr(v)
		if addr == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		well := beWell(ctx, addr, v, r.opts.path, nil)
		cancel()
		if len(well.times) > 0 {
			fmt.Fprintf(out, "%v without an attack: %s\n", v, well)
			continue
		}
		fmt.Fprintf(out, "%v does not work at %s (%v): its attacks are left out\n", v, addr, well.errors)
		switch v {
		case http1:
			r.target.http1 = ""
		case http2:
			r.target.http2 = ""
		default:
			r.target.https = ""
		}
	}
	if r.target.http1 == "" && r.target.http2 == "" && r.target.https == "" {
		return errors.New("nothing answers: there is nothing to attack")
	}
	return nil
}

// String implements fmt.Stringer.
func (h *healthy) String() string {
	return fmt.Sprintf("%d requests, %d failed, %v at the median, %v at the 99th percentile, %v at most",
		len(h.times)+h.failed(), h.failed(), round(h.at(0.5)), round(h.at(0.99)), round(h.at(1)))
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

func (t *target) describe() string {
	if t.version != "" {
		return t.version
	}
	return t.name
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// print tells of one attack as soon as it is over.
func (o *outcome) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s: %s\n  %d connections, %s sent; the target ended: %s\n", o.attack.name, o.attack.about,
		o.tally.opened.Load(), mib(o.tally.sent.Load()), orNone(o.tally.endings()))
	if n := o.tally.refused.Load(); n > 0 {
		fmt.Fprintf(out, "  %d connections refused\n", n)
	}
	fmt.Fprintf(out, "  healthy client: %s\n", o.well)
	for _, p := range o.verdict() {
		fmt.Fprintf(out, "  BROKEN: %s\n", p)
	}
}

// printTable sums all attacks up.
func printTable(out io.Writer, all []*outcome) {
	t := report.Table{Head: []string{"attack", "sent MiB", "conns", "to origin", "memory MiB", "moved", "CPU %", "rest %", "p50 ms", "p99 ms", "direct p99", "failed", "verdict"}}
	for _, o := range all {
		verdict := "survived"
		if len(o.verdict()) > 0 {
			verdict = "BROKEN"
		}
		t.Add(o.attack.name, fmt.Sprintf("%.1f", float64(o.tally.sent.Load())/(1<<20)), fmt.Sprint(o.tally.opened.Load()), fmt.Sprint(o.origin),
			fmt.Sprintf("%.1f", float64(o.before)/(1<<20)), fmt.Sprintf("%+.1f", float64(o.most-o.before)/(1<<20)),
			fmt.Sprintf("%.0f", o.busy), fmt.Sprintf("%.0f", o.rest), ms(o.well.at(0.5)), ms(o.well.at(0.99)), directP99(o.control),
			fmt.Sprint(o.well.failed()), verdict)
	}
	fmt.Fprintf(out, "\n%s", strings.TrimRight(t.Text(), " "))
}

func directP99(control *healthy) string {
	if control == nil {
		return "-"
	}
	return ms(control.at(0.99))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
