package admin

import (
	"errors"
	"sync"
	"syscall"
)

// spareMax is how many file descriptors the admin port keeps for itself: one for a connection, the others for what its
// request opens, such as the configuration file.
const spareMax = 8

// spareFiles are descriptors that stand for nothing. When the process is out of them they are let go of, so that an
// operator can still ask what is the matter; otherwise those who use up the others would lock him out.
type spareFiles struct {
	mu     sync.Mutex
	fds    []int
	closed bool
}

// fill takes as many as can be had.
func (s *spareFiles) fill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && len(s.fds) < spareMax {
		fd, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		s.fds = append(s.fds, fd)
	}
}

// release lets go of all, and reports whether there were any.
func (s *spareFiles) release() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.fds {
		_ = syscall.Close(fd)
	}
	had := len(s.fds) > 0
	s.fds = s.fds[:0]
	return had
}

// close lets go of all for good.
func (s *spareFiles) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.release()
}

// isOutOfFiles reports whether no descriptor could be had.
func isOutOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
