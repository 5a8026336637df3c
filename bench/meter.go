package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"syscall"
	"time"

	"millrace/bench/compare"
	"millrace/bench/load"
	"millrace/bench/proc"
)

const (
	latencyRuns    = 3                      // a latency run lasts this many durations: tails need requests
	latencyWarmup  = 500 * time.Millisecond // at the fixed rate, before measuring
	disturbEvery   = time.Second
	lateMax        = 300.0 // µs at the 99th percentile; a generator that is later has measured itself
	othersMax      = 3.0   // % of the proxy's core; with more, and
	waitedMax      = 1.0   // % of the time in which the proxy waited for it, the scheduler's time slices are the tail
	setAsideMax    = 0.25  // of the requests of a run
	lateTries      = 3     // runs until one is undisturbed
	saturationRuns = 3
	idleWait       = 2 * time.Minute  // for all idle connections to be open
	idleFor        = 8 * time.Second  // what proxies do with connections that do nothing, they have begun by then
	settleWait     = 20 * time.Second // for resident memory to come to rest
	settleStep     = 3 * time.Second  // longer than millrace takes to find that it is quiet
	settleBytes    = 64 << 10         // changes below this in one step are rest
	mib            = 1 << 20
)

// accounts are the CPU time of a peer and of the cores it runs on.
type accounts struct {
	peer  proc.Reading
	cores time.Duration
	at    time.Time
}

func (r *runner) readAccounts(st *station) (a accounts, err error) {
	list := st.entry.cores
	if list == "" {
		list = r.opts.proxyCores
	}
	cores, err := coreList(list)
	if err != nil {
		return a, err
	}
	if a.peer, err = proc.ReadCPU(st.proc.Pid); err != nil {
		return a, err
	}
	a.cores, err = proc.CoreBusy(cores)
	a.at = time.Now()
	return a, err
}

// A disruption is what other work on the machine did to a peer, in percent of one core's time.
type disruption struct {
	others float64 // spent by something else on the peer's cores
	waited float64 // spent by the peer's threads waiting for a core
}

// beyond reports whether a latency would show it. Time that others spend while the peer has nothing to do costs it
// nothing, and millrace's threads may wait for each other, so it takes both.
func (d disruption) beyond() bool { return d.others > othersMax && d.waited > waitedMax }

// since returns the CPU time of the peer since an earlier reading, and what disrupted it.
func (a accounts) since(earlier accounts) (proc.CPU, disruption) {
	used, waited := a.peer.Around(earlier.peer)
	span := a.at.Sub(earlier.at).Seconds()
	return a.peer.Since(earlier.peer), disruption{
		others: 100 * max((a.cores-earlier.cores-used).Seconds()/span, 0),
		waited: 100 * waited.Seconds() / span,
	}
}

// measureCPU saturates a peer and divides the CPU time of its process by the answers.
func (r *runner) measureCPU(s scenario, st *station) (sample, error) {
	before, err := r.readAccounts(st)
	if err != nil {
		return nil, err
	}
	res, err := r.saturate(s, st, r.opts.duration)
	if err != nil {
		return nil, err
	}
	after, err := r.readAccounts(st)
	if err != nil {
		return nil, err
	}
	cpu, by := after.since(before)
	n := float64(res.Requests)
	return sample{
		metricCPU:    micros(cpu.Sum()) / n,
		metricUser:   micros(cpu.User) / n,
		metricSystem: micros(cpu.System) / n,
		metricRate:   n / res.Elapsed.Seconds(),
		metricBusy:   100 * cpu.Sum().Seconds() / res.Elapsed.Seconds(),
		metricOthers: by.others,
		metricErrors: float64(res.Errors),
	}, nil
}

// measureBulk carries one long answer and divides the CPU time of the process by its mebibytes.
func (r *runner) measureBulk(_ scenario, st *station) (sample, error) {
	before, err := r.readAccounts(st)
	if err != nil {
		return nil, err
	}
	b := load.Bytes{Program: r.bytes, Role: load.BytesBulk, Port: st.site.Port, Answer: r.opts.bulk}
	res, err := r.runTool(b.Role, b.Args(), load.ParseBytes)
	if err != nil {
		return nil, err
	}
	after, err := r.readAccounts(st)
	if err != nil {
		return nil, err
	}
	cpu, by := after.since(before)
	n := float64(r.opts.bulk) / mib
	return sample{
		metricMiBCPU:    micros(cpu.Sum()) / n,
		metricMiBUser:   micros(cpu.User) / n,
		metricMiBSystem: micros(cpu.System) / n,
		metricMiBRate:   n / res.Elapsed.Seconds(),
		metricBusy:      100 * cpu.Sum().Seconds() / res.Elapsed.Seconds(),
		metricOthers:    by.others,
	}, nil
}

// measureCalls makes unary calls through a peer and without it.
func (r *runner) measureCalls(s scenario, st *station) (sample, error) {
	before, err := r.readAccounts(st)
	if err != nil {
		return nil, err
	}
	res, err := r.call(s, st, r.opts.duration)
	if err != nil {
		return nil, err
	}
	after, err := r.readAccounts(st)
	if err != nil {
		return nil, err
	}
	_, by := after.since(before)
	return sample{
		metricAdded: res.P50 - res.DirectP50, metricP50: res.P50, metricDirect: res.DirectP50, metricP99: res.P99,
		metricRate: float64(2*res.Count) / res.Elapsed.Seconds(), metricOthers: by.others,
	}, nil
}

// call has another process make the calls.
func (r *runner) call(s scenario, st *station, d time.Duration) (res load.GRPCResult, err error) {
	p, err := r.child(childGRPC, childConfig{Port: st.site.Port, Origin: st.site.OriginPort, Body: s.body, Duration: d})
	if err != nil {
		return res, err
	}
	out, err := p.Wait(r.ctx)
	if err != nil {
		return res, err
	}
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		return res, fmt.Errorf("result of the calls: %w: %s", err, out)
	}
	return res, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// measureIdle opens the scenario's connections in another process and divides the growth of resident memory by them.
func (r *runner) measureIdle(s scenario, st *station) (sample, error) {
	warm := s
	warm.conns = saturationConns
	if _, err := r.saturate(warm, st, warmup); err != nil {
		return nil, err
	}
	base, err := r.settledRSS(st.proc.Pid)
	if err != nil {
		return nil, err
	}
	holder, err := r.holdIdle(s, st)
	if err != nil {
		return nil, err
	}
	defer holder.Stop()
	for end := time.Now().Add(idleWait); !strings.HasSuffix(holder.Output(), childReady); time.Sleep(pollEvery) {
		if holder.Exited() || time.Now().After(end) || r.ctx.Err() != nil {
			return nil, fmt.Errorf("idle connections were not opened: %s", holder.Output())
		}
	}
	if err := pause(r.ctx, idleFor); err != nil {
		return nil, err
	}
	full, err := r.settledRSS(st.proc.Pid)
	if err != nil {
		return nil, err
	}
	return sample{
		metricIdleBytes: float64(full-base) / float64(s.conns),
		metricBaseMiB:   float64(base) / mib,
		metricFullMiB:   float64(full) / mib,
	}, nil
}

// holdIdle starts the process that opens idle connections.
func (r *runner) holdIdle(s scenario, st *station) (*proc.Proc, error) {
	if s.traffic == compare.HTTP {
		return r.child(childIdle, childConfig{Port: st.site.Port, Path: fmt.Sprintf("/%d", s.body), Conns: s.conns, H2: s.h2, TLS: s.tls})
	}
	b := load.Bytes{Program: r.bytes, Role: load.BytesIdle, Port: st.site.Port, Connections: s.conns}
	return r.group.Start(b.Role, r.opts.loadCores, r.dir, b.Args()...)
}

// settledRSS waits until resident memory has come to rest, at most settleWait, and returns it.
func (r *runner) settledRSS(pid int) (int64, error) {
	last := int64(math.MaxInt64 / 2)
	for end := time.Now().Add(settleWait); ; {
		if err := pause(r.ctx, settleStep); err != nil {
			return 0, err
		}
		now, err := proc.ReadRSS(pid)
		if err != nil {
			return 0, err
		}
		if d := now - last; d > -settleBytes && d < settleBytes || time.Now().After(end) {
			return now, nil
		}
		last = now
	}
}

// runLatency puts an origin of its own behind the peers for as long as their saturation is measured; then its port
// goes to the open-loop load.
func (r *runner) runLatency(o *outcome) error {
	general := r.origin
	defer func() { r.origin = general }()
	origin, port, err := r.startOrigin()
	if err != nil {
		return err
	}
	defer origin.Stop()
	r.origin = port
	return r.alternate(o, slower(r.opts.rounds), func(stations []*station) (meter, error) {
		rate, err := r.latencyRate(o.scenario, stations)
		origin.Stop()
		return func(s scenario, st *station) (sample, error) { return r.measureLatency(s, st, rate) }, err
	})
}

// latencyRate measures the saturation of the proxies and returns a share of the lowest.
func (r *runner) latencyRate(s scenario, stations []*station) (float64, error) {
	lowest := math.Inf(1)
	for _, st := range stations {
		if st.entry.peer == floorRelay && len(stations) > 1 {
			continue // cheaper than any proxy; it is there to show the instrument's own tail
		}
		best := 0.0
		for range saturationRuns {
			res, err := r.saturate(s, st, warmup)
			if err != nil {
				return 0, err
			}
			best = max(best, float64(res.Requests)/res.Elapsed.Seconds())
		}
		lowest = min(lowest, best)
	}
	return math.Floor(saturationShare*lowest/100) * 100, nil
}

// measureLatency repeats a run in which other work on the machine was part of what was measured.
func (r *runner) measureLatency(s scenario, st *station, rate float64) (sample, error) {
	for try := 1; ; try++ {
		before, err := r.readAccounts(st)
		if err != nil {
			return nil, err
		}
		got, err := r.measureLatencyOnce(s, st, rate)
		if r.ctx.Err() != nil {
			return nil, r.ctx.Err()
		}
		after, accountsErr := r.readAccounts(st)
		if accountsErr != nil {
			return nil, errors.Join(err, accountsErr)
		}
		_, by := after.since(before)
		fine := !by.beyond() && got[metricLate] <= lateMax || r.opts.noisy
		if err == nil && fine {
			got[metricOthers] = by.others
			return got, nil
		}
		if try == lateTries {
			return nil, errors.Join(err, fmt.Errorf("other work took %.1f %% of the proxy's core, the proxy waited for it %.1f %% of the time, and the load was late by %.0f µs at its 99th percentile; tried %d times",
				by.others, by.waited, got[metricLate], try))
		}
	}
}

// measureLatencyOnce sends at a fixed rate, disturbing the peer once a second if the scenario says so.
func (r *runner) measureLatencyOnce(s scenario, st *station, rate float64) (sample, error) {
	cfg := childConfig{
		Port: st.site.Port, Path: fmt.Sprintf("/%d", s.body), Conns: s.conns,
		Rate: rate, Warmup: latencyWarmup, Duration: latencyRuns * r.opts.duration, Origin: st.site.OriginPort, Body: s.body,
	}
	gen, err := r.child(childOpen, cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.ctx)
	failed := make(chan error, 1)
	go func() { failed <- r.disturb(ctx, s, st) }()
	out, err := gen.Wait(r.ctx)
	cancel()
	if disturbErr := <-failed; disturbErr != nil {
		return nil, disturbErr
	}
	if err != nil {
		return nil, err
	}
	if err := r.checkReload(s, st); err != nil {
		return nil, err
	}
	var res load.OpenResult
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		return nil, fmt.Errorf("result of the open-loop load: %w: %s", err, out)
	}
	if all := float64(res.Count + res.SetAside); float64(res.SetAside) > setAsideMax*all && !r.opts.noisy {
		return nil, fmt.Errorf("the load lost its core so often that %d of %.0f requests had to be set aside", res.SetAside, all)
	}
	if float64(res.Errors) > errorShare*float64(res.Count) {
		return nil, fmt.Errorf("%d errors beside %d answers at %.0f requests a second", res.Errors, res.Count, rate)
	}
	return sample{
		metricP50: res.P50, metricP99: res.P99, metricP999: res.P999, metricLate: res.LateP99,
		metricSetAside: 100 * float64(res.SetAside) / float64(res.Count+res.SetAside), metricOffered: rate, metricErrors: float64(res.Errors), metricReconnects: float64(res.Reconnects),
	}, nil
}

// disturb does what the scenario asks for once a second, until ctx ends.
func (r *runner) disturb(ctx context.Context, s scenario, st *station) error {
	for s.disturb != undisturbed {
		if pause(ctx, disturbEvery) != nil {
			return nil
		}
		var err error
		switch {
		case s.disturb == reload && st.peer.Config != nil:
			err = r.reload(st)
		case s.disturb == collect && st.peer.Name == millrace:
			err = postCollect(ctx, st.site.AdminPort)
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("disturbing %s: %w", st.entry.label, err)
		}
	}
	return nil
}

// reload changes one route of the config and tells the peer.
func (r *runner) reload(st *station) error {
	st.site.Generation++
	if _, err := st.peer.Write(st.site); err != nil {
		return err
	}
	return st.proc.Signal(syscall.SIGHUP)
}

// checkReload makes sure that the last of millrace's reloads was taken: a reload that is refused costs nothing.
func (r *runner) checkReload(s scenario, st *station) error {
	if s.disturb != reload || st.peer.Name != millrace {
		return nil
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/config_dump", st.site.AdminPort)
	want := fmt.Sprintf("/generation-%d/", st.site.Generation)
	for end := time.Now().Add(readyWait); time.Now().Before(end); {
		text, err := fetch(r.ctx, url)
		if err != nil {
			return err
		}
		if strings.Contains(text, want) {
			return nil
		}
		if err := pause(r.ctx, disturbEvery/10); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s lacks %q: the last reload was not taken", url, want)
}

func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func postCollect(ctx context.Context, port int) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/memory/collect", port)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s", url, resp.Status)
	}
	return nil
}

// pause waits, or returns the error of ctx when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
