package server

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"millrace/cmd/internal/acme"
	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/engine"
	"millrace/engine/certs"
	"millrace/engine/stats"
	"millrace/engine/transport"
	"millrace/filters"
)

// tlsSide is what TLS needs once in the process: certificates that follow their files, and the bounds of handshakes.
type tlsSide struct {
	// Immutable after start.
	certs      *certs.Store
	acme       *acme.Manager
	handshakes *transport.Handshakes // nil before start
	limits     transport.Limits

	kernelSuites atomic.Int64 // of kernel TLS, when it is asked for
	kernelOnce   sync.Once

	stop    context.CancelFunc
	running sync.WaitGroup
	cache   certsCache
}

func newTLSSide(log *slog.Logger) *tlsSide {
	m := acme.New(log)
	return &tlsSide{acme: m, certs: certs.NewStore(certs.StoreOptions{Log: log, Manager: m})}
}

// start begins to watch files, and allows handshakes.
func (t *tlsSide) start(limits transport.Limits) {
	t.handshakes, t.limits = transport.NewHandshakes(limits), limits
	ctx, cancel := context.WithCancel(context.Background())
	t.stop = cancel
	t.running.Go(func() { t.certs.Run(ctx) })
}

// close ends what start began. The loops have ended, and all contexts are closed.
func (t *tlsSide) close() {
	t.acme.Close()
	if t.stop == nil {
		return
	}
	t.stop()
	t.running.Wait()
	t.handshakes.Close()
}

// probeKernel finds out what the TLS of the kernel can do, once.
func (t *tlsSide) probeKernel(log *slog.Logger) {
	t.kernelOnce.Do(func() {
		k := transport.ProbeKernel()
		t.kernelSuites.Store(int64(k.Suites()))
		if err := k.Err(); err != nil {
			log.Info("no kernel TLS: connections stay with the own record layer", "error", err)
			return
		}
		log.Info("kernel TLS", "suites", k.Suites())
	})
}

// handshakeLimits returns the bounds of a configuration. The loops have started: GOMAXPROCS is set.
func (s *Server) handshakeLimits(cfg *config.Config) transport.Limits {
	limits, c := transport.DefaultLimits(len(s.workers)), &cfg.Overload.TLSHandshakes
	limits.MaxUnderWay, limits.MaxQueued = c.MaxActive, c.MaxQueued
	if c.MaxComputing > 0 {
		limits.MaxComputing = c.MaxComputing
	}
	return limits
}

// serveTLS makes the context of a filter chain of a listener, nil without a configuration; held closes it.
func (s *Server) serveTLS(l *control.Listener, cfg *certs.DownstreamConfig, held *control.Resources) (*certs.Server, error) {
	if cfg == nil {
		return nil, nil
	}
	x, err := s.tls.certs.Server(cfg)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	held.Close = append(held.Close, x.Close)
	x.UsedBy("listener " + l.Name)
	if cfg.KernelTLS == certs.KernelTLSAuto {
		s.tls.probeKernel(s.log)
	}
	s.registerCertificates(stats.ListenerScope(l.StatName), cfg.Certificates, held)
	s.registerExpiry(stats.ListenerScope(l.StatName), x.ManagedPaths(), held)
	s.registerStaples(l.StatName, x, held)
	return x, nil
}

// plainReply is what a client gets that speaks HTTP where TLS is spoken.
const plainReply = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 48\r\nConnection: close\r\n\r\n" +
	"plain HTTP was sent to a port that speaks HTTPS\n"

// setTLS makes the connections of a chain speak TLS.
func (w *worker) setTLS(ch *chain) {
	register := w.registrar(&ch.sets)
	scope := stats.ListenerScope(ch.serving.listener.StatName).Name("ssl")
	opt := transport.AcceptorOptions{}
	if ch.of.HTTP != nil {
		opt.PlainReply = []byte(plainReply)
	}
	a := transport.NewAcceptor(w.loop, w.server.tls.handshakes, ch.of.TLS, stats.Register[transport.Stats](register, scope), opt)
	ch.l4.SetAdopt(a.Adopt)
	ch.l4.SetTransport(func(c *filters.Connection) engine.Transport { return a.Transport(c) })
}

// Load is config.Load that also reads the files of certificates, which it closes again. Nothing else is touched.
func Load(file string, text []byte, reg *config.Registry) (*config.Config, config.Errors) {
	in := inspector{certs: certs.NewStore(certs.StoreOptions{Inspect: true})}
	defer in.close()
	return config.LoadInspected(file, text, reg, in.inspect)
}

// An inspector tries the TLS contexts of a configuration, on files as they are now: a store that runs may still have
// what they were before. What chains share is read once.
type inspector struct {
	certs  *certs.Store
	opened []interface{ Close() }
}

func (in *inspector) inspect(part any, report func(path, problem, hint string)) {
	var x interface{ Close() }
	var err error
	switch cfg := part.(type) {
	case *certs.DownstreamConfig:
		x, err = in.certs.Server(cfg)
	case *certs.UpstreamConfig:
		x, err = in.certs.Client(cfg)
	default:
		return
	}
	if err == nil {
		in.opened = append(in.opened, x)
		return
	}
	at := ""
	for line := range strings.Lines(err.Error()) {
		path, problem := cutPath(strings.TrimSuffix(line, "\n"))
		if path != "" {
			at = path // of the lines that follow, too: certificate and key may both be wrong
		}
		report(at, problem, "")
	}
}

func (in *inspector) close() {
	for _, x := range in.opened {
		x.Close()
	}
}

// fieldPath is how errors of package certs begin: with the field of the configuration.
var fieldPath = regexp.MustCompile(`^[a-z_]+(\[\d+\])?(\.[a-z_]+(\[\d+\])?)*$`)

// cutPath parts an error into the path of a field and what is wrong with it.
func cutPath(text string) (path, problem string) {
	path, problem, ok := strings.Cut(text, ": ")
	if !ok || !fieldPath.MatchString(path) {
		return "", text
	}
	return path, problem
}
