package l4

// The policy of splicing. Small messages are read and written: two system calls each. Bulk bytes are worth a pipe,
// which spares two copies but costs a call or two more.
const (
	// spliceReadMin is the size from which a read counts as bulk, in bytes.
	spliceReadMin = 32 << 10
	// spliceAfter bulk reads in a row switch a direction to splicing.
	spliceAfter = 2
	// spliceStopAfter moves in a row below spliceReadMin switch it back.
	spliceStopAfter = 8
)

// tcpSplice is what the policy knows of one direction.
type tcpSplice struct {
	large uint8 // bulk reads in a row
	small uint8 // small moves in a row while splicing
}

// bulk is called after a bulk read.
func (t *tcpTunnel) bulk(from, to *tcpEnd) {
	s := &from.splice
	if s.large++; s.large < spliceAfter {
		return
	}
	s.large = 0
	if to.io.Buffered() == 0 && from.io.Splice(to.io, -1) {
		s.small = 0
	}
}

// onSpliced tells that bytes went past us.
func (t *tcpTunnel) onSpliced(i int, n int64, done bool) {
	from, to := &t.ends[i], &t.ends[1-i]
	if n > 0 {
		now := t.p.loop.Now()
		from.seen, to.seen = now, now
		from.bytes += uint64(n)
		if t.active == 0 {
			t.p.wake(t)
		}
	}
	if done {
		return
	}
	s := &from.splice
	if n >= spliceReadMin {
		s.small = 0
		return
	}
	if s.small++; s.small >= spliceStopAfter {
		from.bytes += uint64(from.io.StopSplice())
	}
}
