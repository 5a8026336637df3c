package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ALPNChallenge is what a CA offers that looks for the answer to a challenge: nothing else is spoken on such a connection.
//
// "The "acme-tls/1" protocol MUST only be used for validating ACME tls-alpn-01 challenges. The protocol consists of a TLS handshake … Once the
// handshake is completed, the client MUST NOT exchange any further data with the server and MUST immediately close the connection."
// RFC 8737 section 4
const ALPNChallenge = "acme-tls/1"

// ACMEConfig is "acme" of a filter chain's tls: certificates that a CA issues and renews by ACME (RFC 8555).
type ACMEConfig struct {
	// Domains are the names to have a certificate for, one each. They must lead to this proxy in the public DNS. Wildcards need a
	// challenge in DNS, which there is none of here. Required.
	Domains []string `json:"domains" required:"true" max:"1024"`
	// Email is told to the CA with the account. Default: none.
	Email string `json:"email"`
	// DirectoryURL is where the CA is found. Default: Let's Encrypt.
	DirectoryURL string `json:"directory_url" default:"https://acme-v02.api.letsencrypt.org/directory"`
	// AgreeToTerms says that the terms of the CA are agreed to. Required to be true.
	AgreeToTerms bool `json:"agree_to_terms" default:"false"`
	// Storage is a directory for accounts, keys and certificates, of this machine alone. It is made with mode 0700. Required.
	Storage string `json:"storage" required:"true"`
	// Challenges are the ways to prove that a name is ours: "tls-alpn-01" needs port 443 of the name to lead to this filter chain,
	// "http-01" port 80 to any HTTP listener of this process. Default: both.
	Challenges []string `json:"challenges" default:"[\"tls-alpn-01\", \"http-01\"]" max:"2"`
	// CAFile is a PEM file of the CAs that the directory's own certificate is verified against. Default: those of the system.
	CAFile string `json:"ca_file"`
	// RenewalWindow is the part of a certificate's life at whose beginning, counted from the end, it is renewed. A CA that says
	// when to renew (RFC 9773) is heard first. 1 to 90. Default 33 percent.
	RenewalWindow float64 `json:"renewal_window" default:"33" min:"1" max:"90" unit:"percent"`
	// RenewalCheckInterval is how often it is looked whether to renew. 1s to 24h. Default 10m.
	RenewalCheckInterval time.Duration `json:"renewal_check_interval" default:"10m" min:"1s" max:"24h"`
}

// A Manager obtains certificates and keeps them fresh. It may be used from any goroutine.
type Manager interface {
	// Manage begins to have certificates for the domains of a config, and does not wait for them. Roots are those of ca_file, nil for
	// the system's. The config is not changed.
	Manage(cfg *ACMEConfig, roots *x509.CertPool) (Managed, error)
}

// Managed are the certificates of one config.
type Managed interface {
	// Certificate returns that of a name in lower case, nil if there is none yet.
	Certificate(name string) *tls.Certificate
	// Challenge returns the certificate that answers a challenge under way for a name, nil if there is none.
	Challenge(name string) *tls.Certificate
	// List says how each domain stands.
	List() []ManagedInfo
	// Close ends the use.
	Close()
}

// ManagedInfo is how one domain stands.
type ManagedInfo struct {
	Domain, Path, KeyPath string
	Leaf                  *x509.Certificate // nil until it was obtained
	Loaded                time.Time
	LastError             error // of the last try, nil if it was good
}

// errNotYet is the state of a domain that waits for its first certificate.
var errNotYet = errors.New("no certificate has been obtained yet")

// Validate reports what cannot work.
func (c *ACMEConfig) Validate(report func(path, problem, hint string)) {
	seen := map[string]bool{}
	for i, name := range c.Domains {
		path := fmt.Sprintf("domains[%d]", i)
		if p := checkDomain(name); p != nil {
			report(path, p.text, p.hint)
		} else if seen[strings.ToLower(name)] {
			report(path, fmt.Sprintf("%q is given twice", name), "")
		}
		seen[strings.ToLower(name)] = true
	}
	if len(c.Domains) == 0 {
		report("domains", "no domain is given", "")
	}
	if !c.AgreeToTerms {
		report("agree_to_terms", "is not true", "read the terms of the CA; without agreement it issues nothing")
	}
	if u, err := url.Parse(c.DirectoryURL); err != nil || u.Scheme != "https" || u.Host == "" {
		report("directory_url", fmt.Sprintf("%q is no https URL", c.DirectoryURL), "")
	}
	if len(c.Challenges) == 0 {
		report("challenges", "no challenge is left", `want "tls-alpn-01", "http-01" or both`)
	}
	for i, ch := range c.Challenges {
		path := fmt.Sprintf("challenges[%d]", i)
		switch {
		case ch != "tls-alpn-01" && ch != "http-01":
			report(path, fmt.Sprintf("unknown challenge %q", ch), `want "tls-alpn-01" or "http-01"`)
		case slices.Contains(c.Challenges[:i], ch):
			report(path, fmt.Sprintf("%q is given twice", ch), "")
		}
	}
}

// checkDomain returns what is wrong with a name to have a certificate for.
func checkDomain(name string) *problem {
	switch _, err := netip.ParseAddr(strings.Trim(name, "[]")); {
	case err == nil:
		return &problem{fmt.Sprintf("%q is an IP address, which no client asks for by name", name), ""}
	case name == "":
		return &problem{"is empty", ""}
	case strings.HasPrefix(name, "*."):
		return &problem{fmt.Sprintf("%q is a wildcard: a CA issues it for a challenge in DNS only", name), "write the names out"}
	case strings.HasSuffix(name, "."):
		return &problem{fmt.Sprintf("%q ends with a dot", name), ""}
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return &problem{fmt.Sprintf("%q is not ASCII", name), "write it as xn--…"}
		}
	}
	return checkSNI(name)
}

// manage begins to have the certificates of a config. A store that only tries contexts reads the file and no more.
func (s *Store) manage(cfg *ACMEConfig) (Managed, error) {
	if !cfg.AgreeToTerms {
		return nil, errors.New("acme.agree_to_terms: is not true")
	}
	var roots *x509.CertPool
	if cfg.CAFile != "" {
		data, _, err := readFile(cfg.CAFile, caFileBytesMax, s.now())
		if err != nil {
			return nil, field("acme.ca_file", err)
		}
		list, err := parseCerts(cfg.CAFile, data, managedRootsMax)
		if err != nil {
			return nil, field("acme.ca_file", err)
		}
		roots = x509.NewCertPool()
		for _, c := range list {
			roots.AddCert(c)
		}
	}
	switch {
	case s.inspect:
		return nil, nil
	case s.manager == nil:
		return nil, errors.New("acme: certificates by ACME are not part of this program")
	}
	m, err := s.manager.Manage(cfg, roots)
	if err != nil {
		return nil, field("acme", err)
	}
	return m, nil
}

// managedRootsMax bounds the CAs of ca_file.
const managedRootsMax = 1024

// present is GetCertificate of a config with acme: names of its domains, as soon as there is a certificate, else what the files have.
func (x *Server) present(ix *index, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	sni := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	switch {
	case sni == "" && ix.needSNI:
		return nil, nil
	case sni != "":
		if c := x.managed.Certificate(sni); c != nil {
			return c, nil
		}
	}
	if len(ix.list) > 0 {
		return ix.get(hello)
	}
	if sni == "" {
		for _, name := range x.cfg.ACME.Domains {
			if c := x.managed.Certificate(strings.ToLower(name)); c != nil {
				return c, nil
			}
		}
	}
	return nil, nil // crypto/tls answers with the alert unrecognized_name
}

// challenged is GetConfigForClient of a config with acme: a CA that looks for the answer to a challenge gets that, and nothing of the chain.
func (x *Server) challenged(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != ALPNChallenge {
		return nil, nil
	}
	c := x.managed.Challenge(strings.ToLower(hello.ServerName))
	if c == nil {
		return nil, errNoChallenge
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*c}, NextProtos: []string{ALPNChallenge}, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true, Time: x.store.now,
	}, nil
}

var errNoChallenge = errors.New("tls: no challenge is under way for the name")

// managedInfos returns how the domains of the contexts stand, each once. Precondition: mu is held.
func (s *Store) managedInfos(now time.Time) (list []Info) {
	at := map[string]int{}
	for c := range s.contexts {
		x, ok := c.(*Server)
		if !ok || x.managed == nil {
			continue
		}
		for _, m := range x.managed.List() {
			i, ok := at[m.Path]
			if !ok {
				i = len(list)
				at[m.Path] = i
				list = append(list, m.info(now))
			}
			list[i].Contexts++
			list[i].Users = append(list[i].Users, x.users...)
		}
	}
	for i := range list {
		slices.Sort(list[i].Users)
		list[i].Users = slices.Compact(list[i].Users)
	}
	return list
}

// info describes the certificate of a domain; without one only the file that it will be in.
func (m *ManagedInfo) info(now time.Time) (in Info) {
	err := m.LastError
	if m.Leaf != nil {
		in = describe(m.Leaf, now)
	} else if err == nil {
		err = errNotYet
	}
	in.Role, in.Path, in.KeyPath, in.Loaded, in.LastError = "certificate", m.Path, m.KeyPath, m.Loaded, errorText(err)
	return in
}

// ManagedPaths returns the files of the certificates that are obtained for the context.
func (x *Server) ManagedPaths() (list []string) {
	if x.managed == nil {
		return nil
	}
	for _, m := range x.managed.List() {
		list = append(list, m.Path)
	}
	return list
}
