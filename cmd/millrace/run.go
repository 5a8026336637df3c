package main

import (
	"flag"
	"fmt"
	"time"

	"millrace/cmd/internal/server"
	"millrace/engine"
)

var runCommand = command{
	name: "run", args: "-c FILE [flags]",
	short: "run the proxy with a configuration file",
	long: `Runs the proxy with a configuration file until a signal ends it.

  millrace run -c edge.json
  millrace run -c edge.json --concurrency 4 --admin 127.0.0.1:9901

SIGHUP loads the file again: what did not change is not touched, and a file with
errors changes nothing.`,
	run: runRun,
}

// processFlags are the flags of the commands that run a proxy.
type processFlags struct {
	concurrency int
	drainTime   time.Duration
	admin       string
	level       string
	format      string
}

func (p *processFlags) add(f *flag.FlagSet) {
	f.IntVar(&p.concurrency, "concurrency", 0, "`n` loops, each on a thread of its own. Default: one for each core.")
	f.DurationVar(&p.drainTime, "drain-time", 0, "`time` connections get to end after SIGTERM. Default: drain_time of the file, 600s.")
	f.StringVar(&p.admin, "admin", "", "`addr` of the admin port. Default: admin.address of the file.")
	f.StringVar(&p.level, "log-level", "info", "`level` of the log: debug, info, warn or error.")
	f.StringVar(&p.format, "log-format", "text", "`format` of the log: text or json.")
}

// withoutFile words the help of the flags for a command that reads no file.
func (p *processFlags) withoutFile(f *flag.FlagSet, adminUsage string) {
	f.Lookup("admin").Usage = adminUsage
	f.Lookup("drain-time").Usage = "`time` connections get to end after SIGTERM. Default: 600s."
}

// options makes the server's options of the flags.
func (p *processFlags) options(e *env, args []string) (server.Options, error) {
	log, level, err := newLog(e.stderr, p.level, p.format)
	if err != nil {
		return server.Options{}, err
	}
	if p.concurrency < 0 {
		return server.Options{}, fmt.Errorf("--concurrency %d is below 0", p.concurrency)
	}
	if p.drainTime < 0 {
		return server.Options{}, fmt.Errorf("--drain-time %v is below 0", p.drainTime)
	}
	if p.admin != "" {
		if _, err := engine.ParseAddr(p.admin); err != nil {
			return server.Options{}, fmt.Errorf("--admin: %w", err)
		}
	}
	return server.Options{
		Concurrency: p.concurrency, DrainTime: p.drainTime, AdminAddress: p.admin,
		Log: log, Level: level, Version: version, Commit: commit(), CommandLine: args,
	}, nil
}

func runRun(e *env, c *command, args []string) int {
	f := newFlags(e, c)
	path := f.String("c", "", "`file` with the configuration.")
	var p processFlags
	p.add(f)
	if code, ok := parse(e, c, f, args, 0); !ok {
		return code
	}
	if *path == "" {
		return usageError(e, c, "no configuration file: give -c FILE")
	}
	opt, err := p.options(e, append([]string{"run"}, args...))
	if err != nil {
		return usageError(e, c, err.Error())
	}
	opt.ConfigPath = *path
	return serve(e, opt, nil)
}

// serve runs a proxy until a signal ends it. started is called once it accepts.
func serve(e *env, opt server.Options, started func(s *server.Server)) int {
	signals := server.Signals()
	s, err := server.Start(opt)
	if err != nil {
		fmt.Fprintln(e.stderr, err)
		return exitRefused
	}
	if started != nil {
		started(s)
	}
	s.Wait(signals)
	s.Close()
	return exitFine
}
