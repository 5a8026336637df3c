package pool

import "millrace/upstream"

// namesMax bounds the names that TLS asks one host for, on one loop: each has connections of its own, and names come from
// clients. At the bound the pool that was leased from longest ago makes room, if it carries nothing; if none of a few does, the
// request is refused and counted in upstream_cx_pool_overflow.
const (
	namesMax = 256
	// namesProbed is how many pools are looked at for one that carries nothing.
	namesProbed = 8
)

// names are the pools of one host by the name that their connections ask for. The zero value is empty.
type names struct {
	pools          map[string]*Pool
	newest, oldest *Pool // by their last lease
}

// LeaseNamed is Lease on a connection whose TLS asks for a name, in lower case, in place of that of the config. The name is
// not looked at unless WantsServerName; nil is none.
func (c *Cluster) LeaseNamed(name []byte, h *upstream.Host, prio upstream.Priority, x *Exchange, fresh bool) LeaseResult {
	if x.state != exchangeFree {
		panic("BUG: pool: lease of an exchange that is not free")
	}
	if c.settings.predictiveRatio > 0 {
		c.predict(name, prio)
	}
	p := c.namedPool(name, h, prio)
	if p == nil {
		return LeaseOverflow
	}
	return p.Lease(x, fresh)
}

// namedPool returns the pool of a host for connections that ask for name, nil if there are too many.
func (c *Cluster) namedPool(name []byte, h *upstream.Host, prio upstream.Priority) *Pool {
	p := c.pool(h, prio)
	if s := c.settings.tls; s != nil && s.auto && len(name) > 0 {
		p = p.named(name)
	}
	return p
}

// named returns the pool of connections that ask for name, nil if there are too many.
func (p *Pool) named(name []byte) *Pool {
	q := p.names.pools[string(name)] // does not allocate
	if q == nil {
		return p.addNamed(string(name))
	}
	if q != p.names.newest {
		p.names.unlink(q)
		p.names.link(q)
	}
	return q
}

// addNamed makes it.
func (p *Pool) addNamed(name string) *Pool {
	if len(p.names.pools) >= namesMax && !p.evictName() {
		p.cluster.Stats.CxPoolOverflow.Inc()
		p.settle()
		return nil
	}
	q := &Pool{cluster: p.cluster, host: p.host, settings: p.settings, breaker: p.breaker, streamsMax: -1, sni: name, root: p, draining: p.draining}
	q.sit(p.atHost.gate)
	if p.draining {
		p.settle() // it has no business of its own
		return q
	}
	if p.names.pools == nil {
		p.names.pools = map[string]*Pool{}
	}
	p.names.pools[name] = q
	p.names.link(q)
	return q
}

// evictName forgets a pool that carries nothing. It reports whether there was one.
func (p *Pool) evictName() bool {
	q := p.names.oldest
	for range namesProbed {
		if q == nil {
			return false
		}
		if !q.busy() {
			p.names.unlink(q)
			delete(p.names.pools, q.sni)
			q.drain()
			return true
		}
		q = q.newerName
	}
	return false
}

// connected reports whether this loop has a connection to the host of p, by whatever name.
func (p *Pool) connected() bool {
	if p.root != nil {
		p = p.root
	}
	return p.conns+p.inNames > 0
}

// busy reports whether something waits or is carried.
func (p *Pool) busy() bool { return p.pending.count > 0 || p.conns > p.resting() }

// resting counts the connections that carry nothing.
func (p *Pool) resting() (n int) {
	n = p.idleCount
	for m := p.ready; m != nil; m = m.older {
		if m.resting {
			n++
		}
	}
	return n
}

// each calls f with the pools of all names.
func (n *names) each(f func(*Pool)) {
	for q := n.newest; q != nil; {
		next := q.olderName
		f(q)
		q = next
	}
}

func (n *names) link(q *Pool) {
	q.olderName, q.newerName = n.newest, nil
	if n.newest != nil {
		n.newest.newerName = q
	} else {
		n.oldest = q
	}
	n.newest = q
}

func (n *names) unlink(q *Pool) {
	if q.newerName != nil {
		q.newerName.olderName = q.olderName
	} else {
		n.newest = q.olderName
	}
	if q.olderName != nil {
		q.olderName.newerName = q.newerName
	} else {
		n.oldest = q.newerName
	}
	q.olderName, q.newerName = nil, nil
}
