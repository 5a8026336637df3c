package router_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/codec/h2"
	"millrace/codec/hpack"
	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// The types and flags of frames that the tests write.
const (
	frameData    = 0
	frameHeaders = 1
	frameReset   = 3
	frameGoAway  = 7
	frameWindow  = 8

	flagEnd   = 1
	flagWhole = 4
)

// wire2 is one end of a connection of HTTP/2, frame by frame. It acknowledges SETTINGS and PINGs, and gives credit only
// when told to.
type wire2 struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
	d hpack.Decoder

	onAck func() // of SETTINGS; may be nil
}

func newWire2(t *testing.T, c net.Conn, settings ...uint32) *wire2 {
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	var b []byte
	for i := 0; i+1 < len(settings); i += 2 {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(settings[i])), settings[i+1])
	}
	w := &wire2{t: t, c: c, r: bufio.NewReader(c), d: hpack.NewDecoder(4096)}
	w.frame(4, 0, 0, string(b))
	return w
}

// client2 connects to the proxy.
func (m *mix) client2(settings ...uint32) *wire2 {
	m.t.Helper()
	c, err := net.Dial("tcp", m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := io.WriteString(c, h2.Preface); err != nil {
		m.t.Fatal(err)
	}
	return newWire2(m.t, c, settings...)
}

// accept2 takes a connection of the proxy, which speaks HTTP/2.
func (m *mix) accept2(settings ...uint32) *wire2 {
	m.t.Helper()
	c := m.accept1()
	preface := make([]byte, len(h2.Preface))
	if _, err := io.ReadFull(c, preface); err != nil {
		m.t.Fatal(err)
	}
	return newWire2(m.t, c, settings...)
}

// accept1 takes a connection of the proxy.
func (m *mix) accept1() net.Conn {
	m.t.Helper()
	_ = m.origins.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
	c, err := m.origins.Accept()
	if err != nil {
		m.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	m.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *wire2) frame(typ, flags byte, stream uint32, payload string) {
	w.t.Helper()
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags}
	if _, err := w.c.Write(append(binary.BigEndian.AppendUint32(b, stream), payload...)); err != nil {
		w.t.Logf("write: %v", err)
	}
}

// head sends a header block of "name: value" fields.
func (w *wire2) head(flags byte, stream uint32, fields ...string) {
	w.t.Helper()
	w.frame(frameHeaders, flags|flagWhole, stream, block(fields...))
}

func block(fields ...string) string {
	var b []byte
	e := hpack.NewEncoder(4096)
	for _, f := range fields {
		at := strings.Index(f[1:], ": ") + 1
		b = e.Append(b, 0, []byte(f[:at]), []byte(f[at+2:]), hpack.Literal)
	}
	return string(b)
}

func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

func request2(method string, more ...string) []string {
	return append([]string{":method: " + method, ":scheme: http", ":path: /", ":authority: a"}, more...)
}

// next returns the next frame but SETTINGS, PING and WINDOW_UPDATE: "HEADERS 1 200 end", "DATA 1 5 end", "RST 1 CANCEL", or "closed".
func (w *wire2) next() (text, payload string) {
	w.t.Helper()
	for {
		if text, payload = w.nextOrPong(); text != "PONG" {
			return text, payload
		}
	}
}

// nextOrPong is next that tells of acknowledged PINGs too.
func (w *wire2) nextOrPong() (text, payload string) {
	w.t.Helper()
	for {
		var h [9]byte
		if _, err := io.ReadFull(w.r, h[:]); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				return "silence", ""
			}
			return "closed", ""
		}
		b := make([]byte, int(h[0])<<16|int(h[1])<<8|int(h[2]))
		if _, err := io.ReadFull(w.r, b); err != nil {
			return "closed", ""
		}
		stream, end := binary.BigEndian.Uint32(h[5:]), ""
		if h[4]&flagEnd != 0 {
			end = " end"
		}
		switch h[3] {
		case 4, 6:
			if h[4] == 0 {
				if h[3] == 4 {
					b = nil
				}
				w.frame(h[3], 1, 0, string(b))
			} else if h[3] == 6 {
				return "PONG", ""
			} else if w.onAck != nil {
				w.onAck()
			}
		case frameData:
			return fmt.Sprintf("DATA %d %d%s", stream, len(b), end), string(b)
		case frameHeaders:
			var text strings.Builder
			first := ""
			for w.d.Begin(); len(b) > 0; {
				out, n, f, err := w.d.Next(nil, b, 1<<20)
				if err != hpack.ErrNone {
					w.t.Fatal(err)
				}
				if b = b[n:]; f.End >= 0 {
					if first == "" {
						first = string(out[f.Value:f.End])
					}
					fmt.Fprintf(&text, "%s: %s\n", out[f.Off:f.Value], out[f.Value:f.End])
				}
			}
			return fmt.Sprintf("HEADERS %d %s%s", stream, first, end), text.String()
		case frameReset:
			return fmt.Sprintf("RST %d %s", stream, h2.CodeName(binary.BigEndian.Uint32(b))), ""
		case frameGoAway:
			return fmt.Sprintf("GOAWAY %d %s", binary.BigEndian.Uint32(b), h2.CodeName(binary.BigEndian.Uint32(b[4:]))), ""
		}
	}
}

// want reads frames and compares what they are; data of one stream counts as one.
func (w *wire2) want(frames ...string) (payload string) {
	w.t.Helper()
	for _, f := range frames {
		got, p := w.next()
		if got != f {
			w.t.Fatalf("got %q; want %q", got, f)
		}
		payload = p
	}
	return payload
}

// head1 reads the head of a request or response of HTTP/1.1.
func head1(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, text.String())
		}
		if line == "\r\n" {
			return text.String()
		}
		text.WriteString(line)
	}
}

// client1 connects to the proxy and sends a text.
func (m *mix) client1(text string) (net.Conn, *bufio.Reader) {
	m.t.Helper()
	c, err := net.Dial("tcp", m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		m.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// TestAnswersWithoutBody: what a host sends where no body can be does not get out of step with a client of HTTP/1.1, and a
// response that is complete with its head says so.
func TestAnswersWithoutBody(t *testing.T) {
	t.Parallel()
	m := newMix(t, true, nil)
	var origin *wire2
	id := uint32(1)
	c, r := m.client1("")
	for _, tt := range []struct {
		method string
		answer []string
		end    bool
		data   string
		want   string // of the status line
		body   string
	}{
		{"GET", []string{":status: 200"}, true, "", "200", ""},
		{"GET", []string{":status: 200"}, false, "abc", "200", "abc"},
		{"GET", []string{":status: 200", "content-length: 3"}, false, "abc", "200", "abc"},
		{"HEAD", []string{":status: 200", "content-length: 3"}, true, "", "200", ""},
		{"HEAD", []string{":status: 200"}, true, "", "200", ""},
		{"GET", []string{":status: 204", "content-length: 0"}, true, "", "204", ""},
		{"GET", []string{":status: 304", "content-length: 7"}, true, "", "304", ""},
		{"GET", []string{":status: 404"}, true, "", "404", ""},
	} {
		if _, err := io.WriteString(c, tt.method+" / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if origin == nil {
			origin = m.accept2()
		}
		origin.want(fmt.Sprintf("HEADERS %d %s end", id, tt.method))
		flags := byte(0)
		if tt.end {
			flags = flagEnd
		}
		origin.head(flags, id, tt.answer...)
		if !tt.end {
			origin.frame(frameData, flagEnd, id, tt.data)
		}
		rs, err := http.ReadResponse(r, &http.Request{Method: tt.method})
		if err != nil {
			t.Fatalf("%v: %v", tt, err)
		}
		b, err := io.ReadAll(rs.Body)
		if err != nil || string(b) != tt.body || !strings.HasPrefix(rs.Status, tt.want) {
			t.Errorf("%v: %s %q %v", tt, rs.Status, b, err)
		}
		if tt.want == "204" && rs.Header.Get("Content-Length") != "" {
			t.Errorf("204 with Content-Length %s", rs.Header.Get("Content-Length"))
		}
		id += 2
	}
	m.wantQuiet()
	// A body where none can be: the response is broken off, at most its head arrives.
	for _, status := range []string{"204", "304", "200"} {
		method := map[bool]string{true: "HEAD", false: "GET"}[status == "200"]
		c, r := m.client1(method + " / HTTP/1.1\r\nHost: a\r\n\r\n")
		origin.want(fmt.Sprintf("HEADERS %d %s end", id, method))
		origin.head(0, id, ":status: "+status)
		origin.frame(frameData, 0, id, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		origin.want(fmt.Sprintf("RST %d PROTOCOL_ERROR", id))
		b, _ := io.ReadAll(r)
		if strings.Count(string(b), "HTTP/1.1") > 1 {
			t.Errorf("%s: %q", status, b)
		}
		_ = c.Close()
		id += 2
	}
	m.wantQuiet()
}

// TestHostsOfHTTP1: what a host of HTTP/1.1 can do wrong reaches a client of HTTP/2 as its stream's business alone.
func TestHostsOfHTTP1(t *testing.T) {
	t.Parallel()
	m := newMix(t, false, nil)
	client := m.client2()
	id := uint32(1)
	for _, tt := range []struct {
		name   string
		method string
		answer string
		close  bool
		want   []string // frames, with %d for the stream; "DATA" may come in parts
	}{
		{"plain", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, []string{"HEADERS %d 200", "DATA %d 2 end"}},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, []string{"HEADERS %d 200 end"}},
		{"until the end", "GET", "HTTP/1.1 200 OK\r\n\r\nok", true, []string{"HEADERS %d 200", "DATA %d 2", "DATA %d 0 end"}},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, []string{"HEADERS %d 200 end"}},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, []string{"HEADERS %d 204 end"}},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, []string{"HEADERS %d 304 end"}},
		{"early hints", "GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false,
			[]string{"HEADERS %d 103", "HEADERS %d 200", "DATA %d 2 end"}},
		{"continue nobody asked for", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false,
			[]string{"HEADERS %d 100", "HEADERS %d 200 end"}},
		{"switch nobody asked for", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc", true,
			[]string{"HEADERS %d 502", "DATA"}},
		{"status too low", "GET", "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", true, []string{"HEADERS %d 502", "DATA"}},
		{"status unknown", "GET", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", false, []string{"HEADERS %d 999 end"}},
		{"cut short", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", true, []string{"HEADERS %d 200", "DATA %d 2", "RST %d INTERNAL_ERROR"}},
		{"cut in a chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", true, []string{"HEADERS %d 200", "DATA %d 2", "RST %d INTERNAL_ERROR"}},
		{"bad chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n", true, []string{"HEADERS %d 200", "DATA %d 2", "RST %d INTERNAL_ERROR"}},
		{"trailers", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n", false,
			[]string{"HEADERS %d 200", "DATA %d 2", "HEADERS %d 1 end"}},
		{"trailers alone", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n", false,
			[]string{"HEADERS %d 200", "HEADERS %d 1 end"}},
		{"names of connections", "GET", "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nContent-Length: 0\r\n\r\n", false,
			[]string{"HEADERS %d 200 end"}},
		{"garbage", "GET", "nonsense\r\n\r\n", true, []string{"HEADERS %d 502", "DATA"}},
		{"nothing", "POST", "", true, []string{"HEADERS %d 503", "DATA"}},
	} {
		client.head(flagEnd, id, request2(tt.method)...)
		c := m.accept1()
		head1(t, bufio.NewReader(c))
		if _, err := io.WriteString(c, tt.answer); err != nil {
			t.Fatal(err)
		}
		if tt.close {
			_ = c.Close()
		}
		for _, want := range tt.want {
			want = strings.Replace(want, "%d", fmt.Sprint(id), 1)
			got, payload := client.next()
			for strings.HasPrefix(want, "RST") && strings.HasPrefix(got, "DATA") {
				got, payload = client.next()
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s: got %q, want %q", tt.name, got, want)
				break
			}
			if strings.Contains(payload, "x-hop") || strings.Contains(payload, "keep-alive") {
				t.Errorf("%s: %s", tt.name, payload)
			}
		}
		if m.wantQuiet(); !tt.close {
			_ = c.Close()
		}
		id += 2
	}
}

// TestTunnelsEnd: however a tunnel ends, it ends on both sides, and its stream is over.
func TestTunnelsEnd(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		for _, how := range []string{"idle", "idle, the client has ended", "idle, the host has ended", "reset by the client", "broken by the host", "ended by both"} {
			t.Run(fmt.Sprintf("%s, h%d", how, 1+btoi(up)), func(t *testing.T) {
				t.Parallel()
				m := newMix(t, up, func(c *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) {
					c.Upgrades = []string{"websocket", "connect"}
					c.HTTP2ProtocolOptions = httpconn.DefaultHTTP2Config()
					c.HTTP2ProtocolOptions.AllowConnect = true
					if strings.HasPrefix(how, "idle") {
						c.StreamIdleTimeout = 300 * time.Millisecond
					}
				})
				client := m.client2()
				client.head(0, 1, ":method: CONNECT", ":protocol: websocket", ":scheme: http", ":path: /", ":authority: a")
				var origin *wire2
				var c net.Conn
				if up {
					origin = m.accept2(8, 1)
					origin.want("HEADERS 1 CONNECT")
					origin.head(0, 1, ":status: 200")
				} else {
					c = m.accept1()
					head1(t, bufio.NewReader(c))
					if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"); err != nil {
						t.Fatal(err)
					}
				}
				client.want("HEADERS 1 200")
				switch how {
				case "idle, the client has ended":
					client.frame(frameData, flagEnd, 1, "bye")
				case "idle, the host has ended":
					if up {
						origin.frame(frameData, flagEnd, 1, "bye")
					} else {
						_, _ = io.WriteString(c, "bye")
						_ = c.(*net.TCPConn).CloseWrite()
					}
				case "reset by the client":
					client.frame(frameReset, 0, 1, u32(h2.Cancel))
				case "broken by the host":
					if up {
						origin.frame(frameReset, 0, 1, u32(h2.Cancel))
					} else {
						_ = c.(*net.TCPConn).SetLinger(0)
						_ = c.Close()
					}
				case "ended by both":
					client.frame(frameData, flagEnd, 1, "bye")
					if up {
						origin.frame(frameData, flagEnd, 1, "bye")
					} else {
						_, _ = io.WriteString(c, "bye")
						_ = c.(*net.TCPConn).CloseWrite()
					}
				}
				over := how == "reset by the client"
				for !over {
					text, _ := client.next()
					if text == "closed" || text == "silence" {
						t.Fatalf("the stream has not ended: %s", text)
					}
					over = strings.HasPrefix(text, "RST 1") || strings.HasSuffix(text, " end")
				}
				m.wantQuiet()
				// The connection is as good as before.
				client.head(flagEnd, 3, request2("GET")...)
				if up {
					for {
						text, _ := origin.next()
						if strings.HasSuffix(text, " GET end") {
							break
						}
						if text == "closed" || text == "silence" {
							t.Fatal(text)
						}
					}
					origin.head(flagEnd, 3, ":status: 200")
				} else {
					c := m.accept1()
					head1(t, bufio.NewReader(c))
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
				for {
					text, _ := client.next()
					if text == "HEADERS 3 200 end" {
						break
					}
					if text == "closed" || text == "silence" {
						t.Fatal(text)
					}
				}
				m.wantQuiet()
			})
		}
	}
}
