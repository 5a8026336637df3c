package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	originBodyMax   = 64 << 20
	originPiece     = 64 << 10
	slowPrefix      = "/slow" // of paths that are answered late
	slowAnswer      = 100 * time.Millisecond
	originSendBytes = 64 << 10 // of a socket: bodies that nobody takes wait with the origin, not in the kernel
)

// An origin is behind the proxies that this command starts. It answers "/N" with N bytes, and "/slow/N" so after a while.
type origin struct {
	addr     string
	requests atomic.Int64
	smuggled atomic.Int64
	srv      *http.Server
}

func startOrigin() (*origin, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{addr: ln.Addr().String()}
	o.srv = &http.Server{
		Handler: o, ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			_ = c.(*net.TCPConn).SetWriteBuffer(originSendBytes)
			return ctx
		},
	}
	go func() { _ = o.srv.Serve(ln) }()
	return o, nil
}

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.requests.Add(1)
	if r.URL.Path == smuggledPath {
		o.smuggled.Add(1)
		w.Header().Set("X-Smuggled", "1")
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	path, slow := strings.CutPrefix(r.URL.Path, slowPrefix)
	if slow && pause(r.Context(), slowAnswer) != nil {
		return
	}
	n, err := strconv.Atoi(strings.TrimPrefix(path, "/"))
	if err != nil || n < 0 || n > originBodyMax {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	piece := make([]byte, min(n, originPiece))
	for n > 0 {
		k, err := w.Write(piece[:min(n, len(piece))])
		if n -= k; err != nil {
			return
		}
	}
}
