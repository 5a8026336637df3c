package server

import (
	"fmt"
	"os"
	"strings"

	"millrace/cmd/internal/control"
	"millrace/engine"
)

// sockets are the bound file descriptors for one loop, by control.Socket.Key.
type sockets map[string]int

// close closes the descriptors nobody has taken.
func (m sockets) close() {
	for key, fd := range m {
		engine.CloseFd(fd)
		delete(m, key)
	}
}

// take gives a descriptor to the caller.
func (m sockets) take(key string) (fd int, ok bool) {
	fd, ok = m[key]
	delete(m, key)
	return fd, ok
}

// bind opens, for each loop, the sockets that the running snapshot does not have, and notes in next
// what all of them are bound to. Names do not matter here: a renamed listener keeps its sockets.
func (s *Server) bind(prev, next *control.Snapshot) ([]sockets, error) {
	fds := make([]sockets, len(s.workers))
	for i := range fds {
		fds[i] = sockets{}
	}
	have := map[string]owned{}
	if prev != nil {
		for _, l := range prev.Listeners {
			if s.isStopped(l) {
				continue // its sockets are closed
			}
			for i := range l.Sockets {
				have[l.Sockets[i].Key] = owned{l, &l.Sockets[i]}
			}
		}
	}
	for _, l := range next.Listeners {
		if err := s.bindListener(l, have, fds); err != nil {
			for _, m := range fds {
				m.close()
			}
			return nil, fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	return fds, nil
}

// owned is a socket and the listener that has it.
type owned struct {
	l  *control.Listener
	at *control.Socket
}

// bindListener opens the sockets of l, or takes over those of the listeners that have the addresses.
func (s *Server) bindListener(l *control.Listener, have map[string]owned, fds []sockets) error {
	for i := range l.Sockets {
		at := &l.Sockets[i]
		had, ok := have[at.Key]
		switch {
		case ok && had.l == l, at.Unbound:
		case ok && !had.at.Unbound && had.l.SocketHash != l.SocketHash:
			return fmt.Errorf("%s is open: the options of its sockets cannot change without a restart, or another address", at.Configured)
		case ok && !had.at.Unbound:
			at.Bound = had.at.Bound
		case s.isStopped(l):
		default:
			if err := open(l, at, fds); err != nil {
				return err
			}
		}
	}
	return nil
}

// isStopped reports whether a listener was told not to accept any more, whatever the configuration says.
func (s *Server) isStopped(l *control.Listener) bool {
	return s.stopped || s.inboundStopped && l.Inbound
}

// open opens one socket of a listener for each loop, or one they share; one for datagrams is the first loop's alone.
func open(l *control.Listener, at *control.Socket, fds []sockets) error {
	shared := at.Bound.IsUnix() || !l.Options.ReusePort
	for i := range fds {
		if i > 0 && shared && l.UDP {
			return nil // two loops on one socket would tear flows apart
		}
		var fd int
		var err error
		switch {
		case i > 0 && shared:
			fd, err = engine.DupFd(fds[0][at.Key])
		case l.UDP:
			fd, err = engine.ListenPacket(at.Bound, packetOptions(l))
		default:
			fd, err = engine.Listen(at.Bound, l.Options)
		}
		if err != nil {
			return err
		}
		fds[i][at.Key] = fd
		if i > 0 || at.Bound.IsUnix() {
			continue
		}
		bound, err := engine.LocalAddr(fd)
		if err != nil {
			return err
		}
		at.Bound = at.Configured.WithPort(uint16(bound.Port())) // the other loops take the port the first one got
	}
	return nil
}

// packetOptions are the socket options of a UDP listener. One that comes back while sessions still answer through its
// old socket needs SO_REUSEPORT too, whatever enable_reuse_port says.
func packetOptions(l *control.Listener) engine.PacketOptions {
	return engine.PacketOptions{
		ReusePort: true, Transparent: l.Options.Transparent, Freebind: l.Options.Freebind, IPv4Compat: l.Options.IPv4Compat,
		SocketOptions: l.Options.SocketOptions,
	}
}

// removeSocketFiles removes the files of Unix sockets that no listener of next has, nil for none. It
// is called while they are still listened on: so the files are ours.
func removeSocketFiles(prev, next *control.Snapshot) {
	if prev == nil {
		return
	}
	kept := map[string]bool{}
	if next != nil {
		for _, l := range next.Listeners {
			for i := range l.Sockets {
				kept[l.Sockets[i].Key] = true
			}
		}
	}
	for _, l := range prev.Listeners {
		for i := range l.Sockets {
			at := &l.Sockets[i]
			if path := at.Bound.Path(); at.Bound.IsUnix() && !strings.HasPrefix(path, "@") && !kept[at.Key] {
				_ = os.Remove(path) // somebody else may have removed it
			}
		}
	}
}
