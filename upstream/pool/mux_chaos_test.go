package pool

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/upstream"
)

// connKey is where misbehaveH2 keeps the connection of a request.
type connKey struct{}

// misbehaveH2 serves a listener with all that the standard library's server can do to a client, with TLS unless secure is nil.
func misbehaveH2(t *testing.T, secure *tls.Config) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), 300000)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(rw http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(rw, "ok") })
	mux.HandleFunc("/hints", func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(rw, "ok")
	})
	mux.HandleFunc("/echo", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "X-T")
		_, _ = io.Copy(rw, r.Body)
		rw.Header().Set("X-T", "v")
	})
	mux.HandleFunc("/big", func(rw http.ResponseWriter, r *http.Request) { _, _ = rw.Write(big) })
	mux.HandleFunc("/none", func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(204) })
	mux.HandleFunc("/abort", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = rw.Write(big[:1000])
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/last", func(rw http.ResponseWriter, r *http.Request) { rw.Header().Set("Connection", "close") })
	mux.HandleFunc("/cut", func(rw http.ResponseWriter, r *http.Request) {
		_ = r.Context().Value(connKey{}).(net.Conn).Close()
	})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: mux, Protocols: &protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 3}, ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }}
	if secure != nil {
		ln, protocols = tls.NewListener(ln, secure), http.Protocols{}
		protocols.SetHTTP2(true)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

// TestPanicOnAStream: a panic of one owner ends the connection, of which nobody knows any more what it has read, and leaks
// nothing.
func TestPanicOnAStream(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"head", "data", "end"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			panics := 0
			w := newWorldWith(t, func(l *engine.LoopConfig) { l.OnPanic = func(any, []byte) { panics++ } })
			c, o, p := w.startH2(nil, nil)
			a, b := newOwner(), newOwner()
			fall := func() { panic("test") }
			switch where {
			case "head":
				a.onHead = fall
			case "data":
				a.onData = func([]byte) { panic("test") }
			case "end":
				a.onEnd = fall
			}
			w.lease(c, a)
			w.lease(c, b)
			p.want("3 GET / end", "5 GET / end")
			p.answer(3)
			p.want("eof")
			if panics != 1 {
				t.Errorf("%d panics, want 1", panics)
			}
			w.wantLog(b, "reset connection_termination")
			w.wantIdle(c, 0)
			d := newOwner()
			w.lease(c, d)
			q := o.acceptH2(nil)
			q.want("1 GET / end")
			q.answer(1)
			w.wantLog(d, "ready", "head 200", "end")
		})
	}
}

// TestChaosHTTP2 is TestChaos with hosts that speak HTTP/2.
func TestChaosHTTP2(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 77))
			w := newWorldWith(t, func(l *engine.LoopConfig) {
				if seed%2 == 1 {
					l.Faults = faults{rng}
				}
			})
			leased := w.loop.Arena().Leased()
			ch := &chaos{
				t: t, w: w, rng: rng, limit: 1500, body: strings.Repeat("y", 100000),
				paths: []string{"/ok", "/hints", "/echo", "/big", "/none", "/abort", "/last", "/cut", "/ok", "/echo"},
				edit: http2(func(c *upstream.Config) {
					c.HTTP2.MaxConcurrentStreams = uint32(1 + rng.IntN(5))
					c.MaxConnectionDuration, c.MaxConnectionDurationJitter = 3e11, 20
				}),
			}
			for range 3 {
				ch.addrs = append(ch.addrs, misbehaveH2(t, nil))
			}
			old := newOrigin(ch.w) // speaks HTTP/1.1
			go misbehave(old.ln)
			dead := newOrigin(ch.w)
			dead.ln.Close()
			ch.addrs = append(ch.addrs, dead.addr, old.addr)
			ch.addOwners(12)
			ch.run()
			if n := w.loop.Arena().Leased() - leased; n != 0 {
				t.Errorf("%d bytes of blocks are still leased", n)
			}
		})
	}
}
