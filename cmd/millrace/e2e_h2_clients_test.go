package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// startNghttpd runs nghttp2's server over a folder and returns its address.
func startNghttpd(t *testing.T, dir string, args ...string) string {
	t.Helper()
	port := freePort(t)
	peer(t, "nghttpd", append(append([]string{"--no-tls", "--address=127.0.0.1", "-d", dir}, args...), strconv.Itoa(port))...)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	waitListening(t, addr)
	return addr
}

// fileOf writes n bytes that only this seed gives to a file in a folder of its own.
func fileOf(t *testing.T, seed uint64, n int) (dir, name string, content []byte) {
	t.Helper()
	dir, content = t.TempDir(), body(seed, n)
	name = "file"
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, name, content
}

// TestH2Curl: curl with prior knowledge, and by upgrade from HTTP/1.1, whatever the upstream speaks.
func TestH2Curl(t *testing.T) {
	t.Parallel()
	lookPeer(t, "curl")
	host := bothVersions(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the origin reads %d bytes: %v", len(b), err)
		}
		w.Header().Set("X-Saw", fmt.Sprintf("%s %s %s %q", r.Method, r.Host, r.URL.RequestURI(), r.Header["Cookie"]))
		_, _ = w.Write(b)
	})
	dir, name, content := fileOf(t, 7, 3<<20)
	file := filepath.Join(dir, name)
	for _, v := range h2Versions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(host, "", "", v.cluster))
			authority := p.addr("")
			if got := curl(t, "--http2-prior-knowledge", "--data-binary", "@"+file, p.url("/echo")); got != string(content) {
				t.Errorf("an echo of %d bytes brought %d", len(content), len(got))
			}
			for _, tt := range []struct {
				name string
				args []string
				want []string
			}{
				{"GET", []string{"-i", p.url("/a?b=c")}, []string{"HTTP/2 200", "x-saw: GET " + authority + " /a?b=c []", "server: millrace"}},
				{"HEAD", []string{"-I", p.url("/")}, []string{"HTTP/2 200", "x-saw: HEAD"}},
				{"cookies", []string{"-i", "-b", "a=1; b=2", p.url("/")}, []string{`["a=1; b=2"]`}},
				{"100-continue", []string{"-i", "-H", "Expect: 100-continue", "-d", "hello", p.url("/")}, []string{"HTTP/2 200", "\r\n\r\nhello"}},
				{"a body of no length", []string{"-i", "-H", "Content-Length:", "-T", file, "-o", "/dev/null", "-w", "%{http_code} %{size_download}", p.url("/")}, []string{fmt.Sprintf("200 %d", len(content))}},
				{"a head that is too large", []string{"-o", "/dev/null", "-w", "%{http_code}", "-H", "X: " + strings.Repeat("x", 62<<10), p.url("/")}, []string{"431"}},
			} {
				got := curl(t, append([]string{"--http2-prior-knowledge"}, tt.args...)...)
				for _, want := range tt.want {
					if !strings.Contains(got, want) {
						t.Errorf("%s: %q, want %q", tt.name, got, want)
					}
				}
			}
			if got := curl(t, "--http2", "-i", p.url("/up")); !strings.Contains(got, "HTTP/1.1 101") || !strings.Contains(got, "HTTP/2 200") {
				t.Errorf("upgrade: %q, want 101 and the answer in HTTP/2", got)
			}
			p.wantQuiet()
			p.wantStat("http.e2e.downstream_cx_active", 0)
		})
	}
}

// TestH2Nghttp: nghttp2's client and server with the proxy between them: trailers, padding, a window that is small,
// continued header blocks, many requests at once.
func TestH2Nghttp(t *testing.T) {
	t.Parallel()
	client := lookPeer(t, "nghttp")
	dir, name, content := fileOf(t, 8, 2<<20)
	p := startProxy(t, oneRoute(startNghttpd(t, dir, "--echo-upload", "--trailer=x-sum: 42"), "", "", `"protocol": "http2"`))
	url := p.url("/" + name)
	for _, args := range [][]string{
		{}, {"--window-bits=10"}, {"--padding=200"}, {"--no-dep"}, {"--continuation"}, {"--header-table-size=0"},
		{"--header-table-size=65536"}, {"--expect-continue", "-d", filepath.Join(dir, name)}, {"--upgrade"}, {"--max-concurrent-streams=1"},
	} {
		if got := output(t, client, append(args, url)...); got != string(content) {
			t.Errorf("nghttp %q brought %d bytes, want %d", args, len(got), len(content))
		}
	}
	out := output(t, client, "-nv", url)
	for _, want := range []string{":status: 200", "x-sum: 42"} {
		if !strings.Contains(out, want) {
			t.Errorf("nghttp -nv shows no %q:\n%s", want, out)
		}
	}
	if out := output(t, client, "-ns", "-m", "50", url); strings.Count(out, " 200 ") != 50 {
		t.Errorf("50 requests at once:\n%s", out)
	}
	p.wantQuiet()
	p.wantStat("http.e2e.downstream_cx_active", 0)
}

// TestH2Load: load from a tool that is not ours, on several connections with many streams each, and no request fails.
func TestH2Load(t *testing.T) {
	t.Parallel()
	client := lookPeer(t, "h2load")
	host := bothVersions(t, sizedBody)
	for _, v := range h2Versions {
		for _, load := range []struct {
			name string
			args []string
		}{
			{"1000 at once", []string{"-c10", "-m100", "-n20000", "/128"}},
			{"bodies", []string{"-c4", "-m16", "-n2000", "/100000"}},
			{"small windows", []string{"-c2", "-m10", "-n200", "-w", "10", "-W", "16", "/100000"}},
		} {
			t.Run(v.name+", "+load.name, func(t *testing.T) {
				t.Parallel()
				p := startProxy(t, oneRoute(host, "", "", v.cluster+trailingCommaIf(v.cluster)+`"circuit_breakers": {"max_requests": 4096, "max_connections": 4096, "max_pending_requests": 4096}`))
				last := len(load.args) - 1
				args := append(append([]string{"-t1"}, load.args[:last]...), p.url(load.args[last]))
				out := output(t, client, args...)
				if !strings.Contains(out, " 0 failed, 0 errored, 0 timeout") || !strings.Contains(out, " 0 4xx, 0 5xx") {
					t.Errorf("h2load %q:\n%s", args, out)
				}
				p.wantQuiet()
				p.wantStat("http.e2e.downstream_cx_active", 0)
			})
		}
	}
}

func trailingCommaIf(s string) string {
	if s == "" {
		return ""
	}
	return ", "
}

// TestH2Nginx: nginx as the client of HTTP/2 there is in many installations: it speaks HTTP/1.1 to origins, so that it
// is the origin here, of files and of ranges.
func TestH2Nginx(t *testing.T) {
	t.Parallel()
	addr := startNginx(t, `location / { return 200 "$server_protocol $request_method $http_x_forwarded_proto"; }
		location /slow { limit_rate 200k; return 200 "`+strings.Repeat("x", 4000)+`"; }`)
	p := startProxy(t, oneRoute(addr, "", "", ""))
	client := &http.Client{Transport: h2Transport(t)}
	for path, want := range map[string]string{"/": "HTTP/1.1 GET http", "/slow": strings.Repeat("x", 4000)} {
		resp, err := client.Get(p.url(path))
		if err != nil {
			t.Fatal(err)
		}
		if got := bodyOf(t, resp); got != want || resp.ProtoMajor != 2 {
			t.Errorf("%s: %s %q, want HTTP/2 and %q", path, resp.Proto, got, want)
		}
	}
	p.wantQuiet()
	p.wantStat("http.e2e.downstream_rq_http2_total", 2)
	if !bytes.Contains([]byte(p.adminGet("/stats")), []byte("downstream_cx_http2_total")) {
		t.Error("connections of HTTP/2 are not counted")
	}
}
