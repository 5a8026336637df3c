package certs

import (
	"crypto/x509"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func TestList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	c := ca.issue(dir, "a", "ecdsa", []string{"a.example"}, func(c *x509.Certificate) {
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}}
		c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)}
		c.EmailAddresses = []string{"a@b"}
		c.NotAfter = time.Now().Add(10*24*time.Hour + time.Hour)
	})
	respond(t, c, filepath.Join(dir, "a.ocsp"), ocsp.Good, time.Now(), time.Now().Add(time.Hour))
	caFile := ca.file(dir, "ca.crt")
	s := NewStore(StoreOptions{})
	if st := s.Stats(); st.DaysUntilFirstCertExpiring != math.MaxUint32 || len(s.List()) != 0 {
		t.Errorf("an empty store: %+v", st)
	}
	x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, ClientCAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	x.UsedBy("listener https")
	x.UsedBy("listener https")
	up, err := s.Client(&UpstreamConfig{CAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	up.UsedBy("cluster web")

	list := s.List()
	if len(list) != 2 || list[0].Role != "certificate" || list[1].Role != "ca" {
		t.Fatalf("List: %+v", list)
	}
	in := list[0]
	if in.Path != c.CertFile || in.KeyPath != c.KeyFile || in.Subject != "CN=a" || in.Issuer != "CN=root" ||
		in.Serial != c.cert.SerialNumber.Text(16) || in.DaysLeft != 10 || len(in.SHA256) != 64 || in.Key != "ECDSA P-256" ||
		in.Contexts != 1 || strings.Join(in.Users, ",") != "listener https" || in.Loaded.IsZero() || in.LastError != "" {
		t.Errorf("certificate: %+v", in)
	}
	want := []SAN{{"dns", "a.example"}, {"uri", "spiffe://x"}, {"email", "a@b"}, {"ip_address", "10.0.0.1"}}
	if len(in.SANs) != len(want) {
		t.Fatalf("SANs %v, want %v", in.SANs, want)
	}
	for i := range want {
		if in.SANs[i] != want[i] {
			t.Errorf("SAN %d = %v, want %v", i, in.SANs[i], want[i])
		}
	}
	if in.OCSP == nil || in.OCSP.Path != c.OCSPStapleFile || in.OCSP.Until.Before(time.Now()) {
		t.Errorf("OCSP = %+v", in.OCSP)
	}
	if in := list[1]; in.Path != caFile || in.Contexts != 2 || strings.Join(in.Users, ",") != "cluster web,listener https" {
		t.Errorf("CA: %+v", in)
	}

	ctx := s.Contexts()
	if len(ctx) != 2 || len(ctx[0].CACert) != 1 || len(ctx[0].CertChain) != 0 || len(ctx[1].CertChain) != 1 {
		t.Errorf("Contexts: %+v", ctx)
	}
	st := s.Stats()
	if st.DaysUntilFirstCertExpiring != 10 || len(st.Expirations) != 1 || st.Expirations[0].Unix != c.cert.NotAfter.Unix() ||
		!strings.HasSuffix(st.Expirations[0].Name, "_a_crt") || strings.Trim(st.Expirations[0].Name, "/.") != st.Expirations[0].Name {
		t.Errorf("Stats: %+v", st)
	}
}

func TestMemo(t *testing.T) {
	t.Parallel()
	now := time.Now()
	m := newMemo()
	var key [32]byte
	if m.has(key, now) {
		t.Error("an empty memo knows a chain")
	}
	m.put(key, now.Add(time.Minute))
	if !m.has(key, now) || m.has(key, now.Add(time.Minute)) {
		t.Error("a chain is not known just until its end")
	}
	for i := range 2 * memoEntriesMax {
		key[0], key[1] = byte(i), byte(i>>8)
		m.put(key, now.Add(time.Minute))
	}
	if n := len(m.until); n > memoEntriesMax {
		t.Errorf("%d entries, want at most %d", n, memoEntriesMax)
	}
}

// TestMemoEnds: a chain is not trusted beyond its certificates or CRLs.
func TestMemoEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	host := ca.issue(dir, "host", "ecdsa", []string{"a.example"}, nil)
	short := ca.issue(dir, "short", "ecdsa", []string{"a.example"}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(10 * time.Minute) })
	crl := crlFile(t, filepath.Join(dir, "a.crl"), time.Now().Add(20*time.Minute), nil, ca)
	for _, tt := range []struct {
		host *issued
		cfg  UpstreamConfig
		fits time.Duration // still verifies after so long
		ends time.Duration // and not any more after this
	}{
		{host, UpstreamConfig{}, 50 * 24 * time.Hour, 100 * 24 * time.Hour},
		{short, UpstreamConfig{}, 9 * time.Minute, 11 * time.Minute},
		{host, UpstreamConfig{CRLFile: crl}, 19 * time.Minute, 21 * time.Minute},
	} {
		var now clock
		tt.cfg.CAFile, tt.cfg.SNI = ca.file(dir, "ca.crt"), "a.example"
		x, err := NewStore(StoreOptions{Now: now.now}).Client(&tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		cfg := newServer(t, &DownstreamConfig{Certificates: []CertificateConfig{tt.host.CertificateConfig}}).TLS()
		try := func(want Failure) {
			t.Helper()
			if out := handshake(t, cfg, x.TLS()); FailureOf(out.clientErr) != want || (out.clientErr == nil) != (want == FailNone) {
				t.Errorf("%s after %v: %v, want failure %d", tt.host.CertFile, time.Duration(now.offset.Load()), out.clientErr, want)
			}
		}
		try(FailNone)
		now.advance(tt.fits)
		try(FailNone)
		now.advance(tt.ends - tt.fits)
		try(FailVerify)
	}
}
