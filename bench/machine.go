package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"millrace/bench/compare"
)

//go:embed floor/floor.c
var floorSource []byte

//go:embed backend/origin.c
var originSource []byte

//go:embed bytes/bytes.c
var bytesSource []byte

// tools are the programs besides the peers, by the Debian package that has them.
var tools = []struct{ binary, pkg string }{
	{"wrk", "wrk"}, {"h2load", "nghttp2-client"}, {"nghttpd", "nghttp2-server"}, {"cc", "gcc libc6-dev"}, {"taskset", "util-linux"},
}

// streamPackage has the module with which nginx carries TCP and UDP.
const streamPackage = "libnginx-mod-stream"

// install installs what is missing and returns what still is.
func install(peers []compare.Peer, mayInstall bool) (missing []string, err error) {
	missing, packages := lacking(peers)
	if len(packages) == 0 || !mayInstall {
		return missing, nil
	}
	if os.Getuid() != 0 {
		return missing, fmt.Errorf("installing %s needs root", strings.Join(packages, " "))
	}
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...)} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return missing, fmt.Errorf("apt-get %s: %w: %s", args[0], err, out)
		}
	}
	missing, _ = lacking(peers)
	return missing, nil
}

func lacking(peers []compare.Peer) (missing, packages []string) {
	for _, t := range tools {
		if _, err := exec.LookPath(t.binary); err != nil {
			missing = append(missing, t.binary)
			packages = append(packages, strings.Fields(t.pkg)...)
		}
	}
	for _, p := range peers {
		if _, err := p.Path(); err != nil && p.Package != "" && !slices.Contains(packages, p.Package) {
			missing = append(missing, p.Name)
			packages = append(packages, p.Package)
		}
	}
	for _, p := range peers {
		if p.Binary == nginx && p.Carries(compare.TCP) != nil && !slices.Contains(packages, streamPackage) {
			missing = append(missing, "the stream module of nginx")
			packages = append(packages, streamPackage)
		}
	}
	return missing, packages
}

// compile builds a C program into dir and returns its path.
func compile(dir, name string, source []byte) (string, error) {
	src, bin := filepath.Join(dir, name+".c"), filepath.Join(dir, name)
	if err := os.WriteFile(src, source, 0o644); err != nil {
		return "", err
	}
	if out, err := exec.Command("cc", "-O2", "-Wall", "-o", bin, src).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling %s: %w: %s", name, err, out)
	}
	return bin, nil
}

// describe tells the machine and the versions, one line each.
func describe(peers []compare.Peer) []string {
	cpu := field("/proc/cpuinfo", "model name")
	var uts unix.Utsname
	kernel := runtime.GOOS
	if unix.Uname(&uts) == nil {
		kernel = "Linux " + unix.ByteSliceToString(uts.Release[:])
	}
	lines := []string{
		fmt.Sprintf("machine: %d cores, %s, %s memory", runtime.NumCPU(), cpu, gibibytes(field("/proc/meminfo", "MemTotal"))),
		"kernel: " + kernel,
		"Go: " + runtime.Version(),
	}
	for _, p := range peers {
		if p.Version != nil {
			lines = append(lines, p.Name+": "+p.VersionLine())
		}
	}
	return append(lines, "wrk: "+firstLine("wrk", "-v"), "h2load: "+firstLine("h2load", "--version"))
}

// gibibytes turns "1048576 kB" into "1.0 GiB".
func gibibytes(kb string) string {
	n, err := strconv.ParseFloat(strings.TrimSuffix(kb, " kB"), 64)
	if err != nil {
		return kb
	}
	return fmt.Sprintf("%.1f GiB", n/(1<<20))
}

// field returns the first value of a "name: value" file of /proc.
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// firstLine runs a program for its version; some exit with an error when asked.
func firstLine(argv ...string) string {
	out, _ := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	if line == "" {
		return "not there"
	}
	line, _, _ = strings.Cut(line, " Copyright")
	return line
}

// prepareProcess raises the limit of file descriptors, which the children inherit, and moves this process to the
// load's cores: it must not take time from a proxy.
func prepareProcess(loadCores string) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	lim.Cur = min(lim.Max, compare.FDLimit)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	if lim.Cur < compare.FDLimit {
		return fmt.Errorf("%d file descriptors allowed, %d needed: raise the hard limit", lim.Cur, compare.FDLimit)
	}
	set, err := parseCores(loadCores)
	if err != nil {
		return err
	}
	threads, err := filepath.Glob("/proc/self/task/[0-9]*")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(id, set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("moving to cores %s: %w", loadCores, err)
		}
	}
	return nil
}

// coreList lists the cores of a list such as "0,2-3".
func coreList(list string) ([]int, error) {
	set, err := parseCores(list)
	if err != nil {
		return nil, err
	}
	var out []int
	for c := range coresMax {
		if set.IsSet(c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// coresMax bounds the numbers of cores.
const coresMax = 1024

// parseCores reads a list such as "0,2-3".
func parseCores(list string) (*unix.CPUSet, error) {
	var set unix.CPUSet
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || a < 0 || b < a || b >= coresMax {
			return nil, fmt.Errorf("%q is not a list of cores", list)
		}
		for c := a; c <= b; c++ {
			set.Set(c)
		}
	}
	return &set, nil
}
