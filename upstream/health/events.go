package health

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/upstream"
)

// eventsMax bounds the lines of one event log that wait to be written.
const eventsMax = 1024

// eventsEnd bounds how long the end of an event log waits for its file.
const eventsEnd = time.Second

// eventLogs are the event logs of the process, by path. Several clusters may write to one.
type eventLogs struct {
	lost, failed *stats.Counter

	mu    sync.Mutex // also of the counters
	files map[string]*eventFile
	left  []*eventFile // those that nobody uses any more, whose lines may not be written yet
}

// eventFile is a file and the goroutine that writes to it, so that nobody else has to wait.
type eventFile struct {
	path  string
	users int
	lines chan []byte // nil is the wish to open anew
	done  chan struct{}
}

// events is what the event log of one cluster is to have.
type events struct {
	file              *eventFile
	logs              *eventLogs
	checker           string // HTTP and so on
	failures, success bool   // each of them
}

// open returns the event log of a cluster, nil for none.
func (l *eventLogs) open(h *upstream.HealthCheckConfig) *events {
	e := l.openPath(h.EventLogPath)
	if e != nil {
		e.checker = strings.ToUpper(h.Type)
		e.failures, e.success = h.AlwaysLogHealthCheckFailures, h.AlwaysLogHealthCheckSuccess
	}
	return e
}

// openPath returns the event log at a path, nil for none.
func (l *eventLogs) openPath(path string) *events {
	if path == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[path]
	if f == nil {
		f = &eventFile{path: path, lines: make(chan []byte, eventsMax), done: make(chan struct{})}
		if l.files == nil {
			l.files = map[string]*eventFile{}
		}
		l.files[f.path] = f
		go l.write(f)
	}
	f.users++
	return &events{file: f, logs: l}
}

// leave ends the use of an event log.
func (l *eventLogs) leave(e *events) {
	if e == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.file.users--; e.file.users == 0 {
		delete(l.files, e.file.path)
		l.finish(e.file)
	}
}

// finish ends a file once its lines are written. Precondition: l is locked.
func (l *eventLogs) finish(f *eventFile) {
	close(f.lines)
	l.left = append(slices.DeleteFunc(l.left, func(f *eventFile) bool {
		select {
		case <-f.done:
			return true
		default:
			return false
		}
	}), f)
}

// close waits, for a while, until the lines of logs that nobody uses any more are written. No other is left.
func (l *eventLogs) close() {
	l.mu.Lock()
	left := l.left
	l.left = nil
	l.mu.Unlock()
	limit := time.After(eventsEnd)
	for _, f := range left {
		select {
		case <-f.done:
		case <-limit:
			return
		}
	}
}

// reopen opens all files anew.
func (l *eventLogs) reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		l.send(f, nil)
	}
}

// send hands a line to the writer. Precondition: l is locked.
func (l *eventLogs) send(f *eventFile, line []byte) {
	select {
	case f.lines <- line:
	default:
		l.lost.Inc()
	}
}

// write writes the lines of a file.
func (l *eventLogs) write(f *eventFile) {
	defer close(f.done)
	var out *os.File
	for line := range f.lines {
		if line == nil || out == nil {
			if out != nil {
				_ = out.Close() // each line has been written by itself
			}
			out, _ = os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		}
		if line == nil {
			continue
		}
		if _, err := out.Write(line); err != nil { // also of a file that did not open
			l.mu.Lock()
			l.failed.Inc()
			l.mu.Unlock()
		}
	}
	if out != nil {
		_ = out.Close()
	}
}

// event is a line, in the words of envoy.data.core.v3.HealthCheckEvent.
type event struct {
	Checker   string       `json:"health_checker_type"`
	Host      eventAddress `json:"host"`
	Cluster   string       `json:"cluster_name"`
	Eject     *failureOf   `json:"eject_unhealthy_event,omitempty"`
	Add       *firstOf     `json:"add_healthy_event,omitempty"`
	Failure   *failureOf   `json:"health_check_failure_event,omitempty"`
	Success   *struct{}    `json:"successful_health_check_event,omitempty"`
	Degraded  *struct{}    `json:"degraded_healthy_host,omitempty"`
	Recovered *struct{}    `json:"no_longer_degraded_host,omitempty"`
	Timestamp string       `json:"timestamp"`
}

type failureOf struct {
	Type  string `json:"failure_type"`
	First *bool  `json:"first_check,omitempty"`
}

type firstOf struct {
	First bool `json:"first_check"`
}

type eventAddress struct {
	Socket *eventSocket `json:"socket_address,omitempty"`
	Pipe   *eventPipe   `json:"pipe,omitempty"`
}

type eventSocket struct {
	Protocol string `json:"protocol"`
	Address  string `json:"address"`
	Port     int    `json:"port_value"`
}

type eventPipe struct {
	Path string `json:"path"`
}

func addressOf(a engine.Addr) eventAddress {
	if a.IsUnix() {
		return eventAddress{Pipe: &eventPipe{a.Path()}}
	}
	return eventAddress{Socket: &eventSocket{"TCP", a.NetIP().String(), a.Port()}}
}

// record writes what a result has brought.
func (e *events) record(c *cluster, hc *hostCheck, r Result, before upstream.HealthFlag, first bool, now time.Time) {
	was, is := before, hc.machine.flags
	put := func(fill func(*event)) {
		ev := event{
			Checker: e.checker, Host: addressOf(hc.host.Addr), Cluster: c.name,
			Timestamp: now.UTC().Format("2006-01-02T15:04:05.000Z"),
		}
		fill(&ev)
		line, _ := json.Marshal(&ev) // of such a struct
		e.logs.mu.Lock()
		defer e.logs.mu.Unlock()
		e.logs.send(e.file, append(line, '\n'))
	}
	wasFailed, isFailed := was&upstream.FailedActiveCheck != 0, is&upstream.FailedActiveCheck != 0
	passed := r.Outcome == Passed
	switch {
	case isFailed && !wasFailed:
		put(func(ev *event) { ev.Eject = &failureOf{Type: r.Outcome.String()} })
	case wasFailed && !isFailed:
		put(func(ev *event) { ev.Add = &firstOf{first} })
	}
	switch {
	case !passed && (e.failures || first):
		put(func(ev *event) { ev.Failure = &failureOf{r.Outcome.String(), &first} })
	case passed && e.success:
		put(func(ev *event) { ev.Success = &struct{}{} })
	}
	wasDegraded, isDegraded := was&upstream.DegradedActiveCheck != 0, is&upstream.DegradedActiveCheck != 0
	switch {
	case isDegraded && !wasDegraded:
		put(func(ev *event) { ev.Degraded = &struct{}{} })
	case wasDegraded && !isDegraded:
		put(func(ev *event) { ev.Recovered = &struct{}{} })
	}
}
