// Command fuzzall runs every fuzz target of the module for a while, one after the other:
// `go test -fuzz` takes one target at a time.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("time", 30*time.Second, "how long each target runs")
	only := flag.String("run", "", "run the targets whose package and name match this")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall:", err)
		os.Exit(2)
	}
	failed := false
	for _, t := range targets() {
		if !match.MatchString(t.pkg + "." + t.name) {
			continue
		}
		fmt.Printf("== %s %s\n", t.pkg, t.name)
		cmd := exec.Command("go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(), t.pkg)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		failed = cmd.Run() != nil || failed
	}
	if failed {
		os.Exit(1)
	}
}

type target struct{ pkg, name string }

// targets lists the fuzz targets of the module.
func targets() (list []target) {
	out, err := exec.Command("go", "test", "-list=^Fuzz", "./...").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall: go test -list:", err)
		os.Exit(1)
	}
	var names []string
	for _, line := range strings.Split(string(out), "\n") {
		switch f := strings.Fields(line); {
		case strings.HasPrefix(line, "Fuzz"):
			names = append(names, line)
		case len(f) >= 2 && f[0] == "ok":
			for _, n := range names {
				list = append(list, target{f[1], n})
			}
			names = nil
		}
	}
	return list
}
