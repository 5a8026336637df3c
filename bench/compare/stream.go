package compare

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Traffic is what a peer is to carry.
type Traffic int

const (
	HTTP Traffic = iota
	TCP
	UDP
)

// Errors of [Peer.Carries].
var (
	errNoStream = errors.New("nginx has no stream module (package libnginx-mod-stream)")
	errNoUDP    = errors.New("does not carry datagrams")
)

// Carries reports whether p can run for a traffic; the error says why not.
func (p Peer) Carries(t Traffic) error {
	switch {
	case p.Binary == "nginx" && t != HTTP:
		_, err := streamModule()
		return err
	case t == UDP && p.Binary == "haproxy":
		return fmt.Errorf("%s %w", p.Name, errNoUDP)
	}
	return nil
}

// modulesDirs are where nginx looks for its modules, here and there.
var modulesDirs = []string{"/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/etc/nginx/modules"}

// streamModule returns the line that loads the stream module, "" where it is part of the binary.
func streamModule() (string, error) {
	path, err := Peer{Name: "nginx", Binary: "nginx"}.Path()
	if err != nil {
		return "", err
	}
	for _, dir := range modulesDirs {
		name := filepath.Join(dir, "ngx_stream_module.so")
		if _, err := os.Stat(name); err == nil {
			return "load_module " + name + ";\n", nil
		}
	}
	out, err := exec.Command(path, "-V").CombinedOutput() // nginx prints to stderr
	for word := range strings.FieldsSeq(string(out)) {
		if err == nil && word == "--with-stream" {
			return "", nil
		}
	}
	return "", errNoStream
}

// millraceStreamConfig is a listener that forwards everything to one cluster.
func millraceStreamConfig(s Site) string {
	protocol, filter := "", "tcp_proxy"
	if s.Traffic == UDP {
		protocol, filter = `, "protocol": "udp"`, "udp_proxy"
	}
	return fmt.Sprintf(`{
  "admin": {"address": "127.0.0.1:%d"},
  "concurrency": %d,
  "listeners": [{"name": "bench", "address": "127.0.0.1:%d"%s,
    "filters": [{"name": %q, "config": {"stat_prefix": "bench", "cluster": "origin"}}]}],
  "clusters": [{"name": "origin", "connect_timeout": "5s", "hosts": ["127.0.0.1:%d"], "circuit_breakers":
    {"max_connections": %d, "max_pending_requests": %d}}]
}
`, s.AdminPort, s.Loops, s.Port, protocol, filter, s.OriginPort, connectionsMax, connectionsMax)
}

// As it ships, nginx reads 16 KiB at a time from either side, which costs it about twice as much where the answers are
// long. With streamBuffer a read takes an answer of 64 KiB, with largeStreamBuffer what the floor takes.
const (
	streamBuffer      = "proxy_buffer_size 64k;"
	largeStreamBuffer = "proxy_buffer_size 256k;"
)

func nginxLargeConfig(s Site) string { return nginxStreamConfig(s, largeStreamBuffer) }

// nginxStreamConfig is the stream module with one server and the given buffers.
func nginxStreamConfig(s Site, buffers string) string {
	user, protocol, backlog := "", "", " backlog=4096"
	if os.Getuid() == 0 {
		user = "user root;\n"
	}
	if s.Traffic == UDP {
		protocol, backlog = " udp", ""
	}
	if s.Loops > 1 {
		backlog += " reuseport"
	}
	module, _ := streamModule() // Carries has said that there is one
	return fmt.Sprintf(`%sdaemon off;
%sworker_processes %d;
worker_rlimit_nofile %d;
pid nginx.pid;
error_log stderr crit;
events { worker_connections %d; }
stream {
    access_log off;
    proxy_timeout 1h;
    %s
    server { listen 127.0.0.1:%d%s%s; proxy_pass 127.0.0.1:%d; }
}
`, module, user, s.Loops, FDLimit, connectionsMax, buffers, s.Port, protocol, backlog, s.OriginPort)
}

// pipesMax bounds HAProxy's pipes, so that they and connectionsMax connections stay under FDLimit.
const pipesMax = 256

// haproxySplice makes HAProxy splice whatever comes from the origin, through pipes of a mebibyte. With splice-auto
// it watches first whether a connection streams, and answers of 64 KiB or 1 MiB with pauses between them do not.
const haproxySplice = "option splice-response"

// haproxyStreamConfig is mode tcp. With the option splice-auto the rest is as HAProxy ships.
func haproxyStreamConfig(s Site, splice string) string {
	pipes := ""
	if splice == haproxySplice {
		pipes = "\n    tune.pipesize 1048576"
	}
	return fmt.Sprintf(`global
    nbthread %d
    maxconn %d
    maxpipes %d%s
defaults
    mode tcp
    %s
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
frontend bench
    bind 127.0.0.1:%d backlog 4096
    default_backend origin
backend origin
    server origin 127.0.0.1:%d
`, s.Loops, connectionsMax/2, pipesMax, pipes, splice, s.Port, s.OriginPort)
}
