package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/server"
)

var demoCommand = command{
	name: "demo", args: "[flags]",
	short: "run a proxy with two origins behind it, and say what to try",
	long: `Runs a demonstration: the proxy on a port, two origins made for it, and the admin
port. It prints the addresses and what to try. Control-C ends it.

  millrace demo
  millrace demo --listen 127.0.0.1:9999`,
	run: runDemo,
}

func runDemo(e *env, c *command, args []string) int {
	f := newFlags(e, c)
	listen := f.String("listen", "127.0.0.1:8080", "`addr` of the proxy; a free port if it is taken.")
	var p processFlags
	p.add(f)
	p.withoutFile(f, "`addr` of the admin port; a free port if it is taken.")
	f.Lookup("admin").DefValue = "127.0.0.1:9901"
	f.Lookup("log-level").DefValue = "warn"
	p.admin, p.level = "127.0.0.1:9901", "warn"
	if code, ok := parse(e, c, f, args, 0); !ok {
		return code
	}
	opt, err := p.options(e, append([]string{"demo"}, args...))
	if err != nil {
		return usageError(e, c, err.Error())
	}
	var origins []string
	for _, name := range []string{"left", "right"} {
		addr, err := startOrigin(name)
		if err != nil {
			fmt.Fprintln(e.stderr, "millrace demo:", err)
			return exitRefused
		}
		origins = append(origins, addr)
	}
	opt.ConfigPath = "the demonstration"
	opt.AdminAddress = freeAddr(opt.AdminAddress)
	opt.Text, err = demoConfig(freeAddr(*listen), origins)
	if err != nil {
		fmt.Fprintln(e.stderr, "millrace demo:", err)
		return exitRefused
	}
	return serve(e, opt, func(s *server.Server) { printDemo(e, s, origins) })
}

// freeAddr returns addr, with port 0 if the port is taken.
func freeAddr(addr string) string {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		_ = ln.Close()
		return addr
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, "0")
}

// demoConfig is the configuration of the demonstration.
func demoConfig(listen string, origins []string) ([]byte, error) {
	hosts, err := json.Marshal(origins)
	if err != nil {
		return nil, err
	}
	address, err := json.Marshal(listen)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"listeners": [{"name": "demo", "address": %s, "filters": [{"name": "http_connection_manager", "config": {
  "stat_prefix": "demo", "use_remote_address": true,
  "http_filters": [{"name": "health_check", "config": {"path": "/healthz"}}, {"name": "router"}],
  "route_config": {"routes": [
    {"match": {"path": "/hello"}, "direct_response": {"status": 200, "body": "hello from the proxy itself\n"}},
    {"match": {"prefix": "/old/"}, "redirect": {"prefix_rewrite": "/"}},
    {"match": {"prefix": "/flaky"}, "route": {"cluster": "origins", "retry_policy": {"retry_on": "5xx", "num_retries": 3}}},
    {"match": {"prefix": "/slow"}, "route": {"cluster": "origins", "timeout": "1s"}},
    {"match": {"prefix": "/nobody"}, "route": {"cluster": "nobody"}},
    {"match": {"prefix": "/"}, "route": {"cluster": "origins"}}]}}}]}],
 "clusters": [{"name": "origins", "hosts": %s}, {"name": "nobody", "hosts": ["127.0.0.1:1"]}]}`, address, hosts), nil
}

// printDemo says where everything is.
func printDemo(e *env, s *server.Server, origins []string) {
	at, admin := "http://"+s.ListenerAddr("demo"), "http://"+s.AdminAddr()
	fmt.Fprintf(e.stdout, `millrace demo: proxy %s, admin %s, origins %s

  curl -i %s/            an answer from one of two origins, in turn
  curl -i %s/hello       a response of the proxy's own
  curl -i %s/old/page    a redirect
  curl -i %s/flaky       fails every other time; the proxy retries
  curl -i %s/slow        takes 2 s, the route allows one: 504
  curl -i %s/nobody      a cluster nobody listens for: 503
  curl -o /dev/null %s/big/64    64 MiB through the proxy
  curl '%s/stats?usedonly'    counters; /help lists the admin port

Control-C ends it.
`, at, admin, strings.Join(origins, " "), at, at, at, at, at, at, at, admin)
}

// startOrigin starts an origin on a free port, on goroutines of net/http.
func startOrigin(name string) (addr string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	var flaky atomic.Uint64
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "origin %s (process %d) got %s %s\n", name, os.Getpid(), r.Method, r.URL)
		for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id", "User-Agent"} {
			fmt.Fprintf(w, "  %s: %s\n", h, r.Header.Get(h))
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(2 * time.Second):
			fmt.Fprintln(w, "at last")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/flaky", func(w http.ResponseWriter, _ *http.Request) {
		if n := flaky.Add(1); n%2 != 0 {
			http.Error(w, "not this time", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "origin %s, at last\n", name)
	})
	mux.HandleFunc("/big/{mib}", func(w http.ResponseWriter, r *http.Request) {
		mib, err := strconv.Atoi(r.PathValue("mib"))
		if err != nil || mib < 0 || mib > 4096 {
			http.Error(w, "0 to 4096 MiB", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(mib<<20))
		for block := make([]byte, 1<<20); mib > 0; mib-- {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }()
	return ln.Addr().String(), nil
}
