package sys

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSockaddrRoundTrip(t *testing.T) {
	t.Parallel()
	var s Sockaddr
	if s.Family() != 0 {
		t.Errorf("Family of the zero value = %d", s.Family())
	}
	s.PutInet4([4]byte{1, 2, 3, 4}, 0x1234)
	if ip, port := s.Inet4(); s.Family() != unix.AF_INET || ip != [4]byte{1, 2, 3, 4} || port != 0x1234 {
		t.Errorf("Inet4 = %v, %#x", ip, port)
	}
	want := [16]byte{0: 0xfe, 1: 0x80, 15: 1}
	s.PutInet6(want, 80, 7)
	if ip, port, zone := s.Inet6(); s.Family() != unix.AF_INET6 || ip != want || port != 80 || zone != 7 {
		t.Errorf("Inet6 = %v, %d, %d", ip, port, zone)
	}
	for path, fits := range map[string]bool{
		"/run/x": true, "@abstract": true, "": false,
		strings.Repeat("x", UnixPathMax): true, strings.Repeat("x", UnixPathMax+1): false,
	} {
		if got := s.PutUnix(path); got != fits {
			t.Errorf("PutUnix(%q) = %v, want %v", path, got, fits)
		} else if fits && s.Unix() != path {
			t.Errorf("PutUnix(%q), Unix() = %q", path, s.Unix())
		}
	}
}

func TestVectorWrite(t *testing.T) {
	t.Parallel()
	a, b, errno := SocketPair()
	if errno != 0 {
		t.Fatal(errno)
	}
	defer Close(a)
	defer Close(b)
	var v [3]Iovec
	for i, s := range []string{"one ", "two ", "three"} {
		SetIovec(&v[i], []byte(s))
		if string(IovecBytes(&v[i])) != s {
			t.Errorf("IovecBytes = %q", IovecBytes(&v[i]))
		}
	}
	if n, errno := Writev(a, v[:]); n != 13 || errno != 0 {
		t.Errorf("Writev = %d, %v", n, errno)
	}
	if n := Unread(b); n != 13 {
		t.Errorf("Unread = %d, want 13", n)
	}
	buf := make([]byte, 20)
	if n, _ := Read(b, buf); string(buf[:n]) != "one two three" {
		t.Errorf("Read = %q", buf[:n])
	}
	if n, errno := Read(b, buf); n != -1 || errno != unix.EAGAIN {
		t.Errorf("Read of nothing = %d, %v; want EAGAIN", n, errno)
	}
}

func TestSplicePipe(t *testing.T) {
	t.Parallel()
	r, w, size, errno := Pipe(64 << 10)
	if errno != 0 || size < 4096 {
		t.Fatalf("Pipe = %d bytes, %v", size, errno)
	}
	defer Close(r)
	defer Close(w)
	a, b, _ := SocketPair()
	defer Close(a)
	defer Close(b)
	if n, errno := Splice(b, w, size); n != -1 || errno != unix.EAGAIN {
		t.Errorf("Splice of nothing = %d, %v; want EAGAIN", n, errno)
	}
	Write(a, []byte("abc"))
	if n, errno := Splice(b, w, size); n != 3 || errno != 0 {
		t.Errorf("Splice = %d, %v; want 3", n, errno)
	}
}

func TestEpollErrors(t *testing.T) {
	t.Parallel()
	if _, errno := EpollWait(-1, make([]Event, 1), 0); errno != unix.EBADF {
		t.Errorf("EpollWait(-1) = %v, want EBADF", errno)
	}
	if _, _, _, errno := Pipe(0); errno != 0 {
		t.Errorf("Pipe(0) = %v, want the smallest pipe", errno)
	}
	if _, err := InterfaceIndex("nosuch0"); err == nil {
		t.Error("InterfaceIndex of nothing succeeded")
	}
	if i, err := InterfaceIndex("lo"); err != nil || i == 0 {
		t.Errorf("InterfaceIndex(lo) = %d, %v", i, err)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	a := Monotonic()
	b := Monotonic()
	if a <= 0 || b < a {
		t.Errorf("Monotonic = %d, then %d", a, b)
	}
	if d := time.Since(time.Unix(0, Wall())); d < 0 || d > time.Minute {
		t.Errorf("Wall is %v behind", d)
	}
}

func TestAllocs(t *testing.T) {
	a, b, _ := SocketPair()
	defer Close(a)
	defer Close(b)
	epfd, _ := EpollCreate()
	defer Close(epfd)
	EpollAdd(epfd, b, In|Edge, 1, 2)
	events, buf, msg := make([]Event, 8), make([]byte, 64), []byte("x")
	var sa Sockaddr
	if n := testing.AllocsPerRun(100, func() {
		Write(a, msg)
		EpollWait(epfd, events, 0)
		Read(b, buf)
		LocalAddr(a, &sa)
		SetInt(a, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<16)
		GetInt(a, unix.SOL_SOCKET, unix.SO_ERROR)
		Monotonic()
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	if slot, gen := uint32(events[0].Fd), uint32(events[0].Pad); slot != 1 || gen != 2 {
		t.Errorf("event carries %d, %d; want 1, 2", slot, gen)
	}
}
