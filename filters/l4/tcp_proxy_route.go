package l4

import (
	"fmt"
	"net/netip"

	"millrace/engine"
	"millrace/filters"
	"millrace/upstream"
)

// tcpRoutes is where a tcp_proxy forwards to, compiled. It is immutable.
type tcpRoutes struct {
	routes  []tcpRoute // tried in order
	weights []tcpWeight
	sum     uint64 // of the weights
	// criteria are those of the filter. A weighted cluster has them merged with its own.
	criteria *upstream.Criteria
}

// tcpRoute is one entry of route_config.
type tcpRoute struct {
	match   *tcpMatch
	cluster upstream.ClusterID
}

// tcpWeight is one cluster of several that share the connections.
type tcpWeight struct {
	end      uint64 // sum of the weights up to and with this one
	cluster  upstream.ClusterID
	criteria *upstream.Criteria
}

// tcpMatch is the criteria of a route. A nil list matches every address, or port.
type tcpMatch struct {
	dst, src           *cidrList
	dstNets, srcNets   []netip.Prefix // what dst and src were made of
	dstPorts, srcPorts portRanges
}

// newTCPRoutes compiles where to.
func newTCPRoutes(c *TCPProxyConfig, env *filters.SharedEnv) (*tcpRoutes, error) {
	id := func(name string) (upstream.ClusterID, error) {
		id, ok := env.ClusterID(name)
		if !ok {
			return 0, fmt.Errorf("unknown cluster %q", name)
		}
		return id, nil
	}
	t := &tcpRoutes{criteria: upstream.NewCriteria(c.MetadataMatch)}
	for _, w := range c.WeightedClusters {
		cluster, err := id(w.Name)
		if err != nil {
			return nil, err
		}
		t.sum += uint64(w.Weight)
		t.weights = append(t.weights, tcpWeight{t.sum, cluster, upstream.MergeCriteria(c.MetadataMatch, w.MetadataMatch)})
	}
	routes := []TCPRoute{{Cluster: c.Cluster}}
	if c.RouteConfig != nil {
		routes = c.RouteConfig.Routes
	}
	if t.weights != nil {
		return t, nil
	}
	for i := range routes {
		cluster, err := id(routes[i].Cluster)
		if err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
		m, err := newTCPMatch(&routes[i])
		if err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
		t.routes = append(t.routes, tcpRoute{m, cluster})
	}
	return t, nil
}

// newTCPMatch compiles the criteria of a route.
func newTCPMatch(r *TCPRoute) (*tcpMatch, error) {
	m := &tcpMatch{}
	var err error
	if m.dstNets, err = prefixesOf(r.DestinationIPList); err != nil {
		return nil, err
	}
	if m.srcNets, err = prefixesOf(r.SourceIPList); err != nil {
		return nil, err
	}
	if m.dstPorts, err = parsePortRanges(r.DestinationPorts); err != nil {
		return nil, err
	}
	if m.srcPorts, err = parsePortRanges(r.SourcePorts); err != nil {
		return nil, err
	}
	if m.dstNets != nil {
		m.dst = cidrListOf(m.dstNets)
	}
	if m.srcNets != nil {
		m.src = cidrListOf(m.srcNets)
	}
	return m, nil
}

// find returns the cluster of a connection, and what the metadata of a host have to be. It reports false when no route matches.
func (t *tcpRoutes) find(io *engine.Conn) (upstream.ClusterID, *upstream.Criteria, bool) {
	if t.weights != nil {
		w := t.pick(io.Loop().Rand().Uint64())
		return w.cluster, w.criteria, true
	}
	for i := range t.routes {
		if r := &t.routes[i]; r.match.matches(io) {
			return r.cluster, t.criteria, true
		}
	}
	return 0, nil, false
}

// pick returns the weighted cluster of a random value.
func (t *tcpRoutes) pick(random uint64) *tcpWeight {
	at := random % t.sum
	for i := range t.weights {
		if at < t.weights[i].end {
			return &t.weights[i]
		}
	}
	panic("BUG: l4: weights do not add up")
}

// matches reports whether a connection meets all criteria.
func (m *tcpMatch) matches(io *engine.Conn) bool {
	if m.dst != nil || m.dstPorts != nil { // the local address costs a system call
		a := io.LocalAddr()
		if m.dst != nil && !m.dst.contains(&a) || m.dstPorts != nil && !m.dstPorts.contains(uint16(a.Port())) {
			return false
		}
	}
	if m.src != nil || m.srcPorts != nil {
		a := io.RemoteAddr()
		if m.src != nil && !m.src.contains(&a) || m.srcPorts != nil && !m.srcPorts.contains(uint16(a.Port())) {
			return false
		}
	}
	return true
}

// covers reports whether m matches every connection that o does.
func (m *tcpMatch) covers(o *tcpMatch) bool {
	return netsCover(m.dst, o.dstNets) && netsCover(m.src, o.srcNets) &&
		portsCover(m.dstPorts, o.dstPorts) && portsCover(m.srcPorts, o.srcPorts)
}

// netsCover reports whether each prefix of b lies within one of a; nil stands for all addresses.
func netsCover(a *cidrList, b []netip.Prefix) bool {
	if a == nil || b == nil {
		return a == nil
	}
	for _, p := range b {
		if !a.covers(p) {
			return false
		}
	}
	return true
}

// portsCover reports whether all ports of b are in a; nil stands for all ports.
func portsCover(a, b portRanges) bool {
	if a == nil || b == nil {
		return a == nil
	}
	return a.covers(b)
}
