package l4

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkTCPProxy is a request of 128 bytes and a response of some size, over loopback TCP. The peers' system calls are in it.
func BenchmarkTCPProxy(b *testing.B) {
	for _, size := range []int{128, 16 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("response=%d", size), func(b *testing.B) {
			w := newTCPWorld(b, nil, nil)
			client, server := w.pair()
			request, response, buf := make([]byte, 128), make([]byte, size), make([]byte, 1<<20)
			turn := func() {
				if err := w.loop.Turn(0); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				client.TryWrite(request)
				for server.ReadSome(buf) <= 0 {
					turn()
				}
				for sent, got := 0, 0; got < size; {
					sent += server.TryWrite(response[sent:])
					turn()
					got += max(client.ReadSome(buf), 0)
				}
			}
		})
	}
}

// BenchmarkTCPProxyConnection is a whole connection: connect, a byte each way, close.
func BenchmarkTCPProxyConnection(b *testing.B) {
	w := newTCPWorld(b, nil, nil)
	buf, one := make([]byte, 64), []byte("x")
	turn := func() {
		if err := w.loop.Turn(0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		_ = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: w.addr.Port()})
		_, _ = unix.Write(fd, one)
		host := -1
		for host < 0 {
			turn()
			host, _, _ = unix.Accept4(w.host.fd, unix.SOCK_NONBLOCK)
		}
		for n := 0; n <= 0; n, _ = unix.Read(host, buf) {
			turn()
		}
		_, _ = unix.Write(host, one)
		for n := 0; n <= 0; n, _ = unix.Read(fd, buf) {
			turn()
		}
		_ = unix.Close(fd)
		for n := -1; n != 0; n, _ = unix.Read(host, buf) {
			turn()
		}
		_ = unix.Close(host)
		for w.proxy.Conns() > 0 {
			turn()
		}
	}
}
