package h2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"millrace/codec"
)

// pump reads a connection into a codec until it ends, and writes what the codec and the handler have to say.
func pump(c net.Conn, feed func(b []byte, ev *codec.Event) (int, *codec.Error), control func(dst []byte) []byte,
	ev *codec.Event, handle func(ev *codec.Event, dst []byte) []byte) error {
	var kept []byte
	buf := make([]byte, 7000)
	if _, err := c.Write(control(nil)); err != nil {
		return err
	}
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		kept = append(kept, buf[:n]...)
		var out []byte
		for {
			n, err := feed(kept, ev)
			kept = kept[n:]
			if err != nil && err.Scope == codec.ScopeConn {
				return err
			}
			if ev.Kind == codec.EventNone && err == nil {
				break
			}
			out = handle(ev, out)
		}
		if _, err := c.Write(append(control(nil), out...)); err != nil {
			return err
		}
	}
}

// TestServerWithGo: the standard library's client gets what it asks for: echoed bodies, trailers, many streams at once.
func TestServerWithGo(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				s := NewServer(testOptions(), &Scratch{})
				e := &echo{s: s, bodies: map[codec.StreamID][]byte{}}
				ev := &codec.Event{Request: new(codec.RequestHead), Trailers: new(codec.Fields)}
				_ = pump(c, s.Feed, s.AppendControl, ev, e.handle)
			})
		}
	})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			body := bytes.Repeat([]byte{byte('a' + i)}, 1+i*i*997)
			for range 5 {
				if err := roundTrip(transport, ln.Addr().String(), body); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	transport.CloseIdleConnections()
	_ = ln.Close()
	wg.Wait()
}

func roundTrip(transport http.RoundTripper, addr string, body []byte) error {
	req, err := http.NewRequestWithContext(context.Background(), "POST", "http://"+addr+"/echo?x=1", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Word", "Value")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != 200 || !bytes.Equal(got, body) || resp.Header.Get("X-Path") != "/echo?x=1":
		return fmt.Errorf("status %d, %d of %d bytes, path %q", resp.StatusCode, len(got), len(body), resp.Header.Get("X-Path"))
	case resp.Trailer.Get("X-Length") != fmt.Sprint(len(body)):
		return fmt.Errorf("trailers %v", resp.Trailer)
	}
	return nil
}

// echo answers a request with its body, as far as the windows allow.
type echo struct {
	s      *Server
	bodies map[codec.StreamID][]byte // what is still to be sent of ended requests
	sizes  map[codec.StreamID]int
}

func (e *echo) handle(ev *codec.Event, dst []byte) []byte {
	switch ev.Kind {
	case codec.EventHead:
		h := new(codec.ResponseHead)
		h.Reset()
		h.Status = 200
		h.AddString("Connection", "close, X-Hop")
		h.AddString("X-Hop", "1")
		h.AddString("X-Path", string(ev.Request.Path()))
		h.AddString("Content-Type", "text/plain")
		h.AddString("Trailer", "X-Length")
		dst = e.s.AppendResponseHead(dst, ev.Stream, h, false)
	case codec.EventData:
		e.bodies[ev.Stream] = append(e.bodies[ev.Stream], ev.Data...)
		e.s.Consume(ev.Stream, len(ev.Data))
		if ev.End {
			if e.sizes == nil {
				e.sizes = map[codec.StreamID]int{}
			}
			e.sizes[ev.Stream] = len(e.bodies[ev.Stream])
		}
	}
	for id := range e.sizes {
		dst = e.send(dst, id)
	}
	return dst
}

// send sends what the window allows, and trailers at the end.
func (e *echo) send(dst []byte, id codec.StreamID) []byte {
	for body := e.bodies[id]; ; body = e.bodies[id] {
		if len(body) == 0 {
			trailers := new(codec.Fields)
			trailers.AddString("X-Length", fmt.Sprint(e.sizes[id]))
			delete(e.sizes, id)
			delete(e.bodies, id)
			return e.s.AppendTrailers(dst, id, trailers)
		}
		n := min(e.s.Writable(id), e.s.FrameMax(), len(body))
		if n == 0 {
			return dst
		}
		dst = append(e.s.AppendDataPrefix(dst, id, n, false), body[:n]...)
		e.bodies[id] = body[n:]
	}
}

// TestClientWithGo: requests to the standard library's server are answered.
func TestClientWithGo(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = fmt.Fprintf(w, "%s %s %s %d ", r.Method, r.Host, r.URL, len(body))
		_, _ = w.Write(bytes.Repeat([]byte("y"), 300<<10))
		w.Header().Set("X-Sum", "done")
	})}
	go func() { _ = srv.Serve(ln) }()
	defer func() { _ = srv.Close() }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := NewClient(testOptions(), &Scratch{})
	var first []byte
	const requests = 30
	for i := range requests {
		h := requestHead("POST", fmt.Sprintf("/%d", i), "example.com")
		h.AddString("Transfer-Encoding", "chunked")
		id, _ := client.Open()
		first = client.AppendRequestHead(first, id, h, false)
		first = append(client.AppendDataPrefix(first, id, 1000, true), make([]byte, 1000)...)
	}
	bodies, done := map[codec.StreamID]*strings.Builder{}, 0
	ev := &codec.Event{Response: new(codec.ResponseHead), Trailers: new(codec.Fields)}
	_ = pump(c, client.Feed, func(dst []byte) []byte {
		dst = append(client.AppendControl(dst), first...)
		first = nil
		return dst
	}, ev, func(ev *codec.Event, dst []byte) []byte {
		switch ev.Kind {
		case codec.EventHead:
			if ev.Response.Status == 103 {
				break
			}
			bodies[ev.Stream] = new(strings.Builder)
		case codec.EventData:
			bodies[ev.Stream].Write(ev.Data)
			client.Consume(ev.Stream, len(ev.Data))
		case codec.EventTrailers:
			if string(ev.Trailers.Lookup("x-sum")) == "done" {
				done++
			}
		case codec.EventReset, codec.EventGoAway:
			t.Errorf("%s %s", ev.Kind, CodeName(ev.Code))
		}
		if done == requests {
			_ = c.Close()
		}
		return dst
	})
	if done != requests || client.Streams() != 0 {
		t.Errorf("%d of %d answered, %d open", done, requests, client.Streams())
	}
	for id, body := range bodies {
		want := fmt.Sprintf("POST example.com /%d 1000 ", (id-1)/2) + strings.Repeat("y", 300<<10)
		if body.String() != want {
			t.Errorf("stream %d: %d bytes, starts %q", id, body.Len(), body.String()[:40])
		}
	}
}
