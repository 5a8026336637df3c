package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// stopWait is how long a process may take to leave after SIGTERM before it is killed.
const stopWait = 3 * time.Second

// A Group is the set of processes started by one benchmark run.
type Group struct {
	// Ahead puts every process before those of other sessions on its core. It takes root.
	Ahead bool

	mu    sync.Mutex
	procs []*Proc
}

// A Proc is one running child process, which may have children of its own.
type Proc struct {
	Name string
	Pid  int

	cmd  *exec.Cmd
	out  *tail
	done chan struct{} // closed once the process has been waited for
}

// Start runs a command pinned to a list of cores such as "0" or "2-3"; an empty list leaves it unpinned.
// Precondition: called on a goroutine locked to the main thread, which the kernel watches for the parent's death.
func (g *Group) Start(name, cores, dir string, argv ...string) (*Proc, error) {
	argv = Pinned(cores, argv)
	cmd := exec.Command(argv[0], argv[1:]...)
	out := &tail{}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	// A session of its own keeps the terminal's SIGINT from it, since the benchmark decides the order of leaving, and
	// makes it a scheduling group of its own where the kernel groups by session: the weight of one group is divided
	// between the cores by the load on each, so in one group a busy load would take the proxy's core from it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if g.Ahead {
		// Best effort: without grouping by session there is no such file.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte("-20"), 0)
	}
	p := &Proc{Name: name, Pid: cmd.Process.Pid, cmd: cmd, out: out, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the exit status of a server that is told to leave says nothing
		close(p.done)
	}()
	g.mu.Lock()
	g.procs = append(g.procs, p)
	g.mu.Unlock()
	return p, nil
}

// Pinned puts taskset in front of a command line; an empty list of cores returns it as it is.
func Pinned(cores string, argv []string) []string {
	if cores == "" {
		return argv
	}
	return append([]string{"taskset", "-c", cores}, argv...)
}

// StopAll ends every process of the group, the youngest first.
func (g *Group) StopAll() {
	g.mu.Lock()
	procs := g.procs
	g.procs = nil
	g.mu.Unlock()
	for i := len(procs) - 1; i >= 0; i-- {
		procs[i].Stop()
	}
}

// Stop ends a process and its children: SIGTERM, and SIGKILL for those still there after stopWait.
func (p *Proc) Stop() {
	tree := Tree(p.Pid)
	if p.Exited() {
		return
	}
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopWait):
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
	}
	// A worker whose master was killed does not leave by itself.
	for _, pid := range tree {
		if pid != p.Pid && parentOf(pid) == 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// Signal sends s to the process itself, not to its children.
func (p *Proc) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", p.Name, err)
	}
	return nil
}

// Wait waits until the process ends by itself and returns what it printed; a failed exit is an error.
// When ctx ends first, the process is stopped.
func (p *Proc) Wait(ctx context.Context) (string, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Stop()
		return "", ctx.Err()
	}
	if !p.cmd.ProcessState.Success() {
		return "", fmt.Errorf("%s: %v: %s", p.Name, p.cmd.ProcessState, p.Output())
	}
	return p.Output(), nil
}

// Exited reports whether the process has ended.
func (p *Proc) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Output returns the end of what the process printed.
func (p *Proc) Output() string { return p.out.String() }

// tailBytesMax is how much of a process's output is kept.
const tailBytesMax = 8 << 10

// A tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - tailBytesMax; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

// String returns what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
