package router_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"millrace/codec/h2"
	"millrace/codec/hpack"
)

// TestUpgradeOfRequests: "Upgrade: h2c" answers the first request on stream 1, and whatever the client does instead of speaking
// HTTP/2 then leaves nothing behind.
func TestUpgradeOfRequests(t *testing.T) {
	t.Parallel()
	const ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
	for _, up := range []bool{false, true} {
		for _, then := range []string{"preface", "garbage", "end", "reset", "another request"} {
			t.Run(fmt.Sprintf("%s, h%d", then, 1+btoi(up)), func(t *testing.T) {
				t.Parallel()
				m := newMix(t, up, nil)
				c, r := m.client1(ask)
				if head := head1(t, r); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
					t.Fatal(head)
				}
				w := &wire2{t: t, c: c, r: r, d: hpack.NewDecoder(4096)}
				e := &ends{mix: m, up: up, client: w}
				switch then {
				case "preface":
					_, _ = io.WriteString(c, h2.Preface)
					w.frame(4, 0, 0, "")
					e.serveOne()
					w.until("HEADERS 1 200")
					if !up { // there is one host for one request only
						w.head(flagEnd, 3, request2("GET")...)
						e.serveOne()
						w.until("HEADERS 3 200")
					}
				case "garbage":
					_, _ = io.WriteString(c, "HELLO\r\n\r\n")
					w.until("GOAWAY 1 PROTOCOL_ERROR")
				case "another request":
					_, _ = io.WriteString(c, ask)
					w.until("GOAWAY 1 PROTOCOL_ERROR")
				case "reset":
					_ = c.(*net.TCPConn).SetLinger(0)
					_ = c.Close()
				default:
					_ = c.Close()
				}
				m.wantQuiet()
			})
		}
	}
}
