package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Names of origins that tunnels end in.
const (
	proxyHeaderOrigin = "proxy header" // HTTP behind a PROXY header, which is the answer
	echoOrigin        = "echo"         // bytes
)

// startTCPOrigin serves each connection by serve.
func startTCPOrigin(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(c)
				_ = c.Close()
			}()
		}
	}()
	return ln.Addr().String()
}

// answerBehindHeader answers one request with the PROXY header in front of it and the path.
func answerBehindHeader(c net.Conn) {
	r := bufio.NewReader(c)
	header, err := r.ReadString('\n')
	if err != nil {
		return
	}
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+strings.TrimSpace(header)+" "+req.URL.Path)
}

// driveConnectExample opens tunnels by curl, by a client of HTTP/2 and by a POST.
func driveConnectExample(t *testing.T, p *proxy) {
	lookPeer(t, "curl")
	got := curl(t, "-p", "-x", p.url(""), "http://db.example.com:5432/a")
	if !strings.HasPrefix(got, "PROXY TCP4 127.0.0.1 127.0.0.1 ") || !strings.HasSuffix(got, " /a") {
		t.Errorf("curl got %q", got)
	}
	r, w := io.Pipe()
	req, err := http.NewRequest(http.MethodConnect, p.url(""), r)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.ContentLength = "db.example.com:5432", -1
	go func() { _, _ = io.WriteString(w, "GET /b HTTP/1.1\r\nHost: db\r\n\r\n") }()
	resp, err := h2Transport(t).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	got = bodyOf(t, resp)
	_ = w.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 || !strings.HasSuffix(got, " /b") {
		t.Errorf("%s %s %q", resp.Proto, resp.Status, got)
	}
	if got := curl(t, "-H", "Host: files.example.com", "--data-binary", "some bytes", p.url("/tunnel")); got != "some bytes" {
		t.Errorf("the POST got %q", got)
	}
	p.wantStat("http.edge.downstream_cx_upgrades_total", 2)
	p.wantStat("cluster.db.upstream_cx_total", 2)
	p.wantStat("cluster.files.upstream_rq_200", 1)
}
