package engine_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// option reads an int option of a socket.
func option(t *testing.T, fd, level, name int) int {
	t.Helper()
	v, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		t.Fatalf("getsockopt %d, %d: %v", level, name, err)
	}
	return v
}

// privileged skips a test of what only root, or a user with capabilities, may do.
func privileged(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, unix.EPERM) {
		if !strings.Contains(err.Error(), "needs CAP_NET_ADMIN or CAP_NET_RAW") {
			t.Errorf("error %q does not say what the option needs", err)
		}
		t.Skip("not privileged: ", err)
	}
}

func TestListenOptions(t *testing.T) {
	t.Parallel()
	type want struct{ level, name, value int }
	alive := &engine.KeepAlive{Probes: 3, Idle: 50 * time.Second, Interval: 7 * time.Second}
	for _, tt := range []struct {
		name, addr string
		opts       engine.ListenerOptions
		want       []want
	}{
		{"defaults", "127.0.0.1:0", engine.ListenerOptions{}, []want{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_IP, unix.IP_TRANSPARENT, 0}, {unix.SOL_IP, unix.IP_FREEBIND, 0},
			{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 0}, {unix.SOL_SOCKET, unix.SO_REUSEPORT, 0}}},
		{"transparent", "127.0.0.1:0", engine.ListenerOptions{Transparent: true}, []want{{unix.SOL_IP, unix.IP_TRANSPARENT, 1}}},
		{"transparent v6", "[::1]:0", engine.ListenerOptions{Transparent: true}, []want{{unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1}}},
		{"transparent, any", ":0", engine.ListenerOptions{Transparent: true}, []want{{unix.SOL_IP, unix.IP_TRANSPARENT, 1}}},
		{"freebind", "192.0.2.1:0", engine.ListenerOptions{Freebind: true}, []want{{unix.SOL_IP, unix.IP_FREEBIND, 1}}},
		{"freebind v6", "[2001:db8::1]:0", engine.ListenerOptions{Freebind: true}, []want{{unix.SOL_IPV6, unix.IPV6_FREEBIND, 1}}},
		{"fast open", "127.0.0.1:0", engine.ListenerOptions{FastOpen: 17}, []want{{unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 17}}},
		{"keep-alive", "127.0.0.1:0", engine.ListenerOptions{KeepAlive: alive}, []want{{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 50}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 7}}},
		{"v6 alone", "[::]:0", engine.ListenerOptions{}, []want{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}}},
		{"v6 with v4", "[::]:0", engine.ListenerOptions{IPv4Compat: true}, []want{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0}}},
		{"options of any name", "127.0.0.1:0", engine.ListenerOptions{SocketOptions: []engine.SocketOption{
			{Level: unix.SOL_SOCKET, Name: unix.SO_PRIORITY, Int: 3},
			{Level: unix.IPPROTO_TCP, Name: unix.TCP_USER_TIMEOUT, Bytes: []byte{100, 0, 0, 0}, State: engine.SocketBound},
			{Level: unix.IPPROTO_TCP, Name: unix.TCP_KEEPCNT, Int: 4, State: engine.SocketListening},
		}}, []want{{unix.SOL_SOCKET, unix.SO_PRIORITY, 3}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 100}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fd, err := engine.Listen(mustAddr(t, tt.addr), tt.opts)
			privileged(t, err)
			if err != nil {
				t.Fatal(err)
			}
			defer engine.CloseFd(fd)
			for _, w := range tt.want {
				if got := option(t, fd, w.level, w.name); got != w.value {
					t.Errorf("option %d, %d is %d, want %d", w.level, w.name, got, w.value)
				}
			}
		})
	}
}

func TestListenErrorsNameTheOption(t *testing.T) {
	t.Parallel()
	bad := func(state engine.SocketState) engine.ListenerOptions {
		return engine.ListenerOptions{SocketOptions: []engine.SocketOption{{Level: 6, Name: 9999, Int: 1, State: state}}}
	}
	for _, tt := range []struct {
		addr string
		opts engine.ListenerOptions
		want string
	}{
		{"127.0.0.1:0", bad(engine.SocketPrebind), "listen on 127.0.0.1:0: setsockopt level 6, name 9999: protocol not available"},
		{"127.0.0.1:0", bad(engine.SocketBound), "listen on 127.0.0.1:0: setsockopt level 6, name 9999: protocol not available"},
		{"127.0.0.1:0", bad(engine.SocketListening), "listen on 127.0.0.1:0: setsockopt level 6, name 9999: protocol not available"},
		{"192.0.2.1:1", engine.ListenerOptions{}, `listen on 192.0.2.1:1: bind: cannot assign requested address (this machine does not have the address; "freebind" binds it all the same)`},
	} {
		fd, err := engine.Listen(mustAddr(t, tt.addr), tt.opts)
		if err == nil {
			engine.CloseFd(fd)
			t.Errorf("Listen(%s) succeeded", tt.addr)
		} else if err.Error() != tt.want {
			t.Errorf("Listen(%s): %q, want %q", tt.addr, err, tt.want)
		}
	}
}

// One socket takes both families, and IPv4 peers are IPv4 to us.
func TestListenDualStack(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	for _, tt := range []struct {
		addr string
		opts engine.ListenerOptions
	}{{":0", engine.ListenerOptions{}}, {"[::]:0", engine.ListenerOptions{IPv4Compat: true}}} {
		fd, err := engine.Listen(mustAddr(t, tt.addr), tt.opts)
		if err != nil {
			t.Fatal(err)
		}
		acc := &acceptAll{}
		ls, err := tl.AddListener(fd, tt.opts, acc)
		if err != nil {
			t.Fatal(err)
		}
		for i, host := range []string{"127.0.0.1", "::1"} {
			ip := netip.MustParseAddr(host)
			to := engine.AddrFrom(ip, uint16(ls.Addr().Port()), 0)
			if _, err := tl.Dial(&to, enginetest.NewRecorder()); err != nil {
				t.Fatal(err)
			}
			tl.Until(func() bool { return len(acc.conns) > i })
			c := acc.conns[i]
			if c.RemoteAddr().NetIP() != ip || c.LocalAddr().NetIP() != ip {
				t.Errorf("%s: a conn to %s is from %s to %s", tt.addr, to, c.RemoteAddr(), c.LocalAddr())
			}
			// Nothing was redirected: the kernel knows of no other address, or of the same one.
			if dst, ok := c.OriginalDst(); ok && dst != c.LocalAddr() {
				t.Errorf("OriginalDst = %s, want %s or none", dst, c.LocalAddr())
			}
		}
	}
}

// A connection to a transparent listener went where its local address says.
func TestOriginalDstTransparent(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	for _, where := range []string{"127.0.0.1:0", "[::1]:0"} {
		opts := engine.ListenerOptions{Transparent: true}
		fd, err := engine.Listen(mustAddr(t, where), opts)
		privileged(t, err)
		if err != nil {
			t.Fatal(err)
		}
		acc := &acceptAll{}
		ls, err := tl.AddListener(fd, opts, acc)
		if err != nil {
			t.Fatal(err)
		}
		dial(t, tl, ls, acc)
		c := acc.conns[0]
		if dst, ok := c.OriginalDst(); !ok || dst != ls.Addr() {
			t.Errorf("OriginalDst = %s, %v; want %s", dst, ok, ls.Addr())
		}
		c.Close()
		if dst, ok := c.OriginalDst(); ok {
			t.Errorf("OriginalDst = %s of a closed conn", dst)
		}
	}
	c, _ := tl.Pair(enginetest.NewRecorder())
	if dst, ok := c.OriginalDst(); ok {
		t.Errorf("OriginalDst = %s of a unix socket", dst)
	}
}

// A multipath listener takes plain TCP as well, and bytes pass.
func TestListenMPTCP(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	opts := engine.ListenerOptions{MPTCP: true}
	fd, err := engine.Listen(mustAddr(t, "127.0.0.1:0"), opts)
	if err != nil {
		if !strings.Contains(err.Error(), "net.mptcp.enabled") {
			t.Errorf("error %q does not say what multipath TCP needs", err)
		}
		t.Skip("no multipath TCP here: ", err)
	}
	acc := &acceptAll{}
	ls, err := tl.AddListener(fd, opts, acc)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := dial(t, tl, ls, acc)
	c.Write([]byte("hello"))
	tl.Until(func() bool { return acc.conns[0].BytesIn() == 5 })
}

// The kernel holds a connection back until its first bytes are there.
func TestListenDeferAccept(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	opts := engine.ListenerOptions{DeferAccept: 30}
	fd, err := engine.Listen(mustAddr(t, "127.0.0.1:0"), opts)
	if err != nil {
		t.Fatal(err)
	}
	acc := &acceptAll{}
	ls, err := tl.AddListener(fd, opts, acc)
	if err != nil {
		t.Fatal(err)
	}
	to := ls.Addr()
	up := false
	c, err := tl.Dial(&to, &enginetest.Recorder{ConnectFunc: func() { up = true }})
	if err != nil {
		t.Fatal(err)
	}
	tl.Until(func() bool { return up })
	tl.Settle()
	if n := len(acc.conns); n != 0 {
		t.Fatalf("%d conns accepted before the first byte", n)
	}
	c.Write([]byte("x"))
	tl.Until(func() bool { return len(acc.conns) == 1 && acc.conns[0].BytesIn() == 1 })
}

func TestDialFrom(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	for _, tt := range []struct {
		name, listen string
		opts         *engine.DialOptions
		from         string // the IP the listener sees
	}{
		{"nil", "127.0.0.1:0", nil, "127.0.0.1"},
		{"zero", "127.0.0.1:0", &engine.DialOptions{}, "127.0.0.1"},
		{"source", "127.0.0.1:0", &engine.DialOptions{Source: mustAddr(t, "127.0.0.9:0")}, "127.0.0.9"},
		{"source v6", "[::1]:0", &engine.DialOptions{Source: mustAddr(t, "[::1]:0")}, "::1"},
		{"transparent", "127.0.0.1:0", &engine.DialOptions{Source: mustAddr(t, "127.1.2.3:0"), Transparent: true}, "127.1.2.3"},
		{"transparent v6", "[::1]:0", &engine.DialOptions{Source: mustAddr(t, "[::1]:0"), Transparent: true}, "::1"},
		{"freebind", "127.0.0.1:0", &engine.DialOptions{Source: mustAddr(t, "127.0.0.10:0"), Freebind: true}, "127.0.0.10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			acc := &acceptAll{}
			ls := listen(t, tl, tt.listen, acc)
			to := ls.Addr()
			c, err := tl.DialFrom(&to, tt.opts, enginetest.NewRecorder())
			privileged(t, err)
			if err != nil {
				t.Fatal(err)
			}
			tl.Until(func() bool { return len(acc.conns) == 1 })
			if got := acc.conns[0].RemoteAddr().NetIP(); got != netip.MustParseAddr(tt.from) {
				t.Errorf("the listener sees a conn from %s, want %s", got, tt.from)
			}
			if got := c.LocalAddr(); got != acc.conns[0].RemoteAddr() {
				t.Errorf("LocalAddr = %s, the listener sees %s", got, acc.conns[0].RemoteAddr())
			}
			if got := option(t, c.Fd(), unix.IPPROTO_TCP, unix.TCP_NODELAY); got != 1 {
				t.Errorf("TCP_NODELAY is %d", got)
			}
		})
	}
}

func TestDialFromSetsOptions(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	ls := listen(t, tl, "127.0.0.1:0", &acceptAll{})
	to := ls.Addr()
	c, err := tl.DialFrom(&to, &engine.DialOptions{
		Mark: 7, KeepAlive: &engine.KeepAlive{Idle: 20 * time.Second}, SendBuffer: 32 << 10, ReceiveBuffer: 48 << 10, Nagle: true,
		Source: mustAddr(t, "127.0.0.1:0"),
		SocketOptions: []engine.SocketOption{{Level: unix.SOL_SOCKET, Name: unix.SO_PRIORITY, Int: 2},
			{Level: unix.IPPROTO_TCP, Name: unix.TCP_USER_TIMEOUT, Int: 55, State: engine.SocketBound}},
	}, enginetest.NewRecorder())
	privileged(t, err)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_MARK, 7}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 20},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, 64 << 10}, {unix.SOL_SOCKET, unix.SO_RCVBUF, 96 << 10}, // the kernel doubles them
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 0}, {unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1},
		{unix.SOL_SOCKET, unix.SO_PRIORITY, 2}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 55},
	} {
		if got := option(t, c.Fd(), w.level, w.name); got != w.value {
			t.Errorf("option %d, %d is %d, want %d", w.level, w.name, got, w.value)
		}
	}
}

func TestDialFromErrors(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	before := tl.Conns()
	for _, tt := range []struct {
		to   string
		opts engine.DialOptions
		want string
	}{
		{"127.0.0.1:9", engine.DialOptions{Source: mustAddr(t, "[::1]:0")}, "engine: dial 127.0.0.1:9: source [::1]:0 is not of the same family"},
		{"127.0.0.1:9", engine.DialOptions{Source: mustAddr(t, "192.0.2.1:0")}, "engine: dial 127.0.0.1:9: bind to source 192.0.2.1:0: cannot assign requested address"},
		{"127.0.0.1:9", engine.DialOptions{SocketOptions: []engine.SocketOption{{Level: 6, Name: 9999}}}, "engine: dial 127.0.0.1:9: setsockopt level 6, name 9999: protocol not available"},
	} {
		to := mustAddr(t, tt.to)
		c, err := tl.DialFrom(&to, &tt.opts, enginetest.NewRecorder())
		if c != nil || err == nil || err.Error() != tt.want {
			t.Errorf("DialFrom(%s) = %v, %v; want %s", tt.to, c, err, tt.want)
		}
	}
	if tl.Conns() != before {
		t.Errorf("%d conns are left", tl.Conns())
	}
}

// A source with a port of its own serves several destinations, and again at once.
func TestDialFromPort(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	var src engine.Addr
	for range 3 {
		acc := &acceptAll{}
		ls := listen(t, tl, "127.0.0.1:0", acc)
		to := ls.Addr()
		c, err := tl.DialFrom(&to, &engine.DialOptions{Source: src}, enginetest.NewRecorder())
		if err != nil {
			t.Fatal(err)
		}
		tl.Until(func() bool { return len(acc.conns) == 1 })
		if got := acc.conns[0].RemoteAddr(); !src.IsZero() && got != src {
			t.Errorf("the listener sees a conn from %s, want %s", got, src)
		}
		if src.IsZero() { // a port that nobody else has just now
			fd, err := engine.Listen(mustAddr(t, "127.0.0.1:0"), engine.ListenerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			src, _ = engine.LocalAddr(fd)
			engine.CloseFd(fd)
		}
		c.Reset()
		tl.Settle()
	}
}
