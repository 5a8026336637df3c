package server

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
)

const (
	// quietEvery is how often it is looked whether memory can be given back.
	quietEvery = 2 * time.Second
	// quietBusy is the share of one core that the process may have used meanwhile to count as quiet.
	quietBusy = 0.05
	// quietPause is how long it is left alone where it is not known that there is something to give back: what was
	// live may be garbage by now.
	quietPause = time.Minute
	// quietSlack is how much the heap may hold beside twice what is live.
	quietSlack = 16 << 20
	// quietRested is how many TLS connections have let go of memory since, of about 1.5 KiB each, when it is given back. It
	// waits until they all have.
	quietRested = 1024
)

// giveBackMemory collects garbage and returns memory to the kernel while the process has next to nothing to do. The
// collector waits until the heap has five times what is live, so as not to disturb the loops under load; after a burst,
// such as ten thousand TLS handshakes, nothing would make it run. docs/decisions/0004-garbage-collection.md
func (s *Server) giveBackMemory(ctx context.Context) {
	heap := newHeapReader()
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	var last time.Time                           // when it was done
	busy := true                                 // since then
	rested, restedBefore := uint64(0), uint64(0) // connections: when it was done, at the last look
	for used := processCPU(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := used
		used = processCPU()
		if used-before > time.Duration(quietBusy*float64(quietEvery)) {
			busy = true
			continue
		}
		held, live := heap.read()
		resting := s.tls.handshakes.Rested()
		allRest := resting == restedBefore
		restedBefore = resting
		if held > 2*live+quietSlack || allRest && resting > rested+quietRested ||
			busy && held > quietSlack && time.Since(last) > quietPause {
			rested = resting
			debug.FreeOSMemory()
			s.memoryGivenBack.Add(1)
			last, busy, used = time.Now(), false, processCPU()
		}
	}
}

// processCPU returns the CPU time of the process.
func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heapReader reads how much memory the heap holds.
type heapReader struct{ samples []metrics.Sample }

func newHeapReader() heapReader {
	return heapReader{[]metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/live:bytes"},
	}}
}

// read returns what the heap has of the kernel, and what was live at the last collection.
func (h heapReader) read() (held, live uint64) {
	metrics.Read(h.samples)
	for i := range h.samples[:3] {
		held += h.samples[i].Value.Uint64()
	}
	return held, h.samples[3].Value.Uint64()
}
