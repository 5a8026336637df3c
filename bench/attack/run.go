package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"millrace/bench/proc"
)

const (
	sampleEvery = 100 * time.Millisecond
	crowdTime   = time.Second
	settleWait  = time.Second // between the end of an attack and the reading of what it left
	memoryPct   = 5           // of its resident memory, by which an attack may move it beside the floor
	restMax     = 30          // percent of a core that a target may use after an attack
)

// An outcome is what one attack did.
type outcome struct {
	attack       attack
	tally        *tally
	took         time.Duration
	well         *healthy
	control      *healthy // the same client at the origin itself: what the machine costs; nil if the origin is not ours
	before, most int64    // resident bytes; 0 if the process is not known
	busy, rest   float64  // percent of a core, during the attack and after it
	origin       int64    // requests that reached the origin, those of the healthy clients included
	smuggled     int64
	died         bool
	latencyMax   time.Duration
	memoryFloor  int64
}

// verdict lists what broke its budget.
func (o *outcome) verdict() []string {
	var broken []string
	if o.died {
		broken = append(broken, "the proxy ended")
	}
	if n := o.well.failed(); n > 0 {
		for text, k := range o.well.errors {
			broken = append(broken, fmt.Sprintf("%d of %d requests of the healthy client failed: %s", k, n+len(o.well.times), text))
		}
	}
	if p99, most := o.well.at(0.99), o.latencyBudget(); p99 > most {
		broken = append(broken, fmt.Sprintf("the healthy client waited %v at its 99th percentile, more than %v", round(p99), round(most)))
	}
	if moved := o.most - o.before; o.before > 0 && moved > o.memoryBudget() {
		broken = append(broken, fmt.Sprintf("resident memory moved by %s, more than %s", mib(moved), mib(o.memoryBudget())))
	}
	if o.rest > restMax {
		broken = append(broken, fmt.Sprintf("still %.0f %% of a core used after the attack", o.rest))
	}
	if o.smuggled > 0 {
		broken = append(broken, fmt.Sprintf("%d hidden requests reached the origin", o.smuggled))
	}
	return append(broken, o.tally.bad...)
}

// latencyBudget is what the healthy client may have to wait. What it waits for without the proxy is not the proxy's.
func (o *outcome) latencyBudget() time.Duration {
	if o.control == nil {
		return o.latencyMax
	}
	return o.latencyMax + 2*o.control.at(0.99)
}

// memoryBudget is by how much the attack may move the memory of the target.
func (o *outcome) memoryBudget() int64 { return o.before*memoryPct/100 + o.memoryFloor }

// runner runs attacks against one target.
type runner struct {
	opts   options
	target *target
	origin *origin // nil if it is not ours
}

// watch samples the memory of the target until ctx ends and returns the most.
func (r *runner) watch(ctx context.Context) int64 {
	var most int64
	for {
		if n, err := proc.ReadRSS(r.target.pid); err == nil {
			most = max(most, n)
		}
		if pause(ctx, sampleEvery) != nil {
			return most
		}
	}
}

// run makes one attack.
func (r *runner) run(ctx context.Context, at attack) (*outcome, error) {
	o := &outcome{attack: at, tally: &tally{}, latencyMax: r.opts.latency, memoryFloor: r.opts.memoryFloor}
	if at.memoryFloor > 0 {
		if o.memoryFloor = min(o.memoryFloor, at.memoryFloor); at.conns == crowds {
			o.memoryFloor = at.memoryFloor // each of so many costs something
		}
	}
	var before proc.Reading
	var err error
	if r.target.pid != 0 {
		if o.before, err = proc.ReadRSS(r.target.pid); err != nil {
			return nil, err
		}
		if before, err = proc.ReadCPU(r.target.pid); err != nil {
			return nil, err
		}
	}
	if r.origin != nil {
		o.origin, o.smuggled = -r.origin.requests.Load(), -r.origin.smuggled.Load()
	}
	start := time.Now()
	if err := r.fight(ctx, o); err != nil {
		return nil, err
	}
	o.took = time.Since(start)
	o.died = r.target.dead()
	if r.origin != nil {
		o.origin += r.origin.requests.Load()
		o.smuggled += r.origin.smuggled.Load()
	}
	if r.target.pid == 0 || o.died {
		return o, ctx.Err()
	}
	return o, r.readRest(ctx, o, before)
}

// readRest reads what the attack has cost, and what the target does when it is over.
func (r *runner) readRest(ctx context.Context, o *outcome, before proc.Reading) error {
	after, err := proc.ReadCPU(r.target.pid)
	if err != nil {
		return err
	}
	used, _ := after.Around(before)
	o.busy = 100 * used.Seconds() / o.took.Seconds()
	if err := pause(ctx, settleWait); err != nil {
		return err
	}
	if before, err = proc.ReadCPU(r.target.pid); err != nil {
		return err
	}
	if err := pause(ctx, settleWait); err != nil {
		return err
	}
	if after, err = proc.ReadCPU(r.target.pid); err != nil {
		return err
	}
	used, _ = after.Around(before)
	o.rest = 100 * used.Seconds() / settleWait.Seconds()
	return nil
}

// fight runs the attackers, the healthy client and the watch over the memory, all for the time of an attack.
func (r *runner) fight(ctx context.Context, o *outcome) error {
	at, addr := o.attack, r.target.addr(o.attack.version)
	var cases []func(a *attacker) error
	if at.cases != nil {
		var err error
		if cases, err = at.cases(r.opts.corpus); err != nil {
			return err
		}
	}
	var kept *http.Transport
	if at.sheds {
		var err error
		if kept, err = keep(addr, at.version); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.time)
	defer cancel()
	var wg sync.WaitGroup
	if r.target.pid != 0 {
		wg.Go(func() { o.most = r.watch(ctx) })
	}
	wg.Go(func() { o.well = beWell(ctx, addr, at.version, r.opts.path, kept) })
	if r.origin != nil {
		wg.Go(func() { o.control = beWell(ctx, r.origin.addr, http1, r.opts.path, nil) })
	}
	p := &pace{rate: r.opts.rate * 1e6 / 8}
	for i := range at.conns {
		wg.Go(func() {
			strike := func() func(a *attacker) error { return at.strike }
			if cases != nil {
				n := i
				strike = func() func(a *attacker) error { n += at.conns; return cases[(n-at.conns)%len(cases)] }
			}
			attackUntil(ctx, addr, at.control, p, o.tally, i, strike)
		})
	}
	wg.Wait()
	return nil
}

// attackUntil is one attacker: connection after connection until the time is over.
func attackUntil(ctx context.Context, addr string, control dialControl, p *pace, t *tally, index int, next func() func(a *attacker) error) {
	for ctx.Err() == nil {
		a, err := dialAttacker(ctx, addr, control, p, t, index)
		if err == nil {
			_ = next()(a) // how it ended is in the tally
			_ = a.Close()
		} else if ctx.Err() == nil {
			t.refused.Add(1)
		}
		_ = pause(ctx, reopenPause)
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
