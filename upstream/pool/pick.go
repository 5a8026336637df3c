package pool

import "millrace/upstream"

// Pick returns the host for a request, or nil if there is none. p should lie in what the caller
// keeps for the request: a variable would be allocated.
func (c *Cluster) Pick(p *upstream.Pick) *upstream.Host {
	p.Now = c.loop.Now()
	if c.settings.boundsLoad {
		p.Active = c.active(p.Tunnel)
	}
	bucket, how := c.hosts.Choose(c.loop.Rand().Uint64(), p)
	if how != upstream.ChoseShare {
		c.Stats.CountChoice(how)
	}
	h := (*upstream.Host)(nil)
	if c.ahead.count > 0 && p.Reselect == 0 {
		h = c.ahead.take(bucket)
	}
	if h == nil {
		h = c.balancer.Pick(bucket, p)
	}
	if c.settings.hostConnsMax > 0 && h != nil && !c.settings.keepsHost {
		h = c.withRoom(bucket, p, h)
	}
	if h == nil {
		c.Stats.CxNoneHealthy.Inc()
	}
	return h
}

// fullHostsPassed is how many hosts are looked at for one that has room under its limit of connections.
const fullHostsPassed = 8

// withRoom returns h, or if that has all the connections it may, each with a request, another host that has not. If none of
// a few has room, the request waits for the least busy.
func (c *Cluster) withRoom(b *upstream.Bucket, p *upstream.Pick, h *upstream.Host) *upstream.Host {
	best := h
	for i := 0; ; i++ {
		if h.CxActive.Load() < c.settings.hostConnsMax || !p.Tunnel && c.hasFree(h) {
			return h
		}
		if h.RqActive.Load() < best.RqActive.Load() {
			best = h
		}
		if i+1 >= fullHostsPassed || i+1 >= len(b.Hosts) {
			return best
		}
		h = c.balancer.Pick(b, p)
	}
}

// hasFree reports whether this loop has a connection to h that takes a request now.
func (c *Cluster) hasFree(h *upstream.Host) bool {
	for _, pools := range c.pools {
		if slot := h.Slot(); slot < len(pools) {
			if p := pools[slot]; p != nil && p.host == h && (p.idle != nil || p.ready != nil) {
				return true
			}
		}
	}
	return false
}

// active returns how many requests all loops have for the cluster, or how many connections.
func (c *Cluster) active(connections bool) (n int64) {
	for _, b := range c.shared.Budgets {
		if connections {
			n += b.Active(upstream.Connections)
		} else {
			n += b.Active(upstream.Requests) + b.Active(upstream.Pending)
		}
	}
	return n
}
