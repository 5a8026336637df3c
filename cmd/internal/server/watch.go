package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"millrace/filters"
	"millrace/upstream"
)

const (
	// watchBytesMax bounds what a source may have.
	watchBytesMax = 1 << 20
	// watchTimeout bounds one request to a source.
	watchTimeout = 5 * time.Second
	// watchHeadBytesMax bounds the head of a response.
	watchHeadBytesMax = 64 << 10
)

// A watcher reads a source again and again.
type watcher struct {
	server        *Server
	src           filters.Source
	every, jitter time.Duration
	put           func(body []byte, err error)
	next          int // the host to ask first the next time
}

// watch is filters.SharedEnv.Watch. It begins when the snapshot is in force: until then the cluster of the source may
// not be there.
func (b *building) watch(src filters.Source, every, jitter time.Duration, put func(body []byte, err error)) (stop func()) {
	w := &watcher{server: b.server, src: src, every: every, jitter: jitter, put: put}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.starts = append(b.starts, func() { running.Go(func() { w.run(ctx) }) })
	return func() {
		cancel()
		running.Wait()
	}
}

// run reads until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for {
		body, err := w.read(ctx)
		if ctx.Err() != nil {
			return
		}
		w.put(body, err)
		wait := w.every
		if w.jitter > 0 {
			wait += rand.N(w.jitter)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// read reads the source once.
func (w *watcher) read(ctx context.Context) ([]byte, error) {
	if w.src.File == "" {
		return w.get(ctx)
	}
	f, err := os.Open(w.src.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

// readBounded reads all of r, up to watchBytesMax.
func readBounded(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, watchBytesMax+1))
	if err == nil && len(body) > watchBytesMax {
		return nil, fmt.Errorf("more than %d bytes", watchBytesMax)
	}
	return body, err
}

// get asks a host of the cluster, as it is now, for the path.
func (w *watcher) get(ctx context.Context) ([]byte, error) {
	host, err := w.host()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+authority(w.src.Cluster)+w.src.Path, nil)
	if err != nil {
		return nil, err
	}
	network, address := "tcp", host.Name
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	transport := &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: watchHeadBytesMax,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	resp, err := transport.RoundTrip(r) // redirects are not followed
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cluster %q answers %s for %s", w.src.Cluster, resp.Status, w.src.Path)
	}
	return readBounded(resp.Body)
}

// host picks a host of the cluster: one after the other, healthy ones if there are any.
func (w *watcher) host() (*upstream.Host, error) {
	c := w.server.snapshot.Load().Cluster(w.src.Cluster)
	if c == nil {
		return nil, fmt.Errorf("unknown cluster %q", w.src.Cluster)
	}
	if len(c.Hosts()) == 0 {
		return nil, errors.New("cluster " + w.src.Cluster + " has no hosts")
	}
	first := w.next
	w.next++
	for i := range c.Hosts() {
		if h := c.Hosts()[(first+i)%len(c.Hosts())]; h.Healthy() {
			w.next = first + i + 1
			return h, nil
		}
	}
	return c.Hosts()[first%len(c.Hosts())], nil
}

// authority makes a name for the Host field of the name of a cluster.
func authority(cluster string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, cluster)
}
