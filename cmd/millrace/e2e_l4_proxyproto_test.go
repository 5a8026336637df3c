package main

import (
	"crypto/tls"
	bigendian "encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startHAProxy runs HAProxy with sections of its configuration.
func startHAProxy(t *testing.T, waitFor, sections string) {
	t.Helper()
	path := lookPeer(t, "haproxy")
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := "global\n    nbthread 1\n    maxconn 200\n    ssl-server-verify none\ndefaults\n    timeout connect 10s\n    timeout client 30s\n    timeout server 30s\n" + sections
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	peer(t, path, "-db", "-f", file)
	waitListening(t, waitFor)
}

// loopbackPort is an address nobody listens on now.
func loopbackPort(t *testing.T) string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }

// proxyListener is a listener field with the filter and, for %s, its configuration.
const proxyListener = `"listener_filters": [{"name": "proxy_protocol"%s}]`

// TestProxyProtocolFromHAProxy: HTTP behind HAProxy sees the client of HAProxy, whichever version it speaks.
func TestProxyProtocolFromHAProxy(t *testing.T) {
	t.Parallel()
	lookPeer(t, "haproxy")
	host := origin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-For")) })
	log := filepath.Join(t.TempDir(), "access.log")
	config := oneRoute(host, `"use_remote_address": true, "access_log": [{"path": "`+log+`", "flush_interval": "20ms", "json_format":
		{"remote": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "direct": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "port": "%DOWNSTREAM_LOCAL_PORT%"}}]`, "", "")
	p := startProxy(t, strings.Replace(config, `"address": "127.0.0.1:0"`, `"address": "127.0.0.1:0", `+fmt.Sprintf(proxyListener, ""), 1))
	versions := []string{"send-proxy", "send-proxy-v2"}
	for i, version := range versions {
		front := loopbackPort(t)
		startHAProxy(t, front, fmt.Sprintf("listen l\n    mode tcp\n    bind %s\n    server m %s %s\n", front, p.addr(""), version))
		for _, from := range []string{"127.0.0.2", "127.0.0.77"} {
			c := dialFrom(t, from, front)
			c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if got := c.rest(); !strings.HasSuffix(got, "\r\n\r\n"+from) {
				t.Errorf("%s: the origin answers %q, want x-forwarded-for %s", version, got, from)
			}
		}
		// The connection by which waitListening found HAProxy may have been carried through.
		p.wantStat(fmt.Sprintf("proxy_proto.versions.v%d.error", i+1), 0)
		if p.stat(fmt.Sprintf("proxy_proto.versions.v%d.found", i+1)) < 2 {
			t.Errorf("%s: the header was not counted", version)
		}
		for _, line := range logLines(t, log, 2*(i+1)) {
			if remote := fmt.Sprint(line["remote"]); remote != "127.0.0.2" && remote != "127.0.0.77" || line["direct"] != "127.0.0.1" {
				t.Errorf("the log says %v", line)
			}
			if port := portOf(front); i == 0 && fmt.Sprint(line["port"]) != port {
				t.Errorf("the log says that the client wanted port %v, want %s", line["port"], port)
			}
		}
	}
}

// proxyHeader is a PROXY header as a host reads it.
type proxyHeader struct {
	version  int
	command  byte // of version 2
	src, dst string
	tlvs     map[byte]string
	line     string // of version 1
}

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// readProxyHeader reads a header of either version.
func readProxyHeader(c *rawConn) (h proxyHeader, err error) {
	if b, err := c.r.Peek(len(proxySignature)); err != nil || string(b) != string(proxySignature) {
		h.version = 1
		h.line, err = c.r.ReadString('\n')
		if f := strings.Fields(h.line); len(f) == 6 {
			h.src, h.dst = net.JoinHostPort(f[2], f[4]), net.JoinHostPort(f[3], f[5])
		}
		return h, err
	}
	head := make([]byte, 16)
	if _, err := io.ReadFull(c.r, head); err != nil {
		return h, err
	}
	rest := make([]byte, bigendian.BigEndian.Uint16(head[14:]))
	if _, err := io.ReadFull(c.r, rest); err != nil {
		return h, err
	}
	h.version, h.command, h.tlvs = 2, head[12]&15, map[byte]string{}
	size := map[byte]int{0x11: 4, 0x21: 16}[head[13]]
	if size > 0 {
		ports := rest[2*size:]
		h.src = (&net.TCPAddr{IP: rest[:size], Port: int(bigendian.BigEndian.Uint16(ports))}).String()
		h.dst = (&net.TCPAddr{IP: rest[size : 2*size], Port: int(bigendian.BigEndian.Uint16(ports[2:]))}).String()
		rest = ports[4:]
	}
	for len(rest) >= 3 {
		n := int(bigendian.BigEndian.Uint16(rest[1:]))
		if len(rest) < 3+n {
			return h, fmt.Errorf("a TLV of %d bytes in %d", n, len(rest))
		}
		h.tlvs[rest[0]] = string(rest[3 : 3+n])
		rest = rest[3+n:]
	}
	return h, nil
}

// proxyOrigin hands out the header of each connection, and echoes what follows.
func proxyOrigin(t *testing.T) (addr string, headers chan proxyHeader) {
	t.Helper()
	headers = make(chan proxyHeader, 16)
	addr = rawOrigin(t, func(c *rawConn) {
		h, err := readProxyHeader(c)
		if err != nil {
			return // a connection that only looked whether somebody listens
		}
		headers <- h
		_, _ = io.Copy(c.Conn, c.r)
	})
	return addr, headers
}

// TestProxyProtocolKeepsTLVs: what HAProxy tells of a TLS connection goes through to the host, in a header that
// millrace reads and writes anew; rules put it into the log.
func TestProxyProtocolKeepsTLVs(t *testing.T) {
	t.Parallel()
	lookPeer(t, "haproxy")
	host, headers := proxyOrigin(t)
	log := filepath.Join(t.TempDir(), "access.log")
	p := tunnel{
		hosts: []string{host},
		listener: fmt.Sprintf(proxyListener, `, "config": {"pass_through_tlvs": {"match_type": "include_all"},
			"rules": [{"tlv_type": 2, "on_tlv_present": {"key": "authority"}}]}`),
		filter: `"proxy_protocol_tlvs": [{"type": 224, "value": "ours"}], "access_log": [{"path": "` + log + `", "flush_interval": "20ms", "json_format":
			{"authority": "%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:authority)%", "remote": "%DOWNSTREAM_REMOTE_ADDRESS%"}}]`,
		cluster: `"proxy_protocol": {"version": "v2", "pass_through_tlvs": {"match_type": "include_all"}}`,
	}.start(t)
	server, client := newCertificate(t, "front.example.com"), newCertificate(t, "alice")
	front := loopbackPort(t)
	startHAProxy(t, front, fmt.Sprintf(`listen l
    mode tcp
    unique-id-format id-%%ci:%%cp
    bind %s ssl crt %s ca-file %s verify optional crt-ignore-err all ca-ignore-err all
    server m %s send-proxy-v2 proxy-v2-options ssl,cert-cn,authority,unique-id
`, front, server.both, client.cert, p.addr("")))
	c, err := tls.Dial("tcp", front, &tls.Config{ServerName: "front.example.com", InsecureSkipVerify: true, Certificates: []tls.Certificate{client.pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	newRawConn(t, c).wantEcho("through both")
	var h proxyHeader
	for h.src != c.LocalAddr().String() { // others only looked whether somebody listens
		select {
		case h = <-headers:
		case <-time.After(waitMax):
			t.Fatal("the host did not get the connection")
		}
	}
	if h.version != 2 || h.command != 1 || h.dst != front {
		t.Errorf("the host got %+v, want PROXY to %s", h, front)
	}
	if h.tlvs[2] != "front.example.com" || h.tlvs[224] != "ours" || h.tlvs[5] != "id-"+c.LocalAddr().String() {
		t.Errorf("the host got the TLVs %q", h.tlvs)
	}
	if ssl := h.tlvs[0x20]; len(ssl) < 5 || ssl[0]&7 == 0 || !strings.Contains(ssl, "\x22\x00\x05alice") {
		t.Errorf("the TLV about TLS is %q, want one with the client's name", ssl)
	}
	_ = c.Close()
	if !eventually(func() bool {
		text, _ := os.ReadFile(log)
		return strings.Contains(string(text), fmt.Sprintf(`"authority":"front.example.com","remote":%q`, c.LocalAddr().String()))
	}) {
		text, _ := os.ReadFile(log)
		t.Errorf("the log says %s", text)
	}
}

// TestProxyProtocolToPeers: HAProxy and nginx believe what millrace tells them of its client.
func TestProxyProtocolToPeers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(t *testing.T) string
	}{
		{"haproxy", func(t *testing.T) string {
			front := loopbackPort(t)
			startHAProxy(t, front, fmt.Sprintf(`frontend f
    mode http
    bind %s accept-proxy
    http-request return status 200 content-type text/plain lf-string "%%ci:%%cp %%[dst]:%%[dst_port] %%[fc_pp_authority]"
`, front))
			return front
		}},
		{"nginx", func(t *testing.T) string {
			front := loopbackPort(t)
			startNginx(t, fmt.Sprintf(`} server { listen %s proxy_protocol; default_type text/plain;
  location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port "; }`, front))
			return front
		}},
	} {
		for _, version := range []string{"v1", "v2"} {
			t.Run(tt.name+" "+version, func(t *testing.T) {
				t.Parallel()
				host := tt.start(t)
				cluster := fmt.Sprintf(`"proxy_protocol": {"version": %q}`, version)
				if version == "v2" {
					cluster = `"proxy_protocol": {"version": "v2", "added_tlvs": [{"type": 2, "value": "db.example.com"}]}`
				}
				p := tunnel{hosts: []string{host}, cluster: cluster}.start(t)
				c := dialFrom(t, "127.0.0.5", p.addr(""))
				c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				want := c.LocalAddr().String() + " " + p.addr("") + " "
				if version == "v2" && tt.name == "haproxy" {
					want += "db.example.com"
				}
				got := c.rest()
				if _, body, _ := strings.Cut(got, "\r\n\r\n"); strings.TrimSpace(body) != strings.TrimSpace(want) {
					t.Errorf("it answers %q, want %q", got, want)
				}
			})
		}
	}
}

// TestProxyProtocolRefusals: connections that do not begin with a good header end, and are counted.
func TestProxyProtocolRefusals(t *testing.T) {
	t.Parallel()
	const v1 = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n"
	v2 := string(proxySignature) + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x07\xd0"
	local := string(proxySignature) + "\x20\x00\x00\x00"
	for _, tt := range []struct {
		name, config, send string
		taken              bool
		stat               string
	}{
		{"v1", "", v1, true, "proxy_proto.versions.v1.found"},
		{"v2", "", v2, true, "proxy_proto.versions.v2.found"},
		{"LOCAL", "", local, true, "proxy_proto.versions.v2.found"},
		{"UNKNOWN", "", "PROXY UNKNOWN\r\n", true, "proxy_proto.versions.v1.found"},
		{"none", "", "GET / HTTP/1.1\r\n\r\n", false, "proxy_proto.not_found_disallowed"},
		{"none, allowed", `{"allow_requests_without_proxy_protocol": true}`, "GET / HTTP/1.1\r\n\r\n", true, "proxy_proto.not_found_allowed"},
		{"malformed v1", "", "PROXY TCP4 192.0.2.256 192.0.2.2 1000 2000\r\n", false, "proxy_proto.versions.v1.error"},
		{"long v1", "", "PROXY TCP4 " + strings.Repeat("1", 200), false, "proxy_proto.versions.v1.error"},
		{"malformed v2", "", string(proxySignature) + "\x21\x11\x00\x02\xc0\x00", false, "proxy_proto.versions.v2.error"},
		{"v1 disallowed", `{"disallowed_versions": ["v1"]}`, v1, false, "proxy_proto.versions.v1.disallowed"},
		{"v2 disallowed", `{"disallowed_versions": ["v2"]}`, v2, false, "proxy_proto.versions.v2.disallowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := ""
			if tt.config != "" {
				config = `, "config": ` + tt.config
			}
			p := tunnel{hosts: []string{echoServer(t)}, listener: fmt.Sprintf(proxyListener, config)}.start(t)
			c := dial(t, p.addr(""))
			for _, b := range []byte(tt.send) { // byte by byte
				if _, err := c.Write([]byte{b}); err != nil {
					break
				}
			}
			if tt.taken {
				c.send("hello")
				want := "hello"
				if strings.HasPrefix(tt.send, "GET") {
					want = tt.send + want
				}
				if got := c.bytes(len(want)); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			} else {
				c.wantClosed()
			}
			p.wantStat(tt.stat, 1)
			_ = c.Close()
			p.wantStat("listener.front.downstream_cx_active", 0)
		})
	}
}

// TestProxyProtocolTimeout: a client that sends no header does not stay.
func TestProxyProtocolTimeout(t *testing.T) {
	t.Parallel()
	p := tunnel{hosts: []string{echoServer(t)}, listener: fmt.Sprintf(proxyListener, "") + `, "listener_filters_timeout": "300ms"`}.start(t)
	c := dial(t, p.addr(""))
	c.send("PROXY TCP4 1")
	c.wantClosed()
	p.wantStat("listener.front.downstream_pre_cx_timeout", 1)
	p.wantStat("listener.front.downstream_pre_cx_active", 0)
}
