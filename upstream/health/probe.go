package health

import (
	"bytes"
	"context"
	"time"

	"millrace/engine/certs"
	"millrace/upstream"
)

// A probe asks one host, one check at a time. It may keep a connection for the next one.
type probe interface {
	// check asks, until the deadline at most.
	check(deadline time.Time) Result
	// end gives the connection up, also under a check that goes on: it fails soon. No check begins any more.
	end()
}

// newProbes returns what makes the probes of a cluster.
func newProbes(cfg *upstream.Config, client *certs.Client) func(ctx context.Context, host *upstream.Host) probe {
	h := cfg.HealthCheck()
	switch {
	case h.Type == "tcp":
		return newTCPProbes(h, newDialer(cfg, client, nil))
	case h.Type == "redis":
		return newRedisProbes(h, newDialer(cfg, client, nil))
	case h.Type == "grpc":
		return newGRPCProbes(cfg, newDialer(cfg, client, []string{upstream.ALPNHTTP2}))
	case h.CodecClientType == "http2":
		return newHTTP2Probes(cfg, newDialer(cfg, client, []string{upstream.ALPNHTTP2}))
	}
	return newHTTP1Probes(cfg, newDialer(cfg, client, []string{upstream.ALPNHTTP1}))
}

// payloads returns the bytes of a list.
func payloads(list []upstream.Payload) (all [][]byte) {
	for i := range list {
		all = append(all, list[i].Bytes())
	}
	return all
}

// inOrder reports whether each of want is in b, after the one before. Other bytes may be in between.
func inOrder(b []byte, want [][]byte) bool {
	for _, w := range want {
		at := bytes.Index(b, w)
		if at < 0 {
			return false
		}
		b = b[at+len(w):]
	}
	return true
}
