package compare

import (
	"fmt"
	"os"
	"strings"
)

const (
	connectionsMax = 19000 // of each peer, under a limit of 20,000 file descriptors
	FDLimit        = 20000 // the limit of file descriptors the peers need
)

// millraceConfig is the smallest config of a listener and a cluster, with limits out of the way.
func millraceConfig(s Site) string {
	if s.Traffic != HTTP {
		return millraceStreamConfig(s)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{
  "admin": {"address": "127.0.0.1:%d"},
  "concurrency": %d,
  "listeners": [{"name": "bench", "address": "127.0.0.1:%d"%s, "filters": [{"name": "http_connection_manager", "config": {
    "stat_prefix": "bench", "use_remote_address": true,
    "route_config": {"virtual_hosts": [
`, s.AdminPort, s.Loops, s.Port, millraceTLS(s))
	eachRoute(s, func(host string, paths []string) {
		fmt.Fprintf(&b, "      {\"name\": %q, \"domains\": [%q], \"routes\": [\n", host, host)
		for i, p := range paths {
			fmt.Fprintf(&b, "        {\"match\": {\"prefix\": %q}, \"route\": {\"cluster\": \"web\"}}%s\n", p, comma(i, len(paths)))
		}
		b.WriteString("      ]},\n")
	})
	fmt.Fprintf(&b, `      {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}
    ]}
  }}]}],
  "clusters": [{"name": "web", "protocol": %q, "connect_timeout": "5s", "hosts": ["127.0.0.1:%d"], "circuit_breakers":
    {"max_connections": %d, "max_pending_requests": %d, "max_requests": %d}}]
}
`, protocol(s.OriginH2), s.OriginPort, connectionsMax, connectionsMax, connectionsMax)
	return b.String()
}

func protocol(h2 bool) string {
	if h2 {
		return "http2"
	}
	return "http1"
}

func comma(i, n int) string {
	if i == n-1 {
		return ""
	}
	return ","
}

// bigBuffers lets nginx hold a 64 KiB body in 16 KiB buffers, the size that HAProxy has as it ships: it then spends about
// half of what its own 4 KiB cost on such a body, and 64 KiB would spare 5 % more.
const bigBuffers = `    proxy_buffer_size 16k;
    proxy_buffers 16 16k;
    proxy_busy_buffers_size 64k;
`

// nginxConfig is nginx with upstream connections kept and bigBuffers.
func nginxConfig(s Site) string {
	if s.Traffic != HTTP {
		return nginxStreamConfig(s, streamBuffer)
	}
	return nginxBuffered(s, bigBuffers)
}

// nginxStockConfig is the same with the buffers nginx ships with, which most installations keep.
func nginxStockConfig(s Site) string {
	if s.Traffic != HTTP {
		return nginxStreamConfig(s, "")
	}
	return nginxBuffered(s, "")
}

func nginxBuffered(s Site, buffers string) string {
	var b strings.Builder
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n" // the temporary folder is root's
	}
	fmt.Fprintf(&b, `daemon off;
%sworker_processes %d;
worker_rlimit_nofile %d;
pid nginx.pid;
error_log stderr crit;
events { worker_connections %d; }
http {
    access_log off;
    client_body_temp_path tmp_body;
    proxy_temp_path tmp_proxy;
    fastcgi_temp_path tmp_fastcgi;
    uwsgi_temp_path tmp_uwsgi;
    scgi_temp_path tmp_scgi;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Request-Id $request_id;
%s%s    proxy_max_temp_file_size 0;
    server_names_hash_max_size 4096;
    upstream web {
        server 127.0.0.1:%d;
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 3600s;
    }
`, user, s.Loops, FDLimit, connectionsMax, buffers, nginxTLS(s), s.OriginPort)
	eachRoute(s, func(host string, paths []string) {
		fmt.Fprintf(&b, "    server {\n        listen 127.0.0.1:%d%s;\n        server_name %s;\n", s.Port, nginxListen(s), host)
		for _, p := range paths {
			fmt.Fprintf(&b, "        location %s { proxy_pass http://web; }\n", p)
		}
		b.WriteString("    }\n")
	})
	reuseport := ""
	if s.Loops > 1 {
		reuseport = " reuseport"
	}
	fmt.Fprintf(&b, `    server {
        listen 127.0.0.1:%d default_server backlog=4096%s%s;
        location / { proxy_pass http://web; }
    }
}
`, s.Port, reuseport, nginxListen(s))
	return b.String()
}

// nginxListen returns the options of the listening socket.
func nginxListen(s Site) string {
	options := ""
	if s.TLS {
		options = " ssl"
	}
	if s.H2 {
		options += " http2"
	}
	return options
}

// haproxyAutoConfig differs from haproxyConfig for TCP only.
func haproxyAutoConfig(s Site) string {
	if s.Traffic != HTTP {
		return haproxyStreamConfig(s, "option splice-auto")
	}
	return haproxyConfig(s)
}

// haproxyConfig shares upstream connections between requests of any downstream connection.
func haproxyConfig(s Site) string {
	if s.Traffic != HTTP {
		return haproxyStreamConfig(s, haproxySplice)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `global
    nbthread %d
%s    maxconn %d
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
    timeout http-keep-alive 3600s
    http-reuse always
    option forwardfor
frontend bench
    bind 127.0.0.1:%d backlog 4096%s
    http-request set-header X-Forwarded-Proto %s
    http-request set-header X-Request-Id %%[uuid()]
`, s.Loops, haproxyTLS(s), connectionsMax/2, s.Port, haproxyBind(s), scheme(s))
	eachRoute(s, func(host string, paths []string) {
		for _, p := range paths {
			fmt.Fprintf(&b, "    use_backend web if { hdr(host) %s } { path_beg %s }\n", host, p)
		}
	})
	fmt.Fprintf(&b, `    default_backend web
backend web
    server origin 127.0.0.1:%d%s maxconn %d pool-purge-delay 3600s
`, s.OriginPort, map[bool]string{true: " proto h2"}[s.OriginH2], connectionsMax)
	return b.String()
}

// eachRoute calls f for each virtual host with its paths. The first path of the first host changes with every
// generation; requests of the load take none of them.
func eachRoute(s Site, f func(host string, paths []string)) {
	for done := 0; done < s.Routes; done += routesPerHost {
		paths := make([]string, 0, routesPerHost)
		for i := done; i < min(done+routesPerHost, s.Routes); i++ {
			paths = append(paths, fmt.Sprintf("/service-%d/", i))
		}
		if done == 0 {
			paths[0] = fmt.Sprintf("/generation-%d/", s.Generation)
		}
		f(fmt.Sprintf("host-%d.example.com", done/routesPerHost), paths)
	}
}

// WriteOrigin makes nginx the origin: files of the given sizes under dir, named by their size. It returns the command.
func WriteOrigin(dir string, port int, sizes []int) ([]string, error) {
	path, err := Peer{Name: "nginx", Binary: "nginx"}.Path()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, n := range sizes {
		if err := replaceFile(fmt.Sprintf("%s/%d", dir, n), strings.Repeat("x", n)); err != nil {
			return nil, err
		}
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n"
	}
	cf := dir + "/origin.conf"
	err = replaceFile(cf, fmt.Sprintf(`daemon off;
%sworker_processes 1;
worker_rlimit_nofile %d;
pid origin.pid;
error_log stderr crit;
events { worker_connections %d; }
http {
    access_log off;
    client_body_temp_path tmp_body;
    proxy_temp_path tmp_proxy;
    fastcgi_temp_path tmp_fastcgi;
    uwsgi_temp_path tmp_uwsgi;
    scgi_temp_path tmp_scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    open_file_cache max=100;
    server { listen 127.0.0.1:%d backlog=4096; root %s; }
}
`, user, FDLimit, connectionsMax, port, dir))
	return []string{path, "-p", dir, "-c", cf}, err
}
