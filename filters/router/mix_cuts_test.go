package router_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"millrace/codec/h2"
	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// ends are the two ends of a mix, of which the client's speaks HTTP/2.
type ends struct {
	*mix
	up     bool
	client *wire2
	host   *wire2        // if up
	c      net.Conn      // else
	r      *bufio.Reader // of c
}

func newEnds(t *testing.T, up bool, edit func(*httpconn.Config, *route.ForwardConfig, *upstream.Config), settings ...uint32) *ends {
	m := newMix(t, up, edit)
	return &ends{mix: m, up: up, client: m.client2(settings...)}
}

// ask sends the head of a request on stream 1, and waits for it at the host, which has a window of its own choice.
func (e *ends) ask(flags byte, fields []string, settings ...uint32) {
	e.t.Helper()
	e.client.head(flags, 1, fields...)
	if e.up {
		e.host = e.accept2(settings...)
		for {
			text, _ := e.host.next()
			if strings.HasPrefix(text, "HEADERS 1") {
				return
			}
			if text == "closed" || text == "silence" {
				e.t.Fatal(text)
			}
		}
	}
	e.c = e.accept1()
	e.r = bufio.NewReader(e.c)
	head1(e.t, e.r)
}

// answer sends the head of a response, and a piece of its body.
func (e *ends) answer(status int, body string, end bool) {
	e.t.Helper()
	if e.up {
		flags := byte(0)
		if end {
			flags = flagEnd
		}
		if body == "" {
			e.host.head(flags, 1, fmt.Sprint(":status: ", status))
			return
		}
		e.host.head(0, 1, fmt.Sprint(":status: ", status))
		e.host.frame(frameData, flags, 1, body)
		return
	}
	text := fmt.Sprintf("HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n", status)
	if body != "" {
		text += fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	}
	if end {
		text += "0\r\n\r\n"
	}
	if _, err := io.WriteString(e.c, text); err != nil {
		e.t.Fatal(err)
	}
}

// breakHost resets the stream, or the connection of HTTP/1.1.
func (e *ends) breakHost() {
	if e.up {
		e.host.frame(frameReset, 0, 1, u32(h2.InternalError))
		return
	}
	_ = e.c.(*net.TCPConn).SetLinger(0)
	_ = e.c.Close()
}

// until reads frames of the client until one begins so.
func (w *wire2) until(prefix string) string {
	w.t.Helper()
	for {
		text, _ := w.next()
		switch {
		case strings.HasPrefix(text, prefix):
			return text
		case text == "closed", text == "silence":
			w.t.Fatalf("%s; want %s", text, prefix)
		}
	}
}

// TestCutInEveryPhase: whoever gives up, and whenever, nothing is left of the request, and the others on the connection
// do not suffer.
func TestCutInEveryPhase(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 16000)
	phases := []struct {
		name     string
		settings []uint32 // of the client
		walk     func(e *ends)
	}{
		{"asked", nil, func(e *ends) { e.ask(flagEnd, request2("GET")) }},
		{"body begun", nil, func(e *ends) {
			e.ask(0, request2("POST"))
			e.client.frame(frameData, 0, 1, big)
		}},
		{"body stuck", nil, func(e *ends) {
			e.ask(0, request2("POST"), 4, 0)
			for range 4 {
				e.client.frame(frameData, 0, 1, big)
			}
		}},
		{"body whole and stuck", nil, func(e *ends) {
			e.ask(0, request2("POST"), 4, 0)
			e.client.frame(frameData, 0, 1, big)
			e.client.frame(frameData, flagEnd, 1, big)
		}},
		{"response begun", nil, func(e *ends) {
			e.ask(flagEnd, request2("GET"))
			e.answer(200, big, false)
			e.client.until("DATA 1")
		}},
		{"response stuck", []uint32{4, 0}, func(e *ends) {
			e.ask(flagEnd, request2("GET"))
			e.answer(200, big, false)
			e.client.until("HEADERS 1 200")
		}},
		{"response whole and stuck", []uint32{4, 0}, func(e *ends) {
			e.ask(flagEnd, request2("GET"))
			e.answer(200, big, true)
			e.client.until("HEADERS 1 200")
		}},
		{"both stuck", []uint32{4, 0}, func(e *ends) {
			e.ask(0, request2("POST"), 4, 0)
			e.client.frame(frameData, 0, 1, big)
			e.answer(200, big, false)
			e.client.until("HEADERS 1 200")
		}},
	}
	cuts := []struct {
		name string
		cut  func(e *ends)
		gone bool // the connection of the client
	}{
		{"reset by the client", func(e *ends) { e.client.frame(frameReset, 0, 1, u32(h2.Cancel)) }, false},
		{"connection of the client reset", func(e *ends) {
			_ = e.client.c.(*net.TCPConn).SetLinger(0)
			_ = e.client.c.Close()
		}, true},
		{"connection of the client ended", func(e *ends) { _ = e.client.c.(*net.TCPConn).CloseWrite() }, true},
		{"broken by the host", (*ends).breakHost, false},
		{"connection of the host ended", func(e *ends) {
			c := e.c
			if e.up {
				c = e.host.c
			}
			_ = c.Close()
		}, false},
		{"protocol broken by the client", func(e *ends) { e.client.frame(frameWindow, 0, 1, u32(0)) }, false},
		{"timeout", nil, false},
	}
	for _, up := range []bool{false, true} {
		for _, ph := range phases {
			for _, cut := range cuts {
				t.Run(fmt.Sprintf("%s, %s, h%d", ph.name, cut.name, 1+btoi(up)), func(t *testing.T) {
					t.Parallel()
					e := newEnds(t, up, func(c *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) {
						if cut.cut == nil {
							c.StreamIdleTimeout = 200 * time.Millisecond
						}
					}, ph.settings...)
					ph.walk(e)
					if cut.cut != nil {
						cut.cut(e)
					}
					if cut.cut == nil && strings.HasPrefix(ph.name, "response") && !strings.Contains(ph.name, "stuck") {
						e.client.until("RST 1") // a 504 is no more possible
					}
					if strings.Contains(ph.name, "whole and stuck") && strings.Contains(cut.name, "host") && strings.HasPrefix(ph.name, "response") {
						e.client.frame(frameWindow, 0, 1, u32(1<<20)) // it has the whole response: it is delivered
						for text := ""; !strings.HasSuffix(text, " end"); {
							if text, _ = e.client.next(); text == "closed" || text == "silence" {
								t.Fatal(text)
							}
						}
					}
					if !up && strings.Contains(cut.name, "host") && (ph.name == "response stuck" || ph.name == "both stuck") {
						// Of a host that is not read the end is not seen, until there is room or the stream has its timeout.
						e.client.frame(frameWindow, 0, 1, u32(1<<20))
						e.client.until("RST 1 INTERNAL_ERROR")
					}
					e.wantQuiet()
					if cut.gone {
						return
					}
					// Another stream does as if nothing had been.
					e.client.frame(frameWindow, 0, 0, u32(1<<20))
					e.client.head(flagEnd, 3, request2("GET")...)
					e.client.frame(frameWindow, 0, 3, u32(1<<20))
					e.serveOne()
					e.client.until("HEADERS 3 200")
					e.wantQuiet()
				})
			}
		}
	}
}

// serveOne answers the next request, on the connection of before or another.
func (e *ends) serveOne() {
	e.t.Helper()
	found := make(chan string, 1)
	if host := e.host; host != nil {
		go func() { // the connection of before may be gone
			for {
				text, _ := host.next()
				if text == "closed" || text == "silence" {
					return
				}
				var id uint32
				if _, err := fmt.Sscanf(text, "HEADERS %d GET end", &id); err == nil {
					host.head(flagEnd, id, ":status: 200")
					found <- text
					return
				}
			}
		}()
	}
	go func() {
		c, err := e.origins.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		if e.up {
			preface := make([]byte, len(h2.Preface))
			_, _ = io.ReadFull(c, preface)
			w := newWire2(e.t, c)
			for {
				text, _ := w.next()
				if text == "HEADERS 1 GET end" {
					w.head(flagEnd, 1, ":status: 200")
					found <- text
					time.Sleep(50 * time.Millisecond)
					return
				}
				if text == "closed" || text == "silence" {
					return
				}
			}
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 4096)
		_, _ = c.Read(buf)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		found <- "h1"
		_, _ = c.Read(buf)
	}()
	if !e.up {
		return
	}
	select {
	case <-found:
	case <-time.After(10 * time.Second):
		e.t.Fatal("no request reached a host")
	}
}
