package main

import (
	"fmt"
	"runtime"
	"slices"

	"millrace/bench/compare"
	"millrace/bench/load"
)

// A measure is what a scenario finds out.
type measure int

const (
	cpuPerRequest measure = iota // CPU time of the proxy for each request, under saturation
	idleMemory                   // resident memory of an idle connection
	latency                      // percentiles at a fixed rate below saturation
	cpuPerMiB                    // CPU time of the proxy for each mebibyte of one long transfer
	callLatency                  // of unary gRPC calls one after the other, beside that of calls without the proxy
)

// A disturbance is what happens to a proxy once a second while its latency is measured.
type disturbance int

const (
	undisturbed disturbance = iota
	collect                 // a garbage collection is forced, in peers that have one
	reload                  // the config is rewritten with one changed route, and SIGHUP sent
)

// A scenario is one row of the suite.
type scenario struct {
	name    string
	about   string // what happens, for the report
	measure measure
	traffic compare.Traffic
	tool    string // wrk, h2load, or a role of the load of bytes; the other measures bring their own
	body    int    // bytes of the origin's answer
	conns   int
	streams int      // at once on each connection, h2load only
	headers []string // added to each request
	routes  int      // in the config besides the one that is used
	disturb disturbance
	h2      bool // downstream speaks HTTP/2
	tls     bool // downstream is TLS
	resume  bool // connections resume sessions, handshakes only
	entries []entry
	targets []target
}

// An entry is a peer that takes part in a scenario, with its number of loops.
type entry struct {
	label string // how the report calls it
	peer  string
	loops int
	cores string // "" for the proxy's core
	h2    bool   // its upstream speaks HTTP/2
}

// A target is a bound on a figure, or on the ratio of two figures of the same round.
type target struct {
	metric  string
	of      string // an entry's label
	against string // an entry's label; "" bounds the figure itself
	limit   float64
	atLeast bool // limit is the least allowed; the most otherwise
}

const (
	saturationConns  = 64
	idleConns        = 9000
	probeBytes       = 128 // answered by an origin of plain bytes when it is asked whether it is there
	bulkBytes        = 10 << 30
	saturationShare  = 0.6 // of the slowest peer's saturation: the rate at which latency is measured
	tableRoutes      = 10000
	scalingCores     = 4 // from here on two loops and their load have cores of their own
	metricCPU        = "cpu_us"
	metricUser       = "user_us"
	metricSystem     = "system_us"
	metricRate       = "requests_per_s"
	metricBusy       = "busy_pct"
	metricOthers     = "others_pct"
	metricErrors     = "errors"
	metricIdleBytes  = "bytes_per_connection"
	metricBaseMiB    = "rss_before_mib"
	metricFullMiB    = "rss_with_connections_mib"
	metricP50        = "p50_us"
	metricP99        = "p99_us"
	metricP999       = "p999_us"
	metricLate       = "generator_late_p99_us"
	metricSetAside   = "set_aside_pct"
	metricOffered    = "offered_per_s"
	metricReconnects = "reconnects"
	metricAdded      = "added_p50_us"
	metricDirect     = "direct_p50_us"
	metricMiBCPU     = "cpu_us_per_mib"
	metricMiBUser    = "user_us_per_mib"
	metricMiBSystem  = "system_us_per_mib"
	metricMiBRate    = "mib_per_s"
	millrace         = "millrace"
	nginx            = "nginx"
	nginxStock       = "nginx-stock" // with the response buffers it ships with, which matters to larger bodies
	nginxLarge       = "nginx-256k"  // reads 256 KiB of a tunnel at a time
	haproxy          = "haproxy"
	haproxyAuto      = "haproxy-auto" // with option splice-auto, as most installations that splice have it
	floorRelay       = "floor"
	h2load           = "h2load"
)

func each(names ...string) []entry {
	var out []entry
	for _, n := range names {
		out = append(out, entry{label: n, peer: n, loops: 1})
	}
	return out
}

func atMost(metric, against string, limit float64) target {
	return target{metric: metric, of: millrace, against: against, limit: limit}
}

// browserHead is what a browser's request carries besides the Host field.
var browserHead = []string{
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
	"Accept-Language: en-US,en;q=0.5",
	"Accept-Encoding: gzip, deflate, br, zstd",
	"Cookie: session=2b7e151628aed2a6abf7158809cf4f3c; theme=dark; consent=yes",
	"Upgrade-Insecure-Requests: 1",
	"Sec-Fetch-Dest: document",
	"Sec-Fetch-Mode: navigate",
	"Sec-Fetch-Site: same-origin",
	"Priority: u=0, i",
	"Cache-Control: max-age=0",
}

// suite lists every scenario.
func suite(proxyCores string) []scenario {
	all := each(millrace, nginx, haproxy, floorRelay)
	bodies := each(millrace, nginx, nginxStock, haproxy, floorRelay)
	tail := each(millrace, nginx, floorRelay)
	noWorse := []target{atMost(metricP99, nginx, 1), atMost(metricP999, nginx, 1)}
	http := []scenario{
		{
			name: "http1-128", about: "64 kept connections, 128-byte body", measure: cpuPerRequest,
			tool: "wrk", body: 128, conns: saturationConns, entries: all,
			targets: []target{
				atMost(metricCPU, nginx, 0.85), atMost(metricCPU, haproxy, 0.70), atMost(metricCPU, floorRelay, 1.20), atMost(metricUser, "", 1.5),
			},
		},
		{
			name: "http1-64k", about: "64 kept connections, 64 KiB body", measure: cpuPerRequest,
			tool: "wrk", body: 64 << 10, conns: saturationConns, entries: bodies,
			// The goal is set against nginx as it ships; with buffers that hold the body it is dearer to beat.
			targets: []target{atMost(metricCPU, nginxStock, 0.55), atMost(metricCPU, nginx, 1), atMost(metricCPU, haproxy, 0.65)},
		},
		{
			name: "http1-1m", about: "64 kept connections, 1 MiB body", measure: cpuPerRequest,
			tool: "wrk", body: 1 << 20, conns: saturationConns, entries: bodies,
		},
		{
			name: "http1-browser", about: "64 kept connections, 128-byte body, a browser's request head", measure: cpuPerRequest,
			tool: "wrk", body: 128, conns: saturationConns, headers: browserHead, entries: all,
		},
		{
			name: "http1-close", about: "a downstream connection for each request, 128-byte body", measure: cpuPerRequest,
			tool: "wrk", body: 128, conns: saturationConns, headers: []string{"Connection: close"}, entries: each(millrace, nginx, haproxy),
			targets: []target{atMost(metricCPU, nginx, 0.90)},
		},
		{
			name: "http1-idle-memory", about: fmt.Sprintf("%d idle kept connections, each used once", idleConns), measure: idleMemory,
			tool: "wrk", body: 128, conns: idleConns, entries: all,
			targets: []target{atMost(metricIdleBytes, "", 560), atMost(metricIdleBytes, nginx, 1)},
		},
		{
			name: "http1-latency", about: "fixed rate, 60 % of the slower of millrace and nginx", measure: latency,
			tool: "wrk", body: 128, conns: saturationConns, entries: tail, targets: noWorse,
		},
		{
			name: "http1-latency-collect", about: "as http1-latency; millrace collects garbage once a second", measure: latency,
			tool: "wrk", body: 128, conns: saturationConns, disturb: collect, entries: tail, targets: noWorse,
		},
		{
			name: "http1-latency-reload", about: "as http1-latency; a config of 10,000 routes is changed and reloaded once a second", measure: latency,
			tool: "wrk", body: 128, conns: saturationConns, routes: tableRoutes, disturb: reload, entries: each(millrace, nginx), targets: noWorse,
		},
		twoLoops(proxyCores),
		{
			// With two cores the second loop shares one with the load and the origin, so there is no bound: it shows what that costs.
			name: "http1-latency-two-loops", about: "as http1-latency; one loop beside two, all on all cores", measure: latency,
			tool: "wrk", body: 128, conns: saturationConns,
			entries: []entry{
				{label: "one loop", peer: millrace, loops: 1, cores: allCores()}, {label: "two loops", peer: millrace, loops: 2, cores: allCores()},
			},
		},
	}
	return slices.Concat(http, multiplexed(), encrypted(), streams())
}

// multiplexed lists the scenarios of HTTP/2 without TLS. The floor relay, which does not look at what it relays, has no
// part in those that translate or divide requests among connections.
func multiplexed() []scenario {
	three := each(millrace, nginx, haproxy)
	return []scenario{
		{
			name: "h2-128", about: "16 connections of HTTP/2 with 32 requests at once, 128-byte body, HTTP/1.1 upstream", measure: cpuPerRequest,
			tool: h2load, body: 128, conns: 16, streams: 32, h2: true, entries: three,
			targets: []target{atMost(metricCPU, nginx, 0.60), atMost(metricCPU, haproxy, 0.55), atMost(metricUser, "", 2.5)},
		},
		{
			name: "h2-64k", about: "16 connections of HTTP/2 with 32 requests at once, 64 KiB body, HTTP/1.1 upstream", measure: cpuPerRequest,
			tool: h2load, body: 64 << 10, conns: 16, streams: 32, h2: true, entries: three,
		},
		{
			// nginx and HAProxy are as in h2-128: the former has no HTTP/2 upstream.
			name: "h2-h2", about: "as h2-128; millrace and haproxy-h2 speak HTTP/2 upstream too", measure: cpuPerRequest,
			tool: h2load, body: 128, conns: 16, streams: 32, h2: true,
			entries: []entry{
				{label: millrace, peer: millrace, loops: 1, h2: true}, {label: nginx, peer: nginx, loops: 1},
				{label: "haproxy-h2", peer: haproxy, loops: 1, h2: true},
			},
			targets: []target{atMost(metricCPU, nginx, 0.50)},
		},
		{
			// The floor shows what a second hop costs that does not look at what it carries.
			name: "grpc-latency", about: "unary gRPC calls of 128 bytes one after the other on one connection, in turn through the proxy and without it", measure: callLatency,
			tool: childGRPC, body: 128, conns: 1, streams: 1, h2: true,
			entries: []entry{{label: millrace, peer: millrace, loops: 1, h2: true}, {label: haproxy, peer: haproxy, loops: 1, h2: true}, {label: floorRelay, peer: floorRelay, loops: 1, h2: true}},
			targets: []target{atMost(metricAdded, "", 60)},
		},
		{
			name: "h2-idle-memory", about: fmt.Sprintf("%d idle connections of HTTP/2, each used once, with %d bytes in its table of header fields", idleConns, load.FilledTable), measure: idleMemory,
			tool: h2load, body: 128, conns: idleConns, streams: 1, h2: true, entries: three,
			targets: []target{atMost(metricIdleBytes, "", 4096+load.FilledTable)},
		},
	}
}

// encrypted lists the scenarios of TLS. All peers have one certificate, of ECDSA P-256, and one suite, AES-128-GCM.
func encrypted() []scenario {
	three := each(millrace, nginx, haproxy)
	return []scenario{
		{
			name: "tls-128", about: "64 kept connections of TLS, HTTP/1.1, 128-byte body", measure: cpuPerRequest, tls: true,
			tool: "wrk", body: 128, conns: saturationConns, entries: three,
			targets: []target{atMost(metricCPU, nginx, 0.72), atMost(metricCPU, haproxy, 0.65)},
		},
		{
			name: "tls-64k", about: "64 kept connections of TLS, HTTP/1.1, 64 KiB body", measure: cpuPerRequest, tls: true,
			tool: "wrk", body: 64 << 10, conns: saturationConns, entries: three,
			targets: []target{atMost(metricCPU, nginx, 1)},
		},
		{
			name: "tls-h2-128", about: "16 connections of HTTP/2 over TLS with 32 requests at once, 128-byte body, HTTP/1.1 upstream", measure: cpuPerRequest, tls: true,
			tool: h2load, body: 128, conns: 16, streams: 32, h2: true, entries: three,
			targets: []target{atMost(metricCPU, nginx, 0.88), atMost(metricCPU, haproxy, 0.70)},
		},
		{
			name: "tls-handshake", about: "a connection with a full TLS 1.3 handshake (P-256) for each request, 128-byte body", measure: cpuPerRequest, tls: true,
			tool: childTLS, body: 128, conns: 16, entries: three,
			targets: []target{atMost(metricCPU, nginx, 1)},
		},
		{
			name: "tls-resume", about: "as tls-handshake, but sessions are resumed", measure: cpuPerRequest, tls: true, resume: true,
			tool: childTLS, body: 128, conns: 16, entries: three,
			targets: []target{atMost(metricCPU, nginx, 1)},
		},
		{
			name: "tls-idle-memory", about: fmt.Sprintf("%d idle connections of TLS, each used once", idleConns), measure: idleMemory, tls: true,
			tool: "wrk", body: 128, conns: idleConns, entries: three,
			targets: []target{atMost(metricIdleBytes, "", 4096), atMost(metricIdleBytes, nginx, 1)},
		},
	}
}

// streams lists the scenarios of plain TCP and UDP. Short messages and short connections leave nothing to tune, so that
// nginx and HAProxy are as they ship there.
func streams() []scenario {
	short := []entry{{label: millrace, peer: millrace, loops: 1}, {label: nginx, peer: nginxStock, loops: 1}, {label: haproxy, peer: haproxyAuto, loops: 1}, {label: floorRelay, peer: floorRelay, loops: 1}}
	long := each(millrace, nginx, nginxStock, nginxLarge, haproxy, haproxyAuto, floorRelay)
	longGoals := []target{atMost(metricCPU, nginx, 0.70), atMost(metricCPU, haproxy, 0.95)}
	return []scenario{
		{
			name: "tcp-128", about: "64 kept tunnels, 128 bytes there and back", measure: cpuPerRequest, traffic: compare.TCP,
			tool: load.BytesKept, body: 128, conns: saturationConns, entries: short,
			targets: []target{atMost(metricCPU, nginx, 1), atMost(metricCPU, haproxy, 0.90)},
		},
		{
			name: "tcp-64k", about: "64 kept tunnels, 128 bytes there and 64 KiB back", measure: cpuPerRequest, traffic: compare.TCP,
			tool: load.BytesKept, body: 64 << 10, conns: saturationConns, entries: long, targets: longGoals,
		},
		{
			name: "tcp-1m", about: "64 kept tunnels, 128 bytes there and 1 MiB back", measure: cpuPerRequest, traffic: compare.TCP,
			tool: load.BytesKept, body: 1 << 20, conns: saturationConns, entries: long, targets: longGoals,
		},
		{
			name: "tcp-10g", about: "one transfer of 10 GiB through one tunnel (1 with -quick)", measure: cpuPerMiB, traffic: compare.TCP,
			tool: load.BytesBulk, body: probeBytes, conns: 1, entries: long, targets: []target{atMost(metricMiBCPU, nginx, 0.70)},
		},
		{
			name: "tcp-churn", about: "connect, 128 bytes there and back, close", measure: cpuPerRequest, traffic: compare.TCP,
			tool: load.BytesChurn, body: 128, conns: saturationConns, entries: short, targets: []target{atMost(metricCPU, nginx, 1)},
		},
		{
			name: "tcp-idle-memory", about: fmt.Sprintf("%d idle tunnels, each used once", idleConns), measure: idleMemory, traffic: compare.TCP,
			tool: load.BytesKept, body: 128, conns: idleConns, entries: short, targets: []target{atMost(metricIdleBytes, "", 1.5*1024)},
		},
		{
			name: "udp-128", about: "64 sessions, datagrams of 128 bytes there and back", measure: cpuPerRequest, traffic: compare.UDP,
			tool: load.BytesUDP, body: 128, conns: saturationConns, entries: []entry{{label: millrace, peer: millrace, loops: 1}, {label: nginx, peer: nginxStock, loops: 1}, {label: floorRelay, peer: floorRelay, loops: 1}},
			targets: []target{atMost(metricCPU, nginx, 1)},
		},
	}
}

// twoLoops compares one loop with two. With fewer than scalingCores cores the load would take the second loop's core,
// so throughput says nothing; what is held there is that the second loop makes no request dearer.
func twoLoops(proxyCores string) scenario {
	s := scenario{
		name: "http1-two-loops", measure: cpuPerRequest, tool: "wrk", body: 128, conns: saturationConns,
		about: "one loop beside two, both on all cores: no core is free for the second, so only the cost of a request is judged",
		entries: []entry{
			{label: "one loop", peer: millrace, loops: 1, cores: allCores()}, {label: "two loops", peer: millrace, loops: 2, cores: allCores()},
		},
		targets: []target{{metric: metricCPU, of: "two loops", against: "one loop", limit: 1.10}},
	}
	if runtime.NumCPU() >= scalingCores {
		s.about = "one loop on one core beside two loops on two"
		s.entries[0].cores, s.entries[1].cores = proxyCores, "0-1"
		s.targets = []target{{metric: metricRate, of: "two loops", against: "one loop", limit: 1.8, atLeast: true}}
	}
	return s
}

func allCores() string { return fmt.Sprintf("0-%d", runtime.NumCPU()-1) }

// metrics lists what a measure reports, in the order of the columns. The first is the one that is compared.
func (m measure) metrics() []string {
	switch m {
	case cpuPerRequest:
		return []string{metricCPU, metricUser, metricSystem, metricRate, metricBusy, metricOthers}
	case cpuPerMiB:
		return []string{metricMiBCPU, metricMiBUser, metricMiBSystem, metricMiBRate, metricBusy, metricOthers}
	case idleMemory:
		return []string{metricIdleBytes, metricBaseMiB, metricFullMiB}
	case callLatency:
		return []string{metricAdded, metricP50, metricDirect, metricP99, metricRate, metricOthers}
	case latency:
		return []string{metricP99, metricP999, metricP50, metricLate, metricOthers, metricSetAside, metricOffered, metricReconnects}
	}
	panic("BUG: bench: unknown measure")
}

// compared lists the metrics for which ratios are worth a column.
func (m measure) compared() []string {
	if m == latency {
		return []string{metricP99, metricP999}
	}
	return m.metrics()[:1]
}

// has reports whether an entry with this label takes part.
func (s scenario) has(label string) bool {
	return slices.ContainsFunc(s.entries, func(e entry) bool { return e.label == label })
}
