package httpconn

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/filters/route"
)

// webSocketOrigin answers upgrades to websocket as RFC 6455 asks, and echoes in capitals what comes then.
func webSocketOrigin(t *testing.T) string {
	return originOf(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		key := req.Header.Get("Sec-Websocket-Key")
		raw, _ := base64.StdEncoding.DecodeString(key)
		if req.Method != "GET" || !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") ||
			!strings.EqualFold(req.Header.Get("Connection"), "upgrade") || len(raw) != 16 || req.URL.Path != "/chat" {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: chat\r\n"+
			"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\nhello")
		echoCapitals(c, r)
	})
}

func echoCapitals(c net.Conn, r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if _, werr := io.WriteString(c, strings.ToUpper(string(buf[:n]))); err != nil || werr != nil {
			return
		}
	}
}

// wantData reads DATA until it has text.
func (p *peer2) wantData(text string) {
	p.t.Helper()
	for got := ""; got != text; {
		what, payload := p.next()
		if strings.HasPrefix(what, "WINDOW") {
			continue
		}
		if got += payload; !strings.HasPrefix(what, "DATA") || !strings.HasPrefix(text, got) {
			p.t.Fatalf("got %s %q; want data %q", what, payload, text)
		}
	}
}

// webSocket are the fields of an extended CONNECT.
var webSocket = []string{
	":method: CONNECT", ":protocol: websocket", ":scheme: http", ":path: /chat", ":authority: a",
	"sec-websocket-version: 13", "sec-websocket-protocol: chat",
}

// TestHTTP2WebSocket: an extended CONNECT is an upgrade to an upstream of HTTP/1.1.
func TestHTTP2WebSocket(t *testing.T) {
	t.Parallel()
	p := newProxy(t, webSocketOrigin(t), func(c *Config, _ *route.ForwardConfig) {
		c.HTTP2ProtocolOptions.AllowConnect = true
		c.Upgrades = []string{"websocket"}
	})
	c := dial2(t, p.addr, nil)
	// Data may come with the head; it waits for the answer.
	c.write(frame2(frameHeaders, flagWhole, 1, block2(webSocket...)) + frame2(frameData, 0, 1, "abc"))
	what, fields := c.next()
	if what != "HEADERS 1 200" || !strings.Contains(fields, "sec-websocket-protocol: chat") ||
		strings.Contains(fields, "accept") || strings.Contains(fields, "upgrade") {
		t.Fatalf("%s\n%s", what, fields)
	}
	c.wantData("helloABC")
	c.write(get2(3, "/other")) // another stream of the connection is not in the tunnel
	c.write(frame2(frameData, 0, 1, "def"))
	for seen := 0; seen < 2; {
		switch what, payload := c.next(); what {
		case "HEADERS 3 400 end", "DATA 1 3":
			seen++
		default:
			t.Fatalf("%s %q", what, payload)
		}
	}
	c.write(frame2(frameData, flagEnd, 1, "end"))
	c.wantData("END")
	c.want("DATA 1 0 end")
}

// TestHTTP2ConnectRefused: what is not allowed, or not offered, costs the stream.
func TestHTTP2ConnectRefused(t *testing.T) {
	t.Parallel()
	p := newProxy(t, webSocketOrigin(t), func(c *Config, _ *route.ForwardConfig) { c.HTTP2ProtocolOptions.AllowConnect = true })
	c := dial2(t, p.addr, nil)
	c.write(frame2(frameHeaders, flagWhole, 1, block2(webSocket...)))
	c.want("HEADERS 1 403 end", "RST 1 NO_ERROR")
	c.write(frame2(frameHeaders, flagWhole, 3, block2(":method: CONNECT", ":authority: a:1")))
	c.want("HEADERS 3 403 end", "RST 3 NO_ERROR")
	p = newProxy(t, webSocketOrigin(t), func(c *Config, _ *route.ForwardConfig) { c.Upgrades = []string{"websocket"} })
	c = dial2(t, p.addr, nil)
	c.write(frame2(frameHeaders, flagWhole, 1, block2(webSocket...)))
	c.want("RST 1 PROTOCOL_ERROR")
	c.write(get2(3, "/other"))
	c.want("HEADERS 3 400 end")
}

// TestHTTP2Connect: a CONNECT is passed on as one.
func TestHTTP2Connect(t *testing.T) {
	t.Parallel()
	origin := originOf(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		line, _ := r.ReadString('\n')
		for l := line; l != "\r\n" && l != ""; l, _ = r.ReadString('\n') {
		}
		if !strings.HasPrefix(line, "CONNECT host:443 ") {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		echoCapitals(c, r)
	})
	p := newProxy(t, origin, func(c *Config, _ *route.ForwardConfig) { c.Upgrades = []string{"connect"} })
	c := dial2(t, p.addr, nil)
	c.write(frame2(frameHeaders, flagWhole, 1, block2(":method: CONNECT", ":authority: host:443")))
	c.want("HEADERS 1 200")
	for _, word := range []string{"abc", "defg"} {
		c.write(frame2(frameData, 0, 1, word))
		c.wantData(strings.ToUpper(word))
	}
	c.write(frame2(frameReset, 0, 1, num(8))) // the client leaves
	c.write(frame2(frameHeaders, flagWhole, 3, block2(":method: CONNECT", ":authority: other:443")))
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if what, _ := c.next(); what != "HEADERS 3 503" {
		t.Errorf("%s; want 503", what)
	}
}

// TestHTTP2Upgrade: a request of HTTP/1.1 that asks for h2c is answered by HTTP/2, any other by HTTP/1.1.
func TestHTTP2Upgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := dialRaw2(t, w.addr, w.tl.Step)
	p.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" +
		"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame2(frameSettings, 0, 0, ""))
	const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
	if !p.fill(len(switched)) || string(p.in[:len(switched)]) != switched {
		t.Fatalf("got %q", p.in)
	}
	p.in = p.in[len(switched):]
	p.want("SETTINGS", "WINDOW 0 983041", "HEADERS 1 200 end", "SETTINGS ack")
	p.write(get2(3, "/"))
	p.want("HEADERS 3 200 end")
	if n := w.m.stats.CxHTTP2Active.Load(); n != 1 || w.m.stats.RqActive.Load() != 0 {
		t.Errorf("%d connections of HTTP/2, %d requests active", n, w.m.stats.RqActive.Load())
	}
	h, _ := w.forwarded()
	if values(h, "http2-settings") != "-" || values(h, "upgrade") != "-" {
		t.Errorf("forwarded %v", h)
	}
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAAB\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAIAAAAC\r\n\r\n", // ENABLE_PUSH 2
		"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 1\r\n\r\nx",
	} {
		if resp := w.dial("127.0.0.1").ask(text); resp.StatusCode != 200 || resp.ProtoMajor != 1 {
			t.Errorf("%q: %s %s", text, resp.Proto, resp.Status)
		}
	}
}
