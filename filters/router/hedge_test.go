package router_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// hedgePerTry is the per_try_timeout of the tests of hedging.
const hedgePerTry = 100 * time.Millisecond

// script answers the nth request by its nth step, the last one from then on: words for what it waits for, then a reset or a status.
// A script counts what was asked and answered.
type script struct {
	t               *testing.T
	steps           []string
	asked, answered atomic.Int32
}

// ServeHTTP implements [http.Handler].
func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(s.asked.Add(1))
	body, err := io.ReadAll(r.Body)
	if r.Method == "POST" && (err != nil || string(body) != "hello") {
		s.t.Errorf("attempt %d: body %q, %v", n, body, err)
	}
	for word := range strings.FieldsSeq(s.steps[min(n, len(s.steps))-1]) {
		switch word {
		case "hang":
			<-r.Context().Done()
			return
		case "asked": // the next request has come
			s.wait(r, &s.asked, n+1)
		case "late": // the attempt is out of time, and that of the next one too
			s.pause(r, 3*hedgePerTry)
		case "answered": // another request has been answered, and the answer has arrived
			s.wait(r, &s.answered, 1)
			s.pause(r, 2*hedgePerTry)
		case "unavailable":
			w.Header().Set("Grpc-Status", "14")
			s.answered.Add(1)
			return
		case "reset":
			s.answered.Add(1)
			panic(http.ErrAbortHandler)
		default:
			code, err := strconv.Atoi(word)
			if err != nil {
				s.t.Error(err)
			}
			w.Header().Set("Trailer", "X-Attempt")
			w.WriteHeader(code)
			fmt.Fprintf(w, "attempt %d", n)
			_ = http.NewResponseController(w).Flush() // else there is a length in place of trailers
			w.Header().Set("X-Attempt", strconv.Itoa(n))
			s.answered.Add(1)
			return
		}
	}
}

// wait waits until a count is reached.
func (s *script) wait(r *http.Request, count *atomic.Int32, least int) {
	for end := time.Now().Add(15 * time.Second); int(count.Load()) < least && time.Now().Before(end) && r.Context().Err() == nil; {
		<-time.After(time.Millisecond)
	}
}

// pause waits for some time.
func (s *script) pause(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// tardy is of how many timeouts outlier detection hears.
var tardy = map[string]uint64{
	"no need": 0, "the second is faster": 1, "none answers": 2, "no retry is left at all": 1, "the third is faster": 2,
}

// TestHedging: which of several attempts a client gets, and what is counted.
func TestHedging(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		steps   []string
		retries uint32
		status  int
		body    string // "" for one of our own
		asked   int32
		retried int64 // upstream_rq_retry
	}{
		{"no need", []string{"200"}, 1, 200, "attempt 1", 1, 0},
		{"the second is faster", []string{"hang", "200"}, 1, 200, "attempt 2", 2, 1},
		{"the first is faster after all", []string{"asked 200", "hang"}, 1, 200, "attempt 1", 2, 1},
		{"the first has a bad answer", []string{"asked 503", "answered 200"}, 1, 200, "attempt 2", 2, 1},
		{"the second has a bad answer", []string{"answered 200", "503"}, 1, 200, "attempt 1", 2, 1},
		{"both have, the second last", []string{"asked 503", "answered 503"}, 1, 503, "attempt 2", 2, 1},
		{"both have, the first last", []string{"answered 503", "503"}, 1, 503, "attempt 1", 2, 1},
		{"what is not retried is an answer", []string{"hang", "404"}, 1, 404, "attempt 2", 2, 1},
		{"the first breaks", []string{"asked reset", "answered 200"}, 1, 200, "attempt 2", 2, 1},
		{"the second breaks", []string{"answered 200", "reset"}, 1, 200, "attempt 1", 2, 1},
		{"both break", []string{"asked reset", "reset"}, 1, 503, "", 2, 1},
		{"none answers", []string{"hang"}, 1, 504, "", 2, 1},
		{"the third is faster", []string{"hang", "hang", "200"}, 2, 200, "attempt 3", 3, 2},
		{"the first of three is", []string{"asked late 200", "hang", "hang"}, 2, 200, "attempt 1", 3, 2},
		{"a hedge is retried", []string{"hang", "503", "200"}, 2, 200, "attempt 3", 3, 2},
		{"a hedge that breaks is retried", []string{"hang", "reset", "200"}, 2, 200, "attempt 3", 3, 2},
		{"a gRPC status is a bad answer", []string{"asked unavailable", "answered 200"}, 1, 200, "attempt 2", 2, 1},
		{"no retry is left", []string{"late 200"}, 0, 200, "attempt 1", 1, 0},
		{"no retry is left at all", []string{"hang"}, 0, 504, "", 1, 0},
		{"a retry of a response is hedged", []string{"503", "hang", "200"}, 2, 200, "attempt 3", 3, 2},
	} {
		for _, up := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, h%d", tt.name, 1+btoi(up)), func(t *testing.T) {
				t.Parallel()
				m := newMix(t, up, func(_ *httpconn.Config, f *route.ForwardConfig, c *upstream.Config) {
					if tt.status == 504 {
						f.Timeout = 600 * time.Millisecond
					}
					f.HedgePolicy = &route.HedgePolicyConfig{HedgeOnPerTryTimeout: true}
					f.RetryPolicy = &route.RetryPolicyConfig{RetryOn: "5xx,unavailable", NumRetries: tt.retries, PerTryTimeout: hedgePerTry}
					f.RetryPolicy.RetryBackOff.BaseInterval = time.Millisecond
				})
				played := &script{t: t, steps: tt.steps}
				origin := &http.Server{Handler: played, Protocols: protocols(up)}
				go func() { _ = origin.Serve(m.origins) }()
				t.Cleanup(func() { _ = origin.Close() })
				m.on(func() {
					m.cluster.Shared().Outlier = upstream.NewOutlier(&upstream.OutlierConfig{SplitExternalLocalOriginErrors: true}, nil)
				})
				rq, err := http.NewRequest([]string{"GET", "POST"}[btoi(up)], "http://"+m.addr+"/", strings.NewReader("hello"))
				if err != nil {
					t.Fatal(err)
				}
				rq.Header.Set("TE", "trailers")
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				rs, err := transport.RoundTrip(rq)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(rs.Body)
				if err != nil {
					t.Fatal(err)
				}
				if rs.StatusCode != tt.status || tt.body != "" && string(body) != tt.body {
					t.Errorf("status %d, body %q; want %d, %q", rs.StatusCode, body, tt.status, tt.body)
				}
				if tt.body != "" && rs.Trailer.Get("X-Attempt") != strings.TrimPrefix(tt.body, "attempt ") {
					t.Errorf("trailers %v, want those of %s", rs.Trailer, tt.body)
				}
				if n := played.asked.Load(); n != tt.asked {
					t.Errorf("%d attempts, want %d", n, tt.asked)
				}
				m.wantQuiet()
				m.on(func() {
					st := &m.cluster.Stats
					if n := int64(st.RqRetry.Load()); n != tt.retried {
						t.Errorf("upstream_rq_retry is %d, want %d", n, tt.retried)
					}
					success := uint64(btoi(tt.status < 500 && tt.body != "attempt 1"))
					if n := st.RqRetrySuccess.Load(); n != success {
						t.Errorf("upstream_rq_retry_success is %d, want %d", n, success)
					}
					if n := st.RqPerTryTimeout.Load(); n != 0 {
						t.Errorf("upstream_rq_per_try_timeout is %d, want 0", n)
					}
					b := m.cluster.Shared().Budgets[0]
					if n, k := b.Active(upstream.Retries), b.Active(upstream.Requests); n != 0 || k != 0 {
						t.Errorf("%d retries and %d requests are left in the budget", n, k)
					}
					h := m.cluster.Shared().Hosts()[0]
					if h.RqActive.Load() != 0 {
						t.Errorf("%d requests are left of the host", h.RqActive.Load())
					}
					total, fine := h.Outlier.Take(true)
					if want, ok := tardy[tt.name]; ok && total-fine != want {
						t.Errorf("outlier detection heard of %d timeouts, want %d", total-fine, want)
					}
				})
			})
		}
	}
}
