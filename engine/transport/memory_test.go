package transport

import (
	"crypto/tls"
	"io"
	"runtime"
	"testing"
)

// memory returns the bytes of the heap, of stacks and of leased blocks that are in use.
func memory(r *runner) (sum int64) {
	r.t.Helper()
	r.on(func() {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		sum = int64(m.HeapAlloc) + int64(m.StackInuse) + r.loop.Arena().Leased()
	})
	return sum
}

// TestIdleMemory holds what an idle connection costs: the conn itself and what TLS adds.
func TestIdleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes sizes")
	}
	const conns = 200
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for mode, most := range []int64{4 << 10, 0, 4 << 10} {
			r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: Established(mode)}, nil)
			// The clients' memory must not count: they are dropped, their sockets kept.
			big := make([]byte, 20_000)
			before := memory(r)
			var raw []io.Closer
			for range conns {
				c := r.dialPlain()
				tc := tls.Client(c, dialConfig(version))
				if _, err := tc.Write(big); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(tc, big); err != nil {
					t.Fatal(err)
				}
				raw = append(raw, c)
				e := <-r.ends
				e.session = nil
			}
			r.idle()
			each := (memory(r) - before) / conns
			t.Logf("%s, mode %d: %d bytes for each idle connection, the test's socket included", VersionName(version), mode, each)
			if most > 0 && each > most {
				t.Errorf("%s, mode %d: %d bytes for each idle connection", VersionName(version), mode, each)
			}
			runtime.KeepAlive(raw)
		}
	}
}
