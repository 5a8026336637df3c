package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A guestTest is a test binary, and what of it is run.
type guestTest struct {
	pkg     string
	run     string
	bench   string
	binary  bool // it needs millrace
	overTLS bool // the end-to-end tests come by TLS
}

// guestRun is one of the programs to run in the machine.
type guestRun struct {
	Args, Env []string
}

const (
	// guestPassed is the machine's last line when all went well.
	guestPassed = "ktls: all tests passed"

	guestModules = "/modules"
	guestRuns    = "/runs.json"
	guestBinary  = "/bin/millrace"
)

// guestEnv is the environment of the tests: kernel TLS has to be there, and millrace is.
var guestEnv = []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp", "MILLRACE_KTLS=1", "MILLRACE_BINARY=" + guestBinary}

// guest is the first process of the machine. When it is done it switches the machine off.
func guest() {
	if err := guestAll(); err != nil {
		fmt.Println("ktls:", err)
	} else {
		fmt.Println(guestPassed)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func guestAll() error {
	if err := guestSystem(); err != nil {
		return err
	}
	text, err := os.ReadFile(guestRuns)
	if err != nil {
		return err
	}
	var runs []guestRun
	if err := json.Unmarshal(text, &runs); err != nil {
		return err
	}
	var name unix.Utsname
	_ = unix.Uname(&name)
	fmt.Printf("ktls: Linux %s\n", unix.ByteSliceToString(name.Release[:]))
	for _, r := range runs {
		cmd := exec.Command(r.Args[0], r.Args[1:]...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/tmp", append(guestEnv, r.Env...), os.Stdout, os.Stdout
		if runErr := cmd.Run(); runErr != nil {
			err = fmt.Errorf("%s: %w", r.Args[0], runErr)
		}
	}
	return err
}

// guestSystem mounts what programs expect, brings the loopback interface up and loads the modules.
func guestSystem() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		_ = os.MkdirAll(m[1], 0o755)
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	files, err := filepath.Glob(guestModules + "/*.ko")
	if err != nil {
		return err
	}
	slices.Sort(files) // their names begin with their place
	for _, file := range files {
		if err := loadModule(file); err != nil && err != unix.EEXIST && err != unix.ENODEV { // the processor may lack something
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func loopbackUp() error {
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}
