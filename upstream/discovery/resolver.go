package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// lookupsMax bounds the names that are resolved at the same time by the same servers.
	lookupsMax = 128
	// lookupTimeMax bounds the resolving of one name.
	lookupTimeMax = 20 * time.Second
)

// Resolvers are the resolvers of the process, one for each list of servers.
type Resolvers struct {
	mu    sync.Mutex
	conf  systemFile[settings]
	hosts systemFile[map[string][]netip.Addr]
	all   map[string]*resolver
}

// NewResolvers returns the resolvers of a system with these files, "" for those of this one.
func NewResolvers(resolvConf, hosts string) *Resolvers {
	if resolvConf == "" {
		resolvConf = "/etc/resolv.conf"
	}
	if hosts == "" {
		hosts = "/etc/hosts"
	}
	return &Resolvers{
		conf:  systemFile[settings]{path: resolvConf, parse: parseResolvConf},
		hosts: systemFile[map[string][]netip.Addr]{path: hosts, parse: parseHosts},
		all:   map[string]*resolver{},
	}
}

// of returns the resolver for a dns_resolvers.
func (rs *Resolvers) of(list []string) *resolver {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	key := strings.Join(list, " ")
	r := rs.all[key]
	if r == nil {
		r = &resolver{all: rs, servers: resolversOf(list), slots: make(chan struct{}, lookupsMax)}
		rs.all[key] = r
	}
	return r
}

// system returns what the files of the system say now.
func (rs *Resolvers) system() (settings, map[string][]netip.Addr) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	now := time.Now()
	return rs.conf.get(now), rs.hosts.get(now)
}

// resolver asks a list of servers.
type resolver struct {
	all     *Resolvers
	servers []netip.AddrPort // empty: those of the system
	slots   chan struct{}    // holds one for each name that is being resolved
	first   atomic.Uint32    // the server to ask first
}

// lookup resolves a name, waiting for its turn. No addresses and no error means that the name has none.
func (r *resolver) lookup(ctx context.Context, name, family string) (records, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return records{addrs: []netip.Addr{ip}, ttl: noTTL}, nil
	}
	conf, hosts := r.conf()
	if list := localAddrs(hosts, name, family); len(list) > 0 {
		return records{addrs: list, ttl: noTTL}, nil
	}
	return r.inTurn(ctx, func(ctx context.Context) (records, error) {
		return r.candidates(&conf, name, func(full string) (records, error) { return r.family(ctx, &conf, full, family) })
	})
}

// lookupSRV asks for the SRV records of a name.
func (r *resolver) lookupSRV(ctx context.Context, name string) (records, error) {
	conf, _ := r.conf()
	return r.inTurn(ctx, func(ctx context.Context) (records, error) {
		return r.candidates(&conf, name, func(full string) (records, error) { return r.ask(ctx, &conf, full, dnsmessage.TypeSRV) })
	})
}

// conf returns the settings of now.
func (r *resolver) conf() (settings, map[string][]netip.Addr) {
	conf, hosts := r.all.system()
	if len(r.servers) > 0 {
		conf.servers = r.servers
	}
	return conf, hosts
}

// inTurn runs f when it is its turn, for a bounded time.
func (r *resolver) inTurn(ctx context.Context, f func(context.Context) (records, error)) (records, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return records{}, ctx.Err()
	}
	defer func() { <-r.slots }()
	ctx, cancel := context.WithTimeout(ctx, lookupTimeMax)
	defer cancel()
	return f(ctx)
}

// candidates tries the names that a name may stand for. A name that exists without records ends the search only if no
// other one has any; a server that fails for one of them counts only if none answers.
func (r *resolver) candidates(conf *settings, name string, f func(string) (records, error)) (records, error) {
	var failed error
	exists := false
	empty := records{ttl: noTTL}
	for _, full := range conf.candidates(name) {
		got, err := f(full)
		switch {
		case err == nil && len(got.addrs)+len(got.srvs) > 0:
			return got, nil
		case err == nil:
			exists, empty = true, got
		case !errors.Is(err, errNoName):
			failed = err
		}
	}
	switch {
	case failed != nil:
		return records{}, fmt.Errorf("%s: %w", name, failed)
	case exists:
		return empty, nil
	}
	return records{}, fmt.Errorf("%s: %w", name, errNoName)
}

// family asks for the addresses of a dns_lookup_family.
func (r *resolver) family(ctx context.Context, conf *settings, name, family string) (records, error) {
	switch family {
	case "v4_only":
		return r.ask(ctx, conf, name, dnsmessage.TypeA)
	case "v6_only":
		return r.ask(ctx, conf, name, dnsmessage.TypeAAAA)
	case "v4_preferred":
		return r.either(ctx, conf, name, dnsmessage.TypeA, dnsmessage.TypeAAAA)
	case "all":
		return r.both(ctx, conf, name)
	}
	return r.either(ctx, conf, name, dnsmessage.TypeAAAA, dnsmessage.TypeA)
}

// either asks for one type, and for another one if there is none of it.
func (r *resolver) either(ctx context.Context, conf *settings, name string, first, second dnsmessage.Type) (records, error) {
	a, err := r.ask(ctx, conf, name, first)
	if err == nil && len(a.addrs) > 0 || errors.Is(err, errNoName) {
		return a, err
	}
	b, err2 := r.ask(ctx, conf, name, second)
	if err != nil && err2 == nil && len(b.addrs) == 0 {
		return records{}, err // nobody knows that there are none
	}
	return b, err2
}

// both asks for both types.
func (r *resolver) both(ctx context.Context, conf *settings, name string) (records, error) {
	six := make(chan struct{})
	var a6 records
	var err6 error
	go func() {
		defer close(six)
		a6, err6 = r.ask(ctx, conf, name, dnsmessage.TypeAAAA)
	}()
	a4, err4 := r.ask(ctx, conf, name, dnsmessage.TypeA)
	<-six
	if err := errors.Join(err4, err6); err != nil { // half an answer would drain the other half of the hosts
		if err4 != nil {
			return records{}, err4
		}
		return records{}, err6
	}
	if len(a4.addrs) == 0 || len(a6.addrs) > 0 && a6.ttl < a4.ttl {
		a4.ttl = a6.ttl
	}
	a4.addrs = append(a4.addrs, a6.addrs...)
	return a4, nil
}

// ask asks the servers one after the other until one knows.
func (r *resolver) ask(ctx context.Context, conf *settings, name string, t dnsmessage.Type) (records, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return records{}, err
	}
	q := dnsmessage.Question{Name: n, Type: t, Class: dnsmessage.ClassINET}
	first := r.first.Load()
	if conf.rotate {
		first = rand.Uint32()
	}
	var last error
	for range conf.attempts {
		for i := range uint32(len(conf.servers)) {
			at := (first + i) % uint32(len(conf.servers))
			got, err := exchange(ctx, conf.servers[at], q, conf.timeout)
			if err == nil || errors.Is(err, errNoName) {
				if !conf.rotate {
					r.first.Store(at) // the others may be dead
				}
				return got, err
			}
			last = fmt.Errorf("server %s: %w", conf.servers[at], err)
			if ctx.Err() != nil {
				return records{}, last
			}
		}
	}
	return records{}, last
}

// localAddrs returns the addresses that /etc/hosts has for a name. "localhost" is always known (RFC 6761).
func localAddrs(hosts map[string][]netip.Addr, name, family string) []netip.Addr {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	list := hosts[name]
	if len(list) == 0 && (name == "localhost" || strings.HasSuffix(name, ".localhost")) {
		list = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	}
	var v4, v6 []netip.Addr
	for _, a := range list {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	switch {
	case family == "v4_only" || family == "v4_preferred" && len(v4) > 0:
		return v4
	case family == "v6_only" || family == "auto" && len(v6) > 0:
		return v6
	}
	return append(v4, v6...)
}
