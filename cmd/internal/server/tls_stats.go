package server

import (
	"strings"
	"sync"
	"time"

	"millrace/cmd/internal/acme"
	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/control"
	"millrace/engine/certs"
	"millrace/engine/stats"
)

// registerTLS registers what the control side knows of TLS: certificates and handshakes of the whole process.
func (s *Server) registerTLS() {
	t := s.tls
	gauge := func(name string, f func() int64, help string) { s.registry.Func(name, stats.KindGauge, f, help) }
	counter := func(name string, f func() int64, help string) {
		s.registry.Func(name, stats.KindCounter, f, help)
	}
	gauge("server.days_until_first_cert_expiring", func() int64 { return t.read().DaysUntilFirstCertExpiring },
		"whole days until the first certificate or CA in use expires, 0 if one has, 4294967295 without any")
	gauge("certs.in_error", func() int64 { return t.read().InError }, "files, and contexts made of them, that cannot be used as they are now; what was before goes on")
	counter("certs.swapped", func() int64 { return int64(t.read().Swapped) }, "changed files that were taken into use")
	counter("certs.refused", func() int64 { return int64(t.read().Failed) }, "changed files, and contexts made of them, that could not be used")
	counter("tls.connections_rested", func() int64 { return int64(t.handshakes.Rested()) }, "times a connection that did nothing has let go of the memory of its ciphers")
	gauge("tls.kernel_tls_suites", t.kernelSuites.Load,
		"versions with a cipher that the kernel can encrypt, 0 if it cannot or no kernel_tls asks for it")
	s.registerACME()
	s.registry.Add(stats.Root("tls"), t.handshakes.StatsSet())
}

// registerACME registers what the control side knows of certificates by ACME.
func (s *Server) registerACME() {
	for _, n := range []struct {
		name string
		kind stats.Kind
		of   func(*acme.Stats) int64
		help string
	}{
		{"acme.domains", stats.KindGauge, func(st *acme.Stats) int64 { return st.Domains }, "names that are to have a certificate by ACME"},
		{"acme.missing", stats.KindGauge, func(st *acme.Stats) int64 { return st.Missing }, "names that have no certificate by ACME yet"},
		{"acme.orders", stats.KindCounter, func(st *acme.Stats) int64 { return st.Orders }, "attempts to get a certificate by ACME"},
		{"acme.obtained", stats.KindCounter, func(st *acme.Stats) int64 { return st.Obtained }, "first certificates obtained by ACME"},
		{"acme.renewed", stats.KindCounter, func(st *acme.Stats) int64 { return st.Renewed }, "certificates renewed by ACME"},
		{"acme.failed", stats.KindCounter, func(st *acme.Stats) int64 { return st.Failed }, "attempts to get a certificate by ACME that failed"},
		{"acme.answers_http", stats.KindCounter, func(st *acme.Stats) int64 { return st.HTTPAnswers }, "answers to challenges of kind http-01"},
		{"acme.answers_tls_alpn", stats.KindCounter, func(st *acme.Stats) int64 { return st.TLSAnswers }, "answers to challenges of kind tls-alpn-01"},
	} {
		s.registry.Func(n.name, n.kind, func() int64 { st := s.tls.acme.Stats(); return n.of(&st) }, n.help)
	}
}

// certsMaxAge is how old numbers of certificates may be that a page shows: one page asks for several of them.
const certsMaxAge = 100 * time.Millisecond

// certsCache asks the store when a page asks, but not for every number of it.
type certsCache struct {
	mu      sync.Mutex
	at      time.Time
	last    certs.Stats
	expires map[string]int64 // of certificates, by the path of the file
}

// read returns the numbers of now, or of just before.
func (t *tlsSide) read() certs.Stats {
	c := &t.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	t.refresh(c)
	return c.last
}

// expires returns when the certificate of a file ends, 0 if there is none any more.
func (t *tlsSide) expires(path string) int64 {
	c := &t.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	t.refresh(c)
	return c.expires[path]
}

// refresh asks the store again if the answer is old. Precondition: c.mu is held.
func (t *tlsSide) refresh(c *certsCache) {
	now := time.Now()
	if now.Sub(c.at) <= certsMaxAge {
		return
	}
	c.last, c.at, c.expires = t.certs.Stats(), now, map[string]int64{}
	for _, in := range t.certs.List() {
		if in.Role == "certificate" && in.Serial != "" {
			c.expires[in.Path] = in.NotAfter.Unix()
		}
	}
}

// certificateStats is the gauge of a certificate that a listener or a cluster shows.
type certificateStats struct {
	Expiration stats.GaugeFunc `stat:"expiration_unix_time_seconds" help:"when the certificate expires, in seconds since 1970"`
}

// registerCertificates makes the gauges of the certificates of a listener or cluster known until held is let go of.
func (s *Server) registerCertificates(scope stats.Scope, list []certs.CertificateConfig, held *control.Resources) {
	paths := make([]string, len(list))
	for i := range list {
		paths[i] = list[i].CertFile
	}
	s.registerExpiry(scope, paths, held)
}

// registerExpiry is registerCertificates for certificates by the paths of their files.
func (s *Server) registerExpiry(scope stats.Scope, paths []string, held *control.Resources) {
	scope = scope.Name("ssl").Name("certificate")
	for _, path := range paths {
		s.registerShared(scope.Tag("envoy_tls_certificate", path), &certificateStats{func() int64 { return s.tls.expires(path) }}, held)
	}
}

// stapleStats counts the OCSP staples of a listener. Its contexts count by themselves, since they choose the certificate.
type stapleStats struct {
	Staples staples `stat:"ocsp_staple_"`
}

// staples are the contexts of a listener that are in use, and what those before them have counted.
type staples struct {
	mu   sync.Mutex
	use  map[*certs.Server]bool
	past certs.StapleCounts
}

// EachStat implements stats.Dynamic.
func (s *staples) EachStat(yield func(name string, n uint64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.past
	for x := range s.use {
		sum = addStaples(sum, x.Staples())
	}
	yield("requests", sum.Requests)
	yield("responses", sum.Responses)
	yield("omitted", sum.Omitted)
	yield("failed", sum.Failed)
}

func (s *staples) add(x *certs.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use[x] = true
}

func (s *staples) remove(x *certs.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.use, x)
	s.past = addStaples(s.past, x.Staples())
}

func addStaples(a, b certs.StapleCounts) certs.StapleCounts {
	return certs.StapleCounts{
		Requests: a.Requests + b.Requests, Responses: a.Responses + b.Responses, Omitted: a.Omitted + b.Omitted, Failed: a.Failed + b.Failed,
	}
}

// registerStaples makes the counts of a context known until held is let go of.
func (s *Server) registerStaples(statName string, x *certs.Server, held *control.Resources) {
	fresh := &stapleStats{}
	fresh.Staples.use = map[*certs.Server]bool{}
	set := &s.registerShared(stats.ListenerScope(statName).Name("ssl"), fresh, held).(*stapleStats).Staples
	set.add(x)
	held.Forget = append(held.Forget, func() { set.remove(x) })
}

// adminCertificates returns the certificates of all contexts, each file once.
func (s *Server) adminCertificates() (list []admin.Certificates) {
	last := ""
	for _, in := range s.tls.certs.List() {
		c := admin.Certificate{
			Path: in.Path, Serial: in.Serial, Subject: in.Subject, NotBefore: in.NotBefore, NotAfter: in.NotAfter, DaysLeft: in.DaysLeft,
		}
		for _, n := range in.SANs {
			c.Names = append(c.Names, admin.AltName{Kind: n.Type, Value: n.Name})
		}
		if o := in.OCSP; o != nil {
			c.OCSPFrom, c.OCSPUntil = o.From, o.Until
		}
		// Those of one file follow each other.
		if key := in.Role + in.Path + "\x00" + in.KeyPath; key != last {
			list = append(list, admin.Certificates{Users: in.Users, LastError: in.LastError})
			last = key
		}
		at := &list[len(list)-1]
		if in.Serial == "" { // it is still to be obtained
			continue
		}
		if in.Role == "ca" {
			at.CA = append(at.CA, c)
		} else {
			at.Chain = append(at.Chain, c)
		}
	}
	return list
}

// reloadCertificates reads the files of certificates again. What cannot be used is returned, one problem a line; the log
// has it too.
func (s *Server) reloadCertificates() []string {
	if err := s.tls.certs.Reload(); err != nil {
		return strings.Split(err.Error(), "\n")
	}
	return nil
}
