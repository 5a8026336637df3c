package l4

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
)

const (
	// clientSSLAuthPath is what is asked of auth_api_cluster.
	clientSSLAuthPath = "/v1/certs/list/approved"
	// clientSSLAuthDigestsMax bounds the list, which costs 32 bytes for each entry.
	clientSSLAuthDigestsMax = 1_000_000
)

// ClientSSLAuthConfig configures the "client_ssl_auth" filter, which closes TLS connections of clients whose
// certificate is not on a list. The list is read again and again; when that fails the old one stays, and until it
// has been read once nobody is on it. Connections without TLS pass. One of auth_api_cluster and file is given.
type ClientSSLAuthConfig struct {
	// StatPrefix is the name in the counters: auth.clientssl.<stat_prefix>.
	StatPrefix string `json:"stat_prefix" required:"true"`
	// AuthAPICluster is a cluster that answers GET /v1/certs/list/approved with
	// {"certificates": [{"fingerprint_sha256": "…"}]}: SHA-256 of certificates in DER, in hexadecimal, with colons
	// or without. At most 1000000.
	AuthAPICluster string `json:"auth_api_cluster"`
	// File has the same JSON. An own word.
	File string `json:"file"`
	// RefreshDelay is the time between two reads; as much again at most is added at random. 1s to 24h. Default: 60s.
	RefreshDelay time.Duration `json:"refresh_delay" default:"60s" min:"1s" max:"24h"`
	// IPAllowlist are prefixes of clients that pass whatever certificate they show. Default: none.
	IPAllowlist []string `json:"ip_allowlist" v3:"ip_white_list"`
}

// Validate reports a source that is missing or there twice, and prefixes that are none.
func (c *ClientSSLAuthConfig) Validate(report func(path, problem, hint string)) {
	switch {
	case c.AuthAPICluster != "" && c.File != "":
		report("file", "auth_api_cluster and file are both given", "keep one of them")
	case c.AuthAPICluster == "" && c.File == "":
		report("", "nothing tells where the list of certificates comes from", `give "auth_api_cluster" or "file"`)
	}
	checkCIDRs("ip_allowlist", c.IPAllowlist, report)
}

// References reports the cluster.
func (c *ClientSSLAuthConfig) References(report func(path, kind, name string)) {
	if c.AuthAPICluster != "" {
		report("auth_api_cluster", "cluster", c.AuthAPICluster)
	}
}

// clientSSLAuthList is what all loops have in common. The goroutine that reads the source replaces digests.
type clientSSLAuthList struct {
	allow   *cidrList
	digests *clientSSLAuthDigests
	stop    func()

	// Owned by the goroutine.
	stats  *clientSSLAuthListStats
	log    *slog.Logger
	prefix string
	failed bool // the last read
}

// clientSSLAuthDigests are the digests of one source, sorted; nil until it has been read once. What replaces a part
// of the configuration goes on with those that are known: a reload must not shut everybody out until the next read.
type clientSSLAuthDigests struct{ atomic.Pointer[[][32]byte] }

// clientSSLAuthListStats counts one list.
type clientSSLAuthListStats struct {
	UpdateSuccess   stats.Counter `stat:"update_success" help:"reads of the list that went well"`
	UpdateFailure   stats.Counter `stat:"update_failure" help:"reads of the list that failed"`
	TotalPrincipals stats.Gauge   `stat:"total_principals" help:"certificates on the list"`
}

func clientSSLAuthScope(cfg *ClientSSLAuthConfig) stats.Scope {
	return stats.Root("auth").Name("clientssl").Tag("envoy_clientssl_prefix", cfg.StatPrefix)
}

func shareClientSSLAuth(cfg *ClientSSLAuthConfig, env *filters.SharedEnv) (*clientSSLAuthList, error) {
	allow, err := newCIDRList(cfg.IPAllowlist)
	if err != nil {
		return nil, fmt.Errorf("ip_allowlist: %w", err)
	}
	if env.Watch == nil {
		return nil, errors.New("client_ssl_auth: nothing can read its list here")
	}
	l := &clientSSLAuthList{
		allow: allow, digests: new(clientSSLAuthDigests), log: env.Log, prefix: cfg.StatPrefix,
		stats: stats.Register[clientSSLAuthListStats](env.Stats, clientSSLAuthScope(cfg)),
	}
	src := filters.Source{File: cfg.File}
	if cfg.File == "" {
		src = filters.Source{Cluster: cfg.AuthAPICluster, Path: clientSSLAuthPath}
	}
	if env.Once != nil {
		key := fmt.Sprintf("client_ssl_auth %q %q", src.File, src.Cluster)
		l.digests = env.Once(key, func() any { return l.digests }).(*clientSSLAuthDigests)
	}
	l.stop = env.Watch(src, cfg.RefreshDelay, cfg.RefreshDelay, l.put)
	return l, nil
}

// Close implements io.Closer: it stops reading.
func (l *clientSSLAuthList) Close() error {
	l.stop()
	return nil
}

// put takes what was read.
func (l *clientSSLAuthList) put(body []byte, err error) {
	var digests [][32]byte
	if err == nil {
		digests, err = parseClientSSLAuth(body)
	}
	if err != nil {
		l.stats.UpdateFailure.Inc()
		if !l.failed && l.log != nil {
			l.log.Warn("the list of client certificates was not updated", "stat_prefix", l.prefix, "error", err)
		}
		l.failed = true
		return
	}
	l.failed = false
	l.stats.UpdateSuccess.Inc()
	l.stats.TotalPrincipals.Set(int64(len(digests)))
	l.digests.Store(&digests)
}

// has reports whether a digest is on the list.
func (l *clientSSLAuthList) has(digest *[32]byte) bool {
	digests := l.digests.Load()
	if digests == nil {
		return false
	}
	_, ok := slices.BinarySearchFunc(*digests, digest, func(d [32]byte, want *[32]byte) int { return bytes.Compare(d[:], want[:]) })
	return ok
}

// parseClientSSLAuth reads a list. It is all good or refused.
func parseClientSSLAuth(body []byte) ([][32]byte, error) {
	var list struct {
		Certificates *[]struct {
			Fingerprint string `json:"fingerprint_sha256"`
		} `json:"certificates"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("list of certificates: %w", err)
	}
	if list.Certificates == nil {
		return nil, errors.New(`list of certificates has no "certificates"`)
	}
	if n := len(*list.Certificates); n > clientSSLAuthDigestsMax {
		return nil, fmt.Errorf("list of %d certificates exceeds %d", n, clientSSLAuthDigestsMax)
	}
	digests := make([][32]byte, len(*list.Certificates))
	for i, c := range *list.Certificates {
		text := strings.ReplaceAll(c.Fingerprint, ":", "")
		if n, err := hex.Decode(digests[i][:], []byte(text[:min(len(text), 64)])); err != nil || n != 32 || len(text) != 64 {
			return nil, fmt.Errorf("certificates[%d]: fingerprint_sha256 %.80q is not 32 bytes in hexadecimal", i, c.Fingerprint)
		}
	}
	slices.SortFunc(digests, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(digests), nil
}

// clientSSLAuth closes TLS connections of clients that are not on a list.
type clientSSLAuth struct {
	list  *clientSSLAuthList
	stats *clientSSLAuthStats
}

// clientSSLAuthStats counts one chain on one loop.
type clientSSLAuthStats struct {
	NoSSL         stats.Counter `stat:"auth_no_ssl" help:"connections that passed because they are without TLS"`
	IPAllowlist   stats.Counter `stat:"auth_ip_allowlist" help:"connections that passed for their address"`
	DigestMatch   stats.Counter `stat:"auth_digest_match" help:"connections that passed for their certificate"`
	DigestNoMatch stats.Counter `stat:"auth_digest_no_match" help:"connections closed: their certificate is not on the list, or there is none"`
}

func newClientSSLAuth(cfg *ClientSSLAuthConfig, list *clientSSLAuthList, env *filters.NetworkEnv) (any, error) {
	return &clientSSLAuth{list: list, stats: stats.Register[clientSSLAuthStats](env.Stats, clientSSLAuthScope(cfg))}, nil
}

// OnEstablished implements filters.EstablishedFilter.
func (f *clientSSLAuth) OnEstablished(c *filters.Connection) filters.NetworkVerdict {
	if c.Session == nil {
		f.stats.NoSSL.Inc()
		return filters.NetworkContinue
	}
	if remote := c.IO.RemoteAddr(); f.list.allow.contains(&remote) {
		f.stats.IPAllowlist.Inc()
		return filters.NetworkContinue
	}
	if p := c.Peer(); p != nil && f.list.has(&p.Digest) {
		f.stats.DigestMatch.Inc()
		return filters.NetworkContinue
	}
	f.stats.DigestNoMatch.Inc()
	c.Flags |= accesslog.FlagUnauthorizedExternal
	c.Details = "auth_digest_no_match"
	return filters.NetworkClose
}
