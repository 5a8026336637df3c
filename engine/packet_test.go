package engine

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// packetLog is a handler that writes down what it hears.
type packetLog struct {
	datagrams []string
	flows     []Flow
	errors    []PacketError
	closed    int
	on        func(s *PacketSocket, d *Datagram)
}

func (h *packetLog) OnDatagram(s *PacketSocket, d *Datagram) {
	h.datagrams = append(h.datagrams, string(d.Data))
	h.flows = append(h.flows, d.Flow)
	if h.on != nil {
		h.on(s, d)
	}
}

func (h *packetLog) OnPacketError(_ *PacketSocket, e PacketError) { h.errors = append(h.errors, e) }

func (h *packetLog) OnPacketClose(*PacketSocket) { h.closed++ }

// count returns how often the trouble happened.
func (h *packetLog) count(t PacketTrouble) (n uint64) {
	for _, e := range h.errors {
		if e.Trouble == t {
			n += e.Count
		}
	}
	return n
}

func mustAddr(t testing.TB, s string) Addr {
	t.Helper()
	a, err := ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listenPacket puts a socket bound to addr on l.
func listenPacket(t testing.TB, l *Loop, addr string, o PacketOptions, h PacketHandler) *PacketSocket {
	t.Helper()
	fd, err := ListenPacket(mustAddr(t, addr), o)
	if err != nil {
		if strings.HasPrefix(addr, "[") {
			t.Skipf("no IPv6 here: %v", err)
		}
		t.Fatal(err)
	}
	s, err := l.AddPacketSocket(fd, h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// untilPacket turns l until cond holds.
func untilPacket(t testing.TB, l *Loop, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%s: still not after 10 s", what)
		}
		if err := l.Turn(5 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// udpClient is a peer outside of the loop, connected to addr.
func udpClient(t testing.TB, addr Addr) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.NetIP(), uint16(addr.Port()))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func readPacket(t testing.TB, c *net.UDPConn) string {
	t.Helper()
	buf := make([]byte, MaxDatagramLimit)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// echoPackets replies what arrives.
func echoPackets() *packetLog {
	return &packetLog{on: func(s *PacketSocket, d *Datagram) { s.Reply(&d.Flow, d.Data) }}
}

// TestPacketReplySource: a reply leaves from the address that the client used, also on a socket bound to all of
// them: a connected client hears nothing otherwise.
func TestPacketReplySource(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		listen, client string
		compat         bool
	}{
		{"127.0.0.1:0", "127.0.0.1", false},
		{"0.0.0.0:0", "127.0.0.1", false},
		{"0.0.0.0:0", "127.3.2.1", false}, // not the address the kernel would choose
		{"[::1]:0", "::1", false},
		{"[::]:0", "::1", false},
		{"[::]:0", "127.9.9.9", true},
		{":0", "127.5.6.7", false},
		{":0", "::1", false},
	} {
		t.Run(tt.listen+" "+tt.client, func(t *testing.T) {
			t.Parallel()
			l := stepLoop(t, nil)
			h := echoPackets()
			s := listenPacket(t, l, tt.listen, PacketOptions{IPv4Compat: tt.compat}, h)
			to := AddrFrom(netip.MustParseAddr(tt.client), uint16(s.LocalAddr().Port()), 0)
			c := udpClient(t, to)
			for _, msg := range []string{"hello", "", strings.Repeat("x", MaxDatagramDefault)} {
				c.Write([]byte(msg))
				heard := len(h.datagrams)
				untilPacket(t, l, "datagram", func() bool { return len(h.datagrams) > heard && len(l.packets.dirty) == 0 })
				if got := readPacket(t, c); got != msg {
					t.Fatalf("reply %q, want %q", got, msg)
				}
			}
			f := h.flows[0]
			if got := f.Local(); got != to {
				t.Errorf("Local = %v, want %v", got, to)
			}
			want := c.LocalAddr().(*net.UDPAddr).AddrPort()
			if got := f.Remote(); got != AddrFrom(want.Addr(), want.Port(), 0) {
				t.Errorf("Remote = %v, want %v", got, want)
			}
			if f != FlowFrom(f.Remote(), f.Local()) {
				t.Error("FlowFrom of the two addresses is another flow")
			}
		})
	}
}

func TestPacketTruncated(t *testing.T) {
	t.Parallel()
	for _, gro := range []bool{false, true} {
		t.Run(fmt.Sprintf("gro=%v", gro), func(t *testing.T) {
			t.Parallel()
			l := stepLoop(t, nil)
			h := &packetLog{}
			s := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
			s.SetMaxDatagram(100)
			if s.SetGRO(gro) != gro {
				t.Skip("the kernel has no UDP_GRO")
			}
			c := udpClient(t, s.LocalAddr())
			for _, n := range []int{100, 101, 5000, 99} {
				c.Write(make([]byte, n))
			}
			untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) == 2 && h.count(PacketTruncated) == 2 })
			if len(h.datagrams[0]) != 100 || len(h.datagrams[1]) != 99 {
				t.Errorf("datagrams of %d and %d bytes, want 100 and 99", len(h.datagrams[0]), len(h.datagrams[1]))
			}
		})
	}
}

// TestPacketSegments: what arrives does not depend on whether the sender or the receiver joins datagrams.
func TestPacketSegments(t *testing.T) {
	t.Parallel()
	sizes := []int{1200, 1200, 1200, 700, 1200, 1200, 1, 1200, 0, 0, 5, 5, 5, 1400}
	for range 100 {
		sizes = append(sizes, 333)
	}
	var want []string
	for i, n := range sizes {
		want = append(want, strings.Repeat(string(rune('a'+i%26)), n))
	}
	for _, gso := range []bool{false, true} {
		for _, gro := range []bool{false, true} {
			for _, connected := range []bool{false, true} {
				t.Run(fmt.Sprintf("gso=%v gro=%v connected=%v", gso, gro, connected), func(t *testing.T) {
					t.Parallel()
					l := stepLoop(t, nil)
					h := &packetLog{}
					in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{ReceiveBuffer: 1 << 20}, h)
					if in.SetGRO(gro) != gro {
						t.Skip("the kernel has no UDP_GRO")
					}
					out := packetSender(t, l, in.LocalAddr(), connected)
					out.socket.SetGSO(gso)
					for _, msg := range want {
						out.send([]byte(msg))
					}
					untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) >= len(want) })
					if !slices.Equal(h.datagrams, want) {
						t.Errorf("datagrams differ from those sent")
					}
					if gso && !out.socket.gso {
						t.Errorf("joining was given up on the loopback")
					}
				})
			}
		}
	}
}

// sender sends from one loop to an address, by a connected socket or another.
type sender struct {
	log    packetLog
	socket *PacketSocket
	flow   Flow
}

func packetSender(t testing.TB, l *Loop, to Addr, connected bool) *sender {
	t.Helper()
	s := &sender{}
	if connected {
		var err error
		if s.socket, err = l.DialPacket(&to, &PacketDialOptions{SendBuffer: 1 << 20}, &s.log); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s.socket = listenPacket(t, l, "0.0.0.0:0", PacketOptions{SendBuffer: 1 << 20}, &s.log)
	s.flow = FlowFrom(to, Addr{})
	return s
}

func (s *sender) send(b []byte) {
	if s.socket.connected {
		s.socket.Send(b)
	} else {
		s.socket.Reply(&s.flow, b)
	}
}

// TestPacketStageFull: more than the stage holds leaves nevertheless, and in order.
func TestPacketStageFull(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{ReceiveBuffer: 1 << 20}, h)
	in.SetMaxDatagram(20000)
	out := packetSender(t, l, in.LocalAddr(), true)
	out.socket.SetGSO(false)
	const size, count = 9000, packetStageBytes/9000 + 5
	for i := range count {
		out.send(bytes.Repeat([]byte{byte(i)}, size))
		if i%10 == 9 { // the receiver's buffer is not without end
			untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) == i+1 })
		}
	}
	untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) == count })
	for i, d := range h.datagrams {
		if len(d) != size || d[0] != byte(i) {
			t.Fatalf("datagram %d: %d bytes of %d", i, len(d), d[0])
		}
	}
	if cap(l.packets.stage) != packetStageBytes {
		t.Errorf("the stage has grown to %d bytes", cap(l.packets.stage))
	}
}

// TestPacketQueue: while the kernel has no room, datagrams wait in order up to the limit of bytes, and those
// beyond are dropped and told.
func TestPacketQueue(t *testing.T) {
	t.Parallel()
	for _, connected := range []bool{true, false} {
		t.Run(fmt.Sprintf("connected=%v", connected), func(t *testing.T) {
			t.Parallel()
			l := stepLoop(t, nil)
			h := &packetLog{}
			in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
			out := packetSender(t, l, in.LocalAddr(), connected)
			out.socket.SetQueueMax(7*txEntryBytes + 1000)
			l.Turn(0)
			l.packets.sendFault = sendFails(unix.EAGAIN)
			for i := range 6 { // staged, when the kernel's refusal comes
				out.send(bytes.Repeat([]byte{byte('0' + i)}, 150))
			}
			l.Turn(0)
			if want := 6*txEntryBytes + 900; !out.socket.blocked || out.socket.queueBytes != want || l.packets.queuedBytes != want {
				t.Fatalf("blocked %v with %d bytes, want true with %d", out.socket.blocked, out.socket.queueBytes, want)
			}
			l.packets.sendFault = sendFails(unix.EAGAIN)
			out.socket.blocked = true // as if the kernel had still no room
			out.send(bytes.Repeat([]byte("6"), 100))
			for _, s := range []string{"too", "much", ""} { // an empty one takes room too
				out.send([]byte(s))
			}
			l.packets.sendFault = nil
			untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) == 7 && len(out.log.errors) > 0 })
			for i, d := range h.datagrams {
				if d[0] != byte('0'+i) {
					t.Errorf("datagram %d is %q", i, d[:1])
				}
			}
			want := []PacketError{{PacketNotSent, unix.EAGAIN, 3}}
			if !slices.Equal(out.log.errors, want) {
				t.Errorf("errors %v, want %v", out.log.errors, want)
			}
			if out.socket.blocked || out.socket.queueBytes != 0 || l.packets.queuedBytes != 0 {
				t.Errorf("blocked %v with %d bytes at the end", out.socket.blocked, out.socket.queueBytes)
			}
		})
	}
}

// sendFails makes each send fail.
func sendFails(errno syscall.Errno) func(int) syscall.Errno {
	return func(int) syscall.Errno { return errno }
}

// TestPacketJoinRefused: what the kernel does not take as one leaves singly.
func TestPacketJoinRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		errno syscall.Errno
		gso   bool
	}{{unix.EINVAL, true}, {unix.EIO, false}} {
		t.Run(tt.errno.Error(), func(t *testing.T) {
			t.Parallel()
			l := stepLoop(t, nil)
			h := &packetLog{}
			in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
			out := packetSender(t, l, in.LocalAddr(), true)
			if !out.socket.gso {
				t.Skip("the kernel has no UDP_SEGMENT")
			}
			refused := 0
			l.packets.sendFault = func(joined int) syscall.Errno {
				if joined > 1 {
					refused++
					return tt.errno
				}
				return 0
			}
			var want []string
			for i := range 20 {
				want = append(want, strings.Repeat(string(rune('a'+i)), 1300))
				out.send([]byte(want[i]))
			}
			untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) == len(want) })
			if !slices.Equal(h.datagrams, want) || refused != 1 || out.socket.gso != tt.gso {
				t.Errorf("%d datagrams, %d refusals, gso %v", len(h.datagrams), refused, out.socket.gso)
			}
			l.packets.sendFault = nil
			out.send([]byte("short"))
			out.send([]byte("short"))
			untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) == len(want)+2 })
			if joined := l.packets.tx.count[0] == 2; joined != tt.gso {
				t.Errorf("short ones joined: %v, want %v", joined, tt.gso)
			}
		})
	}
}

// TestPacketQueueCut: what was staged beyond the limit of the queue is dropped when the kernel refuses it.
func TestPacketQueueCut(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
	out := packetSender(t, l, in.LocalAddr(), true)
	out.socket.SetQueueMax(2*txEntryBytes + 250)
	l.packets.sendFault = sendFails(unix.EAGAIN)
	for range 5 {
		out.send(make([]byte, 100))
	}
	l.Turn(0)
	l.packets.sendFault = nil
	untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) == 2 && out.log.count(PacketNotSent) == 3 })
}

// TestPacketQueuesMax: all sockets of a loop together queue no more than the limit, and closing one gives back
// what it had.
func TestPacketQueuesMax(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, &packetLog{})
	var all []*sender
	for range 3 {
		s := packetSender(t, l, in.LocalAddr(), true)
		s.socket.SetQueueMax(1 << 30)
		all = append(all, s)
	}
	l.packets.sendFault = sendFails(unix.EAGAIN)
	const size = 32 << 10
	lost := func() uint64 {
		return all[0].log.count(PacketNotSent) + all[1].log.count(PacketNotSent) + all[2].log.count(PacketNotSent)
	}
	const count = packetQueuesMax/size + 10
	for i := range count {
		all[i%3].send(make([]byte, size))
	}
	l.Turn(0)
	l.Turn(0)
	if l.packets.queuedBytes > packetQueuesMax || lost() < 10 || lost() > 20 {
		t.Errorf("%d bytes queued of %d, %d lost", l.packets.queuedBytes, packetQueuesMax, lost())
	}
	for _, s := range all {
		s.socket.Close()
	}
	if l.packets.queuedBytes != 0 {
		t.Errorf("%d bytes queued by closed sockets", l.packets.queuedBytes)
	}
}

// TestPacketStageMax: empty datagrams fill the stage too.
func TestPacketStageMax(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, &packetLog{})
	out := packetSender(t, l, in.LocalAddr(), true)
	for range packetStageMax + 1 {
		out.send(nil)
	}
	if l.packets.staged != 1 {
		t.Errorf("%d staged after one too many, want 1", l.packets.staged)
	}
	if out.socket.Close(); l.packets.entryLeft != 0 {
		t.Errorf("%d records more may be kept, want as many as packetEntriesSpare kept", l.packets.entryLeft)
	}
}

// TestPacketSendErrors: one datagram that the kernel refuses does not keep the others.
func TestPacketSendErrors(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
	out := packetSender(t, l, in.LocalAddr(), true)
	out.send([]byte("one"))
	out.send(make([]byte, 65530)) // more than an IP packet holds
	out.send(make([]byte, MaxDatagramLimit+1))
	out.send([]byte("two"))
	untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) == 2 && out.log.count(PacketNotSent) == 2 })
	if e := out.log.errors[0]; e.Errno != unix.EMSGSIZE {
		t.Errorf("errno %v, want EMSGSIZE", e.Errno)
	}
}

// TestPacketRefused: that nobody listens at the peer is told, and the datagram that the kernel answered with it
// goes out nevertheless.
func TestPacketRefused(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
	addr := in.LocalAddr()
	in.Close()
	out := packetSender(t, l, addr, true)
	out.send([]byte("to nobody"))
	untilPacket(t, l, "refusal", func() bool { return out.log.count(PacketUnreachable) == 1 })
	if e := out.log.errors[0]; e.Errno != unix.ECONNREFUSED {
		t.Errorf("errno %v, want ECONNREFUSED", e.Errno)
	}
	// Now the error is found by sending: it is taken before the loop has seen the event.
	out.send([]byte("to nobody"))
	l.packets.flushAll()
	listenPacket(t, l, addr.String(), PacketOptions{}, h)
	out.send([]byte("hello"))
	l.packets.flushAll()
	untilPacket(t, l, "datagram", func() bool { return slices.Equal(h.datagrams, []string{"hello"}) })
	if n := out.log.count(PacketUnreachable); n != 2 {
		t.Errorf("%d refusals, want 2", n)
	}
}

// TestPacketShare: one socket takes at most its share of a turn.
func TestPacketShare(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{ReceiveBuffer: 1 << 20}, h)
	c := udpClient(t, in.LocalAddr())
	for range packetsPerTurn + 10 {
		c.Write([]byte("x"))
	}
	l.Turn(0)
	if len(h.datagrams) != packetsPerTurn {
		t.Errorf("%d datagrams in a turn, want %d", len(h.datagrams), packetsPerTurn)
	}
	if !l.Pending() {
		t.Error("nothing pending though there is more")
	}
	l.Turn(0)
	if len(h.datagrams) != packetsPerTurn+10 || l.Pending() {
		t.Errorf("%d datagrams after the next, want %d; pending %v", len(h.datagrams), packetsPerTurn+10, l.Pending())
	}
}

// TestPacketOverrun: what the kernel dropped for want of room is counted.
func TestPacketOverrun(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{ReceiveBuffer: 4096}, h)
	c := udpClient(t, in.LocalAddr())
	const count = 200
	for range count {
		c.Write(make([]byte, 1000))
	}
	untilPacket(t, l, "datagrams", func() bool { return len(h.datagrams) > 0 })
	got := len(h.datagrams)
	c.Write([]byte("the kernel tells with the next one"))
	untilPacket(t, l, "datagram", func() bool { return len(h.datagrams) == got+1 && len(h.errors) > 0 })
	if lost := h.count(PacketOverrun); int(lost) != count-got {
		t.Errorf("%d lost, want %d", lost, count-got)
	}
}

// TestPacketCloseInHandler: a socket that its handler closes tells no more of the batch.
func TestPacketCloseInHandler(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
	h.on = func(s *PacketSocket, d *Datagram) { s.Reply(&d.Flow, []byte("bye")); s.Close() }
	c := udpClient(t, in.LocalAddr())
	for range 5 {
		c.Write([]byte("x"))
	}
	untilPacket(t, l, "datagram", func() bool { return len(h.datagrams) > 0 })
	for range 3 {
		l.Turn(0)
	}
	if len(h.datagrams) != 1 || l.packets.count != 0 || in.Fd() != -1 {
		t.Errorf("%d datagrams, %d sockets", len(h.datagrams), l.packets.count)
	}
	if got := readPacket(t, c); got != "bye" {
		t.Errorf("reply %q, want what was sent before Close", got)
	}
	in.Close() // again, and sending then, does nothing
	in.Reply(&Flow{}, []byte("x"))
	if in.Detach() != -1 || !in.LocalAddr().IsZero() {
		t.Error("a closed socket has an fd or an address")
	}
}

// TestPacketDetach: a successor gets what the socket had queued.
func TestPacketDetach(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h, next := &packetLog{}, &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
	c := udpClient(t, in.LocalAddr())
	c.Write([]byte("one"))
	untilPacket(t, l, "datagram", func() bool { return len(h.datagrams) == 1 })
	c.Write([]byte("two"))
	fd := in.Detach()
	l.Turn(0)
	other := stepLoop(t, nil)
	if _, err := other.AddPacketSocket(fd, next); err != nil {
		t.Fatal(err)
	}
	untilPacket(t, other, "datagram", func() bool { return slices.Equal(next.datagrams, []string{"two"}) })
	if len(h.datagrams) != 1 || h.closed != 0 {
		t.Errorf("the old handler heard %q and %d closes", h.datagrams, h.closed)
	}
}

func TestPacketSetHandler(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h, next := &packetLog{}, &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
	h.on = func(s *PacketSocket, _ *Datagram) { s.SetHandler(next) }
	c := udpClient(t, in.LocalAddr())
	c.Write([]byte("one"))
	c.Write([]byte("two"))
	untilPacket(t, l, "datagrams", func() bool { return slices.Equal(next.datagrams, []string{"two"}) })
	if !slices.Equal(h.datagrams, []string{"one"}) {
		t.Errorf("the first handler heard %q", h.datagrams)
	}
}

// TestPacketNoHandler: what arrives for nobody waits for a handler.
func TestPacketNoHandler(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, nil)
	c := udpClient(t, in.LocalAddr())
	c.Write([]byte("one"))
	for range 3 {
		l.Turn(time.Millisecond)
	}
	if l.Pending() {
		t.Error("the loop spins for a socket without a handler")
	}
	h.on = func(s *PacketSocket, _ *Datagram) { s.SetHandler(nil) }
	in.SetHandler(h)
	untilPacket(t, l, "datagram", func() bool { return slices.Equal(h.datagrams, []string{"one"}) })
	c.Write([]byte("two"))
	l.Turn(time.Millisecond)
	in.SetHandler(h)
	untilPacket(t, l, "datagram", func() bool { return slices.Equal(h.datagrams, []string{"one", "two"}) })
	in.Close()
	in.SetHandler(h)
}

// TestPacketPanic: a handler that panics loses the batch, not the socket.
func TestPacketPanic(t *testing.T) {
	t.Parallel()
	panics := 0
	l := stepLoop(t, func(c *LoopConfig) { c.OnPanic = func(any, []byte) { panics++ } })
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{ReceiveBuffer: 1 << 20}, h)
	h.on = func(*PacketSocket, *Datagram) {
		if panics == 0 {
			panic("test")
		}
	}
	c := udpClient(t, in.LocalAddr())
	for range packetBatch + 5 { // more than one batch: the rest has no new edge
		c.Write([]byte("x"))
	}
	untilPacket(t, l, "the rest", func() bool { return len(h.datagrams) == 1+5 })
	if panics != 1 || l.stats.Panics.Load() != 1 {
		t.Errorf("%d panics, want 1", panics)
	}
}

func TestPacketLoopEnd(t *testing.T) {
	t.Parallel()
	l, err := NewLoop(0, DefaultLoopConfig())
	if err != nil {
		t.Fatal(err)
	}
	h := &packetLog{}
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
	to := in.LocalAddr()
	out, err := l.DialPacket(&to, nil, h)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if h.closed != 2 || in.Fd() != -1 || out.Fd() != -1 {
		t.Errorf("%d closes, fds %d and %d", h.closed, in.Fd(), out.Fd())
	}
}

// TestPacketReuse: connected sockets are made anew of old ones, and events of the old ones are stale.
func TestPacketReuse(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, nil)
	h := echoPackets()
	in := listenPacket(t, l, "127.0.0.1:0", PacketOptions{}, h)
	to := in.LocalAddr()
	seen := map[*PacketSocket]bool{}
	for i := range 20 {
		log := &packetLog{}
		s, err := l.DialPacket(&to, &PacketDialOptions{GRO: true, MaxDatagram: 512}, log)
		if err != nil {
			t.Fatal(err)
		}
		seen[s] = true
		s.Send([]byte{byte(i)})
		if i%2 == 0 {
			untilPacket(t, l, "echo", func() bool { return len(log.datagrams) == 1 })
			if log.flows[0] != (Flow{}) {
				t.Error("a connected socket tells a flow")
			}
		}
		s.Close()
		l.Turn(0)
	}
	if len(seen) > 2 || len(l.packets.sockets) > 3 {
		t.Errorf("%d sockets and %d slots for one at a time", len(seen), len(l.packets.sockets))
	}
}

func TestPacketDialFails(t *testing.T) {
	t.Parallel()
	l := stepLoop(t, func(c *LoopConfig) { c.ConnsMax = 2 })
	to := mustAddr(t, "127.0.0.1:9")
	h := &packetLog{}
	for _, tt := range []struct {
		name string
		addr Addr
		o    *PacketDialOptions
		want error
	}{
		{"unix", UnixAddr("/tmp/x"), nil, unix.EAFNOSUPPORT},
		{"none", Addr{}, nil, unix.EAFNOSUPPORT},
		{"source of nobody", to, &PacketDialOptions{Source: mustAddr(t, "192.0.2.1:0")}, unix.EADDRNOTAVAIL},
	} {
		if _, err := l.DialPacket(&tt.addr, tt.o, h); err != tt.want {
			t.Errorf("%s: DialPacket = %v, want %v", tt.name, err, tt.want)
		}
	}
	for range 2 {
		s, err := l.DialPacket(&to, &PacketDialOptions{Source: mustAddr(t, "127.0.0.3:0")}, h)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.LocalAddr(); a.NetIP() != netip.MustParseAddr("127.0.0.3") {
			t.Errorf("source %v, want 127.0.0.3", a)
		}
	}
	if _, err := l.DialPacket(&to, nil, h); err != ErrConnsMax {
		t.Errorf("DialPacket beyond ConnsMax = %v, want ErrConnsMax", err)
	}
}

func TestListenPacketFails(t *testing.T) {
	t.Parallel()
	if _, err := ListenPacket(UnixAddr("/tmp/x"), PacketOptions{}); err == nil {
		t.Error("a unix socket was bound")
	}
	if _, err := ListenPacket(mustAddr(t, "192.0.2.1:0"), PacketOptions{}); err == nil || !strings.Contains(err.Error(), "192.0.2.1:0 (udp)") {
		t.Errorf("error %v, want one that names the address", err)
	}
	fd, err := ListenPacket(mustAddr(t, "192.0.2.1:0"), PacketOptions{Freebind: true})
	if err != nil {
		t.Errorf("Freebind: %v", err)
	} else {
		CloseFd(fd)
	}
	if fd, err = ListenPacket(mustAddr(t, "127.0.0.1:0"), PacketOptions{ReusePort: true, ReceiveBuffer: 100 << 10, SendBuffer: 100 << 10}); err != nil {
		t.Fatal(err)
	}
	defer CloseFd(fd)
	if n, _ := sys.GetInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); n < 100<<10 {
		t.Errorf("SO_RCVBUF = %d, want what was asked for", n)
	}
	addr, _ := LocalAddr(fd)
	second, err := ListenPacket(addr, PacketOptions{ReusePort: true})
	if err != nil {
		t.Fatalf("second socket: %v", err)
	}
	CloseFd(second)
	if _, err := ListenPacket(addr, PacketOptions{}); err == nil {
		t.Error("a socket without ReusePort shares the address")
	}
}

// TestPacketReusePort: the kernel keeps a flow on one of several sockets.
func TestPacketReusePort(t *testing.T) {
	t.Parallel()
	a, b := stepLoop(t, nil), stepLoop(t, nil)
	ha, hb := &packetLog{}, &packetLog{}
	first := listenPacket(t, a, "127.0.0.1:0", PacketOptions{ReusePort: true}, ha)
	addr := first.LocalAddr()
	listenPacket(t, b, addr.String(), PacketOptions{ReusePort: true}, hb)
	const clients, each = 16, 3
	for range clients {
		c := udpClient(t, addr)
		for range each {
			c.Write([]byte("x"))
		}
	}
	untilPacket(t, a, "datagrams", func() bool { b.Turn(0); return len(ha.datagrams)+len(hb.datagrams) == clients*each })
	loopOf := map[Flow]int{}
	for i, h := range []*packetLog{ha, hb} {
		for _, f := range h.flows {
			if at, ok := loopOf[f]; ok && at != i {
				t.Errorf("flow of %v is on both loops", f.Remote())
			}
			loopOf[f] = i
		}
	}
}

// TestPacketAllocs: a datagram in and out costs no allocation.
func TestPacketAllocs(t *testing.T) {
	if raceBuild {
		t.Skip("the race detector allocates")
	}
	for _, gro := range []bool{false, true} {
		l := stepLoop(t, nil)
		p := newPacketPair(t, l, gro)
		for range 10 {
			p.cycle(t, 8)
		}
		if n := testing.AllocsPerRun(100, func() { p.cycle(t, 8) }); n != 0 {
			t.Errorf("gro %v: %v allocations for 8 datagrams there and back, want 0", gro, n)
		}
	}
}

// packetPair is an echo socket bound to all addresses, and a connected one that asks it.
type packetPair struct {
	loop     *Loop
	ask      *PacketSocket
	answered int
	msg      []byte
}

func (p *packetPair) OnDatagram(s *PacketSocket, d *Datagram) {
	if s == p.ask {
		p.answered++
	} else {
		s.Reply(&d.Flow, d.Data)
	}
}
func (p *packetPair) OnPacketError(*PacketSocket, PacketError) {}
func (p *packetPair) OnPacketClose(*PacketSocket)              {}

func newPacketPair(t testing.TB, l *Loop, gro bool) *packetPair {
	p := &packetPair{loop: l, msg: make([]byte, 512)}
	in := listenPacket(t, l, "0.0.0.0:0", PacketOptions{ReceiveBuffer: 1 << 20}, p)
	in.SetGRO(gro)
	in.SetGSO(gro)
	to := mustAddr(t, fmt.Sprintf("127.0.0.1:%d", in.LocalAddr().Port()))
	var err error
	if p.ask, err = l.DialPacket(&to, &PacketDialOptions{GRO: gro, ReceiveBuffer: 1 << 20}, p); err != nil {
		t.Fatal(err)
	}
	p.ask.SetGSO(gro)
	return p
}

// cycle sends n datagrams and waits for as many echoes.
func (p *packetPair) cycle(t testing.TB, n int) {
	p.answered = 0
	for range n {
		p.ask.Send(p.msg)
	}
	for p.answered < n {
		if err := p.loop.Turn(-1); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkPacketEcho is datagrams there and back, both ends on one loop: two of each call, so an op is four
// datagram halves.
func BenchmarkPacketEcho(b *testing.B) {
	for _, batch := range []int{1, 8, 64} {
		for _, gro := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/joined=%v", batch, gro), func(b *testing.B) {
				l := stepLoop(b, nil)
				p := newPacketPair(b, l, gro)
				b.ReportAllocs()
				start := cpuTime()
				for b.Loop() {
					p.cycle(b, batch)
				}
				b.ReportMetric(float64(cpuTime()-start)/float64(b.N*batch), "cpu-ns/datagram")
			})
		}
	}
}

// cpuTime returns the processor time of the process.
func cpuTime() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(syscall.TimespecToNsec(syscall.Timespec{Sec: u.Utime.Sec + u.Stime.Sec, Nsec: (u.Utime.Usec + u.Stime.Usec) * 1000}))
}

func TestListenPacketSocketOptions(t *testing.T) {
	t.Parallel()
	fd, err := ListenPacket(mustAddr(t, "127.0.0.1:0"), PacketOptions{SocketOptions: []SocketOption{
		{Level: unix.IPPROTO_IP, Name: unix.IP_TTL, Int: 7},
		{Level: unix.IPPROTO_IP, Name: unix.IP_TOS, Int: 0x10, State: SocketBound},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer CloseFd(fd)
	ttl, _ := sys.GetInt(fd, unix.IPPROTO_IP, unix.IP_TTL)
	tos, _ := sys.GetInt(fd, unix.IPPROTO_IP, unix.IP_TOS)
	if ttl != 7 || tos != 0x10 {
		t.Errorf("TTL %d and TOS %#x, want 7 and 0x10", ttl, tos)
	}
	for _, state := range []SocketState{SocketPrebind, SocketBound} {
		bad := []SocketOption{{Level: 9999, Name: 1, State: state}}
		if _, err := ListenPacket(mustAddr(t, "127.0.0.1:0"), PacketOptions{SocketOptions: bad}); err == nil {
			t.Errorf("state %d: an option nobody knows was set", state)
		}
	}
}
