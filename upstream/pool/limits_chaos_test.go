package pool

import (
	"crypto/tls"
	"math/rand/v2"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/upstream"
)

// TestChaosOfLimits is TestChaos on two loops that have one cluster: limits of the cluster and of hosts, connections ahead of
// requests and those that change loops, in plain text and with TLS, while hosts come and go.
func TestChaosOfLimits(t *testing.T) {
	t.Parallel()
	for seed, protocol := range []string{"http1", "http1 tls", "http2", "http2 tls", "auto tls"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(seed), 33))
			w := newWorld(t)
			w2 := newWorldWith(t, func(l *engine.LoopConfig) { l.Clock = func() int64 { return *w.now } })
			w2.now = w.now
			protocol, secure := strings.CutSuffix(protocol, " tls")
			paths := []string{"/ok", "/ok", "/hints", "/big", "/none", "/last", "/cut", "/chunked", "/lie", "/until", "/half", "/never"}
			edit := func(c *upstream.Config) {
				c.Protocol = protocol
				c.HTTP2.MaxConcurrentStreams = uint32(1 + rng.IntN(5))
			}
			var speaks *tls.Config
			if secure {
				ca := newAuthority(t)
				edit = ca.secured(edit)
				speaks = &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}
			}
			ch := &chaos{t: t, w: w, rng: rng, limit: 800, body: "abc", paths: paths, edit: edit}
			ch.twin = &chaos{t: t, w: w2, rng: rng, limit: 800, body: "abc", paths: paths}
			for at := range 3 {
				switch {
				case protocol == "http2" || protocol == "auto" && at == 0:
					hosts := speaks.Clone() // nil too
					if secure {
						hosts.NextProtos = []string{"h2"}
					}
					ch.addrs = append(ch.addrs, misbehaveH2(t, hosts))
				default:
					o := newOrigin(w)
					ch.addrs = append(ch.addrs, o.addr)
					if secure {
						o.ln = tls.NewListener(o.ln, speaks)
					}
					go misbehave(o.ln)
				}
			}
			for _, at := range ch.all() {
				at.w.table.SetSiblings()
				at.addOwners(8)
			}
			ch.run()
			for _, at := range ch.all() {
				at.w.until("the last of what was closed in order", func() bool { return at.w.loop.Conns() == 0 })
			}
		})
	}
}
