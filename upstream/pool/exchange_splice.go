package pool

import "millrace/engine"

// Splicer is told how a response goes on that was handed to SpliceTo. It is most often the
// Owner itself.
type Splicer interface {
	// OnSpliced tells that n more bytes of the body have reached the other connection.
	// The span asked for, or the response, may end with them: then OnResponseData or another
	// callback of the Owner follows.
	OnSpliced(n int64)
}

// Opaque returns how many more bytes of the body follow on the wire unchanged, behind the piece that
// is being passed on: -1 until the host ends, 0 none or unknown. Only valid inside OnResponseData.
func (x *Exchange) Opaque() int64 {
	if x.conn == nil {
		return 0
	}
	return x.pool.cluster.table.event.Opaque
}

// SpliceTo lets the next n bytes of the body, or with n negative all until the host ends, go to
// dst without passing through us. n is at most Opaque; what framing dst needs is written
// before. It reports whether it is possible now; if not, nothing has changed.
//
// Until s has been told of n bytes, nothing may be written to dst. The end is told as
// always, by OnResponseData(nil, true). If dst breaks, only its own handler hears of it.
func (x *Exchange) SpliceTo(dst *engine.Conn, n int64, s Splicer) bool {
	c := x.conn
	if c == nil || !c.ec.Splice(dst, n) {
		return false
	}
	c.splices, x.splicer = true, s
	return true
}

// SpliceFrom lets the next n bytes that src has, all of them body of the request, go to the host
// without passing through us. It reports whether it is possible now; if not, nothing has changed. Until
// the handler of src has been told that n bytes are through, nothing may be sent; then SpliceDone follows.
//
// n is at least 1. For tunnels, which have no framing, src.Splice(x.Conn(), -1) does the same.
func (x *Exchange) SpliceFrom(src *engine.Conn, n int64, end bool) bool {
	c := x.conn
	if c == nil || !src.Splice(c.ec, n) {
		return false
	}
	// Staged behind the splice that was just set up, but written before it begins.
	c.ec.Staged(c.client.AppendDataPrefix(c.ec.Stage(), 0, int(n), end))
	return true
}

// SpliceDone ends what SpliceFrom with the same n and end began.
func (x *Exchange) SpliceDone(n int64, end bool) {
	if c := x.conn; c != nil {
		c.ec.Staged(c.client.AppendDataSuffix(c.ec.Stage(), 0, int(n), end))
	}
}
