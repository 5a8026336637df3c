package admin

import (
	"bytes"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

// Names of runtime/metrics.
const (
	metricObjects = "/memory/classes/heap/objects:bytes"
	metricUnused  = "/memory/classes/heap/unused:bytes"
	metricFree    = "/memory/classes/heap/free:bytes"
	metricIdle    = "/memory/classes/heap/released:bytes"
	metricStacks  = "/memory/classes/heap/stacks:bytes"
	metricTotal   = "/memory/classes/total:bytes"
	metricCycles  = "/gc/cycles/total:gc-cycles"
	metricForced  = "/gc/cycles/forced:gc-cycles"
	metricGoal    = "/gc/heap/goal:bytes"
	metricCPU     = "/cpu/classes/gc/total:cpu-seconds"
	metricNumGo   = "/sched/goroutines:goroutines"
)

// Memory is what /memory shows, in bytes. cmd/internal/server makes gauges of it.
type Memory struct {
	Allocated   uint64 // Go objects, live or not yet collected
	HeapSize    uint64 // pages held by the Go heap
	HeapGoal    uint64 // size at which the next collection ends
	Limit       int64  // memory limit of the runtime
	Released    uint64 // pages given back to the kernel
	Stacks      uint64
	RuntimeSum  uint64 // everything the Go runtime has mapped
	Physical    uint64 // resident set of the process
	Goroutines  uint64
	Collections uint64
	Forced      uint64  // of the collections
	GCSeconds   float64 // processor time spent collecting
	Pauses      debug.GCStats
}

// ReadMemory measures the process. It does not stop the world.
func ReadMemory() Memory {
	samples := make([]metrics.Sample, 0, 11)
	for _, name := range []string{metricObjects, metricUnused, metricFree, metricIdle, metricStacks, metricTotal,
		metricCycles, metricForced, metricGoal, metricCPU, metricNumGo} {
		samples = append(samples, metrics.Sample{Name: name})
	}
	metrics.Read(samples)
	u := func(i int) uint64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0 // a later runtime renamed it
		}
		return samples[i].Value.Uint64()
	}
	m := Memory{
		Allocated: u(0), HeapSize: u(0) + u(1) + u(2), Released: u(3), Stacks: u(4), RuntimeSum: u(5),
		Collections: u(6), Forced: u(7), HeapGoal: u(8), Goroutines: u(10),
		Limit: debug.SetMemoryLimit(-1), Physical: residentBytes(),
	}
	if samples[9].Value.Kind() == metrics.KindFloat64 {
		m.GCSeconds = samples[9].Value.Float64()
	}
	m.Pauses.PauseQuantiles = make([]time.Duration, 5)
	debug.ReadGCStats(&m.Pauses)
	return m
}

// residentBytes returns the resident set of the process, 0 if the kernel does not tell.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(string(fields[1]), 10, 64) // the kernel writes numbers
	return pages * uint64(os.Getpagesize())
}

// memory is /memory: Envoy's names where they mean the same, then our own.
func (s *Server) memory(w http.ResponseWriter, r *http.Request) {
	m := ReadMemory()
	j := newJSON(w, r, indented)
	defer j.done()
	j.object("")
	j.uint("allocated", m.Allocated)
	j.uint("heap_size", m.HeapSize)
	j.uint("pageheap_unmapped", m.Released)
	j.uint("total_physical_bytes", m.Physical)
	j.uint("heap_goal", m.HeapGoal)
	j.int("memory_limit", m.Limit)
	j.uint("stacks", m.Stacks)
	j.uint("runtime_total", m.RuntimeSum)
	j.uint("goroutines", m.Goroutines)
	s.regions(j)
	j.collections(&m)
	j.end()
}

// regions writes what lies outside the Go heap.
func (s *Server) regions(j *jsonPage) {
	var list []Region
	if s.deps.Regions != nil {
		list = s.deps.Regions()
	}
	total, used := uint64(0), uint64(0)
	for _, r := range list {
		total, used = total+r.Bytes, used+r.Used
	}
	j.object("outside_heap")
	j.uint("bytes", total)
	j.uint("used", used)
	j.array("regions")
	for _, r := range list {
		j.object("")
		j.str("name", r.Name)
		j.uint("bytes", r.Bytes)
		j.uint("used", r.Used)
		j.end()
	}
	j.end()
	j.end()
}

func (j *jsonPage) collections(m *Memory) {
	j.object("collections")
	j.uint("total", m.Collections)
	j.uint("forced", m.Forced)
	j.float("cpu_seconds", m.GCSeconds)
	if !m.Pauses.LastGC.IsZero() && m.Pauses.NumGC > 0 {
		j.time("last", m.Pauses.LastGC)
		j.int("pause_total_us", m.Pauses.PauseTotal.Microseconds())
		j.int("pause_last_us", m.Pauses.Pause[0].Microseconds())
		j.object("recent_pauses_us")
		for i, name := range []string{"min", "p25", "p50", "p75", "max"} {
			j.int(name, m.Pauses.PauseQuantiles[i].Microseconds())
		}
		j.end()
	}
	j.end()
}

// collect is /memory/collect. Benchmarks use it to measure what is really held.
func (s *Server) collect(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if isSet(r, "release") {
		debug.FreeOSMemory() // collects too
	} else {
		runtime.GC()
	}
	took := time.Since(start)
	j := newJSON(w, r, indented)
	defer j.done()
	m := ReadMemory()
	j.object("")
	j.int("took_us", took.Microseconds())
	j.uint("allocated", m.Allocated)
	j.uint("heap_size", m.HeapSize)
	j.uint("total_physical_bytes", m.Physical)
	j.end()
}
