package admin

import (
	"net"
	"syscall"
	"testing"
)

// poorListener is out of descriptors as long as the spare ones are held.
type poorListener struct {
	net.Listener
	spare *spareFiles
	conn  net.Conn
}

func (l *poorListener) Accept() (net.Conn, error) {
	if len(l.spare.fds) > 0 || l.conn == nil {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.conn, nil
}

func (l *poorListener) Close() error { return nil }

// TestSpareFiles: the admin port can be reached when others have taken all descriptors, and takes them back afterwards.
func TestSpareFiles(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	poor := &poorListener{conn: ours}
	l := newLimitedListener(poor)
	poor.spare = &l.spare
	if len(l.spare.fds) != spareMax {
		t.Fatalf("%d spare descriptors, want %d", len(l.spare.fds), spareMax)
	}
	c, err := l.Accept()
	if err != nil || len(l.spare.fds) != 0 {
		t.Fatalf("Accept = %v with %d spare descriptors left, want a connection and none", err, len(l.spare.fds))
	}
	if err := c.Close(); err != nil || len(l.spare.fds) != spareMax {
		t.Errorf("Close = %v, %d spare descriptors, want %d", err, len(l.spare.fds), spareMax)
	}
	poor.conn = nil
	for range 2 { // with the spare descriptors, and without
		if _, err := l.Accept(); !isOutOfFiles(err) {
			t.Errorf("Accept = %v, want EMFILE", err)
		}
	}
	if err := l.Close(); err != nil || len(l.slots) != 0 {
		t.Errorf("Close = %v, %d slots in use", err, len(l.slots))
	}
	if l.spare.fill(); len(l.spare.fds) != 0 {
		t.Error("spare descriptors are taken after Close")
	}
}
