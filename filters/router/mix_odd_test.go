package router_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"millrace/codec/h2"
	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// TestEarlyAnswers: a response that does not wait for the request arrives whole, the rest of the request goes nowhere, and the
// connection goes on.
func TestEarlyAnswers(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		t.Run(fmt.Sprintf("h%d", 1+btoi(up)), func(t *testing.T) {
			t.Parallel()
			e := newEnds(t, up, nil)
			e.ask(0, request2("POST"))
			e.client.frame(frameData, 0, 1, strings.Repeat("x", 16000))
			e.answer(413, "too much", true)
			e.client.until("HEADERS 1 413")
			for text := ""; text != "RST 1 NO_ERROR"; {
				if text, _ = e.client.next(); text == "closed" || text == "silence" {
					t.Fatal(text)
				}
			}
			e.client.frame(frameData, 0, 1, strings.Repeat("x", 16000)) // was under way
			e.client.frame(frameData, flagEnd, 1, "")
			e.wantQuiet()
			e.client.head(flagEnd, 3, request2("GET")...)
			e.serveOne()
			e.client.until("HEADERS 3 200")
			e.wantQuiet()
		})
	}
}

// TestExpectContinue: a 100 goes from one version to the other before the body, and a final answer in its place ends the request.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		for _, status := range []int{100, 417} {
			t.Run(fmt.Sprintf("h%d, %d", 1+btoi(up), status), func(t *testing.T) {
				t.Parallel()
				e := newEnds(t, up, nil)
				e.ask(0, request2("POST", "expect: 100-continue", "content-length: 3"))
				if status == 100 {
					if up {
						e.host.head(0, 1, ":status: 100")
					} else if _, err := io.WriteString(e.c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
						t.Fatal(err)
					}
					e.client.want("HEADERS 1 100")
					e.client.frame(frameData, flagEnd, 1, "abc")
					if up {
						if got, body := e.host.next(); got != "DATA 1 3 end" && got != "DATA 1 3" || body != "abc" {
							t.Fatal(got)
						}
					} else {
						b := make([]byte, 3)
						if _, err := io.ReadFull(e.r, b); err != nil || string(b) != "abc" {
							t.Fatal(err, b)
						}
					}
					e.answer(200, "", true)
					e.client.until("HEADERS 1 200")
				} else {
					e.answer(417, "", true)
					e.client.until("HEADERS 1 417")
				}
				e.wantQuiet()
			})
		}
	}
}

// TestTrailersWithoutBody: trailers cross from any version to any, with nothing in front of them.
func TestTrailersWithoutBody(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		t.Run(fmt.Sprintf("h%d", 1+btoi(up)), func(t *testing.T) {
			t.Parallel()
			e := newEnds(t, up, nil)
			e.ask(0, request2("POST", "te: trailers", "trailer: x-sum"))
			e.client.head(flagEnd, 1, "x-sum: 1")
			if up {
				if text, fields := e.host.next(); text != "HEADERS 1 1 end" || fields != "x-sum: 1\n" {
					t.Fatalf("%s %q", text, fields)
				}
				e.host.head(0, 1, ":status: 200")
				e.host.head(flagEnd, 1, "x-sum: 2")
			} else {
				b, err := e.r.ReadString('\n')
				if rest := head1(t, e.r); err != nil || b != "0\r\n" || !strings.EqualFold(rest, "x-sum: 1\r\n") {
					t.Fatalf("%q %q %v", b, rest, err)
				}
				if _, err := io.WriteString(e.c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 2\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			e.client.until("HEADERS 1 200")
			if text, fields := e.client.next(); text != "HEADERS 1 2 end" || fields != "x-sum: 2\n" {
				t.Fatalf("%s %q", text, fields)
			}
			e.wantQuiet()
		})
	}
}

// TestLengthsThatLie: a body that is not as long as its head says is nobody's whole message.
func TestLengthsThatLie(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		for _, tt := range []struct {
			name string
			run  func(e *ends)
		}{
			{"request too long", func(e *ends) {
				e.ask(0, request2("POST", "content-length: 3"))
				e.client.frame(frameData, flagEnd, 1, "abcGET / HTTP/1.1\r\n\r\n")
			}},
			{"request too short", func(e *ends) {
				e.ask(0, request2("POST", "content-length: 3"))
				e.client.frame(frameData, flagEnd, 1, "ab")
			}},
			{"request too short, in two", func(e *ends) {
				e.ask(0, request2("POST", "content-length: 3"))
				e.client.frame(frameData, 0, 1, "ab")
				e.client.frame(frameData, flagEnd, 1, "")
			}},
			{"request too short, with trailers", func(e *ends) {
				e.ask(0, request2("POST", "content-length: 3"))
				e.client.frame(frameData, 0, 1, "ab")
				e.client.head(flagEnd, 1, "x-sum: 1")
			}},
			{"response too long", func(e *ends) {
				e.ask(flagEnd, request2("GET"))
				e.host.head(0, 1, ":status: 200", "content-length: 3")
				e.host.frame(frameData, flagEnd, 1, "abcd")
			}},
			{"response too short", func(e *ends) {
				e.ask(flagEnd, request2("GET"))
				e.host.head(0, 1, ":status: 200", "content-length: 3")
				e.host.frame(frameData, flagEnd, 1, "ab")
			}},
			{"response without the body it promises", func(e *ends) {
				e.ask(flagEnd, request2("GET"))
				e.host.head(flagEnd, 1, ":status: 200", "content-length: 3")
			}},
		} {
			if !up && strings.HasPrefix(tt.name, "response") {
				continue
			}
			t.Run(fmt.Sprintf("%s, h%d", tt.name, 1+btoi(up)), func(t *testing.T) {
				t.Parallel()
				e := newEnds(t, up, nil)
				tt.run(e)
				switch {
				case tt.name == "response without the body it promises":
					e.client.until("HEADERS 1 502")
				case strings.HasPrefix(tt.name, "response"):
					e.client.until("RST 1")
				default:
					e.client.want("RST 1 PROTOCOL_ERROR")
					if up {
						e.host.until("RST 1 CANCEL")
					} else if b, _ := io.ReadAll(e.r); strings.Contains(string(b), "GET") {
						t.Errorf("the host got %q", b)
					}
				}
				e.wantQuiet()
			})
		}
	}
}

// TestGoAwayOfHosts: a host that leaves completes what it has taken; what it has not goes elsewhere or fails.
func TestGoAwayOfHosts(t *testing.T) {
	t.Parallel()
	e := newEnds(t, true, nil)
	e.ask(0, request2("POST"))
	e.client.frame(frameData, 0, 1, "abc")
	e.host.want("DATA 1 3")
	e.host.frame(frameGoAway, 0, 0, u32(1<<31-1)+u32(0)) // only a warning
	e.host.frame(frameGoAway, 0, 0, u32(1)+u32(0))
	e.client.head(flagEnd, 3, request2("GET")...)
	second := e.accept2()
	second.want("HEADERS 1 GET end")
	e.client.frame(frameData, flagEnd, 1, "def")
	if got, body := e.host.next(); !strings.HasPrefix(got, "DATA 1 3 end") || body != "def" {
		t.Fatal(got)
	}
	e.answer(200, "", true)
	e.client.until("HEADERS 1 200")
	second.head(flagEnd, 1, ":status: 200")
	e.client.until("HEADERS 3 200")
	e.wantQuiet()
	if text, _ := e.host.next(); !strings.HasPrefix(text, "GOAWAY") && text != "closed" {
		t.Errorf("%s; want the end of the connection", text)
	}
}

// TestFewStreams: a host that takes one request at a time gets one at a time, and none is lost.
func TestFewStreams(t *testing.T) {
	t.Parallel()
	m := newMix(t, true, func(_ *httpconn.Config, _ *route.ForwardConfig, c *upstream.Config) {
		c.CircuitBreakers.MaxConnections = 1
	})
	client := m.client2()
	for i := range 5 {
		client.head(flagEnd, uint32(1+2*i), request2("GET")...)
	}
	host := m.accept2(3, 1)
	for i := range 5 {
		host.want(fmt.Sprintf("HEADERS %d GET end", 1+2*i))
		host.frame(4, 0, 0, "\x00\x03"+u32(uint32(i%2))) // sometimes it takes none at all
		host.head(flagEnd, uint32(1+2*i), ":status: 200")
		client.until("HEADERS")
		host.frame(4, 0, 0, "\x00\x03"+u32(1))
	}
	m.wantQuiet()
}

// TestDrainWithStreams: a connection that has had its requests takes no more, completes what it has, and closes.
func TestDrainWithStreams(t *testing.T) {
	t.Parallel()
	e := newEnds(t, true, func(c *httpconn.Config, _ *route.ForwardConfig, _ *upstream.Config) { c.MaxRequestsPerConnection = 1 })
	e.ask(0, request2("POST"))
	e.client.want("GOAWAY 2147483647 NO_ERROR", "GOAWAY 1 NO_ERROR")
	// Requests that were under way are for somewhere else, with all that belongs to them.
	e.client.head(0, 3, request2("POST")...)
	e.client.frame(frameData, 0, 3, "abc")
	e.client.head(flagEnd, 3, "x-sum: 1")
	e.client.frame(frameReset, 0, 3, u32(h2.Cancel))
	e.client.frame(frameData, flagEnd, 1, "abc")
	e.host.until("DATA 1 3")
	e.answer(200, "abc", true)
	e.client.until("HEADERS 1 200")
	e.client.until("DATA 1 3")
	if text, _ := e.client.next(); text != "closed" && text != "DATA 1 0 end" {
		t.Errorf("%s; want the end", text)
	}
	e.wantQuiet()
}

// TestOldClientsOfHTTP2Hosts: a client of HTTP/1.0 gets a response whose end is that of the connection, and no 1xx.
func TestOldClientsOfHTTP2Hosts(t *testing.T) {
	t.Parallel()
	m := newMix(t, true, func(c *httpconn.Config, _ *route.ForwardConfig, _ *upstream.Config) { c.AcceptHTTP10 = true })
	c, r := m.client1("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	host := m.accept2()
	host.want("HEADERS 1 GET end")
	host.head(0, 1, ":status: 103", "link: x")
	host.head(0, 1, ":status: 200")
	host.frame(frameData, 0, 1, "abc")
	host.head(flagEnd, 1, "x-sum: 1")
	b, err := io.ReadAll(r)
	if err != nil || !strings.HasSuffix(string(b), "\r\n\r\nabc") || strings.Contains(string(b), "103") || strings.Contains(string(b), "chunked") {
		t.Errorf("%q %v", b, err)
	}
	_ = c.Close()
	m.wantQuiet()
}

// TestConnectToHosts: CONNECT reaches hosts of both versions, its bytes go both ways, each direction ends by itself, and one that is
// refused is a response like any other.
func TestConnectToHosts(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		t.Run(fmt.Sprintf("h%d", 1+btoi(up)), func(t *testing.T) {
			t.Parallel()
			e := newEnds(t, up, func(c *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) { c.Upgrades = []string{"connect"} })
			e.ask(0, []string{":method: CONNECT", ":authority: example.com:443"})
			e.client.frame(frameData, 0, 1, "early")
			if up {
				e.host.head(0, 1, ":status: 200")
			} else if _, err := io.WriteString(e.c, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			e.client.want("HEADERS 1 200")
			if up {
				if text, b := e.host.next(); text != "DATA 1 5" || b != "early" {
					t.Fatal(text, b)
				}
				e.host.frame(frameData, 0, 1, "answer")
			} else {
				b := make([]byte, 5)
				if _, err := io.ReadFull(e.r, b); err != nil || string(b) != "early" {
					t.Fatal(err)
				}
				_, _ = io.WriteString(e.c, "answer")
			}
			if text, b := e.client.next(); text != "DATA 1 6" || b != "answer" {
				t.Fatal(text, b)
			}
			// The client ends first; the host may still answer.
			e.client.frame(frameData, flagEnd, 1, "")
			if up {
				if text, _ := e.host.next(); text != "DATA 1 0 end" {
					t.Fatal(text)
				}
				e.host.frame(frameData, flagEnd, 1, "last")
			} else {
				if _, err := e.r.ReadByte(); err != io.EOF {
					t.Fatal(err)
				}
				_, _ = io.WriteString(e.c, "last")
				_ = e.c.(*net.TCPConn).CloseWrite()
			}
			got := ""
			for end := false; !end; {
				text, b := e.client.next()
				if text == "closed" || text == "silence" || strings.HasPrefix(text, "RST") {
					t.Fatal(text)
				}
				got += b
				end = strings.HasSuffix(text, " end")
			}
			if got != "last" {
				t.Errorf("got %q", got)
			}
			e.wantQuiet()
			// One that is refused is a response like any other.
			e.client.head(0, 3, ":method: CONNECT", ":authority: example.com:443")
			if up {
				e.host.until("HEADERS 3")
				e.host.head(0, 3, ":status: 403", "content-length: 2")
				e.host.frame(frameData, flagEnd, 3, "no")
			} else {
				c := e.accept1()
				head1(t, bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
			}
			e.client.until("HEADERS 3 403")
			if text, b := e.client.next(); !strings.HasPrefix(text, "DATA 3") || b != "no" {
				t.Errorf("%s %q", text, b)
			}
			e.wantQuiet()
		})
	}
}
