package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// reloadTimeout bounds a reload as the caller sees it.
const reloadTimeout = time.Minute

var reloadCommand = command{
	name: "reload", args: "--admin ADDR",
	short: "make a running proxy load its file again",
	long: `Makes a running proxy load its file again and prints what changed. If the file is
refused, nothing changes, every problem is printed, and the exit code is 1.

  millrace reload --admin 127.0.0.1:9901`,
	run: runReload,
}

func runReload(e *env, c *command, args []string) int {
	f := newFlags(e, c)
	admin := f.String("admin", "127.0.0.1:9901", "`addr` of the admin port.")
	if code, ok := parse(e, c, f, args, 0); !ok {
		return code
	}
	client := &http.Client{Timeout: reloadTimeout}
	resp, err := client.Post("http://"+*admin+"/reload", "", nil)
	if err != nil {
		fmt.Fprintf(e.stderr, "millrace reload: %v; is this the address of the admin port?\n", err)
		return exitRefused
	}
	defer resp.Body.Close()
	out := e.stdout
	if resp.StatusCode != http.StatusOK {
		out = e.stderr
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		fmt.Fprintln(e.stderr, "millrace reload:", err)
		return exitRefused
	}
	if resp.StatusCode != http.StatusOK {
		return exitRefused
	}
	return exitFine
}

var versionCommand = command{
	name: "version", args: "",
	short: "print the version",
	long:  "Prints the version, the commit it was built from and the Go version.",
	run:   runVersion,
}

func runVersion(e *env, c *command, args []string) int {
	f := newFlags(e, c)
	if code, ok := parse(e, c, f, args, 0); !ok {
		return code
	}
	parts := []string{"millrace " + version}
	if id := commit(); id != "" {
		parts = append(parts, id)
	}
	fmt.Fprintln(e.stdout, strings.Join(append(parts, goVersion()), " "))
	return exitFine
}
