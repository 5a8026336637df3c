package main

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDeferAccept: a connection that says nothing is kept back by the kernel, and costs millrace nothing.
func TestDeferAccept(t *testing.T) {
	t.Parallel()
	p := tunnel{hosts: []string{echoServer(t)}, listener: `"tcp_defer_accept": "60s"`}.start(t)
	silent := dialAddr(t, p.addr(""))
	// One that came later is taken, so the other was not waiting for its turn.
	dialAddr(t, p.addr("")).wantEcho("first words")
	p.wantStat("listener.front.downstream_cx_total", 1)
	silent.wantEcho("at last")
	p.wantStat("listener.front.downstream_cx_total", 2)
}

// TestMultipathTCP: a client of Multipath TCP has it, also when millrace speaks TCP upstream; one of TCP is served as well.
func TestMultipathTCP(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		t.Skipf("the kernel has no multipath TCP: %v", err)
	}
	_ = unix.Close(fd)
	p := tunnel{hosts: []string{echoServer(t)}, listener: `"enable_mptcp": true`}.start(t)
	without := tunnel{hosts: []string{echoServer(t)}}.start(t)
	for _, tt := range []struct {
		name         string
		p            *proxy
		client, want bool
	}{{"both", p, true, true}, {"client only", without, true, false}, {"listener only", p, false, false}} {
		d := net.Dialer{Timeout: waitMax}
		d.SetMultipathTCP(tt.client)
		c, err := d.DialContext(t.Context(), "tcp", tt.p.addr(""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		text := strings.Repeat("over several paths ", 50000) // more than any buffer
		go func() { _, _ = c.Write([]byte(text)) }()
		if err := c.SetReadDeadline(time.Now().Add(waitMax)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
			t.Errorf("%s: %d bytes came back, %v", tt.name, len(got), err)
		}
		if got, err := c.(*net.TCPConn).MultipathTCP(); err != nil || got != tt.want {
			t.Errorf("%s: multipath is %t, %v; want %t", tt.name, got, err, tt.want)
		}
	}
}

// tcpiOptSynData is the flag in tcp_info of a connection whose first data went with its first packet and was taken.
const tcpiOptSynData = 32

// TestFastOpen: the data of a client's first packet is answered. In namespaces, where servers of TCP Fast Open may be
// allowed without changing the machine.
func TestFastOpen(t *testing.T) {
	t.Parallel()
	n := newSpaces(t)
	n.in(n.router, func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("3"), 0); err != nil {
			t.Skipf("the kernel has no TCP Fast Open: %v", err)
		}
	})
	var p *proxy
	n.in(n.router, func() {
		config := tunnel{address: "10.99.0.1:15010", hosts: []string{"10.98.0.2:9000"}, listener: `"tcp_fast_open_queue_length": 16`}.config()
		p = startProxy(t, config)
	})
	n.in(n.server, func() { serveEcho(t, "10.98.0.2:9000") })
	n.in(n.client, func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("1"), 0); err != nil {
			t.Skipf("the kernel has no TCP Fast Open: %v", err)
		}
		// The first connection gets the cookie that the second one shows.
		if fastOpen(t, "10.99.0.1", 15010, "hello") {
			t.Error("data went with the first packet although there was no cookie yet")
		}
		if !fastOpen(t, "10.99.0.1", 15010, "again") {
			t.Error("the data of the first packet was not taken")
		}
	})
	if got := n.stat(p, "listener.front.downstream_cx_total"); got != "listener.front.downstream_cx_total: 2" {
		t.Error(got)
	}
}

// serveEcho answers every byte with itself.
func serveEcho(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 64)
				for {
					k, err := c.Read(b)
					if err != nil {
						return
					}
					_, _ = c.Write(b[:k])
				}
			}()
		}
	}()
}

// fastOpen sends text with the first packet of a connection, expects it back, and reports whether it was taken from there.
func fastOpen(t *testing.T, ip string, port int, text string) bool {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	wait := unix.NsecToTimeval(waitMax.Nanoseconds())
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(fd, []byte(text), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: port, Addr: [4]byte(net.ParseIP(ip).To4())}); err != nil {
		t.Fatalf("sendto: %v", err)
	}
	got := make([]byte, len(text))
	for n := 0; n < len(got); {
		k, err := unix.Read(fd, got[n:])
		if k <= 0 {
			t.Fatalf("read: %d, %v after %q", k, err, got[:n])
		}
		n += k
	}
	if string(got) != text {
		t.Errorf("sent %q, got %q", text, got)
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return info.Options&tcpiOptSynData != 0
}
