package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/bench/compare"
	"millrace/bench/proc"
)

const (
	startWait = 10 * time.Second
	connsMax  = 15000 // of each proxy; descriptors are limited to 20,000
)

// A target is the proxy under attack.
type target struct {
	name         string
	http1, http2 string     // addresses; "" for a version it does not speak
	https        string     // the same
	pid          int        // 0 if its process is not known
	proc         *proc.Proc // nil if it is not ours
	version      string
}

// addr returns the address at which the target speaks a version.
func (t *target) addr(v version) string {
	switch v {
	case http2:
		return t.http2
	case https:
		return t.https
	}
	return t.http1
}

// dead reports whether a target that is ours has ended.
func (t *target) dead() bool { return t.proc != nil && t.proc.Exited() }

// A site is what a configuration is made of.
type site struct {
	ports     []int // for HTTP/1.1, for HTTP/2 and for TLS
	origin    string
	cert, key string // paths
}

// configs are the proxies this command can start, with the limits that they ship with, apart from those on connections.
var configs = map[string]func(s site) string{
	"millrace": func(s site) string {
		return fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:%d", "filters": [{"name": "http_connection_manager", "config": {
  "stat_prefix": "attack", "codec_type": "auto", "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}}}]},
  {"address": "127.0.0.1:%d", "tls": {"certificates": [{"cert_file": %q, "key_file": %q}]}, "filters": [{"name": "http_connection_manager", "config": {
  "stat_prefix": "tls", "codec_type": "auto", "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}}}]}],
 "clusters": [{"name": "web", "connect_timeout": "5s", "hosts": [%q],
  "circuit_breakers": {"max_connections": %d, "max_pending_requests": %[6]d, "max_requests": %[6]d}}]}
`, s.ports[0], s.ports[2], s.cert, s.key, s.origin, connsMax)
	},
	"nginx": func(s site) string {
		user := ""
		if os.Getuid() == 0 {
			user = "user root;\n"
		}
		return fmt.Sprintf(`daemon off;
%sworker_processes 1;
worker_rlimit_nofile %d;
pid nginx.pid;
error_log /dev/null crit;
events { worker_connections %[2]d; }
http {
    access_log off;
    client_body_temp_path tmp_body;
    proxy_temp_path tmp_proxy;
    fastcgi_temp_path tmp_fastcgi;
    uwsgi_temp_path tmp_uwsgi;
    scgi_temp_path tmp_scgi;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_max_temp_file_size 0;
    upstream web { server %s; keepalive 64; }
    server {
        listen 127.0.0.1:%d backlog=4096;
        listen 127.0.0.1:%d backlog=4096 http2;
        listen 127.0.0.1:%d backlog=4096 ssl;
        ssl_certificate %s;
        ssl_certificate_key %s;
        location / { proxy_pass http://web; }
    }
}
`, user, connsMax, s.origin, s.ports[0], s.ports[1], s.ports[2], s.cert, s.key)
	},
	"haproxy": func(s site) string {
		return fmt.Sprintf(`global
    nbthread 1
    maxconn %d
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    http-reuse safe
frontend attacked
    bind 127.0.0.1:%d backlog 4096
    default_backend web
backend web
    server origin %s maxconn %[1]d
`, connsMax/2, s.ports[0], s.origin)
	},
}

// startTarget runs one of the proxies of configs in front of an origin and waits until it answers.
func startTarget(g *proc.Group, name, binary, dir string, o *origin) (*target, error) {
	config, ok := configs[name]
	if !ok {
		return nil, fmt.Errorf("-proxy %q; want millrace, nginx or haproxy", name)
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	for _, p := range compare.Builtin(binary, "") {
		if p.Name != name {
			continue
		}
		path, err := p.Path()
		if err != nil {
			return nil, fmt.Errorf("%w (make build; apt-get install nginx haproxy)", err)
		}
		file, at := filepath.Join(dir, p.ConfigFile), site{ports: ports, origin: o.addr, cert: filepath.Join(dir, "site.crt"), key: filepath.Join(dir, "site.key")}
		if err := at.certify(); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, []byte(config(at)), 0o600); err != nil {
			return nil, err
		}
		ps, err := g.Start(name, "", dir, append([]string{path}, p.Args(compare.Site{Dir: dir}, file)...)...)
		if err != nil {
			return nil, err
		}
		t := &target{name: name, pid: ps.Pid, proc: ps, version: p.VersionLine()}
		t.http1, t.http2 = local(ports[0]), local(ports[0])
		if name == "nginx" {
			t.http2 = local(ports[1]) // which has a port for each in cleartext
		}
		if name != "haproxy" { // which wants certificate and key in one file
			t.https = local(ports[2])
		}
		return t, t.await(ps)
	}
	return nil, fmt.Errorf("-proxy %q is not known", name)
}

// await waits until the target accepts connections.
func (t *target) await(ps *proc.Proc) error {
	for end := time.Now().Add(startWait); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ps.Exited() {
			return fmt.Errorf("%s ended at its start: %s", t.name, ps.Output())
		}
		if c, err := net.Dial("tcp", t.http1); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("%s does not listen on %s: %s", t.name, t.http1, ps.Output())
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// freePorts returns ports nobody listens on now.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range count {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// isLoopback reports whether an address is one of this machine's own.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
