package transport

import (
	"crypto/tls"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkKernel sends a body from a socket to a client of TLS: by the own record layer, and by the kernel. The time of the processor has
// that of the system in it, and what it costs to write the body and to read it at the other end.
func BenchmarkKernel(b *testing.B) {
	needKernel(b)
	for _, s := range kernelSuites[:3] {
		for _, own := range []bool{true, false} {
			name := "kernel"
			if own {
				name = "own"
			}
			b.Run(tls.CipherSuiteName(s.suite)+"/"+name, func(b *testing.B) {
				p := newKernelPair(b, s.version, s.suite, pairOptions{})
				body := make([]byte, 1<<20)
				src, from := p.loop.Pair(p.rec)
				sink := make([]byte, 256<<10)
				send := func() {
					done := false
					if own {
						n := 0
						p.rec.DataFunc = func(x []byte) int {
							p.conn.WriteRef(x)
							p.rec.Data = p.rec.Data[:0]
							n += len(x)
							done = n == len(body)
							return len(x)
						}
					} else {
						p.rec.SpliceFunc = func(_ int64, end, _ bool) { done = end }
						if !src.Splice(p.conn, int64(len(body))) {
							b.Fatal("Splice = false")
						}
					}
					for rest := body; !done || p.conn.Buffered() > 0; {
						rest = rest[from.TryWrite(rest):]
						p.turn()
						_, _ = unix.Read(p.fd, sink)
					}
				}
				send()
				b.SetBytes(int64(len(body)))
				cpu := cpuTime(b)
				for b.Loop() {
					send()
				}
				b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/MiB")
			})
		}
	}
}
