package engine

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// ListenerOptions says how to listen. The zero value is usable.
type ListenerOptions struct {
	// Backlog is the length of the kernel's accept queue. 0 means 4096; the kernel cuts
	// it to net.core.somaxconn.
	Backlog int
	// AcceptsPerTurn bounds the connections accepted in one turn. 0 means
	// LoopConfig.AcceptsPerTurn.
	AcceptsPerTurn int
	// ReusePort lets each loop bind a socket of its own to the same address. Ignored for
	// unix sockets, which refuse it.
	ReusePort bool
	// Nagle leaves TCP_NODELAY off on accepted connections.
	Nagle bool
	// DeferAccept makes the kernel hold connections back until their first bytes are
	// there, for up to about so many seconds; 0 does not. Not for protocols in which the
	// server speaks first.
	DeferAccept int
	// KeepAlive makes the kernel probe silent connections. Nil: it does not.
	KeepAlive *KeepAlive
	// UnixMode is the permission of a unix socket's file. 0 means 0660.
	UnixMode uint32
	// Transparent lets the listener have addresses that are not of this machine, and take
	// connections to any that the packet filter (TPROXY) sends its way: Conn.LocalAddr is
	// then where the client wanted to go. Needs CAP_NET_ADMIN or CAP_NET_RAW.
	Transparent bool
	// Freebind lets it bind an address that the machine does not have yet.
	Freebind bool
	// FastOpen is how many connections may wait whose data came with the first packet (TCP
	// Fast Open, RFC 7413); 0 switches it off.
	FastOpen int
	// MPTCP makes it take multipath TCP (RFC 8684) as well as plain TCP.
	MPTCP bool
	// IPv4Compat makes "[::]:80" take IPv4 too, as ":80" does. Without it the address leaves IPv4 to
	// "0.0.0.0:80".
	IPv4Compat bool
	// SocketOptions are set beside those above, in order.
	SocketOptions []SocketOption
}

// KeepAlive says how the kernel probes silent connections. Zero fields mean the system's settings.
type KeepAlive struct {
	// Probes is the number of unanswered probes that end a connection.
	Probes int
	// Idle is the silence before the first probe, in whole seconds.
	Idle time.Duration
	// Interval is the time between two probes, in whole seconds.
	Interval time.Duration
}

// backlogDefault is the accept queue asked for unless the options say otherwise.
const backlogDefault = 4096

// Listen binds and listens. It is for the control side, and may block on the file system for
// a unix socket, whose left-over file it removes. Port 0 takes a free port: see LocalAddr.
func Listen(addr Addr, opts ListenerOptions) (fd int, err error) {
	fd, err = listenOn(addr, opts)
	if addr.inet.family == familyAny && errors.Is(err, unix.EAFNOSUPPORT) {
		v4 := Addr{inet: inetAddr{family: family4, port: addr.inet.port}} // no IPv6 here
		fd, err = listenOn(v4, opts)
	}
	if err != nil {
		return -1, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return fd, nil
}

func listenOn(addr Addr, opts ListenerOptions) (int, error) {
	var sa sys.Sockaddr
	if !addr.toKernel(&sa) {
		return -1, errors.New("not an address to listen on")
	}
	fd, err := listenSocket(&addr, &opts)
	if err != nil {
		return -1, err
	}
	if err := bindAndListen(fd, &addr, &sa, &opts); err != nil {
		sys.Close(fd)
		return -1, err
	}
	return fd, nil
}

// listenSocket makes the socket.
func listenSocket(addr *Addr, opts *ListenerOptions) (int, error) {
	if opts.MPTCP && !addr.IsUnix() {
		fd, errno := sys.MPTCPSocket(addr.domain())
		if errno != 0 {
			return -1, fmt.Errorf("socket: %w (%s)", errno, needMPTCP)
		}
		return fd, nil
	}
	fd, errno := sys.Socket(addr.domain())
	if errno != 0 {
		return -1, fmt.Errorf("socket: %w", errno)
	}
	return fd, nil
}

// bindAndListen does the rest. sa is addr in the kernel's form.
func bindAndListen(fd int, addr *Addr, sa *sys.Sockaddr, opts *ListenerOptions) error {
	if err := setListenOptions(fd, addr, opts); err != nil {
		return err
	}
	if err := setOptions(fd, opts.SocketOptions, SocketPrebind); err != nil {
		return err
	}
	isFile := addr.IsUnix() && addr.path[0] != '@'
	if isFile {
		removeStaleSocket(addr.path, sa)
	}
	if errno := sys.Bind(fd, sa); errno != 0 {
		return fmt.Errorf("bind: %w%s", errno, bindHint(errno))
	}
	if isFile {
		mode := opts.UnixMode
		if mode == 0 {
			mode = 0o660
		}
		if err := os.Chmod(addr.path, os.FileMode(mode)); err != nil {
			return err
		}
	}
	if err := setOptions(fd, opts.SocketOptions, SocketBound); err != nil {
		return err
	}
	backlog := opts.Backlog
	if backlog == 0 {
		backlog = backlogDefault
	}
	if errno := sys.Listen(fd, backlog); errno != 0 {
		return fmt.Errorf("listen: %w", errno)
	}
	return setOptions(fd, opts.SocketOptions, SocketListening)
}

// bindHint says what an operator may do about a bind that failed.
func bindHint(errno syscall.Errno) string {
	switch errno {
	case unix.EADDRNOTAVAIL:
		return " (this machine does not have the address; \"freebind\" binds it all the same)"
	case unix.EACCES:
		return " (ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE)"
	}
	return ""
}

// setListenOptions sets what must be set before bind, and what accepted sockets inherit.
func setListenOptions(fd int, addr *Addr, opts *ListenerOptions) error {
	if addr.IsUnix() {
		return nil
	}
	s := optionSetter{fd: fd, v6: addr.domain() == unix.AF_INET6}
	s.int("SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, "")
	if opts.ReusePort {
		s.int("SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "")
	}
	if s.v6 {
		v6only := 1 // "[::]:80" leaves IPv4 to "0.0.0.0:80"; ":80" takes both
		if addr.inet.family == familyAny || opts.IPv4Compat {
			v6only = 0
		}
		s.int("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only, "")
	}
	if opts.Transparent {
		s.transparent()
	}
	if opts.Freebind {
		s.freebind()
	}
	if !opts.Nagle {
		// Accepted sockets inherit it, which saves a system call for each.
		s.int("TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, "")
	}
	if opts.KeepAlive != nil { // inherited likewise
		s.keepAlive(opts.KeepAlive)
	}
	if opts.DeferAccept > 0 {
		s.int("TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, opts.DeferAccept, "")
	}
	if opts.FastOpen > 0 {
		s.int("TCP_FASTOPEN", unix.IPPROTO_TCP, unix.TCP_FASTOPEN, opts.FastOpen, needFastOpen)
	}
	return s.err
}

// removeStaleSocket removes the file of a unix socket nobody listens on any more. Anything
// else at the path stays, and bind will say so.
func removeStaleSocket(path string, sa *sys.Sockaddr) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return
	}
	fd, errno := sys.Socket(unix.AF_UNIX)
	if errno != 0 {
		return
	}
	defer sys.Close(fd)
	if sys.Connect(fd, sa) == unix.ECONNREFUSED {
		_ = os.Remove(path) // bind reports what is left in the way
	}
}

// LocalAddr returns the address fd is bound to.
func LocalAddr(fd int) (Addr, error) {
	var sa sys.Sockaddr
	if errno := sys.LocalAddr(fd, &sa); errno != 0 {
		return Addr{}, fmt.Errorf("getsockname: %w", errno)
	}
	return addrFromKernel(&sa), nil
}

// CloseFd closes a listening socket that is on no loop.
func CloseFd(fd int) { sys.Close(fd) }
