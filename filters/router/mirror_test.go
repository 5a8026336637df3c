package router_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/upstream"
)

// seen is a request as an origin saw it.
type seen struct{ host, method, path, field, body, trailer string }

// mirrored makes a mix whose requests are copied to their own origin, which tells the copies by their host. Requests go to
// serve, copies to shadow.
func mirrored(t *testing.T, http2 bool, edit func(*route.ForwardConfig, *upstream.Config), serve, shadow http.HandlerFunc) *mix {
	t.Helper()
	m := newMix(t, http2, func(_ *httpconn.Config, f *route.ForwardConfig, c *upstream.Config) {
		f.RequestMirrorPolicies = &[]route.MirrorConfig{{Cluster: "web"}}
		c.CircuitBreakers.MaxRequests, c.CircuitBreakers.MaxConnections = 1<<20, 1<<20
		if edit != nil {
			edit(f, c)
		}
	})
	origin := &http.Server{Protocols: protocols(http2), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Host, "-shadow") {
			shadow(w, r)
			return
		}
		serve(w, r)
	})}
	go func() { _ = origin.Serve(m.origins) }()
	t.Cleanup(func() { _ = origin.Close() })
	return m
}

// look takes a request in.
func look(r *http.Request) (seen, error) {
	body, err := io.ReadAll(r.Body)
	return seen{r.Host, r.Method, r.URL.String(), r.Header.Get("X-Field"), string(body), r.Trailer.Get("X-End")}, err
}

// TestMirror: the copy is what the request is, but for its host; its answer goes nowhere.
func TestMirror(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("from2=%t/to2=%t", down, up), func(t *testing.T) {
				t.Parallel()
				both := make(chan seen, 2)
				take := func(r *http.Request) {
					s, err := look(r)
					if err != nil {
						t.Error(err)
					}
					both <- s
				}
				m := mirrored(t, up, nil, func(w http.ResponseWriter, r *http.Request) {
					take(r)
					fmt.Fprint(w, "yes")
				}, func(w http.ResponseWriter, r *http.Request) {
					take(r)
					w.WriteHeader(500)
					fmt.Fprint(w, strings.Repeat("no", 10_000))
				})
				client := &http.Client{Transport: &http.Transport{Protocols: protocols(down)}}
				defer client.CloseIdleConnections()
				for _, tt := range []struct{ method, host, shadow, body string }{
					{"GET", "shop.test", "shop.test-shadow", ""},
					{"POST", "shop.test:81", "shop.test-shadow:81", "a body"},
					{"PUT", "127.0.0.1:1", "127.0.0.1-shadow:1", strings.Repeat("large ", 200_000)},
					{"POST", "chunked", "chunked-shadow", "chunked"},
				} {
					req, err := http.NewRequest(tt.method, "http://"+m.addr+"/a?b=c", strings.NewReader(tt.body))
					if err != nil {
						t.Fatal(err)
					}
					if req.Host = tt.host; tt.body == "chunked" {
						req.ContentLength, req.Trailer = -1, http.Header{"X-End": {"end"}}
					}
					req.Header.Set("X-Field", "f")
					resp, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					if resp.Body.Close(); string(got) != "yes" || err != nil || resp.StatusCode != 200 {
						t.Fatalf("%s: %d %.40q, %v", tt.method, resp.StatusCode, got, err)
					}
					want := seen{tt.host, tt.method, "/a?b=c", "f", tt.body, ""}
					if tt.body == "chunked" {
						want.trailer = "end"
					}
					a, b := <-both, <-both
					if a.host == tt.shadow {
						a, b = b, a
					}
					if a != want {
						t.Errorf("the request is %.200v, want %.200v", a, want)
					}
					if want.host = tt.shadow; b != want {
						t.Errorf("its copy is %.200v, want %.200v", b, want)
					}
				}
				m.wantQuiet()
				if got := m.active("rq_mirrored", "upstream_rq_5xx", "upstream_rq_2xx", "upstream_rq_total"); got !=
					"cluster.web.upstream_rq_2xx=4 cluster.web.upstream_rq_5xx=4 cluster.web.upstream_rq_total=8 http.in.rq_mirrored=4" {
					t.Error(got)
				}
			})
		}
	}
}

// TestMirrorNeverHurts: whatever the host of the copies does, requests are answered, and nothing is left of the copies.
func TestMirrorNeverHurts(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, tt := range []struct {
		name    string
		shadow  http.HandlerFunc
		timeout time.Duration
		counter string // that tells of it
	}{
		{"never answers", hang, 100 * time.Millisecond, "upstream_rq_timeout"},
		{"stops in its answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}, 100 * time.Millisecond, "upstream_rq_timeout"},
		{"breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, time.Minute, "upstream_rq_503"},
		{"breaks off in its answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, time.Minute, ""},
		{"answers early", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, time.Minute, "upstream_rq_4xx"},
		{"answers without end", func(w http.ResponseWriter, _ *http.Request) {
			for b := make([]byte, 64<<10); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, time.Minute, "rq_mirror_response_too_large"},
	} {
		for _, up := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/to2=%t", tt.name, up), func(t *testing.T) {
				t.Parallel()
				m := mirrored(t, up, func(f *route.ForwardConfig, _ *upstream.Config) { f.Timeout = tt.timeout }, func(w http.ResponseWriter, r *http.Request) {
					b, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					fmt.Fprint(w, len(b))
				}, tt.shadow)
				body := bytes.Repeat([]byte("x"), 300_000)
				for range 3 {
					resp, err := http.Post("http://"+m.addr+"/", "text/plain", bytes.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					got, _ := io.ReadAll(resp.Body)
					if resp.Body.Close(); resp.StatusCode != 200 || string(got) != "300000" {
						t.Errorf("%d %s", resp.StatusCode, got)
					}
				}
				m.wantQuiet()
				if got := m.active(tt.counter); tt.counter != "" && !strings.Contains(got, tt.counter+"=") {
					t.Errorf("%s is not counted: %q", tt.counter, got)
				}
			})
		}
	}
}

// TestMirrorStalled: a host that takes nothing of a large body holds up neither the request nor more memory than its limit. (Were
// both on one connection of HTTP/2, they would share its window.)
func TestMirrorStalled(t *testing.T) {
	t.Parallel()
	m := mirrored(t, false, nil, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, n)
	}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	resp, err := http.Post("http://"+m.addr+"/", "text/plain", &noise{seed: 1, left: 30 << 20})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(resp.Body)
	if resp.Body.Close(); resp.StatusCode != 200 || string(got) != fmt.Sprint(30<<20) {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	m.wantQuiet()
	if got := m.active("retry_or_shadow_abandoned"); got != "cluster.web.retry_or_shadow_abandoned=1" {
		t.Error(got)
	}
}

// TestMirrorOfBrokenRequest: a client that goes away in its body leaves no copy behind.
func TestMirrorOfBrokenRequest(t *testing.T) {
	t.Parallel()
	for _, up := range []bool{false, true} {
		begun, ended := make(chan struct{}, 2), make(chan error, 2)
		h := func(_ http.ResponseWriter, r *http.Request) {
			begun <- struct{}{}
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
		}
		m := mirrored(t, up, nil, h, h)
		c, _ := m.client1("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
		<-begun
		<-begun
		_ = c.Close()
		for range 2 {
			if err := <-ended; err == nil {
				t.Error("a half of a body passed for a whole one")
			}
		}
		m.wantQuiet()
	}
}

// TestMirrorsMax: copies beyond the limit are not made.
func TestMirrorsMax(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	m := mirrored(t, true, nil, func(http.ResponseWriter, *http.Request) {}, func(http.ResponseWriter, *http.Request) { <-release })
	transport := &http.Transport{Protocols: protocols(true)}
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1030 / 8 * 2 {
				resp, err := client.Get("http://" + m.addr + "/")
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
			}
		})
	}
	all.Wait()
	got := m.active("rq_mirrored", "rq_mirror_overflow")
	if !strings.Contains(got, "http.in.rq_mirrored=1024") || !strings.Contains(got, "http.in.rq_mirror_overflow=1024") {
		t.Error(got)
	}
	close(release)
	m.wantQuiet()
	client.CloseIdleConnections()
}

// TestNoMirror: requests that become something else are not copied, and shares are.
func TestNoMirror(t *testing.T) {
	t.Parallel()
	m := mirrored(t, false, func(f *route.ForwardConfig, _ *upstream.Config) {
		(*f.RequestMirrorPolicies)[0].RuntimeFraction = &route.FractionConfig{Value: 25}
	}, func(http.ResponseWriter, *http.Request) {}, func(http.ResponseWriter, *http.Request) {})
	const n = 2000
	for range n {
		resp, err := http.Get("http://" + m.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	m.wantQuiet()
	var copies int
	if _, err := fmt.Sscanf(m.active("rq_mirrored"), "http.in.rq_mirrored=%d", &copies); err != nil || copies < n/5 || copies > n*3/10 {
		t.Errorf("%d of %d requests were copied, want a quarter", copies, n)
	}
	all := mirrored(t, false, nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, func(http.ResponseWriter, *http.Request) {
		t.Error("an upgrade was copied")
	})
	_, r := all.client1("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	head1(t, r)
	all.wantQuiet()
}
