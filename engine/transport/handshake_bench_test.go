package transport

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
)

// cpuTime returns the processor time of this process.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// once answers a request and closes.
type once struct{ echo }

func (h *once) OnData(b []byte) int {
	h.c.Write([]byte("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	h.c.CloseLinger(time.Second)
	return len(b)
}

// BenchmarkHandshake has openssl s_time connect for two seconds, and reports the processor time of the server: accepting, the
// handshake, a request, closing. Each iteration is one such run.
func BenchmarkHandshake(b *testing.B) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		b.Skip("openssl is not installed")
	}
	for _, bb := range []struct {
		name, args, key string
		mode            Established
	}{
		{"ecdsa/own", "-new -tls1_3", "ecdsa", EstablishedOwn},
		{"ecdsa/crypto_tls", "-new -tls1_3", "ecdsa", EstablishedCryptoTLS},
		{"ecdsa-tls12/own", "-new -tls1_2", "ecdsa", EstablishedOwn},
		{"rsa/own", "-new -tls1_3", "rsa", EstablishedOwn},
		{"resumed/own", "-reuse -tls1_3", "ecdsa", EstablishedOwn},
		{"resumed-tls12/own", "-reuse -tls1_2", "ecdsa", EstablishedOwn},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := newRunner(b, serverConfig(func(c *certs.DownstreamConfig) {
				c.Certificates[0] = certs.CertificateConfig{CertFile: theCA().file(bb.key + ".pem"), KeyFile: theCA().file(bb.key + ".key")}
			}), Limits{}, AcceptorOptions{Established: bb.mode}, func(c *engine.Conn, e *testEnd) engine.Handler {
				return &once{echo{c: c, end: e}}
			})
			for b.Loop() {
				var count, before uint64
				r.on(func() { before = r.stats.Handshake.Load() })
				cpu := cpuTime(b)
				args := append([]string{"s_time", "-connect", r.addr, "-time", "2", "-www", "/"}, strings.Fields(bb.args)...)
				if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				cpu = cpuTime(b) - cpu
				r.on(func() { count = r.stats.Handshake.Load() - before })
				b.ReportMetric(float64(cpu.Microseconds())/float64(count), "cpu-µs/handshake")
				b.ReportMetric(float64(count), "handshakes")
			}
		})
	}
}
