package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tunnel is a configuration with one listener whose connections go to cluster "db" by tcp_proxy.
type tunnel struct {
	hosts    []string
	address  string // of the listener; "" for any port of the loopback
	listener string // more fields of the listener
	before   string // network filters before tcp_proxy
	filter   string // more fields of tcp_proxy
	cluster  string // more fields of the cluster
	more     string // more fields of the configuration
}

// config is the text.
func (c tunnel) config() string {
	address, hosts := c.address, make([]string, len(c.hosts))
	if address == "" {
		address = "127.0.0.1:0"
	}
	for i, h := range c.hosts {
		hosts[i] = fmt.Sprintf("%q", h)
	}
	return fmt.Sprintf(`{"concurrency": 1%s,
 "listeners": [{"name": "tcp", "address": %q, "stat_prefix": "front"%s, "filters": [%s{"name": "tcp_proxy", "config":
   {"stat_prefix": "e2e", "cluster": "db"%s}}]}],
 "clusters": [{"name": "db", "hosts": [%s]%s}]}`, leadingComma(c.more), address, leadingComma(c.listener), trailingComma(c.before),
		leadingComma(c.filter), strings.Join(hosts, ", "), leadingComma(c.cluster))
}

// start runs millrace with the configuration.
func (c tunnel) start(t *testing.T, args ...string) *proxy {
	t.Helper()
	return startProxy(t, c.config(), args...)
}

// echoServer answers every byte with itself, and the end with the end.
func echoServer(t *testing.T) string {
	t.Helper()
	return rawOrigin(t, func(c *rawConn) {
		_ = c.SetDeadline(time.Time{})
		_, _ = io.Copy(c.Conn, c.r)
		c.closeWrite()
	})
}

// nameServer says its name to whoever connects, and then answers as echoServer does.
func nameServer(t *testing.T, name string) string {
	t.Helper()
	return rawOrigin(t, func(c *rawConn) {
		c.send(name + "\n")
		_, _ = io.Copy(c.Conn, c.r)
	})
}

// wantEcho sends text and expects it back.
func (c *rawConn) wantEcho(text string) {
	c.t.Helper()
	c.send(text)
	if got := c.bytes(len(text)); got != text {
		c.t.Errorf("sent %q, got %q", text, got)
	}
}

// wantLine expects a line.
func (c *rawConn) wantLine(want string) {
	c.t.Helper()
	if line, err := c.r.ReadString('\n'); line != want+"\n" {
		c.t.Errorf("got %q, %v; want %q", line, err, want)
	}
}

// wantClosed expects that the peer closes or resets the connection without a byte.
func (c *rawConn) wantClosed() {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if ne, ok := err.(net.Error); len(b) > 0 || ok && ne.Timeout() {
		c.t.Errorf("got %q, %v; want the end", b, err)
	}
}

// reset ends the connection by a reset.
func (c *rawConn) reset() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// dialFrom opens a connection from an address of the loopback.
func dialFrom(t *testing.T, from, to string) *rawConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: waitMax}
	c, err := d.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return newRawConn(t, c)
}

// dialAddr opens a connection to an address as the log and the configuration write it.
func dialAddr(t *testing.T, addr string) *rawConn {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	c, err := net.DialTimeout(network, addr, waitMax)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return newRawConn(t, c)
}

// runPeer runs a program to its end, within a generous time, and returns what it printed.
func runPeer(t *testing.T, path string, args ...string) string {
	t.Helper()
	return runPeerIn(t, "", path, args...)
}

// runPeerIn is runPeer with a standard input.
func runPeerIn(t *testing.T, stdin, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*waitMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		t.Errorf("%s %q: %v\n%s", filepath.Base(path), args, err, out.String())
	}
	return out.String()
}

// logLines returns the lines of a JSON access log, once there are so many.
func logLines(t *testing.T, path string, count int) []map[string]any {
	t.Helper()
	var lines []map[string]any
	ok := eventually(func() bool {
		lines = nil
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(text)) {
			var m map[string]any
			if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &m) != nil {
				return false
			}
			lines = append(lines, m)
		}
		return len(lines) >= count
	})
	if !ok || len(lines) != count {
		t.Errorf("the access log has %d lines, want %d: %v", len(lines), count, lines)
	}
	return lines
}
