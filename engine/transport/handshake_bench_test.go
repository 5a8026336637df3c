package transport

import (
	"crypto/tls"
	"os/exec"
	"strings"
	"sync"
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

// benchClients is how many clients connect at once.
const benchClients = 4

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
		{"ecdsa/parked", "-new -tls1_3", "ecdsa", EstablishedOwnParked},
		{"ecdsa/crypto_tls", "-new -tls1_3", "ecdsa", EstablishedCryptoTLS},
		{"ecdsa-tls12/own", "-new -tls1_2", "ecdsa", EstablishedOwn},
		{"rsa/own", "-new -tls1_3", "rsa", EstablishedOwn},
		{"resumed/own", "-reuse -tls1_3", "ecdsa", EstablishedOwn},
		{"resumed/parked", "-reuse -tls1_3", "ecdsa", EstablishedOwnParked},
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
				var clients sync.WaitGroup
				for range benchClients {
					clients.Go(func() {
						if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
							b.Errorf("%v: %s", err, out)
						}
					})
				}
				clients.Wait()
				cpu = cpuTime(b) - cpu
				r.on(func() { count = r.stats.Handshake.Load() - before })
				b.ReportMetric(float64(cpu.Microseconds())/float64(count), "cpu-µs/handshake")
				b.ReportMetric(float64(count), "handshakes")
			}
		})
	}
}

// BenchmarkCompute is what the goroutine of a TLS 1.3 handshake computes, on a stack that has grown and on a new one.
func BenchmarkCompute(b *testing.B) {
	hello := clientHelloOf(b, &tls.Config{ServerName: "localhost", CurvePreferences: []tls.CurveID{tls.X25519}})
	post := clientHelloOf(b, &tls.Config{ServerName: "localhost"})
	r := newRunner(b, serverConfig(), Limits{}, AcceptorOptions{}, nil)
	c := &conn{side: &r.acc.side}
	compute := func(hello []byte) {
		s := &shake{side: c.side, hs: r.hs, loop: r.loop, conn: c, config: r.acc.config, in: hello, hello: hello, wake: make(chan struct{}, 1)}
		if err := s.compute(); err != nil || s.awaits == nil {
			panic(err)
		}
	}
	for name, hello := range map[string][]byte{"X25519": hello, "X25519MLKEM768": post} {
		for _, fresh := range []bool{false, true} {
			b.Run(name+map[bool]string{false: "/warm", true: "/new"}[fresh], func(b *testing.B) {
				b.ReportAllocs()
				done := make(chan struct{})
				cpu := cpuTime(b)
				for b.Loop() {
					if !fresh {
						compute(hello)
						continue
					}
					go func() {
						compute(hello)
						done <- struct{}{}
					}()
					<-done
				}
				b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-µs/handshake")
			})
		}
	}
}
