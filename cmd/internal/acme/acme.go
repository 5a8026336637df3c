package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"millrace/engine/certs"
)

// A Manager is the certs.Manager of a process.
type Manager struct {
	log    *slog.Logger
	zap    *zap.Logger
	counts counts

	mu       sync.Mutex
	accounts map[string]*account
	ready    chan struct{} // closed by Start
	anchor   *anchor       // or nil
	stopping sync.WaitGroup
}

// counts count what the manager did.
type counts struct{ orders, obtained, renewed, failed, httpAnswers, tlsAnswers atomic.Int64 }

// Stats are the numbers of a Manager.
type Stats struct {
	// Orders counts attempts to get a certificate; Obtained, Renewed and Failed how they ended.
	Orders, Obtained, Renewed, Failed int64
	// HTTPAnswers and TLSAnswers count answers to challenges.
	HTTPAnswers, TLSAnswers int64
	// Domains is how many names are to have a certificate, Missing how many have none yet.
	Domains, Missing int64
}

// nameAgent is said to CAs in front of what certmagic says of itself.
var nameAgent = sync.OnceFunc(func() { certmagic.UserAgent = "millrace" })

// New returns a Manager without accounts.
func New(log *slog.Logger) *Manager {
	nameAgent()
	return &Manager{log: log, zap: zap.New(core{log: log}), accounts: map[string]*account{}, ready: make(chan struct{})}
}

// Start begins to order certificates: the listeners are open. It is called once.
func (m *Manager) Start() { close(m.ready) }

// An account is what a CA knows us by, with the certificates that come from it.
type account struct {
	// Immutable.
	manager *Manager
	key     string
	issuer  string // names the directory of the CA in the storage
	storage *certmagic.FileStorage
	cache   *certmagic.Cache
	magic   *certmagic.Config

	// Guarded by manager.mu.
	users   int
	domains map[string]*domain
}

// domain is one name that is to have a certificate. Guarded by Manager.mu.
type domain struct {
	users  int
	cancel context.CancelFunc
	err    error     // of the last attempt
	loaded time.Time // zero if it comes from the storage
}

// Manage implements certs.Manager.
func (m *Manager) Manage(cfg *certs.ACMEConfig, roots *x509.CertPool) (certs.Managed, error) {
	if err := usable(cfg.Storage); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := accountKey(cfg)
	a := m.accounts[key]
	if a == nil {
		var err error
		if a, err = m.newAccount(key, cfg, roots); err != nil {
			return nil, err
		}
		m.accounts[key] = a
	}
	a.users++
	x := &managed{account: a, stored: map[string]*tls.Certificate{}}
	for _, name := range cfg.Domains {
		name = strings.ToLower(name)
		x.names = append(x.names, name)
		a.add(name)
		if c := a.stored(name); c != nil {
			x.stored[name] = c
		}
	}
	return x, nil
}

// usable makes the directory and reports whether it can be written.
func usable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".probe")
	if err != nil {
		return err
	}
	_ = f.Close()
	return os.Remove(f.Name())
}

// accountKey tells accounts apart. Domains do not count: two chains may have one.
func accountKey(cfg *certs.ACMEConfig) string {
	c := *cfg
	c.Domains, c.Challenges = nil, slices.Sorted(slices.Values(cfg.Challenges))
	c.Storage = filepath.Clean(c.Storage)
	return fmt.Sprintf("%q", fmt.Sprint(c))
}

// newAccount makes an account. Precondition: mu is held.
func (m *Manager) newAccount(key string, cfg *certs.ACMEConfig, roots *x509.CertPool) (*account, error) {
	if m.anchor == nil {
		var err error
		if m.anchor, err = newAnchor(); err != nil {
			return nil, err
		}
	}
	a := &account{manager: m, key: key, storage: &certmagic.FileStorage{Path: filepath.Clean(cfg.Storage)}, domains: map[string]*domain{}}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil },
		RenewCheckInterval: cfg.RenewalCheckInterval, Logger: m.zap,
	})
	template := certmagic.Config{
		RenewalWindowRatio: cfg.RenewalWindow / 100, Storage: a.storage, Logger: m.zap, OnEvent: a.onEvent,
		ShouldEmitFunc: func(event string) bool { return strings.HasPrefix(event, "cert_") }, Issuers: []certmagic.Issuer{},
	}
	a.magic = certmagic.New(a.cache, template)
	issuer := certmagic.NewACMEIssuer(a.magic, certmagic.ACMEIssuer{
		CA: cfg.DirectoryURL, Email: cfg.Email, Agreed: true, TrustedRoots: roots, Logger: m.zap,
		DisableHTTPChallenge: !slices.Contains(cfg.Challenges, "http-01"), DisableTLSALPNChallenge: !slices.Contains(cfg.Challenges, "tls-alpn-01"),
		// What is asked of us is answered from memory: a loop must not read the storage.
		DisableDistributedSolvers: true,
		ListenHost:                m.anchor.host(), AltHTTPPort: 1, AltTLSALPNPort: 2,
	})
	a.magic.Issuers, a.issuer = []certmagic.Issuer{issuer}, issuer.IssuerKey()
	return a, nil
}

// add begins to have a certificate for a name. Precondition: Manager.mu is held.
func (a *account) add(name string) {
	d := a.domains[name]
	if d == nil {
		ctx, cancel := context.WithCancel(context.Background())
		d = &domain{cancel: cancel}
		a.domains[name] = d
		a.manager.stopping.Go(func() { a.begin(ctx, name) })
	}
	d.users++
}

// startDelay passes before the first order for a name: the listeners that the CA will ask are then open, after a reload too.
const startDelay = 500 * time.Millisecond

// begin loads or orders a certificate in the background, once connections are accepted.
func (a *account) begin(ctx context.Context, name string) {
	select {
	case <-a.manager.ready:
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(startDelay):
	case <-ctx.Done():
		return
	}
	// It only starts a goroutine, so that there is nothing to fail.
	_ = a.magic.ManageAsync(ctx, []string{name})
}

// stored reads what an earlier process has left, so that it is there for the first handshake; nil if there is nothing.
func (a *account) stored(name string) *tls.Certificate {
	ctx := context.Background()
	crt, err := a.storage.Load(ctx, certmagic.StorageKeys.SiteCert(a.issuer, name))
	if err != nil {
		return nil
	}
	key, err := a.storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(a.issuer, name))
	if err != nil {
		return nil
	}
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		a.manager.log.Warn("certificate of an earlier process cannot be used", "domain", name, "error", err)
		return nil
	}
	return &pair
}

// remove ends that. Precondition: Manager.mu is held.
func (a *account) remove(name string) {
	d := a.domains[name]
	if d.users--; d.users > 0 {
		return
	}
	d.cancel()
	delete(a.domains, name)
	a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
}

// onEvent hears from certmagic, on its goroutines.
func (a *account) onEvent(_ context.Context, event string, data map[string]any) error {
	m := a.manager
	name, _ := data["identifier"].(string)
	renewal, _ := data["renewal"].(bool)
	m.mu.Lock()
	d := a.domains[name]
	if d == nil {
		d = &domain{} // no longer ours
	}
	defer m.mu.Unlock()
	switch event {
	case "cert_obtaining":
		m.counts.orders.Add(1)
	case "cert_obtained":
		d.err, d.loaded = nil, time.Now()
		if renewal {
			m.counts.renewed.Add(1)
		} else {
			m.counts.obtained.Add(1)
		}
		m.log.Info("certificate obtained by ACME", "domain", name, "renewal", renewal)
	case "cert_failed":
		m.counts.failed.Add(1)
		if err, ok := data["error"].(error); ok {
			d.err = err
			m.log.Warn("certificate cannot be obtained by ACME; it is tried again", "domain", name, "renewal", renewal, "error", err)
		}
	}
	return nil
}

// certificate returns the newest certificate of a name.
func (a *account) certificate(name string) (best *tls.Certificate) {
	list := a.cache.AllMatchingCertificates(name)
	for i := range list {
		c := &list[i].Certificate
		if c.Leaf == nil {
			continue
		}
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = c
		}
	}
	return best
}

// managed are the certificates of one config.
type managed struct {
	account *account
	names   []string
	stored  map[string]*tls.Certificate // at the start
	once    sync.Once
}

// Certificate implements certs.Managed.
func (x *managed) Certificate(name string) *tls.Certificate {
	if !slices.Contains(x.names, name) {
		return nil
	}
	return cmp.Or(x.account.certificate(name), x.stored[name])
}

// Challenge implements certs.Managed.
func (x *managed) Challenge(name string) *tls.Certificate {
	if !slices.Contains(x.names, name) {
		return nil
	}
	c, ok := certmagic.GetACMEChallenge(name)
	if !ok || c.Type != acme.ChallengeTypeTLSALPN01 {
		return nil
	}
	cert, err := acmez.TLSALPN01ChallengeCert(c.Challenge)
	if err != nil {
		x.account.manager.log.Error("answer to a challenge of ACME", "domain", name, "error", err)
		return nil
	}
	x.account.manager.counts.tlsAnswers.Add(1)
	return cert
}

// List implements certs.Managed.
func (x *managed) List() (list []certs.ManagedInfo) {
	a := x.account
	for _, name := range x.names {
		in := certs.ManagedInfo{
			Domain: name, Path: a.storage.Filename(certmagic.StorageKeys.SiteCert(a.issuer, name)),
			KeyPath: a.storage.Filename(certmagic.StorageKeys.SitePrivateKey(a.issuer, name)),
		}
		if c := x.Certificate(name); c != nil {
			in.Leaf = c.Leaf
		}
		a.manager.mu.Lock()
		if d := a.domains[name]; d != nil {
			in.LastError, in.Loaded = d.err, d.loaded
		}
		a.manager.mu.Unlock()
		list = append(list, in)
	}
	return list
}

// Close implements certs.Managed.
func (x *managed) Close() {
	x.once.Do(func() {
		a, m := x.account, x.account.manager
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, name := range x.names {
			a.remove(name)
		}
		if a.users--; a.users == 0 {
			delete(m.accounts, a.key)
			m.stopping.Go(a.cache.Stop)
		}
	})
}

// Answer implements httpconn.Challenges.
func (m *Manager) Answer(host, token string) string {
	c, ok := certmagic.GetACMEChallenge(hostOnly(host))
	if !ok || c.Type != acme.ChallengeTypeHTTP01 || c.Token != token {
		return ""
	}
	m.counts.httpAnswers.Add(1)
	return c.KeyAuthorization
}

// hostOnly cuts the port off, and what differs in the way to write a name.
func hostOnly(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		authority = host
	}
	return strings.ToLower(strings.TrimSuffix(authority, "."))
}

// Stats returns the numbers of now.
func (m *Manager) Stats() Stats {
	c := &m.counts
	st := Stats{
		Orders: c.orders.Load(), Obtained: c.obtained.Load(), Renewed: c.renewed.Load(), Failed: c.failed.Load(),
		HTTPAnswers: c.httpAnswers.Load(), TLSAnswers: c.tlsAnswers.Load(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.accounts {
		for name := range a.domains {
			st.Domains++
			if a.certificate(name) == nil {
				st.Missing++
			}
		}
	}
	return st
}

// Close ends what goes on in the background. All that Manage has returned is closed.
func (m *Manager) Close() {
	m.stopping.Wait()
	certmagic.CleanUpOwnLocks(context.Background(), m.zap)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.anchor != nil {
		m.anchor.close()
		m.anchor = nil
	}
}

// An anchor is a socket that nobody connects to. certmagic wants to listen while a challenge is under way: on port 80 or 443 it would take
// connections from our own listeners. Given an open socket it listens on a duplicate of that.
type anchor struct {
	listener *net.UnixListener
	file     *os.File
}

func newAnchor() (*anchor, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "", Net: "unix"}) // an abstract name of the kernel's choice
	if err != nil {
		return nil, fmt.Errorf("socket for certmagic: %w", err)
	}
	f, err := l.File()
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &anchor{l, f}, nil
}

// host names the socket as certmagic's ListenHost wants it.
func (a *anchor) host() string { return fmt.Sprintf("fd/%d", a.file.Fd()) }

func (a *anchor) close() { _ = cmp.Or(a.file.Close(), a.listener.Close()) }
