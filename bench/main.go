package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"millrace/bench/compare"
	"millrace/bench/load"
	"millrace/bench/proc"
)

// options are the flags.
type options struct {
	run        *regexp.Regexp
	rounds     int
	duration   time.Duration
	bulk       int64 // bytes of a long transfer
	peers      []string
	millrace   string
	out        string
	results    string
	origin     string
	proxyCores string
	loadCores  string
	quick      bool
	install    bool
	ahead      bool
	noisy      bool
	list       bool
}

func main() {
	// Children are signalled when the thread that started them ends: that must be the main one.
	runtime.LockOSThread()
	if was, err := runChild(os.Args); was {
		exit(err)
	}
	opts, err := parseFlags(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	exit(bench(ctx, opts))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parseFlags(args []string) (options, error) {
	proxy, load := "0", "1"
	if n := runtime.NumCPU(); n >= scalingCores {
		load = fmt.Sprintf("2-%d", n-1) // two loops take 0 and 1
	}
	var o options
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	run := fs.String("run", ".", "run the scenarios whose name matches this `regexp`")
	peers := fs.String("peers", "", "`names` of the peers to run, with commas (default: all that are there)")
	fs.IntVar(&o.rounds, "rounds", 10, "rounds of a CPU scenario; memory and latency take half as many")
	fs.DurationVar(&o.duration, "duration", 2*time.Second, "length of one run, in whole seconds; a latency run takes three times that")
	fs.StringVar(&o.millrace, "millrace", "bin/millrace", "`path` of the binary under test")
	fs.StringVar(&o.out, "out", "", "write the report as Markdown to this `file`, with its charts beside it")
	fs.StringVar(&o.results, "results", "", "write a dated text file with every sample into this `folder` (default with -out: bench/results)")
	fs.StringVar(&o.origin, "origin", "raw", "what answers behind the proxies: raw (backend/origin.c) or nginx")
	fs.StringVar(&o.proxyCores, "proxy-cores", proxy, "`list` of cores for the proxy")
	fs.StringVar(&o.loadCores, "load-cores", load, "`list` of cores for load and origin")
	fs.BoolVar(&o.quick, "quick", false, "three rounds of one second, and a tenth of long transfers: a first look, not a result")
	fs.BoolVar(&o.install, "install", false, "install missing peers and tools with apt-get")
	fs.BoolVar(&o.ahead, "ahead", false, "put the benchmark before the work of other sessions on this machine (root)")
	fs.BoolVar(&o.noisy, "noisy", false, "keep latency runs that other work on the machine disturbed: good for trying out, not for a result")
	fs.BoolVar(&o.list, "list", false, "list the scenarios and leave")
	_ = fs.Parse(args) // leaves by itself on an error
	var err error
	if o.run, err = regexp.Compile(*run); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	if *peers != "" {
		o.peers = strings.Split(*peers, ",")
	}
	o.bulk = bulkBytes
	if o.quick {
		o.rounds, o.duration, o.bulk = 3, time.Second, bulkBytes/10
	}
	if o.rounds < 1 || o.duration < time.Second {
		return o, fmt.Errorf("%d rounds of %v; want at least one of 1s", o.rounds, o.duration)
	}
	if o.out != "" && o.results == "" {
		o.results = "bench/results"
	}
	if o.origin != "raw" && o.origin != nginx {
		return o, fmt.Errorf("-origin %q; want raw or nginx", o.origin)
	}
	return o, nil
}

// bench runs the chosen scenarios and reports them. Whatever it started is gone when it returns.
func bench(ctx context.Context, opts options) error {
	chosen := slices.DeleteFunc(suite(opts.proxyCores), func(s scenario) bool { return !opts.run.MatchString(s.name) })
	if opts.list {
		for _, s := range chosen {
			fmt.Printf("%-22s %s\n", s.name, s.about)
		}
		return nil
	}
	if err := prepareProcess(opts.loadCores); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	group := &proc.Group{Ahead: opts.ahead}
	defer group.StopAll()
	r := &runner{ctx: ctx, opts: opts, group: group, dir: dir, progress: os.Stderr}
	peers, err := r.prepare()
	if err != nil {
		return err
	}
	rep := newRun(opts, describe(peers), time.Now())
	for _, s := range chosen {
		o, err := r.run(s)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			o.notes = append(o.notes, err.Error()) // the other scenarios can still be had
		}
		if len(o.scenario.entries) == 0 {
			o.notes = append(o.notes, "skipped: none of its peers is there")
		}
		rep.outcomes = append(rep.outcomes, o)
	}
	return rep.publish(os.Stdout)
}

// prepare finds the peers and starts the origin.
func (r *runner) prepare() ([]compare.Peer, error) {
	var err error
	if r.self, err = os.Executable(); err != nil {
		return nil, err
	}
	missing, err := install(compare.Builtin(r.opts.millrace, filepath.Join(r.dir, floorRelay)), r.opts.install)
	if err != nil {
		return nil, err
	}
	for _, m := range missing {
		fmt.Fprintf(r.progress, "bench: %s is not installed (-install does it)\n", m)
	}
	floor, err := compile(r.dir, floorRelay, floorSource)
	if err != nil {
		return nil, err
	}
	r.peers = map[string]compare.Peer{}
	var found []compare.Peer
	for _, p := range compare.Builtin(r.opts.millrace, floor) {
		if r.opts.peers != nil && !slices.Contains(r.opts.peers, p.Name) {
			continue
		}
		if _, err := p.Path(); err != nil {
			fmt.Fprintf(r.progress, "bench: without %s: %v\n", p.Name, err)
			continue
		}
		r.peers[p.Name] = p
		found = append(found, p)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no peer to run of %q", r.opts.peers)
	}
	if r.bytes, err = compile(r.dir, "bytes", bytesSource); err != nil {
		return nil, err
	}
	if r.plain, err = r.startPlainOrigin(); err != nil {
		return nil, err
	}
	_, r.origin, err = r.startOrigin()
	return found, err
}

// startPlainOrigin runs the origin of plain TCP and UDP on the load's cores and returns its port.
func (r *runner) startPlainOrigin() (int, error) {
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	p, err := r.group.Start("plain origin", r.opts.loadCores, r.dir, r.bytes, "origin", fmt.Sprint(ports[0]))
	if err != nil {
		return 0, err
	}
	return ports[0], r.waitReady(p, func() error { return askBytes(compare.TCP, ports[0], probeBytes) })
}

// startOrigin runs a server to be behind the proxies, on the load's cores, and returns its port.
func (r *runner) startOrigin() (*proc.Proc, int, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, 0, err
	}
	argv, err := r.originCommand(ports[0])
	if err != nil {
		return nil, 0, err
	}
	p, err := r.group.Start("origin", r.opts.loadCores, r.dir, argv...)
	if err != nil {
		return nil, 0, err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/%d", ports[0], probeBytes)
	return p, ports[0], r.waitReady(p, func() error { return askOnce(url, probeBytes, false) })
}

// originH2 runs nghttpd over files of the sizes that scenarios ask for, once, and returns its port.
func (r *runner) originH2(body int) (int, error) {
	if r.h2Origin != 0 {
		return r.h2Origin, nil
	}
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	dir := filepath.Join(r.dir, "h2-origin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	for _, n := range bodies(suite(r.opts.proxyCores)) {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), bytes.Repeat([]byte{'x'}, n), 0o644); err != nil {
			return 0, err
		}
	}
	p, err := r.group.Start("h2 origin", r.opts.loadCores, dir, "nghttpd", "--no-tls", "--address=127.0.0.1", "-d", dir, fmt.Sprint(ports[0]))
	if err != nil {
		return 0, err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/%d", ports[0], body)
	if err := r.waitReady(p, func() error { return askOnce(url, body, true) }); err != nil {
		return 0, err
	}
	r.h2Origin = ports[0]
	return r.h2Origin, nil
}

// originGRPC runs the server of gRPC calls, once, and returns its port.
func (r *runner) originGRPC(body int) (int, error) {
	if r.rpcOrigin != 0 {
		return r.rpcOrigin, nil
	}
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	p, err := r.child(childServe, childConfig{Origin: ports[0]})
	if err != nil {
		return 0, err
	}
	if err := r.waitReady(p, func() error { return load.AskGRPC(ports[0], body) }); err != nil {
		return 0, err
	}
	r.rpcOrigin = ports[0]
	return r.rpcOrigin, nil
}

func (r *runner) originCommand(port int) ([]string, error) {
	if r.opts.origin == nginx {
		return compare.WriteOrigin(filepath.Join(r.dir, fmt.Sprintf("origin-%d", port)), port, bodies(suite(r.opts.proxyCores)))
	}
	bin, err := compile(r.dir, fmt.Sprintf("raw-origin-%d", port), originSource)
	return []string{bin, fmt.Sprint(port)}, err
}

// bodies lists the sizes that the scenarios ask for in HTTP.
func bodies(all []scenario) []int {
	var out []int
	for _, s := range all {
		if s.traffic != compare.HTTP {
			continue
		}
		out = append(out, s.body)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
