package transport

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"testing"
)

// eachMode runs f with both versions on both kinds of established connections.
func eachMode(t *testing.T, f func(t *testing.T, version uint16, mode Established)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for mode, name := range []string{"own", "crypto_tls", "own_parked"} {
			t.Run(fmt.Sprintf("%s/%s", VersionName(version), name), func(t *testing.T) {
				t.Parallel()
				f(t, version, Established(mode))
			})
		}
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, nil)
		cfg := dialConfig(version)
		cfg.NextProtos = []string{"http/1.1"}
		c := r.dial(cfg)
		in := make([]byte, 3<<20)
		rand.Read(in)
		go func() {
			for rest, n := in, 1; len(rest) > 0; n = n*2 + 1 {
				k := min(n, len(rest))
				c.Write(rest[:k])
				rest = rest[k:]
			}
			c.CloseWrite()
		}()
		out, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(in, out) {
			t.Fatalf("echo of %d bytes gave %d, %v", len(in), len(out), err)
		}
		e := wait(t, r.ends)
		wait(t, e.made)
		s := e.session
		if s.Version != version || s.ALPN != "http/1.1" || s.ServerName != "localhost" || s.Own != (mode != EstablishedCryptoTLS) || s.Local == nil || s.Resumed {
			t.Errorf("session %+v", s)
		}
		r.on(func() {
			if r.stats.Handshake.Load() != 1 || r.stats.ConnectionError.Load() != 0 || r.stats.Truncated.Load() != 0 {
				t.Errorf("stats %+v", &r.stats)
			}
		})
	})
}
