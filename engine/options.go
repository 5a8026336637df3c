package engine

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// A SocketOption is an option of a socket that has no name here: see setsockopt(2).
type SocketOption struct {
	Level, Name int
	// Int is the value, unless Bytes is set.
	Int int
	// Bytes is the value if the option is not an int.
	Bytes []byte
	// State is when the option is set.
	State SocketState
}

// A SocketState is a moment in the making of a socket.
type SocketState uint8

const (
	SocketPrebind   SocketState = iota // before bind
	SocketBound                        // after bind; for a socket that connects, before that
	SocketListening                    // after listen; never for a socket that connects
)

// setOptions sets the options that are for a state.
func setOptions(fd int, options []SocketOption, state SocketState) error {
	var errs error
	for i := range options {
		o := &options[i]
		if o.State != state {
			continue
		}
		var errno syscall.Errno
		if o.Bytes != nil {
			errno = sys.SetBytes(fd, o.Level, o.Name, o.Bytes)
		} else {
			errno = sys.SetInt(fd, o.Level, o.Name, o.Int)
		}
		if errno != 0 {
			errs = errors.Join(errs, fmt.Errorf("setsockopt level %d, name %d: %w", o.Level, o.Name, errno))
		}
	}
	return errs
}

// An optionSetter sets options of one socket, and gathers what goes wrong.
type optionSetter struct {
	fd  int
	v6  bool // an IPv6 socket
	err error
}

// int sets an option. need says what it takes to set it, or "".
func (s *optionSetter) int(name string, level, option, value int, need string) {
	errno := sys.SetInt(s.fd, level, option, value)
	switch {
	case errno == 0:
	case need != "":
		s.err = errors.Join(s.err, fmt.Errorf("setsockopt %s: %w (%s)", name, errno, need))
	default:
		s.err = errors.Join(s.err, fmt.Errorf("setsockopt %s: %w", name, errno))
	}
}

const (
	needRaw      = "needs CAP_NET_ADMIN or CAP_NET_RAW"
	needFastOpen = "needs a kernel with TCP Fast Open; see net.ipv4.tcp_fastopen"
	needMPTCP    = "multipath TCP needs a kernel that has it, and net.mptcp.enabled = 1"
)

// transparent lets the socket have an address that is not of this machine, in both directions.
func (s *optionSetter) transparent() {
	if s.v6 {
		s.int("IPV6_TRANSPARENT", unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1, needRaw)
		return
	}
	s.int("IP_TRANSPARENT", unix.SOL_IP, unix.IP_TRANSPARENT, 1, needRaw)
}

// freebind lets the socket bind an address that does not exist yet.
func (s *optionSetter) freebind() {
	if s.v6 {
		s.int("IPV6_FREEBIND", unix.SOL_IPV6, unix.IPV6_FREEBIND, 1, "")
		return
	}
	s.int("IP_FREEBIND", unix.SOL_IP, unix.IP_FREEBIND, 1, "")
}

// keepAlive makes the kernel probe the peer.
func (s *optionSetter) keepAlive(k *KeepAlive) {
	s.int("SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, "")
	if k.Probes > 0 {
		s.int("TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.Probes, "")
	}
	if idle := int(k.Idle / time.Second); idle > 0 {
		s.int("TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, idle, "")
	}
	if interval := int(k.Interval / time.Second); interval > 0 {
		s.int("TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, interval, "")
	}
}
