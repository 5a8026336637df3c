package load

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// HandshakeConfig is a load of connections, each with a TLS 1.3 handshake and one request.
type HandshakeConfig struct {
	Port     int
	Path     string
	Conns    int  // at once
	Resume   bool // handshakes resume the session of the connection before
	Duration time.Duration
}

// HandshakeResult is what came of it.
type HandshakeResult struct {
	Count   int64 // connections with a whole answer
	Resumed int64 // of them, those that resumed a session
	Errors  int64
	Elapsed time.Duration
}

// clientTLS offers what costs every peer the same: P-256 for the key exchange.
func clientTLS(resume bool) *tls.Config {
	cfg := &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}, ServerName: "localhost",
		NextProtos: []string{"http/1.1"},
	}
	if resume {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return cfg
}

// Handshakes opens connections one after the other, several at once.
func Handshakes(cfg HandshakeConfig) (HandshakeResult, error) {
	var res HandshakeResult
	var last atomic.Pointer[error]
	var running sync.WaitGroup
	begun := time.Now()
	end := begun.Add(cfg.Duration)
	for range cfg.Conns {
		running.Go(func() {
			client := clientTLS(cfg.Resume)
			for time.Now().Before(end) {
				resumed, err := handshakeOnce(cfg, client)
				if err != nil {
					atomic.AddInt64(&res.Errors, 1)
					last.Store(&err)
					continue
				}
				atomic.AddInt64(&res.Count, 1)
				if resumed {
					atomic.AddInt64(&res.Resumed, 1)
				}
			}
		})
	}
	running.Wait()
	res.Elapsed = time.Since(begun)
	if err := last.Load(); err != nil && res.Count == 0 {
		return res, *err
	}
	return res, nil
}

func handshakeOnce(cfg HandshakeConfig, client *tls.Config) (resumed bool, err error) {
	addr := fmt.Sprintf("127.0.0.1:%d", cfg.Port)
	raw, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false, err
	}
	c := tls.Client(raw, client)
	if err := c.Handshake(); err != nil {
		return false, err
	}
	if err := requestOnce(c, bufio.NewReader(c), addr, cfg.Path); err != nil {
		return false, err
	}
	return c.ConnectionState().DidResume, nil
}

// HoldIdleTLS is HoldIdle over TLS.
func HoldIdleTLS(addr, path string, count int) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, count)
	rd := bufio.NewReader(nil)
	client := clientTLS(false)
	for i := range count {
		c, err := tls.Dial("tcp", addr, client)
		if err != nil {
			return conns, fmt.Errorf("connection %d of %d: %w", i+1, count, err)
		}
		conns = append(conns, c)
		rd.Reset(c)
		if err := requestOnce(c, rd, addr, path); err != nil {
			return conns, fmt.Errorf("request on connection %d of %d: %w", i+1, count, err)
		}
	}
	return conns, nil
}
