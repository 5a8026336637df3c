package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"millrace/bench/load"
	"millrace/bench/proc"
)

// The first argument that makes this binary a load instead of a benchmark; the second is a childConfig.
const (
	childOpen  = "child-open-loop"
	childIdle  = "child-idle"
	childGRPC  = "child-grpc"
	childServe = "child-grpc-server"
	childTLS   = "child-handshakes"
	childReady = "ready" // printed once all idle connections are open
)

// childProcs is more than one, so that the thread of the load never waits for a processor of the runtime that another
// thread holds and, on a busy core, cannot give back.
const childProcs = 4

// childConfig is what a child is told.
type childConfig struct {
	Port     int
	Path     string
	Conns    int
	Rate     float64
	Warmup   time.Duration
	Duration time.Duration
	Origin   int
	Body     int
	H2       bool
	TLS      bool
	Resume   bool
}

// child starts this binary again, as a load on the load's cores.
func (r *runner) child(kind string, cfg childConfig) (*proc.Proc, error) {
	b, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	return r.group.Start(kind, r.opts.loadCores, r.dir, r.self, kind, string(b))
}

// runChild is the main function of a child. It reports whether the arguments were those of one.
func runChild(args []string) (was bool, err error) {
	if len(args) != 3 || !slices.Contains([]string{childOpen, childIdle, childGRPC, childServe, childTLS}, args[1]) {
		return false, nil
	}
	var cfg childConfig
	if err := json.Unmarshal([]byte(args[2]), &cfg); err != nil {
		return true, err
	}
	switch args[1] {
	case childServe:
		return true, load.ServeGRPC(cfg.Origin)
	case childGRPC:
		res, err := load.GRPC(load.GRPCConfig{Through: cfg.Port, Direct: cfg.Origin, Bytes: cfg.Body, Duration: cfg.Duration})
		return true, errors.Join(err, json.NewEncoder(os.Stdout).Encode(res))
	}
	if args[1] == childTLS {
		res, err := load.Handshakes(load.HandshakeConfig{
			Port: cfg.Port, Path: cfg.Path, Conns: cfg.Conns, Resume: cfg.Resume, Duration: cfg.Duration,
		})
		return true, errors.Join(err, json.NewEncoder(os.Stdout).Encode(res))
	}
	debug.SetGCPercent(-1) // what follows allocates next to nothing, and a collection here would look like a slow proxy
	if args[1] == childIdle {
		return true, holdIdle(cfg)
	}
	runtime.LockOSThread()
	runtime.GOMAXPROCS(childProcs)
	res, err := load.Open(cfg.open())
	if err != nil {
		return true, err
	}
	return true, json.NewEncoder(os.Stdout).Encode(res)
}

func (c childConfig) open() load.OpenConfig {
	return load.OpenConfig{
		Port: c.Port, Path: c.Path, Conns: c.Conns, Rate: c.Rate, Warmup: c.Warmup, Duration: c.Duration, Origin: c.Origin, Body: c.Body,
	}
}

// holdIdle opens the connections, says so, and keeps them until it is told to leave.
func holdIdle(cfg childConfig) error {
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGTERM, os.Interrupt)
	hold := load.HoldIdle
	switch {
	case cfg.TLS:
		hold = load.HoldIdleTLS
	case cfg.H2:
		hold = load.HoldIdleH2
	}
	conns, err := hold(net.JoinHostPort("127.0.0.1", fmt.Sprint(cfg.Port)), cfg.Path, cfg.Conns)
	if err != nil {
		return err
	}
	fmt.Println(childReady)
	<-leave
	runtime.KeepAlive(conns)
	return nil
}
