package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tickHz is the unit of the times in /proc/PID/stat (USER_HZ), the same on every Linux that Go runs on.
const tickHz = 100

// CPU is the processor time a process tree has used.
type CPU struct {
	User, System time.Duration
}

// Sum returns user and system time together.
func (c CPU) Sum() time.Duration { return c.User + c.System }

// Sub returns what was used between an earlier reading and c.
func (c CPU) Sub(earlier CPU) CPU {
	return CPU{c.User - earlier.User, c.System - earlier.System}
}

// A Reading is the accounts of a process tree at one time: the exact sum and the ticks that divide it.
type Reading struct {
	exact               time.Duration
	userTicks, sysTicks uint64
	reaped              time.Duration // of children that have ended, to a tick
	waited              time.Duration
}

// Around returns all the tree has used between two readings, with children that ended meanwhile, and how long its
// threads were ready to run and did not.
func (r Reading) Around(earlier Reading) (used, waited time.Duration) {
	return max(r.exact+r.reaped-earlier.exact-earlier.reaped, 0), max(r.waited-earlier.waited, 0)
}

// ReadCPU reads the accounts of a process and its living children.
func ReadCPU(pid int) (Reading, error) {
	var r Reading
	for _, p := range Tree(pid) {
		exact, err := cpuClock(p)
		st, statErr := readStat(p)
		if err = errors.Join(err, statErr); err != nil {
			if p != pid {
				continue // a child that left meanwhile
			}
			return r, err
		}
		r.exact += exact
		r.reaped += time.Duration(st.reapedTicks) * time.Second / tickHz
		r.waited += waitTime(p)
		r.userTicks += st.userTicks
		r.sysTicks += st.sysTicks
	}
	return r, nil
}

// Since divides the exact time between two readings by the ticks between them.
func (r Reading) Since(earlier Reading) CPU {
	exact := r.exact - earlier.exact
	user, sys := r.userTicks-earlier.userTicks, r.sysTicks-earlier.sysTicks
	if user+sys == 0 {
		return CPU{System: exact}
	}
	u := time.Duration(float64(exact) * float64(user) / float64(user+sys))
	return CPU{User: u, System: exact - u}
}

// waitTime adds up how long the threads of a process were ready to run and did not; threads that leave take theirs along.
func waitTime(pid int) time.Duration {
	var sum time.Duration
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is well-formed
	for _, name := range files {
		b, err := os.ReadFile(name)
		if f := strings.Fields(string(b)); err == nil && len(f) == 3 {
			n, _ := strconv.ParseInt(f[1], 10, 64) // digits, by the kernel
			sum += time.Duration(n)
		}
	}
	return sum
}

// CoreBusy returns the time that cores have spent on anything but idling, time stolen by a hypervisor included.
func CoreBusy(cores []int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseCoreBusy(string(b), cores)
}

// parseCoreBusy adds the busy times of the "cpuN" lines of /proc/stat.
func parseCoreBusy(text string, cores []int) (time.Duration, error) {
	var ticks uint64
	found := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 9 || !slices.ContainsFunc(cores, func(c int) bool { return f[0] == "cpu"+strconv.Itoa(c) }) {
			continue
		}
		found++
		for _, i := range []int{1, 2, 3, 6, 7, 8} { // user, nice, system, irq, softirq, steal
			n, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return 0, errStat
			}
			ticks += n
		}
	}
	if found != len(cores) {
		return 0, fmt.Errorf("%d of the cores %v are in /proc/stat", found, cores)
	}
	return time.Duration(ticks) * time.Second / tickHz, nil
}

// cpuClock reads the scheduler's clock of a process: all its threads, also those that have ended.
func cpuClock(pid int) (time.Duration, error) {
	var ts unix.Timespec
	const cpuclockSched = 2 // MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel
	if err := unix.ClockGettime(int32(^pid<<3|cpuclockSched), &ts); err != nil {
		return 0, fmt.Errorf("reading the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// Tree returns pid and its living descendants.
func Tree(pid int) []int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	for _, d := range dirs {
		p, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		if parent := parentOf(p); parent > 0 {
			children[parent] = append(children[parent], p)
		}
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// parentOf returns the parent of a process, or 0 when it has gone.
func parentOf(pid int) int {
	st, err := readStat(pid)
	if err != nil {
		return 0
	}
	return st.parent
}

// stat is what the benchmark needs of /proc/PID/stat.
type stat struct {
	parent              int
	userTicks, sysTicks uint64
	reapedTicks         uint64 // user and system, of children that have ended
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(b))
}

var errStat = errors.New("malformed /proc stat line")

// parseStat reads one line of /proc/PID/stat. The command name may hold spaces and parentheses, so fields are
// counted from the last closing one.
func parseStat(line string) (st stat, err error) {
	i := strings.LastIndexByte(line, ')')
	if i < 0 {
		return st, errStat
	}
	f := strings.Fields(line[i+1:])
	if len(f) < 15 {
		return st, errStat
	}
	var errs [5]error
	var reapedUser, reapedSys uint64
	st.parent, errs[0] = strconv.Atoi(f[1])
	st.userTicks, errs[1] = strconv.ParseUint(f[11], 10, 64)
	st.sysTicks, errs[2] = strconv.ParseUint(f[12], 10, 64)
	reapedUser, errs[3] = strconv.ParseUint(f[13], 10, 64)
	reapedSys, errs[4] = strconv.ParseUint(f[14], 10, 64)
	if errors.Join(errs[:]...) != nil {
		return stat{}, errStat
	}
	st.reapedTicks = reapedUser + reapedSys
	return st, nil
}

// ReadRSS returns the resident memory of a process tree in bytes.
func ReadRSS(pid int) (int64, error) {
	var sum int64
	for _, p := range Tree(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil && p != pid {
			continue // a child that left meanwhile
		}
		if err != nil {
			return 0, err
		}
		n, err := parseRollup(string(b))
		if err != nil {
			return 0, fmt.Errorf("process %d: %w", p, err)
		}
		sum += n
	}
	return sum, nil
}

// parseRollup returns the Rss line of /proc/PID/smaps_rollup in bytes.
func parseRollup(text string) (int64, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "Rss:" && f[2] == "kB" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("no Rss line in smaps_rollup")
}
