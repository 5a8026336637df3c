package health

import (
	"context"
	"errors"
	"net"
	"time"

	"millrace/upstream"
)

// tcpReceiveMax bounds what a TCP check reads while it looks for what it wants, in bytes.
const tcpReceiveMax = 64 << 10

// errTooMuch is why a TCP check that finds nothing ends.
var errTooMuch = errors.New("too much was received")

// tcpProbe connects, and may send and look for bytes.
type tcpProbe struct {
	*link
	send    []byte
	receive [][]byte
	reuse   bool
	buf     []byte // nil while only connecting
}

func newTCPProbes(h *upstream.HealthCheckConfig, d *dialer) func(context.Context, *upstream.Host) probe {
	var send []byte
	if h.Send != nil {
		send = h.Send.Bytes()
	}
	receive := payloads(h.Receive)
	return func(ctx context.Context, host *upstream.Host) probe {
		return &tcpProbe{link: newLink(ctx, d, host), send: send, receive: receive, reuse: h.ReuseConnection && len(receive) > 0}
	}
}

// check implements probe.
func (p *tcpProbe) check(deadline time.Time) Result {
	for {
		conn, fresh, err := p.open(deadline)
		if err == nil && len(p.receive) > 0 {
			err = p.talk(conn)
		}
		if err != nil || !p.reuse {
			p.drop()
		}
		switch {
		case err == nil:
			return Result{Outcome: Passed}
		case errors.Is(err, errTooMuch):
			return Result{Outcome: Wrong}
		}
		if res := failure(err); fresh || res.Outcome == Timeout || len(p.buf) > 0 {
			return res
		}
	}
}

// talk sends, and reads until everything wanted has come.
func (p *tcpProbe) talk(conn net.Conn) error {
	p.buf = p.buf[:0]
	if len(p.send) > 0 {
		if _, err := conn.Write(p.send); err != nil {
			return err
		}
	}
	if p.buf == nil {
		p.buf = make([]byte, 0, 512)
	}
	for {
		if len(p.buf) == cap(p.buf) {
			p.buf = append(p.buf, 0)[:len(p.buf)]
		}
		n, err := conn.Read(p.buf[len(p.buf):cap(p.buf)])
		p.buf = p.buf[:len(p.buf)+n]
		switch {
		case inOrder(p.buf, p.receive):
			return nil
		case err != nil:
			return err
		case len(p.buf) >= tcpReceiveMax:
			return errTooMuch
		}
	}
}
