package pool

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/upstream"
)

// TestChaosTLS is TestChaos with hosts that speak TLS: HTTP/1.1, HTTP/2, something else, or as somebody else.
func TestChaosTLS(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 55))
			w := newWorldWith(t, func(l *engine.LoopConfig) {
				if seed%2 == 1 {
					l.Faults = faults{rng}
				}
			})
			leased := w.loop.Arena().Leased()
			ca, other := newAuthority(t), newAuthority(t)
			protocol := []string{"http1", "auto", "http2", "auto"}[seed]
			ch := &chaos{
				t: t, w: w, rng: rng, limit: 700, body: strings.Repeat("y", 30000),
				paths: []string{"/ok", "/hints", "/echo", "/big", "/none", "/abort", "/last", "/cut", "/chunked", "/lie", "/until", "/half", "/garbage", "/extra", "/never"},
				names: []string{"", "a.test", "b.test", "nobody.else"},
				edit: ca.secured(func(c *upstream.Config) {
					c.Protocol = protocol
					c.HTTP2.MaxConcurrentStreams = uint32(1 + rng.IntN(5))
					c.TLS.AutoSNI, c.TLS.MaxSessionKeys = rng.IntN(2) == 0, rng.IntN(3)
				}),
			}
			speaks := func(protocols ...string) *tls.Config {
				return &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test", "a.test", "b.test")}, NextProtos: protocols}
			}
			for range 2 {
				o := newOrigin(w)
				go misbehave(tls.NewListener(o.ln, speaks("http/1.1")))
				ch.addrs = append(ch.addrs, o.addr, misbehaveH2(t, speaks("h2")))
			}
			stranger := newOrigin(w)
			go misbehave(tls.NewListener(stranger.ln, &tls.Config{Certificates: []tls.Certificate{other.issue("host.test")}}))
			plain := newOrigin(w)
			go misbehave(plain.ln)
			hangsUp := rawOrigin(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 10)); c.Close() })
			ch.addrs = append(ch.addrs, stranger.addr, plain.addr, hangsUp)
			ch.addOwners(12)
			ch.run()
			w.until("the last of what was closed in order", func() bool { return w.loop.Conns() == 0 })
			if n := w.loop.Arena().Leased() - leased; n != 0 {
				t.Errorf("%d bytes of blocks are still leased", n)
			}
		})
	}
}
