package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/tailscale/hujson"
)

// With this variable the tests of this package come by TLS, as far as that makes sense: listeners of a proxy get "tls",
// and in front of each one stands a relay in this process, to which the test talks plainly as ever.
//
//	test ── plain ──▶ relay ── TLS ──▶ proxy under test
//
// A FIN of one side is close_notify on the other, and a reset, or the lack of close_notify, is a reset.
const overTLSEnv = "MILLRACE_E2E_TLS"

// notOverTLS are tests that are about something that the relay, or TLS, takes away.
var notOverTLS = map[string]string{
	"TestClientLeavesSplice": "splice", "TestLongRequests": "splice from a client", "TestLongResponses": "splice", "TestOriginLeavesSplice": "splice",
	"TestPostgreSQL": "splice", "TestStalledReader": "splice", "TestTunnelBulk": "splice",

	"TestOriginalSrc": "the client's address", "TestProxyProtocolToPeers": "the client's address", "TestReloadOfTunnels": "the client's address",
	"TestTLSUpstreamProxyHeader": "the client's address", "TestListenerLog": "the client's address",
	"TestExamples": "the client's address and the scheme", "TestTunnelAddresses": "the addresses of the listener",

	"TestDNS": "the listener's socket", "TestDeferAccept": "the listener's socket", "TestFastOpen": "the listener's socket", "TestIPv6Only": "the listener's socket",
	"TestMultipathTCP": "the listener's socket", "TestAdminPages": "the listener's address", "TestChaos": "the end of the listener",
	"TestDrainUnderLoad": "the end of the listener", "TestDrainWaitsForRequests": "the end of the listener", "TestCrowd": "as many connections as there may be",
	"TestH2Reload": "a listener that moves", "TestReloadsUnderLoad": "a listener that moves", "TestReloadsUnderTunnels": "a listener that moves",

	"TestCurl": "the scheme", "TestForward": "the scheme", "TestH2Nginx": "the scheme",
	"TestH2Curl": "h2c", "TestH2Nghttp": "h2c",
	"TestTunnelLimits":  "a close that may come while the client connects",
	"TestRefusedReload": "places in the file", "TestReloadCommand": "places in the file", "TestTLSSwapRefused": "places in the file",
}

// overTLS makes the certificate and the relays of one proxy.
type overTLS struct {
	a *authority

	mu      sync.Mutex
	secured map[string]bool // names of the listeners that got "tls"
}

// newOverTLS returns nil unless the variable is set. It skips tests that the relay would spoil.
func newOverTLS(t *testing.T) *overTLS {
	if os.Getenv(overTLSEnv) == "" {
		return nil
	}
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	if what := notOverTLS[name]; what != "" && (what != "splice" || os.Getenv(kernelEnv) == "") {
		t.Skipf("not over TLS: it is about %s", what)
	}
	a := newAuthority(t)
	a.issue("over", "over.example.com")
	return &overTLS{a: a, secured: map[string]bool{}}
}

// secure puts "tls" into the listeners of a configuration that speak TCP and have neither it nor listener filters, which would
// look for it.
func (o *overTLS) secure(config string) string {
	if o == nil {
		return config
	}
	text, err := hujson.Standardize([]byte(config))
	if err != nil {
		return config // the test wants to see what is wrong with it
	}
	var tree map[string]any
	if json.Unmarshal(text, &tree) != nil {
		return config
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	listeners, _ := tree["listeners"].([]any)
	if text, _ := json.Marshal(listeners); strings.Contains(string(text), `"tls"`) {
		return config // the test knows itself which of them speaks TLS
	}
	for _, l := range listeners {
		if l, ok := l.(map[string]any); ok {
			o.listener(l)
		}
	}
	text, err = json.Marshal(tree)
	if err != nil {
		o.a.t.Fatal(err)
	}
	return string(text)
}

func (o *overTLS) listener(l map[string]any) {
	address, _ := l["address"].(string)
	name, _ := l["name"].(string)
	if name == "" {
		name = address
	}
	text, _ := json.Marshal(l)
	for _, word := range []string{
		`"listener_filters"`, `"server_names"`, `"transport_protocol"`, `"application_protocols"`, `"udp"`, `"use_original_dst"`, `"bind_to_port"`,
	} {
		if strings.Contains(string(text), word) {
			delete(o.secured, name)
			return
		}
	}
	if strings.HasPrefix(address, "unix:") {
		return
	}
	var context any
	if err := json.Unmarshal([]byte(`{"certificates": [`+o.a.pair("over")+`], "kernel_tls": "`+overKernel()+`"}`), &context); err != nil {
		o.a.t.Fatal(err)
	}
	o.secured[name] = true
	if l["filters"] != nil {
		l["tls"] = context
	}
	chains, _ := l["filter_chains"].([]any)
	for _, c := range append(chains, l["default_filter_chain"]) {
		if c, ok := c.(map[string]any); ok {
			c["tls"] = context
		}
	}
}

// overKernel returns whether the kernel is to encrypt.
func overKernel() string {
	if os.Getenv(kernelEnv) != "" {
		return "auto"
	}
	return "off"
}

// relay returns the address to which a test talks to a listener.
func (o *overTLS) relay(name, address string) string {
	if o == nil {
		return address
	}
	o.mu.Lock()
	secured := o.secured[name]
	o.mu.Unlock()
	if !secured {
		return address
	}
	host, _, _ := net.SplitHostPort(address)
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return address
	}
	o.a.t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go o.pass(c.(*net.TCPConn), address)
		}
	}()
	return ln.Addr().String()
}

// pass passes one connection on.
func (o *overTLS) pass(plain *net.TCPConn, address string) {
	raw, err := net.Dial("tcp", address)
	if err != nil {
		reset(plain)
		return
	}
	c := tls.Client(raw, &tls.Config{RootCAs: o.a.pool, ServerName: "over.example.com"})
	if c.Handshake() != nil {
		reset(plain)
		reset(raw.(*net.TCPConn))
		return
	}
	var both sync.WaitGroup
	var once sync.Once
	broken := func() { once.Do(func() { reset(plain); reset(raw.(*net.TCPConn)) }) }
	both.Go(func() {
		if _, err := io.Copy(c, plain); err != nil {
			if errors.Is(err, net.ErrClosed) || isRemote(err) {
				broken()
			}
			return
		}
		_ = c.CloseWrite()
	})
	both.Go(func() {
		if _, err := io.Copy(plain, c); err != nil {
			broken()
			return
		}
		_ = plain.CloseWrite()
	})
	both.Wait()
	_ = plain.Close()
	_ = raw.Close()
}

// isRemote reports whether an error of a copy is that of a peer that has gone.
func isRemote(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// reset ends a connection by a reset.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
