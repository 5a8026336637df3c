package server

import (
	"fmt"
	"os"
	"strings"

	"millrace/cmd/internal/control"
	"millrace/engine"
)

// sockets are the bound file descriptors for one loop, by control.Listener.Socket.
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
	have := map[string]*control.Listener{}
	if prev != nil {
		for _, l := range prev.Listeners {
			have[l.Socket] = l
		}
	}
	for _, l := range next.Listeners {
		if err := bindListener(l, have[l.Socket], fds); err != nil {
			for _, m := range fds {
				m.close()
			}
			return nil, fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	return fds, nil
}

// bindListener opens the sockets of l, or takes over those of the listener that has the address.
func bindListener(l, had *control.Listener, fds []sockets) error {
	switch {
	case had == nil:
		return open(l, fds)
	case had.SocketHash != l.SocketHash:
		return fmt.Errorf("%s is open: enable_reuse_port, tcp_backlog_size and tcp_keepalive cannot change without a restart, or another address", l.Address)
	case had != l:
		l.Bound = had.Bound
	}
	return nil
}

// open opens the sockets of one listener: one for each loop, or one they share.
func open(l *control.Listener, fds []sockets) error {
	addr, err := engine.ParseAddr(l.Address)
	if err != nil {
		return err
	}
	shared := addr.IsUnix() || !l.Options.ReusePort
	l.Bound = addr
	for i := range fds {
		var fd int
		if i > 0 && shared {
			fd, err = engine.DupFd(fds[0][l.Socket])
		} else {
			fd, err = engine.Listen(l.Bound, l.Options)
		}
		if err != nil {
			return err
		}
		fds[i][l.Socket] = fd
		if i > 0 || addr.IsUnix() {
			continue
		}
		bound, err := engine.LocalAddr(fd)
		if err != nil {
			return err
		}
		l.Bound = addr.WithPort(uint16(bound.Port())) // the other loops take the port the first one got
	}
	return nil
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
			kept[l.Socket] = true
		}
	}
	for _, l := range prev.Listeners {
		if path := l.Bound.Path(); l.Bound.IsUnix() && !strings.HasPrefix(path, "@") && !kept[l.Socket] {
			_ = os.Remove(path) // somebody else may have removed it
		}
	}
}
