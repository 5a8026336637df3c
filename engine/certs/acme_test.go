package certs

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
)

func TestValidateACME(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		edit func(*ACMEConfig)
		want string
	}{
		{func(*ACMEConfig) {}, ""},
		{func(c *ACMEConfig) { c.AgreeToTerms = false }, "agree_to_terms: is not true"},
		{func(c *ACMEConfig) { c.Domains = nil }, "domains: no domain is given"},
		{func(c *ACMEConfig) { c.Domains = []string{"*.example.com"} }, "domains[0]: \"*.example.com\" is a wildcard"},
		{func(c *ACMEConfig) { c.Domains = []string{"10.0.0.1"} }, "domains[0]: \"10.0.0.1\" is an IP address"},
		{func(c *ACMEConfig) { c.Domains = []string{"../x"} }, "domains[0]: \"../x\" is no host name"},
		{func(c *ACMEConfig) { c.Domains = []string{"a.example", "A.example"} }, "domains[1]: \"A.example\" is given twice"},
		{func(c *ACMEConfig) { c.DirectoryURL = "http://ca.example/dir" }, "directory_url: \"http://ca.example/dir\" is no https URL"},
		{func(c *ACMEConfig) { c.Challenges = []string{"dns-01"} }, "challenges[0]: unknown challenge \"dns-01\""},
		{func(c *ACMEConfig) { c.Challenges = nil }, "challenges: no challenge is left"},
	} {
		c := &ACMEConfig{Domains: []string{"shop.example"}, AgreeToTerms: true, DirectoryURL: "https://ca.example/dir", Challenges: []string{"http-01"}}
		tt.edit(c)
		var got []string
		c.Validate(func(path, problem, _ string) { got = append(got, path+": "+problem) })
		if text := strings.Join(got, "\n"); (tt.want == "") != (text == "") || !strings.HasPrefix(text, tt.want) {
			t.Errorf("%q; want %q", text, tt.want)
		}
	}
}

// fakeManager has what a test puts in.
type fakeManager struct {
	certs, challenges map[string]*tls.Certificate
	closed            int
}

func (m *fakeManager) Manage(*ACMEConfig, *x509.CertPool) (Managed, error) { return m, nil }
func (m *fakeManager) Certificate(name string) *tls.Certificate            { return m.certs[name] }
func (m *fakeManager) Challenge(name string) *tls.Certificate              { return m.challenges[name] }
func (m *fakeManager) Close()                                              { m.closed++ }
func (m *fakeManager) List() []ManagedInfo {
	return []ManagedInfo{{Domain: "shop.example", Path: "shop.crt"}}
}

// TestManaged: certificates of a manager are presented as soon as they are there, and challenges are answered on connections of their own.
func TestManaged(t *testing.T) {
	t.Parallel()
	one, answer := &tls.Certificate{}, &tls.Certificate{}
	m := &fakeManager{certs: map[string]*tls.Certificate{}, challenges: map[string]*tls.Certificate{}}
	s := NewStore(StoreOptions{Manager: m})
	x, err := s.Server(&DownstreamConfig{ACME: &ACMEConfig{Domains: []string{"shop.example"}, AgreeToTerms: true}})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := x.TLS().GetCertificate(&tls.ClientHelloInfo{ServerName: "shop.example"}); c != nil || err != nil {
		t.Errorf("before the first: %v, %v; want none", c, err)
	}
	if list := s.List(); len(list) != 1 || list[0].LastError != errNotYet.Error() {
		t.Errorf("List = %+v", list)
	}
	m.certs["shop.example"] = one
	for _, name := range []string{"shop.example", "SHOP.example.", ""} {
		if c, _ := x.TLS().GetCertificate(&tls.ClientHelloInfo{ServerName: name}); c != one {
			t.Errorf("%q: %v; want that of the manager", name, c)
		}
	}
	ca := &tls.ClientHelloInfo{ServerName: "shop.example", SupportedProtos: []string{ALPNChallenge}}
	if cfg, err := x.TLS().GetConfigForClient(ca); cfg != nil || err == nil {
		t.Errorf("no challenge is under way: %v, %v; want an error", cfg, err)
	}
	m.challenges["shop.example"] = answer
	if cfg, err := x.TLS().GetConfigForClient(ca); err != nil || !slices.Equal(cfg.NextProtos, ca.SupportedProtos) || len(cfg.Certificates) != 1 {
		t.Errorf("challenge: %v, %v", cfg, err)
	}
	ca.SupportedProtos = []string{"h2", ALPNChallenge}
	if cfg, err := x.TLS().GetConfigForClient(ca); cfg != nil || err != nil {
		t.Errorf("another protocol beside it: %v, %v; want an ordinary handshake", cfg, err)
	}
	x.Close()
	x.Close()
	if m.closed != 1 {
		t.Errorf("closed %d times; want 1", m.closed)
	}
}
