package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write golden files anew")

// runMain runs the binary and returns its exit code and what it printed.
func runMain(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), waitMax) // a command that should have been refused runs
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestHelp holds the help texts to golden files.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "run", "proxy", "demo", "check", "reload", "schema", "version"} {
		args := []string{"help"}
		golden := filepath.Join("testdata", "help.txt")
		if name != "" {
			args = []string{name, "--help"}
			golden = filepath.Join("testdata", "help-"+name+".txt")
		}
		code, out, errs := runMain("", args...)
		if code != exitFine || errs != "" {
			t.Errorf("millrace %s: exit code %d, stderr %q", strings.Join(args, " "), code, errs)
		}
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if out != string(want) {
			t.Errorf("millrace %s prints\n%s\nnot what %s has; go test ./cmd/millrace -run TestHelp -update writes it anew",
				strings.Join(args, " "), out, golden)
		}
		for line := range strings.Lines(out) {
			if len(line) > 121 {
				t.Errorf("millrace %s: the line %q is too long for a terminal", strings.Join(args, " "), line)
			}
		}
	}
}

// TestExitCodes: 0 fine, 1 refused, 2 usage; and the problem is said on standard error alone.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := file("good.json", oneRoute("127.0.0.1:1", "", "", ""))
	bad := file("bad.json", `{"listners": []}`)
	busy := file("busy.json", strings.Replace(oneRoute("127.0.0.1:1", "", "", ""), "127.0.0.1:0", taken.Addr().String(), 1))
	nobody := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	for _, tt := range []struct {
		args []string
		code int
		want string // in what is printed
	}{
		{nil, exitUsage, "Commands:"},
		{[]string{"runn"}, exitUsage, `unknown command "runn"; did you mean "run"?`},
		{[]string{"help", "check"}, exitFine, "Usage: millrace check"},
		{[]string{"help", "chek"}, exitUsage, `did you mean "check"?`},
		{[]string{"--help"}, exitFine, "Commands:"},
		{[]string{"--version"}, exitFine, "millrace "},
		{[]string{"version"}, exitFine, "linux/"},
		{[]string{"version", "x"}, exitUsage, `unexpected argument "x"`},
		{[]string{"run"}, exitUsage, "no configuration file: give -c FILE"},
		{[]string{"run", "-c", good, "more"}, exitUsage, `unexpected argument "more"`},
		{[]string{"run", "-c", good, "--drain-tim", "5s"}, exitUsage, "unknown flag --drain-tim; did you mean \"--drain-time\"?"},
		{[]string{"run", "-c", good, "--log-level", "loud"}, exitUsage, "--log-level"},
		{[]string{"run", "-c", good, "--log-format", "xml"}, exitUsage, "--log-format"},
		{[]string{"run", "-c", good, "--concurrency", "-1"}, exitUsage, "--concurrency -1 is below 0"},
		{[]string{"run", "-c", good, "--drain-time", "-1s"}, exitUsage, "--drain-time -1s is below 0"},
		{[]string{"run", "-c", good, "--admin", "nowhere"}, exitUsage, "--admin"},
		{[]string{"run", "-c", good, "--admin", taken.Addr().String()}, exitRefused, "address already in use"},
		{[]string{"run", "-c", dir + "/none.json"}, exitRefused, "no such file"},
		{[]string{"run", "-c", bad}, exitRefused, `listners: unknown field; did you mean "listeners"?`},
		{[]string{"run", "-c", busy}, exitRefused, "address already in use"},
		{[]string{"check"}, exitUsage, "no configuration file"},
		{[]string{"check", "-c", good}, exitFine, "good.json: ok: 1 listeners, 1 clusters, hash "},
		{[]string{"check", "-c", bad}, exitRefused, bad + `:1:2: listners: unknown field`},
		{[]string{"check", "-c", dir + "/none.json"}, exitRefused, "no such file"},
		{[]string{"proxy"}, exitUsage, "--listen and --to are both needed"},
		{[]string{"proxy", "--listen", "x", "--to", "127.0.0.1:1"}, exitUsage, "--listen: "},
		{[]string{"proxy", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1,"}, exitUsage, "--to: "},
		{[]string{"proxy", "--listen", taken.Addr().String(), "--to", "127.0.0.1:1"}, exitRefused, "address already in use"},
		{[]string{"reload", "--admin", nobody}, exitRefused, "is this the address of the admin port?"},
		{[]string{"schema", "--reference"}, exitFine, "# "},
	} {
		code, out, errs := runMain("", tt.args...)
		if code != tt.code || !strings.Contains(out+errs, tt.want) {
			t.Errorf("millrace %q: exit code %d, %q; want %d with %q", tt.args, code, out+errs, tt.code, tt.want)
		}
		if code == exitFine && errs != "" || code != exitFine && out != "" {
			t.Errorf("millrace %q, exit code %d: stdout %q, stderr %q", tt.args, code, out, errs)
		}
	}
	if code, out, _ := runMain(`{}`, "check", "-c", "-"); code != exitFine || !strings.HasPrefix(out, "stdin: ok: ") {
		t.Errorf("check of standard input: exit code %d, %q", code, out)
	}
}

// TestCheckSaysEverything: all errors in one run, each with its place.
func TestCheckSaysEverything(t *testing.T) {
	t.Parallel()
	code, out, errs := runMain(`{
  "listeners": [{"address": "127.0.0.1:80", "filters": [{"name": "http_conection_manager"}]}],
  "clusters": [{"name": "a", "lb_policy": "leastconn", "hosts": ["127.0.0.1:80"]},
               {"name": "a"}]
}`, "check", "-c", "-")
	if code != exitRefused || out != "" {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	place := regexp.MustCompile(`^(stdin:\d+:\d+: |\t| )`)
	for _, line := range lines {
		if !place.MatchString(line) {
			t.Errorf("the line %q has no place", line)
		}
	}
	for _, want := range []string{"stdin:2:", `did you mean "http_connection_manager"?`, "stdin:3:", "leastconn", `"least_request"`, "stdin:4:", "defined twice"} {
		if !strings.Contains(errs, want) {
			t.Errorf("the problems lack %q:\n%s", want, errs)
		}
	}
}

// TestSchemaCommand: the schema is one, and holds for the examples.
func TestSchemaCommand(t *testing.T) {
	t.Parallel()
	code, out, errs := runMain("", "schema")
	if code != exitFine || errs != "" {
		t.Fatalf("exit code %d, stderr %q", code, errs)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for text, valid := range map[string]bool{
		oneRoute("127.0.0.1:80", "", "", ""): true,
		`{"listners": []}`:                   false,
		`{"concurrency": "two"}`:             false,
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != valid {
			t.Errorf("%s: %v, want valid %v", text, err, valid)
		}
	}
}

func TestReloadCommand(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute("127.0.0.1:1", "", "", ""))
	code, out, errs := runMain("", "reload", "--admin", p.admin)
	if code != exitFine || errs != "" || !strings.Contains(out, "0 added, 0 changed, 0 removed, 3 unchanged") {
		t.Errorf("unchanged: exit code %d, %q, %q", code, out, errs)
	}
	p.write(strings.Replace(oneRoute("127.0.0.1:2", "", `"timeout": "1s"`, ""), `"concurrency": 1`, `"concurrency": 2`, 1))
	code, out, _ = runMain("", "reload", "--admin", p.admin)
	for _, want := range []string{"0 added, 2 changed", "~ cluster web: hosts: 1 added, 1 removed", "~ route_table 127.0.0.1:0: routes", "warning: ", "concurrency", "restart"} {
		if code != exitFine || !strings.Contains(out, want) {
			t.Errorf("changed: exit code %d, %q lacks %q", code, out, want)
		}
	}
	p.write(`{"x": 1, "y": 2}`)
	code, out, errs = runMain("", "reload", "--admin", p.admin)
	if code != exitRefused || out != "" || !strings.Contains(errs, ":1:2: x: ") || !strings.Contains(errs, ":1:10: y: ") {
		t.Errorf("refused: exit code %d, %q, %q", code, out, errs)
	}
}

// TestProxyCommand is the proxy without a file.
func TestProxyCommand(t *testing.T) {
	t.Parallel()
	a := startCommand(t, "proxy", "--listen", "127.0.0.1:0", "--to", origin(t, echo)+","+origin(t, echo), "--admin", "127.0.0.1:0", "--concurrency", "1")
	if code, body := get(t, a.url("/hello")); code != http.StatusOK || !strings.HasPrefix(body, "GET /hello") {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := a.adminPost("/reload"); code != http.StatusOK {
		t.Errorf("/reload without a file = %d", code)
	}
	a.signal(syscall.SIGINT)
	a.wantExit(exitFine)
}

// startCommand is startProxy for other commands than run.
func startCommand(t *testing.T, args ...string) *proxy {
	t.Helper()
	p := &proxy{t: t, listeners: map[string]string{}}
	p.cmd = exec.Command(binary, args...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	p.exited = make(chan struct{})
	go p.readLog(stderr, started)
	t.Cleanup(p.kill)
	select {
	case <-started:
	case <-p.exited:
		t.Fatalf("millrace %q ended at the start:\n%s", args, p.logText())
	case <-time.After(waitMax):
		t.Fatalf("millrace %q did not start:\n%s", args, p.logText())
	}
	return p
}

// TestJSONLog: with --log-format json each line is an object.
func TestJSONLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(path, []byte(oneRoute("127.0.0.1:1", "", "", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "run", "-c", path, "--log-format", "json")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(out)
	for n := 0; ; n++ {
		var line struct{ Time, Level, Msg string }
		if err := lines.Decode(&line); err != nil {
			if n < 4 {
				t.Errorf("%d lines, then %v", n, err)
			}
			break
		}
		if line.Time == "" || line.Level == "" || line.Msg == "" {
			t.Errorf("a line is %+v", line)
		}
		if line.Msg == "started" {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestDemo: the demonstration prints URLs, and they do what it says.
func TestDemo(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(binary, "demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var text strings.Builder
	for b := make([]byte, 4096); !strings.Contains(text.String(), "Control-C"); {
		n, err := out.Read(b)
		if err != nil {
			t.Fatalf("the demonstration printed %q and ended: %v", text.String(), err)
		}
		text.Write(b[:n])
	}
	want := map[string]struct {
		code int
		body string
	}{
		"/":               {200, "origin "},
		"/hello":          {200, "hello from the proxy itself"},
		"/old/page":       {301, ""},
		"/flaky":          {200, "at last"},
		"/slow":           {504, ""},
		"/nobody":         {503, ""},
		"/big/64":         {200, ""},
		"/stats?usedonly": {200, "http.demo.downstream_rq_total: "},
	}
	urls := regexp.MustCompile(`curl .*?(http://[^/\s]+)(/[^\s']*)`).FindAllStringSubmatch(text.String(), -1)
	if len(urls) != len(want) {
		t.Errorf("the demonstration prints %d URLs, this test knows %d:\n%s", len(urls), len(want), text.String())
	}
	for _, u := range urls {
		w, ok := want[u[2]]
		if !ok {
			t.Errorf("the demonstration prints %s, which this test does not know", u[0])
			continue
		}
		if code, body := get(t, u[1]+u[2]); code != w.code || !strings.Contains(body, w.body) {
			t.Errorf("%s gives %d and %d bytes, want %d with %q", u[0], code, len(body), w.code, w.body)
		}
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("Control-C: %v", err)
	}
}
