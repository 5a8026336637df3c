package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// specOrigin is a host of HTTP/2 that is driven frame by frame.
type specOrigin struct {
	ln net.Listener
}

func newSpecOrigin(t *testing.T) *specOrigin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return &specOrigin{ln: ln}
}

// serveAgain answers whatever comes on further connections, as a request that was sent again does.
func (o *specOrigin) serveAgain() {
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "again")
	})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	_ = srv.Serve(o.ln) // until the listener closes
}

// specConn is one connection of it.
type specConn struct {
	t      *testing.T
	c      net.Conn
	framer *http2.Framer
}

// accept takes a connection and reads the preface.
func (o *specOrigin) accept(t *testing.T) *specConn {
	t.Helper()
	if err := o.ln.(*net.TCPListener).SetDeadline(time.Now().Add(waitMax)); err != nil {
		t.Fatal(err)
	}
	c, err := o.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := errors.Join(c.SetDeadline(time.Now().Add(waitMax)), o.ln.(*net.TCPListener).SetDeadline(time.Time{})); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != http2.ClientPreface {
		t.Fatalf("the preface is %q, %v", got, err)
	}
	h := &specConn{t: t, c: c, framer: http2.NewFramer(io.Discard, c)}
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return h
}

// write sends bytes; that the proxy has closed its end meanwhile is told by what is read.
func (h *specConn) write(b []byte) { _, _ = h.c.Write(b) }

// until reads frames up to one that is looked for.
func (h *specConn) until(what string, found func(http2.Frame) bool) {
	h.t.Helper()
	var seen []string
	for {
		f, err := h.framer.ReadFrame()
		if err != nil {
			h.t.Fatalf("waiting for %s: %v; the proxy sent %v", what, err, seen)
		}
		if found(f) {
			return
		}
		seen = append(seen, describeFrame(f))
	}
}

func describeFrame(f http2.Frame) string {
	switch f := f.(type) {
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("RST_STREAM %d %v", f.StreamID, f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d %v", f.LastStreamID, f.ErrCode)
	default:
		return fmt.Sprintf("%v %d", f.Header().Type, f.Header().StreamID)
	}
}

// wantRequest waits for the head of a stream.
func (h *specConn) wantRequest(id uint32) {
	h.t.Helper()
	h.until(fmt.Sprintf("request %d", id), func(f http2.Frame) bool {
		_, ok := f.(*http2.MetaHeadersFrame)
		return ok && f.Header().StreamID == id
	})
}

// wantReset waits until the proxy resets a stream, and finds the connection alive behind that.
func (h *specConn) wantReset(id uint32, code http2.ErrCode) {
	h.t.Helper()
	h.until(fmt.Sprintf("RST_STREAM %d %v", id, code), func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		return ok && r.StreamID == id && r.ErrCode == code
	})
	h.wantAlive()
}

// wantAlive checks that a PING is answered and nothing ended before.
func (h *specConn) wantAlive() {
	h.t.Helper()
	h.write(frame(fPing, 0, 0, []byte("01234567")...))
	h.until("an answer to PING", func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			h.t.Fatalf("the proxy sent %s", describeFrame(f))
		case *http2.PingFrame:
			return f.IsAck() && string(f.Data[:]) == "01234567"
		}
		return false
	})
}

// wantEnd waits for GOAWAY and the end of the connection.
func (h *specConn) wantEnd(code http2.ErrCode) {
	h.t.Helper()
	h.until(fmt.Sprintf("GOAWAY %v", code), func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		return ok && g.ErrCode == code
	})
	for {
		f, err := h.framer.ReadFrame()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				h.t.Error("the connection stays open after GOAWAY")
			}
			return
		}
		h.t.Errorf("the proxy sent %s after GOAWAY", describeFrame(f))
	}
}

// specClient is a request under way.
type specClient struct{ got chan string }

// askSpec makes a request in HTTP/1.1. An open one has a body that does not end.
func askSpec(t *testing.T, url string, open bool) specClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	t.Cleanup(cancel)
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if open {
		r, w := io.Pipe()
		t.Cleanup(func() { _ = w.Close() })
		method, body = http.MethodPost, r
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	cl := specClient{got: make(chan string, 1)}
	go func() {
		resp, err := tr.RoundTrip(req)
		if err != nil {
			cl.got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		switch {
		case resp.StatusCode != http.StatusOK:
			cl.got <- fmt.Sprint(resp.StatusCode)
		case err != nil:
			cl.got <- "200 cut"
		case len(b) > 100:
			cl.got <- fmt.Sprintf("200 %d bytes", len(b))
		default:
			cl.got <- "200 " + strings.TrimSpace(string(b))
		}
	}()
	return cl
}

// want checks what the client has got.
func (c specClient) want(t *testing.T, who, want string) {
	t.Helper()
	select {
	case got := <-c.got:
		if got != want {
			t.Errorf("%s got %q, want %q", who, got, want)
		}
	case <-time.After(waitMax):
		t.Errorf("%s got nothing, want %q", who, want)
	}
}
