package router_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// TestTimeouts: the answer to each of them reaches the client, and the host is told to stop.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	const soon = 150 * time.Millisecond
	type configs = func(*httpconn.Config, *route.ForwardConfig, *upstream.Config)
	for _, up := range []bool{false, true} {
		for _, tt := range []struct {
			name   string
			edit   configs
			whole  bool // the request
			status int
		}{
			{"timeout", func(_ *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) { f.Timeout = soon }, true, 504},
			{"per try", func(_ *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) {
				f.RetryPolicy = &route.RetryPolicyConfig{PerTryTimeout: soon}
			}, true, 504},
			{"request", func(c *httpconn.Config, _ *route.ForwardConfig, _ *upstream.Config) { c.RequestTimeout = soon }, false, 408},
			{"idle, request incomplete", func(c *httpconn.Config, _ *route.ForwardConfig, _ *upstream.Config) { c.StreamIdleTimeout = soon }, false, 408},
			{"idle", func(c *httpconn.Config, _ *route.ForwardConfig, _ *upstream.Config) { c.StreamIdleTimeout = soon }, true, 504},
			{"duration", func(c *httpconn.Config, _ *route.ForwardConfig, _ *upstream.Config) { c.MaxStreamDuration = soon }, true, 504},
			{"duration of the route", func(c *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) {
				limit := soon
				c.MaxStreamDuration, f.MaxStreamDuration = time.Hour, &route.StreamDurationConfig{MaxStreamDuration: &limit}
			}, true, 504},
			{"duration of the route, longer", func(c *httpconn.Config, f *route.ForwardConfig, _ *upstream.Config) {
				none := time.Duration(0)
				c.MaxStreamDuration, f.Timeout = time.Millisecond, soon
				f.MaxStreamDuration = &route.StreamDurationConfig{MaxStreamDuration: &none}
			}, true, 504},
		} {
			t.Run(fmt.Sprintf("%s, h%d", tt.name, 1+btoi(up)), func(t *testing.T) {
				t.Parallel()
				e := newEnds(t, up, tt.edit)
				if tt.whole {
					e.ask(flagEnd, request2("GET"))
				} else {
					e.ask(0, request2("POST"))
				}
				e.client.until(fmt.Sprint("HEADERS 1 ", tt.status))
				if up {
					e.host.until("RST 1 CANCEL")
				} else if b, err := io.ReadAll(e.r); err != nil || len(b) > 0 && b[0] == 'G' {
					t.Errorf("%q %v", b, err)
				}
				e.wantQuiet()
			})
		}
	}
}

// TestWindowStorm: a client that changes its windows all the time, by settings and updates, is never sent more than they
// allow, and gets everything in the end.
func TestWindowStorm(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("h%d, %d", 1+btoi(up), seed), func(t *testing.T) {
				t.Parallel()
				m := newMix(t, up, nil)
				origin := &http.Server{Protocols: protocols(up), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n, _ := strconv.Atoi(r.Header.Get("X-Size"))
					_, _ = io.Copy(w, &noise{seed: uint64(n), left: n})
				})}
				go func() { _ = origin.Serve(m.origins) }()
				t.Cleanup(func() { _ = origin.Close() })
				windowStorm(t, m, rand.New(rand.NewPCG(seed, 1)))
				m.wantQuiet()
			})
		}
	}
}

// windowStorm asks for bodies on several streams and plays with their windows. What a change of the initial window means for data
// is said by the acknowledgement, which stands before the first data that obeys it.
func windowStorm(t *testing.T, m *mix, rng *rand.Rand) {
	const count = 12
	type state struct {
		window, left int
		body         *noise
		done         bool
	}
	initial := 65535
	var pending []int // initial windows that are not acknowledged
	conn := 65535
	w := m.client2()
	streams := map[uint32]*state{}
	for i := range count {
		id, size := uint32(1+2*i), 1+rng.IntN(150000)
		streams[id] = &state{window: initial, left: size, body: &noise{seed: uint64(size), left: size}}
		w.head(flagEnd, id, request2("GET", "x-size: "+strconv.Itoa(size), fmt.Sprintf("priority: u=%d, i", rng.IntN(8)))...)
	}
	done := 0
	acks := -1 // that of the first SETTINGS is none of these
	w.onAck = func() {
		if acks++; acks == 0 {
			return
		}
		for _, s := range streams {
			s.window += pending[0] - initial
		}
		initial, pending = pending[0], pending[1:]
	}
	play := func() {
		switch rng.IntN(4) {
		case 0:
			n := []int{0, 1, 100, 16384, 65535, 200000}[rng.IntN(6)]
			pending = append(pending, n)
			w.frame(4, 0, 0, "\x00\x04"+u32(uint32(n)))
		case 1:
			n := 1 + rng.IntN(30000)
			conn += n
			w.frame(frameWindow, 0, 0, u32(uint32(n)))
		default:
			id := uint32(1 + 2*rng.IntN(count))
			n := 1 + rng.IntN(20000)
			streams[id].window += n
			w.frame(frameWindow, 0, id, u32(uint32(n)))
		}
	}
	for done < count {
		for range 1 + rng.IntN(3) {
			play()
		}
		w.frame(6, 0, 0, "12345678") // so that something comes
		for {
			text, b := w.nextOrPong()
			if text == "PONG" {
				break
			}
			var id uint32
			var n int
			if text == "closed" || text == "silence" || strings.HasPrefix(text, "RST") || strings.HasPrefix(text, "GOAWAY") {
				t.Fatal(text)
			}
			if k, _ := fmt.Sscanf(text, "DATA %d %d", &id, &n); k != 2 {
				continue
			}
			s := streams[id]
			s.window -= n
			conn -= n
			if n > 0 && (s.window < 0 || conn < 0) {
				t.Fatalf("%s exceeds the window: %d of the stream, %d of the connection", text, s.window, conn)
			}
			want := make([]byte, n)
			if k, _ := io.ReadFull(s.body, want); k != n || string(want) != b {
				t.Fatalf("stream %d: foreign bytes", id)
			}
			if s.left -= n; strings.HasSuffix(text, " end") {
				if s.left != 0 || s.done {
					t.Fatalf("stream %d ended with %d bytes left", id, s.left)
				}
				s.done = true
				done++
			}
		}
	}
}
