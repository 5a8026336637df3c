package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	healthyEvery  = 20 * time.Millisecond
	healthyWait   = 5 * time.Second // for an answer; a request that takes longer has failed
	healthyConns  = 8               // kept connections over HTTP/1.1
	crowdClients  = 16
	crowdStreams  = 100 // requests at once of each client of HTTP/2, as many as an attacker's
	crowdRequests = 12  // of one of HTTP/1.1, together as many as there are attackers at most
	freshEvery    = 5   // of the requests over TLS, one has a connection and a handshake of its own
	crowdPath     = slowPrefix + "/16384"
)

// healthy is how a client fared that does nothing wrong.
type healthy struct {
	times  []time.Duration // sorted
	errors map[string]int
}

// failed returns the number of requests that failed.
func (h *healthy) failed() int {
	n := 0
	for _, k := range h.errors {
		n += k
	}
	return n
}

// at returns a quantile of the times.
func (h *healthy) at(q float64) time.Duration {
	if len(h.times) == 0 {
		return 0
	}
	return h.times[min(int(q*float64(len(h.times))), len(h.times)-1)]
}

func newTransport(v version) *http.Transport {
	t := &http.Transport{
		DialContext: (&net.Dialer{Timeout: healthyWait}).DialContext, MaxIdleConnsPerHost: healthyConns, DisableCompression: true,
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(v != http2)
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // it is not the certificate that is tried
	t.Protocols.SetUnencryptedHTTP2(v == http2)
	return t
}

// url returns the URL of a path.
func (v version) url(addr, path string) string {
	if v == https {
		return "https://" + addr + path
	}
	return "http://" + addr + path
}

// beWell sends a request every healthyEvery until ctx ends, whatever became of the earlier ones, and waits for all.
// Times count from when a request was due. Over TLS some requests have connections of their own, unless
// kept is given: then all of them go by the connections it has.
func beWell(ctx context.Context, addr string, v version, path string, kept *http.Transport) *healthy {
	transport, fresh := newTransport(v), newTransport(v)
	fresh.DisableKeepAlives = true
	if kept != nil {
		transport = kept
	}
	if v != https || kept != nil {
		fresh = transport
	}
	defer transport.CloseIdleConnections()
	h := &healthy{errors: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	tick := time.NewTicker(healthyEvery)
	defer tick.Stop()
	for i := 1; ctx.Err() == nil; i++ {
		due, through := time.Now(), transport
		if i%freshEvery == 0 {
			through = fresh
		}
		wg.Go(func() {
			err := ask(through, v.url(addr, path))
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				h.errors[err.Error()]++
				return
			}
			h.times = append(h.times, took)
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	wg.Wait()
	slices.Sort(h.times)
	return h
}

// keep opens all the connections that a healthy client may have.
func keep(addr string, v version) (*http.Transport, error) {
	transport := newTransport(v)
	transport.MaxConnsPerHost = healthyConns
	errs := make([]error, healthyConns)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = ask(transport, v.url(addr, crowdPath)) })
	}
	wg.Wait()
	return transport, errors.Join(errs...)
}

// crowd keeps asking for something larger that takes a while, many requests at once, until ctx ends: a target is at its
// working size before it is attacked.
func crowd(ctx context.Context, addr string, v version) {
	var wg sync.WaitGroup
	each := crowdRequests
	if v == http2 {
		each = crowdStreams
	}
	for range crowdClients {
		transport := newTransport(v)
		for range each {
			wg.Go(func() {
				for ctx.Err() == nil && ask(transport, v.url(addr, crowdPath)) == nil {
				}
				transport.CloseIdleConnections()
			})
		}
	}
	wg.Wait()
}

// ask makes one request and reads the answer.
func ask(rt http.RoundTripper, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), healthyWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
