package sys

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func controlMessage(level, kind int, data ...byte) []byte {
	b := appendHeader(nil, len(data), level, kind)
	return appendPadding(append(b, data...))
}

func word(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func TestControlParse(t *testing.T) {
	t.Parallel()
	info4 := controlMessage(unix.IPPROTO_IP, unix.IP_PKTINFO, 1, 0, 0, 0, 127, 0, 0, 1, 224, 0, 0, 1)
	ip6 := [16]byte{0: 0xfe, 1: 0x80, 15: 7}
	info6 := controlMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, append(ip6[:], 3, 0, 0, 0)...)
	gro := controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, word(1200)...)
	lost := controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, word(9)...)
	other := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 16)...)
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	four := [16]byte{127, 0, 0, 1}
	for _, tt := range []struct {
		name string
		in   []byte
		want Control
	}{
		{"nothing", nil, Control{}},
		{"IPv4", info4, Control{IP: four, Has4: true}},
		{"IPv6", info6, Control{IP: ip6, Has6: true}},
		{"joined", gro, Control{Segment: 1200}},
		{"lost", lost, Control{Overrun: 9, HasOverrun: true}},
		{"all", join(other, lost, info4, gro), Control{IP: four, Has4: true, Segment: 1200, Overrun: 9, HasOverrun: true}},
		{"cut header", join(gro, info4[:10]), Control{Segment: 1200}},
		{"cut data", join(gro, info4[:20]), Control{Segment: 1200}},
		{"short data", controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, 1, 2), Control{}},
		{"negative segment", controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, word(1<<31)...), Control{}},
		{"length 0", make([]byte, 40), Control{}},
		{"length without end", join(word(^uint32(0)), word(^uint32(0)), gro), Control{}},
	} {
		var c Control
		c.Parse(tt.in)
		if c != tt.want {
			t.Errorf("%s: Parse = %+v, want %+v", tt.name, c, tt.want)
		}
	}
}

// FuzzControl: whatever the bytes, nothing is read behind them, and what Append writes is read back.
func FuzzControl(f *testing.F) {
	f.Add([]byte{}, []byte{}, uint16(0), false)
	f.Add(controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, word(100)...), []byte{10, 0, 0, 1}, uint16(1200), false)
	f.Add(controlMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 20)...), []byte{1, 2, 3}, uint16(9), true)
	f.Fuzz(func(t *testing.T, in, ip []byte, segment uint16, v6 bool) {
		var c Control
		c.Parse(in[:len(in):len(in)])
		if c.Segment < 0 || c.Has4 && c.Has6 && len(in) < 2*cmsgHeader {
			t.Errorf("Parse(%x) = %+v", in, c)
		}
		out := Control{Segment: int(segment), Has4: !v6, Has6: v6}
		n := copy(out.IP[:], ip)
		if !v6 {
			clear(out.IP[4:])
		}
		b := out.Append(make([]byte, 0, ControlMax))
		if len(b) > ControlMax || len(b)%cmsgAlign != 0 {
			t.Fatalf("Append of %d bytes of address gives %d bytes", n, len(b))
		}
		var back Control
		back.Parse(b)
		if back.IP != out.IP || back.Has4 != out.Has4 || back.Has6 != out.Has6 {
			t.Errorf("read back %+v, want %+v", back, out)
		}
	})
}

// TestDatagrams: a batch goes out, joined, and comes in as it went.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	var sa Sockaddr
	sa.PutInet4([4]byte{127, 0, 0, 1}, 0)
	in, errno := DatagramSocket(unix.AF_INET)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer Close(in)
	out, _ := DatagramSocket(unix.AF_INET)
	defer Close(out)
	if errno := Bind(in, &sa); errno != 0 {
		t.Fatal(errno)
	}
	LocalAddr(in, &sa)
	var iovs [3]Iovec
	for i, s := range []string{"abc", "def", "g"} {
		SetIovec(&iovs[i], []byte(s))
	}
	m := make([]Mmsg, 1)
	m[0].SetName(&sa)
	m[0].SetIov(iovs[:])
	m[0].SetControl((&Control{Segment: 3}).Append(make([]byte, 0, ControlMax)))
	if n, errno := SendMmsg(out, m); n != 1 || errno != 0 {
		t.Fatalf("SendMmsg = %d, %v", n, errno)
	}
	var from [4]Sockaddr
	var room [4]Iovec
	got := make([]Mmsg, 4)
	for i := range got {
		SetIovec(&room[i], make([]byte, 2))
		got[i].SetIov(room[i : i+1])
		got[i].SetNameRoom(&from[i])
		got[i].SetControl(nil)
	}
	n, errno := RecvMmsg(in, got)
	if n != 3 || errno != 0 {
		t.Fatalf("RecvMmsg = %d, %v; want 3 datagrams", n, errno)
	}
	got[0].NameInto(&from[0])
	if ip, port := from[0].Inet4(); ip != [4]byte{127, 0, 0, 1} || port == 0 {
		t.Errorf("from %v:%d", ip, port)
	}
	if !got[0].Truncated() || got[2].Truncated() || string(IovecBytes(&room[1])[:got[1].Len]) != "de" {
		t.Errorf("truncated %v and %v, second %q", got[0].Truncated(), got[2].Truncated(), IovecBytes(&room[1])[:got[1].Len])
	}
	if n, errno := RecvMmsg(in, got); n >= 0 || errno != unix.EAGAIN {
		t.Errorf("RecvMmsg of nothing = %d, %v; want EAGAIN", n, errno)
	}
}
