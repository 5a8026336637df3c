package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// moody serves noise, but first, or instead, waits, breaks off, or answers 503.
func moody(t *testing.T, seed uint64) http.Handler {
	noise := serveNoise(t)
	var served atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rng := rand.New(rand.NewPCG(seed, served.Add(1)))
		wait := func(most time.Duration) {
			select {
			case <-time.After(time.Duration(rng.Int64N(int64(most)))):
			case <-r.Context().Done():
			}
		}
		switch rng.IntN(8) {
		case 0:
			wait(time.Hour)
			return
		case 1:
			wait(30 * time.Millisecond)
			panic(http.ErrAbortHandler)
		case 2:
			wait(30 * time.Millisecond)
			w.WriteHeader(503)
			return
		case 3, 4:
			wait(30 * time.Millisecond)
		}
		noise.ServeHTTP(w, r)
	})
}

// TestHedgeChaos: whatever becomes of the attempts of requests that hedge, each response is that of one of them, and nothing of any is
// left.
func TestHedgeChaos(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ down, up bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		for _, budget := range []uint32{2, 1000} {
			t.Run(fmt.Sprintf("h%d to h%d, %d retries", 1+btoi(v.down), 1+btoi(v.up), budget), func(t *testing.T) {
				t.Parallel()
				runHedgeChaos(t, v.down, v.up, budget)
			})
		}
	}
}

func runHedgeChaos(t *testing.T, down, up bool, budget uint32) {
	var origins []*http.Server
	m := newMix(t, up, func(_ *httpconn.Config, f *route.ForwardConfig, c *upstream.Config) {
		f.Timeout = 200 * time.Millisecond
		f.HedgePolicy = &route.HedgePolicyConfig{HedgeOnPerTryTimeout: true}
		f.RetryPolicy = &route.RetryPolicyConfig{
			RetryOn: "5xx", NumRetries: 3, PerTryTimeout: 8 * time.Millisecond, PerTryIdleTimeout: 150 * time.Millisecond,
			RetryHostPredicate: []string{"previous_hosts"},
		}
		f.RetryPolicy.RetryBackOff.BaseInterval = time.Millisecond
		c.CircuitBreakers.MaxRetries = &budget
		c.Hosts = nil
		for i := range uint64(3) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			origin := &http.Server{Handler: moody(t, i), Protocols: protocols(up)}
			go func() { _ = origin.Serve(l) }()
			origins = append(origins, origin)
			c.Hosts = append(c.Hosts, upstream.HostConfig{Address: l.Addr().String(), Weight: 1})
		}
	})
	requests := 25
	if raceEnabled {
		requests = 8
	}
	transport := &http.Transport{Protocols: protocols(down), MaxConnsPerHost: 20}
	var wg sync.WaitGroup
	var good, bad, cut atomic.Int32
	for worker := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 9))
			for i := range requests {
				seed := worker<<10 | i
				upSize, downSize := rng.IntN(2)*rng.IntN(60000), rng.IntN(100000)
				ctx, cancel := context.WithCancel(context.Background())
				if rng.IntN(6) == 0 {
					time.AfterFunc(time.Duration(rng.IntN(30))*time.Millisecond, cancel)
				}
				rq, err := http.NewRequestWithContext(ctx, "POST", "http://"+m.addr+"/", &noise{seed: uint64(seed), left: upSize})
				if err != nil {
					t.Error(err)
				}
				for name, n := range map[string]int{"X-Seed": seed, "X-Up": upSize, "X-Down": downSize, "X-May-Die": 1} {
					rq.Header.Set(name, strconv.Itoa(n))
				}
				rs, err := transport.RoundTrip(rq)
				switch {
				case err != nil:
				case rs.StatusCode == 200:
					err = check(slow{rs.Body, rng}, uint64(seed)+1, downSize)
					_ = rs.Body.Close()
				default:
					_, _ = io.Copy(io.Discard, rs.Body)
					_ = rs.Body.Close()
					bad.Add(1)
				}
				switch {
				case errors.Is(err, errForeign):
					t.Errorf("response of %d: %v", seed, err)
				case err != nil:
					cut.Add(1)
				default:
					good.Add(1)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	m.wantQuiet()
	m.on(func() {
		st := &m.cluster.Stats
		t.Logf("%d whole, %d of them no 200, %d cut off; %d retries, %d refused", good.Load(), bad.Load(), cut.Load(), st.RqRetry.Load(), st.RqRetryOverflow.Load())
		b := m.cluster.Shared().Budgets[0]
		for r := upstream.Pending; r <= upstream.Retries; r++ {
			if n := b.Active(r); n != 0 {
				t.Errorf("%d of %v are left in the budget", n, r)
			}
		}
		for _, h := range m.cluster.Shared().Hosts() {
			if n := h.RqActive.Load(); n != 0 {
				t.Errorf("%d requests are left of host %s", n, h.Name)
			}
		}
	})
	transport.CloseIdleConnections()
	for _, o := range origins {
		_ = o.Close()
	}
	for end := time.Now().Add(5 * time.Second); m.cluster.Stats.CxActive.Load() != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("connections to the origins are left: %d", m.cluster.Stats.CxActive.Load())
		}
	}
	var leased int64
	m.on(func() { leased = m.loop.Arena().Leased() })
	if most := int64(1 << 20); leased-m.leased > most { // what is kept for the next requests
		t.Errorf("%d bytes of blocks are left, want at most %d", leased-m.leased, most)
	}
}
