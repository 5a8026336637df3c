package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// l4Example tells how to drive a file of exampleDir that is not about HTTP.
type l4Example struct {
	listeners []string                             // addresses as the file has them
	hosts     func(t *testing.T) map[string]string // by the address in the file, the running one
	drive     func(t *testing.T, p *proxy)
	lines     int // in the access log
}

// named makes hosts of one kind, each with its name.
func named(start func(t *testing.T, name string) string, hosts map[string]string) func(t *testing.T) map[string]string {
	return func(t *testing.T) map[string]string {
		running := map[string]string{}
		for at, name := range hosts {
			running[at] = start(t, name)
		}
		return running
	}
}

// l4Examples has every route of every file.
var l4Examples = map[string]l4Example{
	"tcp-postgres.json": {
		listeners: []string{"127.0.0.1:5432", "127.0.0.1:5433"},
		hosts: named(nameServer, map[string]string{
			"127.0.0.1:5501": "primary", "127.0.0.1:5502": "replica-1", "127.0.0.1:5503": "replica-2", "127.0.0.1:5504": "analysts",
		}),
		drive: drivePostgresExample, lines: 7,
	},
	"tcp-sni-routing.json": {
		listeners: []string{":8443"},
		hosts: func(t *testing.T) map[string]string {
			return named(func(t *testing.T, name string) string {
				return tlsServer(t, name, newCertificate(t, name), "h2", "http/1.1")
			}, map[string]string{
				"127.0.0.1:9441": "shop", "127.0.0.1:9442": "grpc", "127.0.0.1:9443": "api", "127.0.0.1:9444": "old", "127.0.0.1:9445": "new",
			})(t)
		},
		drive: driveSNIExample,
	},
	"tcp-proxy-protocol.json": {
		listeners: []string{":8025"},
		hosts:     named(headerServer, map[string]string{"127.0.0.1:9025": "mail"}),
		drive:     driveProxyProtocolExample, lines: 2,
	},
	"tcp-rbac.json": {
		listeners: []string{"127.0.0.1:5672"},
		hosts:     named(nameServer, map[string]string{"127.0.0.1:9672": "queue"}),
		drive:     driveRBACExample,
	},
	"tls-tcp.json": {
		listeners: []string{":6380"},
		hosts:     named(nameServer, map[string]string{"127.0.0.1:6379": "redis"}),
		drive:     driveTLSTCPExample,
	},
	"original-dst.json": {
		listeners: []string{":15001", "127.0.0.1:15080"},
		hosts:     func(*testing.T) map[string]string { return nil },
		drive:     driveOriginalDstExample,
	},
	"udp-dns.json": {
		listeners: []string{"127.0.0.1:5353"},
		hosts:     named(resolver, map[string]string{"127.0.0.1:9053": "one", "127.0.0.1:9054": "two"}),
		drive:     driveDNSExample,
	},
}

func driveL4Example(t *testing.T, file, text string, a *authority, ex l4Example) {
	t.Helper()
	dir := t.TempDir()
	replace := func(from, to string) {
		t.Helper()
		if !strings.Contains(text, fmt.Sprintf("%q", from)) {
			t.Errorf("%s has no %s any more", file, from)
		}
		text = strings.ReplaceAll(text, fmt.Sprintf("%q", from), fmt.Sprintf("%q", to))
	}
	for _, at := range ex.listeners {
		replace(at, "127.0.0.1:0")
	}
	for at, running := range ex.hosts(t) {
		replace(at, running)
	}
	text = strings.ReplaceAll(text, `"/var/log/millrace/access.log"`, fmt.Sprintf(`%q, "flush_interval": "20ms"`, filepath.Join(dir, "access.log")))
	p := startProxy(t, text)
	p.authority = a
	ex.drive(t, p)
	if ex.lines > 0 {
		path := filepath.Join(dir, "access.log")
		if !eventually(func() bool {
			log, err := os.ReadFile(path)
			return err == nil && strings.Count(string(log), "\n") == ex.lines
		}) {
			log, err := os.ReadFile(path)
			t.Errorf("the access log has %q, %v; want %d lines", log, err, ex.lines)
		}
	}
	p.signal(os.Interrupt)
	p.wantExit(exitFine)
}

// driveTLSTCPExample comes with TLS and without.
func driveTLSTCPExample(t *testing.T, p *proxy) {
	for _, c := range []*rawConn{p.authority.rawTLS(p.addr(""), "redis.example.com", nil), dial(t, p.addr(""))} {
		c.send("PING\n") // tells which it is
		c.wantLine("redis")
		c.wantLine("PING")
		_ = c.Close()
	}
}

func drivePostgresExample(t *testing.T, p *proxy) {
	primary := dial(t, p.addr("primary"))
	primary.wantLine("primary")
	primary.wantEcho("select 1")
	seen := map[string]bool{}
	for range 4 {
		c := dial(t, p.addr("reports"))
		line, _ := c.r.ReadString('\n')
		seen[strings.TrimSpace(line)] = true
		_ = c.Close()
	}
	for name := range seen {
		if name != "replica-1" && name != "replica-2" {
			t.Errorf("a report goes to %q", name)
		}
	}
	for range 2 {
		c := dialFrom(t, "127.0.9.77", p.addr("reports"))
		c.wantLine("analysts")
		_ = c.Close()
	}
	_ = primary.Close()
}

func driveSNIExample(t *testing.T, p *proxy) {
	for _, tt := range []struct {
		name      string
		protocols []string
		want      string // servers that may answer
	}{
		{"shop.example.com", nil, "shop"},
		{"api.example.com", []string{"h2", "http/1.1"}, "grpc"},
		{"api.example.com", []string{"http/1.1"}, "api"},
		{"a.customers.example.com", nil, "old new"},
		{"other.example.com", nil, ""},
	} {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: waitMax}, "tcp", p.addr(""), &tls.Config{ServerName: tt.name, InsecureSkipVerify: true, NextProtos: tt.protocols})
		if (err == nil) != (tt.want != "") {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(waitMax))
		got, _ := io.ReadAll(c)
		if server, _, _ := strings.Cut(string(got), " "); !slices.Contains(strings.Fields(tt.want), server) {
			t.Errorf("%s %q reaches %q, want %q", tt.name, tt.protocols, got, tt.want)
		}
		_ = c.Close()
	}
	c := dial(t, p.addr(""))
	c.send("EHLO there\r\n")
	if got := c.rest(); got != "this port speaks TLS\n" {
		t.Errorf("without TLS it says %q", got)
	}
}

// headerServer answers with the PROXY header that it got.
func headerServer(t *testing.T, _ string) string {
	return rawOrigin(t, func(c *rawConn) {
		h, err := readProxyHeader(c)
		if err != nil {
			return
		}
		c.send(fmt.Sprintf("%d %s %s %q\n", h.version, h.src, h.dst, h.tlvs))
	})
}

func driveProxyProtocolExample(t *testing.T, p *proxy) {
	c := dial(t, p.addr(""))
	_, _ = c.Write([]byte(string(proxySignature) + "\x21\x11\x00\x17\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x00\x19\x02\x00\x08a.domain"))
	got := c.rest()
	for _, want := range []string{"2 192.0.2.1:1000 192.0.2.2:25 ", `'\x02':"a.domain"`, `'à':"edge-1"`} {
		if !strings.Contains(got, want) && !strings.Contains(got, strings.NewReplacer(`'\x02'`, "2", "'à'", "224").Replace(want)) {
			t.Errorf("the host got %s, which lacks %s", got, want)
		}
	}
	_ = c.Close()
	c = dial(t, p.addr(""))
	from := c.LocalAddr().String()
	c.send("EHLO there\r\n")
	if got := c.rest(); !strings.HasPrefix(got, "2 "+from+" "+p.addr("")+" ") {
		t.Errorf("without a header the host got %s, want a header with %s", got, from)
	}
	_ = c.Close()
}

func driveRBACExample(t *testing.T, p *proxy) {
	for from, allowed := range map[string]bool{"127.0.1.1": true, "127.0.1.200": true, "127.0.2.7": true, "127.0.2.8": false, "127.0.0.1": false} {
		c := dialFrom(t, from, p.addr(""))
		c.send("hello\n")
		line, _ := c.r.ReadString('\n')
		if (line == "queue\n") != allowed {
			t.Errorf("from %s it says %q, allowed %v", from, line, allowed)
		}
		_ = c.Close()
	}
	for name, want := range map[string]int64{"queue.rbac.allowed": 3, "queue.rbac.denied": 2, "connection_limit.queue.limited_connections": 0, "local_rate_limit.queue.rate_limited": 0} {
		p.wantStat(name, want)
	}
}

// resolver answers datagrams and connections with its name.
func resolver(t *testing.T, name string) string {
	t.Helper()
	for range 50 {
		addr := udpServer(t, name)
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue // somebody has this port for TCP
		}
		t.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, name+"\n")
				_ = c.Close()
			}
		}()
		return addr
	}
	t.Fatal("no port is free for both TCP and UDP")
	return ""
}

func driveDNSExample(t *testing.T, p *proxy) {
	seen := map[string]bool{}
	for range 4 {
		c := dialUDP(t, p.addr("dns-udp"))
		first := c.ask("who")
		seen[first] = true
		if got := c.ask("who else"); got != first {
			t.Errorf("a client is at %q, and was at %q", got, first)
		}
	}
	if !seen["one"] || !seen["two"] {
		t.Errorf("the clients are at %v, want both", seen)
	}
	c := dial(t, p.addr("dns-tcp"))
	if got := c.rest(); got != "one\n" && got != "two\n" {
		t.Errorf("by TCP %q answers", got)
	}
	_ = c.Close()
}
