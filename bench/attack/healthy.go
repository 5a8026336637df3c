package main

import (
	"context"
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
	t.Protocols.SetHTTP1(v == http1)
	t.Protocols.SetUnencryptedHTTP2(v == http2)
	return t
}

// beWell sends a request every healthyEvery until ctx ends, whatever became of the earlier ones, and waits for all.
// Times count from when a request was due.
func beWell(ctx context.Context, addr string, v version, path string) *healthy {
	transport := newTransport(v)
	defer transport.CloseIdleConnections()
	h := &healthy{errors: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	tick := time.NewTicker(healthyEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		due := time.Now()
		wg.Go(func() {
			err := ask(transport, "http://"+addr+path)
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
				for ctx.Err() == nil && ask(transport, "http://"+addr+crowdPath) == nil {
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
