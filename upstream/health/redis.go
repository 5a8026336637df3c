package health

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"millrace/upstream"
)

// redisLineMax bounds an answer: a line, which is an error at its longest.
const redisLineMax = 512

// redisProbe asks PING, or EXISTS of a key.
type redisProbe struct {
	*link
	request, want []byte
	reuse         bool
	started       bool // something of an answer has come
}

func newRedisProbes(h *upstream.HealthCheckConfig, d *dialer) func(context.Context, *upstream.Host) probe {
	request, want := []byte("*1\r\n$4\r\nPING\r\n"), []byte("+PONG")
	if h.RedisKey != "" {
		request = fmt.Appendf(nil, "*2\r\n$6\r\nEXISTS\r\n$%d\r\n%s\r\n", len(h.RedisKey), h.RedisKey)
		want = []byte(":0")
	}
	return func(ctx context.Context, host *upstream.Host) probe {
		return &redisProbe{link: newLink(ctx, d, host), request: request, want: want, reuse: h.ReuseConnection}
	}
}

// check implements probe.
func (p *redisProbe) check(deadline time.Time) Result {
	for {
		conn, fresh, err := p.open(deadline)
		var line []byte
		if err == nil {
			line, err = p.ask(conn)
		}
		passed := err == nil && bytes.Equal(line, p.want)
		if !passed || !p.reuse {
			p.drop()
		}
		switch {
		case passed:
			return Result{Outcome: Passed}
		case err == nil:
			return Result{Outcome: Wrong}
		}
		if res := failure(err); fresh || res.Outcome == Timeout || p.started {
			return res
		}
	}
}

// ask returns the line that answers, without its end. An answer that is no line of a sensible length is a wrong one.
func (p *redisProbe) ask(conn net.Conn) ([]byte, error) {
	p.started = false
	if _, err := conn.Write(p.request); err != nil {
		return nil, err
	}
	var buf [redisLineMax]byte
	for have := 0; have < len(buf); {
		n, err := conn.Read(buf[have:])
		have += n
		p.started = have > 0
		if i := bytes.Index(buf[:have], []byte("\r\n")); i >= 0 {
			if i+2 < have { // more than was asked for
				return nil, nil
			}
			return bytes.Clone(buf[:i]), nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}
