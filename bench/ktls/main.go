// Command ktls runs the tests of kernel TLS in a virtual machine, since the kernel of a machine that builds need not have it: a kernel
// of Debian's, fetched by apt-get where that is allowed, and an image in memory that holds its modules and the tests, under qemu.
//
//	go run ./bench/ktls [-deb FILE] [-bench] [-run PATTERN]
//
// The same program is the first process of the machine: see guest.go.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tests are what runs in the machine, and the environment that makes it run for real.
var tests = []guestTest{
	{pkg: "./engine/transport", run: "^TestKernel"},
	{pkg: "./cmd/millrace", run: "^TestKernelTLS", binary: true},
	{pkg: "./cmd/millrace", run: "^Test(LongResponses|TunnelBulk|ClientLeavesSplice|SpliceBrokenOff)$", overTLS: true, binary: true},
}

// benches are what runs with -bench.
var benches = []guestTest{
	{pkg: "./engine/transport", run: "^$", bench: "^BenchmarkKernel"},
}

// vmTimeout bounds the life of a machine. Its instructions are translated, so everything is some ten times slower.
const vmTimeout = 20 * time.Minute

// errSkip tells that something is missing that may be missing.
var errSkip = errors.New("skipped")

func main() {
	if os.Getpid() == 1 {
		guest()
		return
	}
	deb := flag.String("deb", "", "package of a Debian kernel; default: the current one, by apt-get")
	bench := flag.Bool("bench", false, "run the benchmarks in place of the tests")
	pattern := flag.String("run", "", "run the tests that match this, in place of all")
	flag.Parse()
	list := tests
	if *bench {
		list = benches
	}
	for i := range list {
		if *pattern != "" {
			list[i].run = *pattern
		}
	}
	switch err := run(*deb, list); {
	case errors.Is(err, errSkip):
		fmt.Println("ktls: SKIP:", err)
	case err != nil:
		fmt.Fprintln(os.Stderr, "ktls:", err)
		os.Exit(1)
	}
}

func run(deb string, list []guestTest) error {
	if err := needQemu(); err != nil {
		return err
	}
	k, err := fetchKernel(deb)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "millrace-ktls-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "image.gz")
	if err := buildImage(image, dir, k, list); err != nil {
		return err
	}
	return boot(k.image, image)
}

// boot runs the machine and passes on what it says. It is an error if it does not say that all went well.
func boot(kernel, image string) error {
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536",
		"-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-kernel", kernel, "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(vmTimeout, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	passed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), "\r")
		passed = passed || line == guestPassed
		fmt.Println(line)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	if !passed {
		return errors.New("failed")
	}
	return nil
}
