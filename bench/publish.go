package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/bench/report"
)

// A finished is everything one invocation found out.
type finished struct {
	opts     options
	machine  []string
	started  time.Time
	command  string
	outcomes []outcome
}

func newRun(opts options, machine []string, now time.Time) *finished {
	return &finished{opts: opts, machine: machine, started: now, command: commandLine(os.Args[1:])}
}

// commandLine is what a person would type to get this run again.
func commandLine(args []string) string {
	return strings.TrimSpace("go run ./bench " + strings.Join(args, " "))
}

// publish prints the report, and writes the document and the samples where the flags say so.
func (f *finished) publish(w io.Writer) error {
	text := f.text()
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if f.opts.results != "" {
		name := filepath.Join(f.opts.results, f.started.UTC().Format("2006-01-02T1504Z")+".txt")
		if err := writeFile(name, text+"\nsamples\n"+f.samples()); err != nil {
			return err
		}
	}
	if f.opts.out == "" {
		return nil
	}
	charts := f.charts()
	for name, c := range charts {
		if err := writeFile(filepath.Join(filepath.Dir(f.opts.out), name), c.SVG()); err != nil {
			return err
		}
	}
	return writeFile(f.opts.out, f.markdown(charts))
}

func writeFile(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// conditions are the circumstances of the run, one line each.
func (f *finished) conditions() []string {
	return append([]string{
		"date: " + f.started.UTC().Format("2006-01-02 15:04 UTC"),
		"command: " + f.command,
		fmt.Sprintf("runs: %d rounds of %v; proxy on core %s, load and origin (%s) on core %s",
			f.opts.rounds, f.opts.duration, f.opts.proxyCores, f.opts.origin, f.opts.loadCores),
	}, f.machine...)
}

// text is the report for a terminal.
func (f *finished) text() string {
	var b strings.Builder
	b.WriteString(strings.Join(f.conditions(), "\n") + "\n")
	for _, o := range f.outcomes {
		fmt.Fprintf(&b, "\n%s: %s\n", o.scenario.name, o.scenario.about)
		if len(o.rounds) > 0 {
			b.WriteString(o.table().Text())
		}
		for _, n := range o.notes {
			fmt.Fprintf(&b, "! %s\n", n)
		}
	}
	if t := verdictTable(f.outcomes); len(t.Rows) > 0 {
		b.WriteString("\ntargets\n" + t.Text())
	}
	return b.String()
}

// samples is every figure of every run, one JSON object a line.
func (f *finished) samples() string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, o := range f.outcomes {
		for _, e := range o.scenario.entries {
			for i, s := range o.rounds[e.label] {
				// A strings.Builder does not fail, and samples hold finite numbers only.
				_ = enc.Encode(struct {
					Scenario string `json:"scenario"`
					Peer     string `json:"peer"`
					Round    int    `json:"round"`
					Figures  sample `json:"figures"`
				}{o.scenario.name, e.label, i + 1, s})
			}
		}
	}
	return b.String()
}

// chartOf says which metrics of a measure make its chart.
var chartOf = map[measure]struct {
	file, title, unit string
	metrics, legend   []string
}{
	cpuPerRequest: {"benchmarks-cpu.svg", "CPU time of the proxy for each request (less is better)", "µs", []string{metricUser, metricSystem}, []string{"user", "system"}},
	idleMemory:    {"benchmarks-memory.svg", "Resident memory of an idle connection (less is better)", "bytes", []string{metricIdleBytes}, nil},
	cpuPerMiB:     {"benchmarks-bulk.svg", "CPU time of the proxy for each MiB of a long transfer (less is better)", "µs", []string{metricMiBUser, metricMiBSystem}, []string{"user", "system"}},
	callLatency:   {"benchmarks-grpc.svg", "Median latency that the proxy adds to a unary gRPC call (less is better)", "µs", []string{metricAdded}, nil},
	latency:       {"benchmarks-latency.svg", "99th percentile of latency at a fixed rate (less is better)", "µs", []string{metricP99}, nil},
}

// charts makes one chart for each measure that ran, by file name.
func (f *finished) charts() map[string]report.Chart {
	out := map[string]report.Chart{}
	for _, o := range f.outcomes {
		of := chartOf[o.scenario.measure]
		g := report.Group{Title: o.scenario.name + ": " + o.scenario.about}
		for _, e := range o.scenario.entries {
			bar := report.Bar{Label: e.label}
			for _, m := range of.metrics {
				bar.Parts = append(bar.Parts, o.spread(e.label, m).Median)
			}
			if whole := o.spread(e.label, o.scenario.measure.metrics()[0]).Median; !math.IsNaN(whole) {
				fit(bar.Parts, whole)
				g.Bars = append(g.Bars, bar)
			}
		}
		if len(g.Bars) == 0 {
			continue
		}
		c := out[of.file]
		c.Title, c.Unit, c.Parts = of.title, of.unit, of.legend
		c.Groups = append(c.Groups, g)
		out[of.file] = c
	}
	return out
}

// fit scales parts to a whole: medians of parts do not add up to the median of the whole, which is what the table says.
func fit(parts []float64, whole float64) {
	sum := 0.0
	for _, v := range parts {
		sum += v
	}
	for i := range parts {
		if sum > 0 {
			parts[i] *= whole / sum
		}
	}
}

// markdown is the report as a document.
func (f *finished) markdown(charts map[string]report.Chart) string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nWritten by `make bench` from one run; every figure below was measured in it.\n\n")
	for _, c := range f.conditions() {
		k, v, _ := strings.Cut(c, ": ")
		fmt.Fprintf(&b, "- %s: `%s`\n", k, v)
	}
	if t := verdictTable(f.outcomes); len(t.Rows) > 0 {
		b.WriteString("\n## Targets\n\n" + t.Markdown())
	}
	b.WriteString("\n" + method)
	for _, part := range []struct {
		measure measure
		title   string
	}{{cpuPerRequest, "CPU time of a request"}, {cpuPerMiB, "CPU time of a long transfer"}, {idleMemory, "Memory of an idle connection"}, {callLatency, "Latency of a gRPC call"}, {latency, "Latency at a fixed rate"}} {
		f.section(&b, part.measure, part.title, charts)
	}
	return b.String()
}

func (f *finished) section(b *strings.Builder, m measure, title string, charts map[string]report.Chart) {
	file := chartOf[m].file
	if _, ok := charts[file]; !ok {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n![%s](%s)\n", title, chartOf[m].title, file)
	for _, o := range f.outcomes {
		if o.scenario.measure != m || len(o.rounds) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n### %s\n\n%s.\n\n%s", o.scenario.name, upperFirst(o.scenario.about), o.table().Markdown())
		for _, n := range o.notes {
			fmt.Fprintf(b, "\nIncomplete: %s.\n", n)
		}
	}
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// method explains the figures to the reader of the document.
const method = `## How it is measured

- **Same work.** Where nothing else is said every proxy speaks HTTP/1.1 over kept connections to the same origin, adds ` + "`X-Forwarded-For`, `X-Forwarded-Proto` and `X-Request-Id`" + `,
  removes hop-by-hop fields, writes no access log, and has limits and buffers that the load does not reach. The configs are in
  ` + "`bench/compare/config.go`" + `. nginx has 16 KiB response buffers, as HAProxy does; nginx-stock has those it ships with. The floor is a
  C program that only reads and sends: what the kernel charges for moving the bytes.
- **HTTP/2** comes from h2load, in cleartext and with prior knowledge: several connections with many requests at once on each. Upstream is the same origin over HTTP/1.1,
  or nghttpd where a row says that the proxy speaks HTTP/2 upstream; nginx cannot. An idle connection of HTTP/2 has been used by a request that filled the proxy's
  table of header fields, so that its figure is at least that table's.
- **Plain TCP and UDP.** One program (` + "`bench/bytes/bytes.c`" + `) is origin and load: requests of 128 bytes over kept connections, each after the last answer, or a
  connection for each; it throws answers away inside the kernel, so that it does not become the limit. HAProxy is in mode tcp. Where answers are long, nginx reads 64 KiB at a time
  (nginx-stock the 16 KiB it ships with, nginx-256k as much as the floor), and HAProxy splices all of them through pipes of 1 MiB (haproxy-auto has the option splice-auto, which waits for a stream). Where they are short there is nothing
  to tune: nginx and HAProxy are as they ship, with splice-auto.
- **CPU time, not throughput.** The proxy has a core of its own, one loop, worker or thread; load and origin have another. What is compared is the
  CPU time of the proxy's processes (the scheduler's clock, nanoseconds) divided by the requests answered. User and system time are its division by
  the timer's ticks. Requests a second depend on what else the machine does, and are printed for information. Where the proxy's
  share of its core (proxy %) is well below 100 and nothing else ran there (others %), the load's core was the limit.
- **Alternating runs.** Peers run in turn, forwards and backwards, in short runs; ratios are taken round by round. Printed are the median of the ratios, the
  middle half of them, and in brackets a 95 % bootstrap interval of the median. All other figures are medians over the rounds.
- **Latency** comes from a generator that sends at a fixed rate whatever the proxy does, and counts from the time a request was due (no coordinated
  omission). Generator and origin are one thread that never sleeps; the floor's row shows how much of a tail is theirs and the kernel's. A run in which
  other work took more than 3 % of the proxy's core and made it wait, or kept the generator from its own, is repeated (single requests that were due or on their way while the
  generator was off its core are set aside); after three it is left out.
- **Calls of gRPC** are made by a client and a server in grpc-go, both on the load's core: 100 through the proxy, 100 without it, and so on. What is
  added is the difference of the medians; the floor's row shows how much of it is the way to another core and back.
- **Memory** is the growth of resident memory between a warm process and the same process with idle connections, each used once and then left alone for 8 s, divided by their number. What a
  proxy reserves at its start (nginx: tables for all its connections) is in the column before.
`
