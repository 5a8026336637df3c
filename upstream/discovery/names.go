package discovery

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/engine"
	"millrace/upstream"
)

const (
	// hostsMax bounds the hosts of one name.
	hostsMax = 4096
	// targetsMax bounds the SRV records of one name that are used.
	targetsMax = 256
	// racersMax bounds the addresses of a logical host that a connection may try.
	racersMax = 16
	// prioritiesMax bounds the priorities that SRV records may have in one name: further ones become the last.
	prioritiesMax = 128
)

// names finds the hosts of a cluster of names. Each name has a goroutine and a clock of its own.
type names struct {
	cfg      *upstream.Config
	env      *Env
	resolver *resolver
	logical  bool
	put      Put

	// Guarded by mu.
	mu      sync.Mutex
	found   [][]upstream.HostConfig // by host of the configuration; nil before the first answer
	waiting int                     // names without an outcome so far
	last    []upstream.HostConfig   // what was put last
	putOnce bool                    // something was
}

func newNames(cfg *upstream.Config, env *Env) *names {
	d := &names{
		cfg: cfg, env: env, resolver: env.Resolvers.of(cfg.DNSResolvers), logical: cfg.Type == upstream.LogicalDNS,
		found: make([][]upstream.HostConfig, len(cfg.Hosts)), waiting: len(cfg.Hosts),
	}
	for i := range cfg.Hosts {
		for _, k := range env.Known {
			if k.Hostname != "" && k.Hostname == d.hostname(i) {
				d.found[i] = append(d.found[i], k)
			}
		}
	}
	return d
}

// hostname is what the hosts of a name are called.
func (d *names) hostname(i int) string {
	hc := &d.cfg.Hosts[i]
	if hc.Hostname != "" {
		return hc.Hostname
	}
	h, _ := upstream.ParseHostName(hc.Address) // it is valid
	if _, err := netip.ParseAddr(h.Name); err == nil {
		return ""
	}
	return strings.TrimSuffix(h.Name, ".")
}

// Run implements Source.
func (d *names) Run(ctx context.Context, put Put) {
	d.put = put
	if len(d.cfg.Hosts) == 0 {
		put(nil, nil)
		d.env.answered()
		<-ctx.Done()
		return
	}
	var running sync.WaitGroup
	for i := 1; i < len(d.cfg.Hosts); i++ {
		running.Go(func() { d.follow(ctx, i) })
	}
	d.follow(ctx, 0)
	running.Wait()
}

// follow resolves one name until ctx ends.
func (d *names) follow(ctx context.Context, i int) {
	state := health{log: d.env.Log, attrs: []any{"cluster", d.cfg.Name, "name", d.cfg.Hosts[i].Address}}
	failures := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		hosts, ttl, err := d.resolve(ctx, i)
		if ctx.Err() != nil {
			return
		}
		state.note(err)
		if failures++; err == nil {
			failures = 0
		}
		d.note(i, hosts, err, first)
		timer.Reset(d.wait(ttl, failures))
	}
}

// wait returns when to resolve a name again, after an answer with a time to live or after failures in a row.
func (d *names) wait(ttl time.Duration, failures int) time.Duration {
	c := &d.cfg.DiscoveryConfig
	wait := c.DNSRefreshRate
	switch f := c.DNSFailureRefreshRate; {
	case failures > 0 && f != nil:
		wait = f.MaxInterval
		if shift := failures - 1; shift < 32 && f.BaseInterval < f.MaxInterval>>shift {
			wait = f.BaseInterval << shift
		}
		wait = wait/2 + rand.N(wait/2+1)
	case failures == 0 && c.RespectDNSTTL && ttl > 0:
		wait = min(max(ttl, c.DNSMinRefreshRate), c.DNSMaxRefreshRate)
	}
	if c.DNSJitter > 0 {
		wait += rand.N(c.DNSJitter)
	}
	return wait
}

// resolve asks for the hosts of one name.
func (d *names) resolve(ctx context.Context, i int) ([]upstream.HostConfig, time.Duration, error) {
	hc := &d.cfg.Hosts[i]
	h, err := upstream.ParseHostName(hc.Address)
	if err != nil {
		return nil, noTTL, err
	}
	if h.SRV {
		return d.resolveSRV(ctx, i, h.Name)
	}
	r, err := d.resolver.lookup(ctx, h.Name, d.cfg.DNSLookupFamily)
	if err != nil {
		return nil, noTTL, err
	}
	if d.logical && len(r.addrs) > 1 {
		return d.logicalHost(i, &r, h.Port), r.ttl, nil
	}
	return d.appendHosts(nil, i, r.addrs, h.Port, func(*upstream.HostConfig) {}), r.ttl, nil
}

// logicalHost returns the one host of a name with several addresses: the first one, and if both families were asked for
// the others as well.
func (d *names) logicalHost(i int, r *records, port uint16) []upstream.HostConfig {
	if d.cfg.DNSLookupFamily != "all" {
		return d.appendHosts(nil, i, r.addrs[:1], port, func(*upstream.HostConfig) {})
	}
	var all []netip.Addr
	for _, a := range takeTurns(r.addrs) {
		if !a.IsUnspecified() && !a.IsMulticast() && len(all) < racersMax {
			all = append(all, a.WithZone(""))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return d.appendHosts(nil, i, all[:1], port, func(hc *upstream.HostConfig) {
		for _, a := range all[1:] {
			hc.AdditionalAddresses = append(hc.AdditionalAddresses, engine.AddrFrom(a, port, 0).String())
		}
	})
}

// takeTurns returns addresses so that the families alternate, IPv6 first, each in the order it had: "Whichever address family
// is first in the list should be followed by an endpoint of the other address family".
// RFC 8305 section 4
func takeTurns(addrs []netip.Addr) []netip.Addr {
	var list [2][]netip.Addr
	for _, a := range addrs {
		family := 0
		if a.Unmap().Is4() {
			family = 1
		}
		list[family] = append(list[family], a)
	}
	var all []netip.Addr
	for k := range max(len(list[0]), len(list[1])) {
		for _, l := range list {
			if k < len(l) {
				all = append(all, l[k])
			}
		}
	}
	return all
}

// resolveSRV asks for the SRV records of a name, and for the addresses of what they name.
func (d *names) resolveSRV(ctx context.Context, i int, name string) (hosts []upstream.HostConfig, ttl time.Duration, err error) {
	r, err := d.resolver.lookupSRV(ctx, name)
	if err != nil {
		return nil, noTTL, err
	}
	ttl = r.ttl
	slices.SortStableFunc(r.srvs, func(a, b srv) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.target, b.target), cmp.Compare(a.port, b.port))
	})
	level, before := -1, -1
	for _, s := range r.srvs[:min(len(r.srvs), targetsMax)] {
		if s.target == "." || s.port == 0 { // "the service is decidedly not available" (RFC 2782)
			continue
		}
		a, err := d.resolver.lookup(ctx, s.target, d.cfg.DNSLookupFamily)
		if err != nil {
			return nil, noTTL, err
		}
		if a.ttl != noTTL && (ttl == noTTL || a.ttl < ttl) {
			ttl = a.ttl
		}
		if len(a.addrs) == 0 {
			continue // it would leave a priority without hosts
		}
		if int(s.priority) != before {
			level, before = min(level+1, prioritiesMax-1), int(s.priority)
		}
		hosts = d.appendHosts(hosts, i, a.addrs, s.port, func(hc *upstream.HostConfig) {
			hc.Weight, hc.Priority = max(uint32(s.weight), 1), uint8(level)
		})
	}
	return hosts, ttl, nil
}

// appendHosts appends a host for each address, made as the configured one is and then by set. They are in an order of
// their own, unless one is as good as the other, since servers turn their answers round.
func (d *names) appendHosts(hosts []upstream.HostConfig, i int, addrs []netip.Addr, port uint16, set func(*upstream.HostConfig)) []upstream.HostConfig {
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range addrs {
		if len(hosts) == hostsMax || a.IsUnspecified() || a.IsMulticast() {
			continue
		}
		hc := d.cfg.Hosts[i]
		hc.Address, hc.Hostname = engine.AddrFrom(a.WithZone(""), port, 0).String(), d.hostname(i)
		set(&hc)
		hosts = append(hosts, hc)
	}
	return hosts
}

// note takes the outcome of one name, and puts the hosts of all if they have changed.
func (d *names) note(i int, hosts []upstream.HostConfig, err error, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.env.Stats
	s.Attempt.Inc()
	if first {
		d.waiting--
	}
	if err != nil {
		s.Failure.Inc()
	} else {
		s.Success.Inc()
		if len(hosts) == 0 {
			s.Empty.Inc()
		}
		if !d.logical || len(hosts) > 0 {
			d.found[i] = hosts
		}
	}
	if d.waiting > 0 && len(d.env.Known) > 0 {
		return // hosts of the names that have not answered are still in use
	}
	d.publish(err)
	if first && d.waiting == 0 {
		d.env.answered()
	}
}

// publish puts the union of what was found, if it is news.
func (d *names) publish(err error) {
	all := d.union()
	if err != nil && len(all) == 0 { // nothing was ever found; what another configuration had found stays
		d.put(nil, err)
		return
	}
	if d.logical && len(all) == 0 && len(d.env.Known) > 0 {
		d.put(nil, errors.New("no addresses"))
		return
	}
	if d.putOnce && reflect.DeepEqual(all, d.last) {
		if err == nil {
			d.env.Stats.NoRebuild.Inc()
		}
		return
	}
	d.last, d.putOnce = all, true
	d.put(all, nil)
}

// union returns all hosts, each address once.
func (d *names) union() (all []upstream.HostConfig) {
	seen := map[string]bool{}
	for _, list := range d.found {
		for _, hc := range list {
			if !seen[hc.Address] {
				seen[hc.Address] = true
				all = append(all, hc)
			}
		}
	}
	return all
}
