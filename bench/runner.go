package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"time"

	"millrace/bench/compare"
	"millrace/bench/load"
	"millrace/bench/proc"
)

const (
	readyWait  = 10 * time.Second      // for a server to answer after its start
	pollEvery  = 20 * time.Millisecond // while waiting for something to be ready
	warmup     = time.Second           // load before the first measured round
	warmupBulk = 256 << 20             // bytes of a long transfer before the first measured one
	errorShare = 0.001                 // of requests; more make a run worthless
)

// A runner carries out scenarios, one after the other.
type runner struct {
	ctx       context.Context
	opts      options
	group     *proc.Group
	dir       string // temporary, for configs and compiled programs
	self      string // this binary, which is also the open-loop load and the holder of idle connections
	origin    int    // its port
	h2Origin  int    // its port, if a scenario needed one that speaks HTTP/2
	rpcOrigin int    // the same for gRPC
	plain     int    // port of the origin of plain bytes, on TCP and UDP
	bytes     string // the program that is this origin, and its load
	peers     map[string]compare.Peer
	progress  io.Writer
}

// A sample is what one run of one entry gave, by metric.
type sample map[string]float64

// A meter measures one started peer once.
type meter func(s scenario, st *station) (sample, error)

// A station is one started peer.
type station struct {
	entry entry
	peer  compare.Peer
	site  compare.Site
	proc  *proc.Proc
}

func (st *station) url(body int) string {
	scheme := "http"
	if st.site.TLS {
		scheme = "https"
	}
	return fmt.Sprintf("%s://127.0.0.1:%d/%d", scheme, st.site.Port, body)
}

// run carries out one scenario with the peers that are there.
func (r *runner) run(s scenario) (outcome, error) {
	var missing []string
	s.entries, missing = r.present(s)
	o := outcome{scenario: s, rounds: map[string][]sample{}, notes: missing}
	if len(s.entries) == 0 {
		return o, nil
	}
	switch s.measure {
	case cpuPerMiB:
		return o, r.alternate(&o, slower(r.opts.rounds), func([]*station) (meter, error) { return r.measureBulk, nil })
	case cpuPerRequest:
		return o, r.alternate(&o, r.opts.rounds, func([]*station) (meter, error) { return r.measureCPU, nil })
	case callLatency:
		return o, r.alternate(&o, r.opts.rounds, func([]*station) (meter, error) { return r.measureCalls, nil })
	case latency:
		return o, r.runLatency(&o)
	case idleMemory:
		return o, r.restartEach(&o, slower(r.opts.rounds), r.measureIdle)
	}
	panic("BUG: bench: unknown measure")
}

// slower is the number of rounds of scenarios whose runs are long: half, but three where that many were asked for.
func slower(rounds int) int { return max(rounds/2, min(rounds, 3)) }

// present keeps the entries whose peers can be run, and says why one that is there cannot.
func (r *runner) present(s scenario) (entries []entry, notes []string) {
	for _, e := range s.entries {
		p, ok := r.peers[e.peer]
		if !ok {
			continue
		}
		if err := p.Carries(s.traffic); err != nil {
			notes = append(notes, fmt.Sprintf("without %s: %v", e.label, err))
			continue
		}
		entries = append(entries, e)
	}
	return entries, notes
}

// alternate starts every entry, warms it up, and measures them in turn, forwards and backwards, so that whatever
// changes slowly on the machine touches all alike.
func (r *runner) alternate(o *outcome, rounds int, prepare func([]*station) (meter, error)) error {
	var stations []*station
	defer func() {
		for _, st := range stations {
			st.proc.Stop()
		}
	}()
	for _, e := range o.scenario.entries {
		st, err := r.start(o.scenario, e)
		if err != nil {
			return err
		}
		stations = append(stations, st)
		if _, err := r.saturate(o.scenario, st, warmup); err != nil {
			return err
		}
	}
	measure, err := prepare(stations)
	if err != nil {
		return err
	}
	for round := range rounds {
		for i, st := range stations {
			if round%2 == 1 {
				st = stations[len(stations)-1-i]
			}
			if err := r.once(o, round, st, measure); err != nil {
				return err
			}
		}
	}
	return nil
}

// restartEach measures a fresh process in every round: memory remembers what happened before.
func (r *runner) restartEach(o *outcome, rounds int, measure meter) error {
	for round := range rounds {
		for _, e := range o.scenario.entries {
			st, err := r.start(o.scenario, e)
			if err != nil {
				return err
			}
			err = r.once(o, round, st, measure)
			st.proc.Stop()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// once measures one peer and files the sample. A run that failed is noted and leaves a hole in its round; only the
// death of a peer or an interrupt ends the scenario.
func (r *runner) once(o *outcome, round int, st *station, measure meter) error {
	got, err := measure(o.scenario, st)
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	if st.proc.Exited() {
		return fmt.Errorf("%s ended during %s: %s", st.entry.label, o.scenario.name, st.proc.Output())
	}
	if err != nil {
		o.notes = append(o.notes, fmt.Sprintf("round %d, %s: %v", round+1, st.entry.label, err))
		got = sample{}
	}
	o.rounds[st.entry.label] = append(o.rounds[st.entry.label], got)
	fmt.Fprintf(r.progress, "%-22s round %2d  %-10s", o.scenario.name, round+1, st.entry.label)
	for _, m := range o.scenario.measure.metrics() {
		if v, ok := got[m]; ok {
			fmt.Fprintf(r.progress, "  %s %.6g", m, math.Round(v*100)/100)
		}
	}
	fmt.Fprintln(r.progress)
	return nil
}

// start runs a peer and waits until it answers as the origin does.
func (r *runner) start(s scenario, e entry) (*station, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(r.dir, e.peer+"-")
	if err != nil {
		return nil, err
	}
	st := &station{entry: e, peer: r.peers[e.peer], site: compare.Site{
		Dir: dir, Port: ports[0], AdminPort: ports[1], OriginPort: r.originOf(s.traffic), Loops: e.loops, Routes: s.routes, Traffic: s.traffic, H2: s.h2, TLS: s.tls,
	}}
	if s.tls {
		if err := compare.WriteCertificate(dir); err != nil {
			return nil, err
		}
	}
	if e.h2 {
		origin := r.originH2
		if s.measure == callLatency {
			origin = r.originGRPC
		}
		if st.site.OriginPort, err = origin(s.body); err != nil {
			return nil, err
		}
		st.site.OriginH2 = true
	}
	argv, err := st.peer.Write(st.site)
	if err != nil {
		return nil, err
	}
	cores := e.cores
	if cores == "" {
		cores = r.opts.proxyCores
	}
	if st.proc, err = r.group.Start(e.label, cores, dir, argv...); err != nil {
		return nil, err
	}
	if err := r.waitReady(st.proc, st.ask(s)); err != nil {
		st.proc.Stop()
		return nil, err
	}
	return st, nil
}

func (r *runner) originOf(t compare.Traffic) int {
	if t == compare.HTTP {
		return r.origin
	}
	return r.plain
}

// ask is one question to a peer, in its traffic, that the origin answers.
func (st *station) ask(s scenario) func() error {
	switch {
	case s.measure == callLatency:
		return func() error { return load.AskGRPC(st.site.Port, s.body) }
	case st.site.Traffic == compare.HTTP:
		return func() error { return askOnce(st.url(s.body), s.body, st.site.H2) }
	default:
		return func() error { return askBytes(st.site.Traffic, st.site.Port, s.body) }
	}
}

// waitReady asks until a server answers.
func (r *runner) waitReady(p *proc.Proc, ask func() error) error {
	var last error
	for end := time.Now().Add(readyWait); time.Now().Before(end) && r.ctx.Err() == nil; time.Sleep(pollEvery) {
		if p.Exited() {
			return fmt.Errorf("%s ended at its start: %s", p.Name, p.Output())
		}
		if last = ask(); last == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer: %w: %s", p.Name, last, p.Output())
}

// askBytes asks for so many plain bytes and looks at each of them.
func askBytes(t compare.Traffic, port, body int) error {
	network := "tcp"
	if t == compare.UDP {
		network = "udp"
	}
	c, err := net.Dial(network, fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(load.BytesRequest(body)); err != nil {
		return err
	}
	got := make([]byte, body)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if want := load.BytesAnswer(body); !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes came that differ from the answer", body)
	}
	return nil
}

// askOnce expects 200 with a body of the right size, over HTTP/2 with prior knowledge or HTTP/1.1.
func askOnce(url string, body int, h2 bool) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	protocols.SetHTTP2(h2)
	cl := http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	resp, err := cl.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || n != int64(body) {
		return fmt.Errorf("%s and %d bytes; want 200 and %d", resp.Status, n, body)
	}
	return nil
}

// saturate runs the scenario's closed-loop tool once.
func (r *runner) saturate(s scenario, st *station, d time.Duration) (load.Result, error) {
	if s.traffic != compare.HTTP {
		return r.saturateBytes(s, st, d)
	}
	if s.measure == callLatency {
		res, err := r.call(s, st, d)
		return load.Result{Requests: int64(2 * res.Count), Elapsed: res.Elapsed}, err
	}
	if s.tool == childTLS {
		return r.handshake(s, st, d)
	}
	shape := load.Shape{URL: st.url(s.body), Connections: s.conns, Streams: s.streams, Headers: s.headers, Duration: d}
	args, parse := load.WrkArgs, load.ParseWrk
	if s.tool == h2load {
		args, parse = load.H2loadArgs, load.ParseH2load
	}
	return r.runTool(s.tool, args(shape), parse)
}

// handshake has another process open connections.
func (r *runner) handshake(s scenario, st *station, d time.Duration) (load.Result, error) {
	var res load.HandshakeResult
	p, err := r.child(childTLS, childConfig{Port: st.site.Port, Path: fmt.Sprintf("/%d", s.body), Conns: s.conns, Resume: s.resume, Duration: d})
	if err != nil {
		return load.Result{}, err
	}
	out, err := p.Wait(r.ctx)
	if err != nil {
		return load.Result{}, err
	}
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		return load.Result{}, fmt.Errorf("result of the handshakes: %w: %s", err, out)
	}
	switch want := max(res.Count-int64(s.conns), 0); { // the first of each has nothing to resume
	case s.resume && res.Resumed < want, !s.resume && res.Resumed > 0:
		return load.Result{}, fmt.Errorf("%d of %d handshakes resumed a session", res.Resumed, res.Count)
	case res.Count == 0 || float64(res.Errors) > errorShare*float64(res.Count):
		return load.Result{}, fmt.Errorf("%d errors beside %d answers", res.Errors, res.Count)
	}
	return load.Result{Requests: res.Count, Errors: res.Errors, Elapsed: res.Elapsed}, nil
}

// saturateBytes does the same with plain bytes. A long transfer is short when it only warms up.
func (r *runner) saturateBytes(s scenario, st *station, d time.Duration) (load.Result, error) {
	b := load.Bytes{Program: r.bytes, Role: s.tool, Port: st.site.Port, Connections: s.conns, Answer: int64(s.body), Duration: d}
	if s.tool == load.BytesBulk {
		b.Answer = warmupBulk
	}
	return r.runTool(s.tool, b.Args(), load.ParseBytes)
}

// runTool runs a load to its end and reads its report.
func (r *runner) runTool(name string, argv []string, parse func(string) (load.Result, error)) (load.Result, error) {
	p, err := r.group.Start(name, r.opts.loadCores, r.dir, argv...)
	if err != nil {
		return load.Result{}, err
	}
	out, err := p.Wait(r.ctx)
	if err != nil {
		return load.Result{}, err
	}
	res, err := parse(out)
	if err == nil && (res.Requests == 0 || float64(res.Errors) > errorShare*float64(res.Requests)) {
		err = fmt.Errorf("%d errors beside %d answers", res.Errors, res.Requests)
	}
	return res, err
}

// freePorts returns ports of the loopback that nobody listens on now.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that no port comes twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
