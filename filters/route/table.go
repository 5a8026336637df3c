package route

import (
	"bytes"
	"net/netip"

	"millrace/codec"
)

// ClusterNone is the id of a cluster that does not exist: the route answers with NotFoundStatus.
const ClusterNone = ^uint32(0)

// ClusterByHeader is what [Route.Cluster] gives for a route with cluster_header:
// the name of the cluster is then [Route.ClusterHeaderValue].
const ClusterByHeader = ^uint32(0) - 1

// RuntimeView gives the runtime values of one loop. Keys are those of the configuration.
type RuntimeView interface {
	// Fraction returns the share set for key in millionths, or def if none is set.
	Fraction(key string, def uint32) uint32
}

// Input is all that a decision depends on. Recorded, it can be replayed. A loop keeps
// one and fills it for each request.
type Input struct {
	// Head is the request as the connection manager hands it on: host and path normalized.
	Head *codec.RequestHead
	// RemoteIP is the trusted address of the client.
	RemoteIP netip.Addr
	// TLS says that the client speaks https on this connection. It decides where the head says nothing:
	// the scheme of an absolute-form target, and after it x-forwarded-proto, come first.
	TLS bool
	// Internal says that the request comes from inside.
	Internal bool
	// Random is drawn once for a request and serves all its decisions.
	Random uint64
	// Runtime may be nil: then the defaults of the configuration hold.
	Runtime RuntimeView

	join []byte // reused: where the values of a repeated header are joined
}

// Table is a compiled route configuration. It is immutable: any number of loops may use it.
type Table struct {
	name         string
	hosts        hostIndex
	vhosts       []VirtualHost
	routes       []Route // those of a virtual host lie together
	conds        []condition
	mutations    levelMutations
	internalOnly []string
	filters      []string    // that routes say something to
	overrides    []overrides // of which routes that say the same share one; the first is empty
	specificWins bool
	ignoreParams bool
	mutates      bool // some level of some route has mutations
}

// VirtualHost is the routes of some domains.
type VirtualHost struct {
	// Immutable after Compile.
	Name                          string
	IncludeRequestAttemptCount    bool
	IncludeAttemptCountInResponse bool
	IncludeIsTimeoutRetry         bool

	table       *Table
	first, end  uint32 // its routes in table.routes
	index       *pathIndex
	mutations   levelMutations
	requireTLS  requireTLS
	tlsRedirect *Route // only valid if requireTLS is not tlsNone
}

type requireTLS uint8

const (
	tlsNone requireTLS = iota
	tlsExternalOnly
	tlsAll
)

// Name returns the name of the configuration.
func (t *Table) Name() string { return t.name }

// Len returns the number of routes.
func (t *Table) Len() int { return len(t.routes) }

// Route returns route i of the table, in the order of the configuration.
func (t *Table) Route(i int) *Route { return &t.routes[i] }

// InternalOnlyHeaders returns the names of headers that requests from outside may not have. Not to
// be changed.
func (t *Table) InternalOnlyHeaders() []string { return t.internalOnly }

// Match returns the route of a request, or nil if there is none. It allocates nothing.
//
// Hot path: BenchmarkMatch.
func (t *Table) Match(in *Input) *Route {
	i := t.hosts.lookup(in.Head.Authority())
	if i < 0 {
		return nil
	}
	vh := &t.vhosts[i]
	if vh.requireTLS != tlsNone && vh.wantsTLS(in) {
		return vh.tlsRedirect
	}
	path := t.comparedPath(in.Head)
	if vh.index != nil {
		return vh.index.lookup(t, in, path)
	}
	for r := vh.first; r < vh.end; r++ {
		route := &t.routes[r]
		if route.path.fits(in.Head, path) && (route.condEnd == route.condFirst || t.conditionsHold(route, in)) {
			return route
		}
	}
	return nil
}

// HasHost reports whether some virtual host has requests for an authority.
func (t *Table) HasHost(authority []byte) bool { return t.hosts.lookup(authority) >= 0 }

// wantsTLS reports whether the request is to be redirected to https.
func (vh *VirtualHost) wantsTLS(in *Input) bool {
	if vh.requireTLS == tlsNone || vh.requireTLS == tlsExternalOnly && in.Internal {
		return false
	}
	return string(in.forwardedProto()) != "https"
}

// rootPath is what routes see of "OPTIONS *", which asks about the server and not about one path.
var rootPath = []byte("/")

// comparedPath returns the part of the path that routes are compared with.
func (t *Table) comparedPath(h *codec.RequestHead) []byte {
	path := withoutQuery(h.Path())
	if string(path) == "*" {
		return rootPath
	}
	if t.ignoreParams {
		if i := bytes.IndexByte(path, ';'); i >= 0 {
			path = path[:i]
		}
	}
	return path
}

// withoutQuery returns the path up to the query or fragment.
func withoutQuery(path []byte) []byte {
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if i := bytes.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	return path
}

// conditionsHold reports whether every condition of the route does.
func (t *Table) conditionsHold(r *Route, in *Input) bool {
	return t.failed(r, in) < 0
}

// failed returns the first condition of the route that does not hold, counted
// from the route's first, or -1.
func (t *Table) failed(r *Route, in *Input) int {
	conds := t.conds[r.condFirst:r.condEnd]
	for i := range conds {
		if !conds[i].holds(in) {
			return i
		}
	}
	return -1
}
