package server

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

// processors is how many loops there are by default: what Go makes of cores, affinity and cgroup
// before GOMAXPROCS is set.
var processors = runtime.GOMAXPROCS(0)

const (
	// gcPercent lets the heap grow to five times what is live before it is collected: a collection
	// is the tail latency, and what is live is small. docs/decisions/0004-garbage-collection.md
	gcPercent = 400
	// outsideHeapBytes is set aside for what the memory limit does not see besides blocks: code, stacks of
	// threads, pipes.
	outsideHeapBytes = 64 << 20
)

// tuneRuntime prepares the runtime for n locked loops.
//
// GOMAXPROCS lies above the number of loops, see goProcessors.
func tuneRuntime(n int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(goProcessors(n, processors))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if limit := cgroupMemory(); limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(max(limit-outsideHeapBytes, limit/2))
	}
	raiseFiles()
}

// goProcessors returns GOMAXPROCS for n loops on so many cores: above the number of loops, so that
// collections, the control goroutine and handshakes have a processor of their own. Where cores are
// left over it is near a multiple of four, so that the collector uses whole workers instead of fractions of the
// loops'; but never more than there are cores, since every processor marks during a collection, and those without
// a core take it from a loop. docs/decisions/0004-garbage-collection.md
func goProcessors(n, cores int) int {
	return max(n+1, min(4*((n+3)/3), cores))
}

// raiseFiles raises the soft limit of open files to the hard one.
func raiseFiles() {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) == nil && r.Cur < r.Max {
		r.Cur = r.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
	}
}

// cgroupMemory returns the memory limit of the cgroup, 0 if there is none.
func cgroupMemory() int64 {
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && n > 0 && n < math.MaxInt64/2 {
			return n
		}
	}
	return 0
}
