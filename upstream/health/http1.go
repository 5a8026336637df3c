package health

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"millrace/codec"
	"millrace/codec/h1"
	"millrace/upstream"
)

// readBytes is how large the buffer of a check is at first: most heads fit.
const readBytes = 4 << 10

// http1Plan is what the HTTP/1.1 checks of a cluster have in common.
type http1Plan struct {
	rules  httpRules
	head   *codec.RequestHead
	body   []byte // of the request, or nil
	reuse  bool
	limits codec.Limits
}

// http1Probe asks by HTTP/1.1, with the codec of the data path instead of net/http: a check costs a quarter.
type http1Probe struct {
	*link
	plan   *http1Plan
	client h1.Client
}

func newHTTP1Probes(cfg *upstream.Config, d *dialer) func(context.Context, *upstream.Host) probe {
	h := cfg.HealthCheck()
	plan := &http1Plan{rules: newHTTPRules(h), head: newRequest(cfg), reuse: h.ReuseConnection, limits: codec.DefaultLimits()}
	if h.Send != nil {
		plan.body = h.Send.Bytes()
	}
	return func(ctx context.Context, host *upstream.Host) probe {
		return &http1Probe{link: newLink(ctx, d, host), plan: plan}
	}
}

// exchange is the memory of one check under way.
type exchange struct {
	buf    []byte
	have   int // bytes of buf not fed yet
	event  codec.Event
	head   codec.ResponseHead
	answer answer
	begun  bool // something of the response has come
	left   int  // bytes of the body that are still read only to use the connection again
}

var exchanges = sync.Pool{New: func() any {
	x := &exchange{buf: make([]byte, readBytes)}
	x.event.Response = &x.head
	return x
}}

// check implements probe.
func (p *http1Probe) check(deadline time.Time) Result {
	x := exchanges.Get().(*exchange)
	defer exchanges.Put(x)
	for {
		conn, fresh, err := p.open(deadline)
		if err != nil {
			p.drop()
			return failure(err)
		}
		if fresh {
			p.client.Reset(&p.plan.limits)
		}
		res, err := p.ask(conn, x)
		if err == nil && p.plan.reuse && p.client.Reusable() {
			return res
		}
		p.drop()
		if err == nil {
			return res
		}
		if res = failure(err); fresh || res.Outcome == Timeout || x.begun {
			return res
		}
		// The host has closed a connection that nobody used: that says nothing about it.
	}
}

// ask sends the request and reads the response.
func (p *http1Probe) ask(conn net.Conn, x *exchange) (Result, error) {
	plan := p.plan
	if !plan.reuse {
		p.client.SetClose()
	}
	x.answer = answer{body: x.answer.body[:0]}
	x.have, x.left, x.begun = 0, discardMax, false
	n := len(plan.body)
	out := p.client.AppendRequestHead(x.buf[:0], 0, plan.head, n == 0)
	if n > 0 {
		out = p.client.AppendDataPrefix(out, 0, n, true)
		out = append(out, plan.body...)
		out = p.client.AppendDataSuffix(out, 0, n, true)
	}
	if _, err := conn.Write(out); err != nil {
		return Result{}, err
	}
	for {
		n, err := conn.Read(x.buf[x.have:])
		x.have += n
		x.begun = x.begun || n > 0
		if done, ferr := p.feed(x); done || ferr != nil {
			return plan.rules.judge(&x.answer), ferr
		}
		if errors.Is(err, io.EOF) {
			if cerr := p.client.EOF(&x.event); cerr != nil || !x.event.End {
				return Result{}, io.ErrUnexpectedEOF
			}
			return plan.rules.judge(&x.answer), nil
		}
		if err != nil {
			return Result{}, err
		}
	}
}

// feed gives the codec what has been read. It reports whether enough of the response is there.
func (p *http1Probe) feed(x *exchange) (done bool, err error) {
	used := 0
	for used < x.have {
		n, cerr := p.client.Feed(x.buf[used:x.have], &x.event)
		if cerr != nil {
			return false, cerr
		}
		used += n
		if x.event.Kind == codec.EventNone {
			break
		}
		if p.take(x) {
			return true, nil
		}
	}
	x.have = copy(x.buf, x.buf[used:x.have])
	if x.have == len(x.buf) { // a head that does not fit; the codec bounds it
		x.buf = append(x.buf, make([]byte, len(x.buf))...)
	}
	return false, nil
}

// take looks at an event. It reports whether the response is complete, or what is left of it is not worth reading.
func (p *http1Probe) take(x *exchange) bool {
	switch x.event.Kind {
	case codec.EventHead:
		h := &x.head
		if h.Status < 200 {
			return false
		}
		a := &x.answer
		a.status, a.degraded = h.Status, h.Lookup("x-envoy-degraded") != nil
		a.exclude = h.Has(codec.FieldXEnvoyImmediateHealthCheckFail)
		a.service = ""
		if p.plan.rules.service != nil {
			a.service = string(h.Get(codec.FieldXEnvoyUpstreamHealthcheckedCluster))
		}
	case codec.EventData:
		p.plan.rules.add(&x.answer, x.event.Data)
		if x.left -= len(x.event.Data); x.left < 0 && len(x.answer.body) >= p.plan.rules.need() {
			return true // the connection is not reusable, so it is closed
		}
	}
	return x.event.End
}

// need returns how many bytes of a body are looked at.
func (r *httpRules) need() int {
	if len(r.receive) == 0 {
		return 0
	}
	return r.bodyMax
}
