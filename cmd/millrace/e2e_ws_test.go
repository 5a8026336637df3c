package main

import (
	"bytes"
	order "encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// webSockets lets WebSockets through, also those of HTTP/2.
const webSockets = `"upgrades": ["websocket"], "http2_protocol_options": {"allow_connect": true}`

// wsCloseCodes are codes that may be on the wire, RFC 6455 section 7.4.
var wsCloseCodes = []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999}

// wsVersions are all pairs of versions.
func wsVersions(t *testing.T, test func(t *testing.T, version int, p *proxy)) {
	host := startWSOrigin(t)
	for _, upstream := range []struct {
		version int
		cluster string
	}{{1, ""}, {2, `"protocol": "http2"`}} {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprintf("h%d to h%d", version, upstream.version), func(t *testing.T) {
				p := startProxy(t, oneRoute(host, webSockets, `"timeout": "0s"`, upstream.cluster))
				test(t, version, p)
				p.wantStat("http.e2e.downstream_cx_upgrades_active", 0)
				p.wantQuiet()
			})
		}
	}
}

// exchange sends frames and wants them back, with pongs for pings.
func (c *wsConn) exchange(t *testing.T, frames ...wsFrame) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		for _, f := range frames {
			if err := c.send(f); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i, want := range frames {
		if want.op == wsPing {
			want.op = wsPong
		}
		got, err := c.receive()
		if err != nil || got.op != want.op || got.fin != want.fin || !bytes.Equal(got.payload, want.payload) {
			t.Fatalf("frame %d of %d comes back as opcode %d, fin %v, %d bytes, %v; want %d, %v, %d bytes", i, len(frames), got.op, got.fin,
				len(got.payload), err, want.op, want.fin, len(want.payload))
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// TestWebSocket: messages of every size and in every form, over every pair of versions.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	wsVersions(t, func(t *testing.T, version int, p *proxy) {
		c, head := wsOpen(t, version, p.addr(""), "/chat?room=1")
		if got := head.Get("X-Path"); got != "/chat?room=1" {
			t.Errorf("the origin saw %q", got)
		}
		p.wantStat("http.e2e.downstream_cx_upgrades_active", 1)
		c.exchange(t, wsFrame{wsText, true, []byte("hello")})
		c.exchange(t, wsFrame{wsText, true, nil}, wsFrame{wsPing, true, []byte("are you there")})
		c.exchange(t,
			wsFrame{wsText, false, []byte("frag")}, wsFrame{wsPing, true, nil}, wsFrame{wsContinuation, false, []byte("men")},
			wsFrame{wsPong, true, []byte("unasked")}, wsFrame{wsContinuation, true, []byte("ted")})
		for _, n := range []int{125, 126, 65535, 65536, 16 << 20} {
			c.exchange(t, wsFrame{wsBinary, true, body(uint64(n), n)})
		}
		var many []wsFrame
		for i := range 1000 {
			many = append(many, wsFrame{wsText, true, fmt.Append(nil, "message ", i)})
		}
		c.exchange(t, many...)
		c.exchange(t, wsFrame{wsClose, true, order.BigEndian.AppendUint16(nil, 1000)})
		if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
			t.Errorf("after the close: %q, %v", b, err)
		}
		c.close()
	})
}

// TestWebSocketCloses: every code travels in either direction, and sides that leave without a word are noticed.
func TestWebSocketCloses(t *testing.T) {
	t.Parallel()
	wsVersions(t, func(t *testing.T, version int, p *proxy) {
		for _, code := range wsCloseCodes {
			payload := append(order.BigEndian.AppendUint16(nil, code), "why"...)
			c, _ := wsOpen(t, version, p.addr(""), "/")
			c.exchange(t, wsFrame{wsClose, true, payload})
			c.close()

			c, _ = wsOpen(t, version, p.addr(""), "/")
			if err := c.send(wsFrame{wsText, true, fmt.Appendf(nil, "close %d", code)}); err != nil {
				t.Fatal(err)
			}
			if got, err := c.receive(); err != nil || got.op != wsClose || !bytes.Equal(got.payload, payload[:2]) {
				t.Errorf("the origin closes with %d: opcode %d, %x, %v", code, got.op, got.payload, err)
			}
			c.close()
		}
		for range 5 {
			c, _ := wsOpen(t, version, p.addr(""), "/")
			if err := c.send(wsFrame{wsText, false, []byte("and then")}); err != nil {
				t.Fatal(err)
			}
			c.close()
		}
	})
}

// TestWebSocketRefused: what the config does not allow is answered, and so is what the origin refuses.
func TestWebSocketRefused(t *testing.T) {
	t.Parallel()
	host := startWSOrigin(t)
	p := startProxy(t, oneRoute(host, `"http2_protocol_options": {"allow_connect": true}`, "", ""))
	for version, want := range map[int]int{1: 403, 2: 403} {
		if c, _, status := wsDial(t, version, p.addr(""), "/"); c != nil || status != want {
			t.Errorf("HTTP/%d without upgrades: status %d, want %d", version, status, want)
		}
	}
	// An origin that knows no WebSocket answers with 200, which to a client of HTTP/2 would be an open tunnel.
	p = startProxy(t, oneRoute(origin(t, echo), webSockets, "", ""))
	for version, want := range map[int]int{1: 200, 2: 502} {
		if c, _, status := wsDial(t, version, p.addr(""), "/"); c != nil || status != want {
			t.Errorf("HTTP/%d to an origin without WebSockets: status %d, want %d", version, status, want)
		}
	}
	p.wantQuiet()
}

// TestWebSocketLibraries: clients and servers that are not ours, with every message they can make.
func TestWebSocketLibraries(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		argv func(t *testing.T) []string
	}{
		{"python3-websockets", func(t *testing.T) []string {
			if _, err := os.Stat("/usr/lib/python3/dist-packages/websockets"); err != nil {
				t.Skip("python3-websockets is not installed: make peers installs it as root")
			}
			return []string{"/usr/bin/python3", "testdata/websocket/peer.py"}
		}},
		{"ws", func(t *testing.T) []string {
			lib := goPeer(t, "node_modules/ws")
			return []string{lookPeer(t, "node"), "testdata/websocket/peer.js", lib}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			argv := tt.argv(t)
			if abs, err := filepath.Abs(argv[1]); err == nil {
				argv[1] = abs
			}
			port := freePort(t)
			peer(t, argv[0], append(argv[1:], "serve", fmt.Sprint(port))...)
			host := fmt.Sprintf("127.0.0.1:%d", port)
			waitListening(t, host)
			p := startProxy(t, oneRoute(host, webSockets, `"timeout": "0s"`, ""))
			out := output(t, argv[0], append(argv[1:], "drive", "ws://"+p.addr("")+"/")...)
			if !strings.HasSuffix(strings.TrimSpace(out), "all messages came back") {
				t.Errorf("the client says %q", out)
			}
			c, _ := wsOpen(t, 2, p.addr(""), "/") // and over HTTP/2 to the same server
			c.exchange(t, wsFrame{wsBinary, true, body(3, 1<<20)})
			c.close()
			p.wantStat("http.e2e.downstream_cx_upgrades_active", 0)
		})
	}
}
