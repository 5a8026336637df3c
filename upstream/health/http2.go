package health

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"millrace/codec"
	"millrace/upstream"
)

// errNotHTTP2 is why a connection does not do.
var errNotHTTP2 = errors.New("the host did not agree on h2 by ALPN")

// http2Plan is what the checks of a cluster by HTTP/2 have in common.
type http2Plan struct {
	scheme, host, path, method string
	header                     http.Header
	body                       []byte
	reuse                      bool
	// judge looks at a response.
	judge func(*http.Response) (Result, error)
}

// http2Probe asks by HTTP/2, which net/http speaks: there are few such checks, and their connections have to be looked
// after between checks.
type http2Probe struct {
	*link
	plan      *http2Plan
	transport http.Transport
	client    *http.ClientConn // on the connection of link; nil: none
}

func newHTTP2Probes(cfg *upstream.Config, d *dialer) func(context.Context, *upstream.Host) probe {
	h := cfg.HealthCheck()
	plan := newHTTP2Plan(cfg, d, h.Method, h.Path)
	head := newRequest(cfg)
	for i := range head.Len() {
		if id, name, value := head.At(i); id != codec.FieldRemoved {
			plan.header.Add(string(name), string(value))
		}
	}
	if plan.header.Get("user-agent") == "" {
		plan.header["User-Agent"] = []string{""} // without it net/http has one of its own
	}
	if h.Send != nil {
		plan.body = h.Send.Bytes()
	}
	rules := newHTTPRules(h)
	plan.judge = func(resp *http.Response) (Result, error) {
		a := answer{
			status: resp.StatusCode, service: resp.Header.Get("x-envoy-upstream-healthchecked-cluster"),
			degraded: resp.Header.Values("x-envoy-degraded") != nil,
			exclude:  resp.Header.Values("x-envoy-immediate-health-check-fail") != nil,
		}
		var err error
		if n := rules.need(); n > 0 {
			a.body, err = io.ReadAll(io.LimitReader(resp.Body, int64(n)))
		}
		if err == nil {
			_, err = io.CopyN(io.Discard, resp.Body, discardMax)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return Result{}, err
		}
		return rules.judge(&a), nil
	}
	return plan.probes(d)
}

func newHTTP2Plan(cfg *upstream.Config, d *dialer, method, path string) *http2Plan {
	plan := &http2Plan{
		scheme: "http", host: hostOf(cfg), path: path, method: method, header: http.Header{},
		reuse: cfg.HealthCheck().ReuseConnection,
	}
	if d.tls != nil {
		plan.scheme = "https"
	}
	return plan
}

// probes returns what makes the probes.
func (plan *http2Plan) probes(d *dialer) func(context.Context, *upstream.Host) probe {
	return func(ctx context.Context, host *upstream.Host) probe {
		p := &http2Probe{link: newLink(ctx, d, host), plan: plan}
		p.transport.Protocols = &http.Protocols{}
		p.transport.Protocols.SetHTTP2(true)
		p.transport.Protocols.SetUnencryptedHTTP2(true)
		p.transport.MaxResponseHeaderBytes = int64(codec.DefaultLimits().HeadBytes)
		p.transport.DisableCompression = true
		p.transport.DialContext, p.transport.DialTLSContext = p.dial, p.dial
		return p
	}
}

// dial gives the connection of the link to net/http.
func (p *http2Probe) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	conn, _, err := p.open(deadline)
	if err != nil {
		return nil, err
	}
	if !speaksHTTP2(conn) {
		return nil, errNotHTTP2
	}
	return conn, conn.SetDeadline(time.Time{}) // net/http reads all the time
}

// check implements probe.
func (p *http2Probe) check(deadline time.Time) Result {
	ctx, cancel := context.WithDeadline(p.ctx, deadline)
	defer cancel()
	for {
		fresh, err := p.connect(ctx)
		var res Result
		if err == nil {
			res, err = p.ask(ctx)
		}
		if err != nil || !p.plan.reuse {
			p.disconnect()
		}
		if err == nil {
			return res
		}
		if res = failure(err); fresh || res.Outcome == Timeout || ctx.Err() != nil {
			return res
		}
		// The host has closed a connection that nobody used: that says nothing about it.
	}
}

// connect opens the connection, unless there is one that can carry a request.
func (p *http2Probe) connect(ctx context.Context) (fresh bool, err error) {
	if p.client != nil && p.client.Err() == nil && p.client.Available() > 0 {
		return false, nil
	}
	p.disconnect()
	p.client, err = p.transport.NewClientConn(ctx, p.plan.scheme, "host:80") // dial knows better
	return true, err
}

func (p *http2Probe) disconnect() {
	if p.client != nil {
		_ = p.client.Close()
		p.client = nil
	}
	p.drop()
}

// ask sends the request and looks at the response.
func (p *http2Probe) ask(ctx context.Context) (Result, error) {
	plan := p.plan
	req, err := http.NewRequestWithContext(ctx, plan.method, plan.scheme+"://host"+plan.path, bytes.NewReader(plan.body))
	if err != nil {
		return Result{}, err
	}
	req.Host, req.Header = plan.host, plan.header.Clone()
	resp, err := p.client.RoundTrip(req)
	if err != nil {
		return Result{}, err
	}
	defer resp.Body.Close()
	return plan.judge(resp)
}
