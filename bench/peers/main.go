// Command peers installs the servers and clients that end-to-end tests and benchmarks use, where
// that is allowed: with apt-get as root. What cannot be had is named, and the tests that
// need it are skipped with that reason.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// peers are the programs and the Debian packages they come in.
var peers = []struct{ program, pkg string }{
	{"nginx", "nginx"},
	{"haproxy", "haproxy"},
	{"wrk", "wrk"},
	{"ab", "apache2-utils"},
	{"curl", "curl"},
}

func main() {
	var missing, packages []string
	for _, p := range peers {
		if !have(p.program) {
			missing, packages = append(missing, p.program), append(packages, p.pkg)
		}
	}
	if len(missing) == 0 {
		return
	}
	if os.Geteuid() != 0 || !have("apt-get") {
		fmt.Printf("peers: SKIP: cannot install %s (not root, or no apt-get); their tests are skipped\n", strings.Join(missing, ", "))
		return
	}
	install(packages)
	for _, name := range missing {
		if !have(name) {
			fmt.Printf("peers: SKIP: %s could not be installed; its tests are skipped\n", name)
		}
	}
}

// install runs apt-get. Services are not started: tests start their own.
func install(packages []string) {
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...),
	} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Printf("peers: apt-get %s: %v\n%s", args[0], err, tail(out))
		}
	}
}

// have reports whether a program is there, also where only root looks.
func have(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	_, err := os.Stat("/usr/sbin/" + program)
	return err == nil
}

// tail returns the last lines of out.
func tail(out []byte) []byte {
	const most = 2000
	if len(out) > most {
		out = out[len(out)-most:]
	}
	return out
}
