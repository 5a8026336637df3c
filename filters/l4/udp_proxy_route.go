package l4

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"millrace/engine"
	"millrace/filters"
	"millrace/upstream"
)

// udpRoutes is where a udp_proxy forwards to, compiled. It is immutable.
type udpRoutes []udpRoute

type udpRoute struct {
	sources *cidrList // nil: all
	cluster upstream.ClusterID
	name    string // of the cluster
	stat    string // its name in counters
}

// newUDPRoutes compiles where to.
func newUDPRoutes(c *UDPProxyConfig, env *filters.SharedEnv) (udpRoutes, error) {
	routes := []UDPRoute{{Cluster: c.Cluster}}
	if c.RouteConfig != nil {
		routes = c.RouteConfig.Routes
	}
	var all udpRoutes
	for i := range routes {
		r := &routes[i]
		id, ok := env.ClusterID(r.Cluster)
		if !ok {
			return nil, fmt.Errorf("unknown cluster %q", r.Cluster)
		}
		compiled := udpRoute{cluster: id, name: r.Cluster, stat: r.Cluster}
		if env.ClusterStatName != nil {
			compiled.stat = env.ClusterStatName(r.Cluster)
		}
		if len(r.SourceIPList) > 0 {
			list, err := newCIDRList(r.SourceIPList)
			if err != nil {
				return nil, fmt.Errorf("routes[%d]: %w", i, err)
			}
			compiled.sources = list
		}
		all = append(all, compiled)
	}
	return all, nil
}

// find returns the index of the route for what a client sends, -1 when none matches.
func (r udpRoutes) find(client *engine.Addr) int {
	for i := range r {
		if r[i].sources == nil || r[i].sources.contains(client) {
			return i
		}
	}
	return -1
}

// udpHash is what a hash policy hashes, compiled.
type udpHash struct {
	sourceIP bool
	key      uint64
}

func newUDPHash(policies []UDPHashPolicy) *udpHash {
	if len(policies) == 0 {
		return nil
	}
	p := &policies[0]
	return &udpHash{sourceIP: p.SourceIP, key: xxhash.Sum64([]byte(p.Key))}
}

// of returns the hash for a client: the same on each loop and in each process, and the one of tcp_proxy.
func (h *udpHash) of(client *engine.Addr) uint64 {
	if !h.sourceIP {
		return h.key
	}
	var text [48]byte
	return xxhash.Sum64(client.AppendIP(text[:0]))
}
