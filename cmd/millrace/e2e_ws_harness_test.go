package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	order "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// Opcodes of RFC 6455 section 5.2.
const (
	wsContinuation = 0
	wsText         = 1
	wsBinary       = 2
	wsClose        = 8
	wsPing         = 9
	wsPong         = 10
)

// wsFrame is one frame, unmasked.
type wsFrame struct {
	op      byte
	fin     bool
	payload []byte
}

// wsConn is one side of a WebSocket, whatever carries it.
type wsConn struct {
	r      *bufio.Reader
	w      io.Writer
	client bool // masks what it sends
	close  func()
}

// send writes one frame.
func (c *wsConn) send(f wsFrame) error {
	b := []byte{f.op, 0}
	if f.fin {
		b[0] |= 0x80
	}
	switch n := len(f.payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = order.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = order.BigEndian.AppendUint64(b, uint64(n))
	}
	p := f.payload
	if c.client {
		b[1] |= 0x80
		key := []byte{1, 2, 3, 4}
		b = append(b, key...)
		p = bytes.Clone(p)
		for i := range p {
			p[i] ^= key[i%4]
		}
	}
	_, err := c.w.Write(append(b, p...))
	return err
}

// wsPayloadMax is what a side of these tests takes in one frame.
const wsPayloadMax = 32 << 20

// receive reads one frame.
func (c *wsConn) receive() (f wsFrame, err error) {
	var head [2]byte
	if _, err = io.ReadFull(c.r, head[:]); err != nil {
		return f, err
	}
	f.op, f.fin = head[0]&0x0f, head[0]&0x80 != 0
	n := uint64(head[1] & 0x7f)
	if n >= 126 {
		long := make([]byte, []int{2, 8}[n-126])
		if _, err = io.ReadFull(c.r, long); err != nil {
			return f, err
		}
		n = 0
		for _, b := range long {
			n = n<<8 | uint64(b)
		}
	}
	if n > wsPayloadMax {
		return f, fmt.Errorf("a frame of %d bytes", n)
	}
	var key [4]byte
	if head[1]&0x80 != 0 {
		if _, err = io.ReadFull(c.r, key[:]); err != nil {
			return f, err
		}
	}
	f.payload = make([]byte, n)
	_, err = io.ReadFull(c.r, f.payload)
	for i := range f.payload {
		f.payload[i] ^= key[i%4]
	}
	return f, err
}

// wsEcho sends every frame back as it came, fragments too, answers pings, and closes as it is told to: with the code of
// the peer, or with the one in a text "close N".
func wsEcho(c *wsConn) {
	for {
		f, err := c.receive()
		if err != nil {
			return
		}
		switch {
		case f.op == wsPing:
			f.op = wsPong
		case f.op == wsText && strings.HasPrefix(string(f.payload), "close "):
			code := 0
			_, _ = fmt.Sscanf(string(f.payload), "close %d", &code)
			f = wsFrame{wsClose, true, order.BigEndian.AppendUint16(nil, uint16(code))}
		}
		if c.send(f) != nil || f.op == wsClose {
			return
		}
	}
}

// wsAccept is the answer to a key.
func wsAccept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// wsServer upgrades requests of either version to an echo.
func wsServer(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	if r.Method == http.MethodConnect && r.Header.Get(":protocol") == "websocket" {
		if r.Header.Get("Upgrade") != "" {
			http.Error(w, "fields of HTTP/1.1", http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Path", r.URL.RequestURI())
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
		wsEcho(&wsConn{r: bufio.NewReader(r.Body), w: flushing{w, rc}})
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Method != http.MethodGet || r.Header.Get("Sec-WebSocket-Version") != "13" {
		http.Error(w, "no WebSocket", http.StatusUpgradeRequired)
		return
	}
	c, rw, err := rc.Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\nX-Path: %s\r\n\r\n",
		wsAccept(r.Header.Get("Sec-WebSocket-Key")), r.URL.RequestURI())
	wsEcho(&wsConn{r: rw.Reader, w: c})
}

// flushing sends what is written at once.
type flushing struct {
	io.Writer
	rc *http.ResponseController
}

// Write implements io.Writer.
func (f flushing) Write(b []byte) (int, error) {
	n, err := f.Writer.Write(b)
	return n, errors.Join(err, f.rc.Flush())
}

// wsOriginEnv makes of this test binary a server of WebSockets.
const wsOriginEnv = "MILLRACE_WS_ORIGIN"

// TestWebSocketOriginHelper is not a test: startWSOrigin runs it in a process of its own, since the library takes
// extended CONNECT only if its environment says so.
func TestWebSocketOriginHelper(t *testing.T) {
	if os.Getenv(wsOriginEnv) == "" {
		t.Skip("only of use to the tests of WebSockets")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(wsServer), Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	fmt.Printf("at %s\n", ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test is over
		_ = srv.Close()
	}()
	_ = srv.Serve(ln)
	os.Exit(0)
}

// startWSOrigin runs a server of WebSockets over both versions and returns its address.
func startWSOrigin(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestWebSocketOriginHelper$")
	cmd.Env = append(os.Environ(), wsOriginEnv+"=1", crowdEnv+"=-", "GODEBUG=http2xconnect=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), "at "); ok {
			return addr
		}
	}
	t.Fatal("the server of WebSockets did not start")
	return ""
}

// wsOpen opens a WebSocket that must not be refused.
func wsOpen(t *testing.T, version int, addr, path string) (*wsConn, http.Header) {
	t.Helper()
	c, head, status := wsDial(t, version, addr, path)
	if c == nil {
		t.Fatalf("HTTP/%d: status %d", version, status)
	}
	return c, head
}

// wsDial opens a WebSocket over a version. It returns the status if that is a refusal.
func wsDial(t *testing.T, version int, addr, path string) (*wsConn, http.Header, int) {
	t.Helper()
	if version == 2 {
		return wsDial2(t, addr, path)
	}
	c := dial(t, addr)
	_ = c.SetDeadline(time.Now().Add(3 * waitMax))
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	c.send("GET " + path + " HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, resp.Header, resp.StatusCode
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != wsAccept(key) {
		t.Errorf("Sec-WebSocket-Accept %q, want %q", got, wsAccept(key))
	}
	return &wsConn{r: c.r, w: c, client: true, close: func() { _ = c.Close() }}, resp.Header, resp.StatusCode
}

// wsDial2 does it with extended CONNECT.
func wsDial2(t *testing.T, addr, path string) (*wsConn, http.Header, int) {
	t.Helper()
	//lint:ignore SA1019 the transport of net/http has no extended CONNECT
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
	//lint:ignore SA1019 the transport of net/http has no extended CONNECT
	t.Cleanup(tr.CloseIdleConnections)
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(3*waitMax, cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodConnect, "http://"+addr+path, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "chat.example"
	req.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}}
	//lint:ignore SA1019 the transport of net/http has no extended CONNECT
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("extended CONNECT: %v", err)
	}
	if resp.StatusCode != http.StatusOK {
		cancel()
		return nil, resp.Header, resp.StatusCode
	}
	return &wsConn{r: bufio.NewReader(resp.Body), w: out, client: true, close: func() { _ = out.Close(); cancel() }}, resp.Header, resp.StatusCode
}
