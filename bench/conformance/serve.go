package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	messageMax = 1 << 20          // bytes of a message of the suite's runner
	startWait  = 10 * time.Second // for a server to say where it listens
)

// serve is the server under test: it starts the suite's server and millrace before it, says where millrace listens, and
// ends with ctx, which a signal of the runner cancels.
func serve(ctx context.Context, opts options, in io.Reader, out io.Writer) error {
	i := slices.IndexFunc(suites, func(s suite) bool { return s.name == opts.serve })
	if i < 0 {
		return fmt.Errorf("no suite %q", opts.serve)
	}
	message, err := readMessage(in)
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	req, err := parseRequest(message)
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	dir, err := os.MkdirTemp("", "millrace-conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	toServer, version := suites[i].toServer(req)
	host, err := startServer(ctx, filepath.Join(opts.peers, suites[i].server), toServer)
	if err != nil {
		return fmt.Errorf("starting the suite's server: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	f := front{port: port, host: host, protocol: protocols[version], req: req, dir: dir}
	if err := f.writeFiles(); err != nil {
		return err
	}
	ended, err := startProxy(ctx, opts.millrace, filepath.Join(dir, "millrace.json"), suites[i].config(f), port)
	if err != nil {
		return fmt.Errorf("starting millrace: %w", err)
	}
	if err := writeMessage(out, answer(port, req.cert)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return fmt.Errorf("millrace ended: %w", err)
	}
}

// startServer starts a server of the suite and returns its address.
func startServer(ctx context.Context, path string, request []byte) (string, error) {
	cmd := command(ctx, path)
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	if err := writeMessage(in, request); err != nil {
		return "", err
	}
	if err := in.Close(); err != nil {
		return "", err
	}
	response, err := readMessage(out)
	if err != nil {
		return "", err
	}
	port, err := portOf(response)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", strconv.FormatUint(port, 10)), nil
}

// startProxy starts millrace, waits until it accepts connections, and returns a channel on which its end is told.
func startProxy(ctx context.Context, path, file, config string, port int) (<-chan error, error) {
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := command(ctx, path, "run", "-c", file)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(cmd.Wait(), errors.New(log.String())) }()
	for end := time.Now().Add(startWait); time.Now().Before(end); {
		if c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return ended, c.Close()
		}
		select {
		case err := <-ended:
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("nobody listens on port %d after %v", port, startWait)
}

// command is a program that ends with ctx and with this process.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	return cmd
}

// freePort returns a port of the loopback that nobody listens on now.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// readMessage reads a message with its length before it, in four bytes.
func readMessage(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > messageMax {
		return nil, fmt.Errorf("message of %d bytes; at most %d are expected", n, messageMax)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeMessage(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}
