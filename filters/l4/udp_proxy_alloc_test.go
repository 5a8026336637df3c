package l4

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"millrace/engine"
)

// udpPath is a client, a udp_proxy and a host on one loop.
type udpPath struct {
	*udpWorld
	host     *engine.PacketSocket
	client   *engine.PacketSocket
	to       engine.Addr
	answered int
	msg      []byte
}

func (p *udpPath) OnDatagram(s *engine.PacketSocket, d *engine.Datagram) {
	if s == p.host {
		s.Reply(&d.Flow, d.Data)
	} else {
		p.answered++
	}
}

func (p *udpPath) OnPacketError(_ *engine.PacketSocket, e engine.PacketError) { p.t.Error(e) }
func (p *udpPath) OnPacketClose(*engine.PacketSocket)                         {}

func newUDPPath(t testing.TB, gro bool) *udpPath {
	t.Helper()
	p := &udpPath{udpWorld: newUDPWorld(t, false), msg: make([]byte, 256)}
	addr, _ := engine.ParseAddr("127.0.0.1:0")
	fd, err := engine.ListenPacket(addr, engine.PacketOptions{ReceiveBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if p.host, err = p.loop.AddPacketSocket(fd, p); err != nil {
		t.Fatal(err)
	}
	p.host.SetGRO(gro)
	p.host.SetGSO(gro)
	p.cluster("c", nil, p.host.LocalAddr().String())
	p.start("127.0.0.1:0", func(c *UDPProxyConfig) {
		c.DownstreamSocketConfig.PreferGRO, c.UpstreamSocketConfig.PreferGRO = gro, gro
	})
	p.socket.SetGSO(gro)
	p.to = p.socket.LocalAddr()
	p.client = p.dial(gro)
	return p
}

func (p *udpPath) dial(gro bool) *engine.PacketSocket {
	s, err := p.loop.DialPacket(&p.to, &engine.PacketDialOptions{GRO: gro, ReceiveBuffer: 1 << 20}, p)
	if err != nil {
		p.t.Fatal(err)
	}
	s.SetGSO(gro)
	return s
}

// cycle sends n datagrams and waits for as many answers.
func (p *udpPath) cycle(s *engine.PacketSocket, n int) {
	p.answered = 0
	for range n {
		s.Send(p.msg)
	}
	for p.answered < n {
		p.turn(-1)
	}
}

// TestUDPProxyAllocs: a datagram of a session that is there costs no allocation, and a session that is like one
// before costs none but for what the map grows by.
func TestUDPProxyAllocs(t *testing.T) {
	if udpRaceBuild {
		t.Skip("the race detector allocates")
	}
	for _, gro := range []bool{false, true} {
		p := newUDPPath(t, gro)
		for range 10 {
			p.cycle(p.client, 8)
		}
		if n := testing.AllocsPerRun(100, func() { p.cycle(p.client, 8) }); n != 0 {
			t.Errorf("gro %v: %v allocations for 8 datagrams there and back, want 0", gro, n)
		}
		session := func() {
			s := p.dial(gro)
			p.cycle(s, 1)
			s.Close()
			for p.proxy.first != nil {
				p.proxy.first.end("test")
			}
			p.turn(0)
		}
		session()
		if n := testing.AllocsPerRun(100, session); n != 0 {
			t.Errorf("gro %v: %v allocations for a session, want 0", gro, n)
		}
	}
}

// BenchmarkUDPProxy is datagrams to a host and back: eight sends and receives of batch datagrams each, of which
// four are the proxy's. BenchmarkPacketEcho in engine is the four without it.
func BenchmarkUDPProxy(b *testing.B) {
	for _, batch := range []int{1, 8, 64} {
		for _, gro := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/joined=%v", batch, gro), func(b *testing.B) {
				p := newUDPPath(b, gro)
				b.ReportAllocs()
				start := udpCPU()
				for b.Loop() {
					p.cycle(p.client, batch)
				}
				b.ReportMetric(float64(udpCPU()-start)/float64(b.N*batch), "cpu-ns/exchange")
			})
		}
	}
}

// BenchmarkUDPProxySession is a session with one datagram there and back, as DNS has it, from its begin to its end.
func BenchmarkUDPProxySession(b *testing.B) {
	p := newUDPPath(b, true)
	b.ReportAllocs()
	for b.Loop() {
		p.cycle(p.client, 1)
		p.proxy.first.end("test")
	}
}

// udpCPU returns the processor time of the process, in nanoseconds.
func udpCPU() int64 {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
