package route

import (
	"time"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/upstream"
)

// Action is what a route does with a request.
type Action uint8

const (
	ActionForward Action = iota
	ActionRedirect
	ActionDirectResponse
)

func (a Action) String() string { return [...]string{"route", "redirect", "direct_response"}[a] }

// Priority chooses connection pools and circuit breakers.
type Priority uint8

const (
	PriorityDefault Priority = iota
	PriorityHigh
)

// IdleTimeoutUnset is the IdleTimeout of a route that leaves it to the connection manager.
const IdleTimeoutUnset = time.Duration(-1)

// Route is one compiled route. It is immutable.
type Route struct {
	// Name as configured, may be empty.
	Name        string
	VirtualHost *VirtualHost
	// Retry is the policy of the route, else of its virtual host, else nil.
	Retry *RetryPolicy
	// Timeout of the response, 0 for none. Only valid if Action is ActionForward, as all timeouts.
	Timeout time.Duration
	// IdleTimeout of the stream: IdleTimeoutUnset, 0 for none, or a time.
	IdleTimeout time.Duration
	// Hash of the route's configuration, the same in every process: equal hashes, equal routes.
	Hash uint64
	// Status is the code of a redirect or direct response; of ActionForward the one for an unknown
	// cluster.
	Status int
	// Action says which of the methods below are meaningful.
	Action   Action
	Priority Priority
	// AppendXForwardedHost says to keep the old host in x-forwarded-host when AppendHost changes it.
	AppendXForwardedHost bool
	// AutoHostRewrite says that the host becomes the name of the upstream host.
	AutoHostRewrite bool
	// HedgeOnPerTryTimeout lets an attempt that is out of time go on beside the next one.
	HedgeOnPerTryTimeout bool

	path      pathMatch
	forward   *forward  // only valid if Action is ActionForward
	redirect  *redirect // only valid if Action is ActionRedirect
	body      string    // only valid if Action is ActionDirectResponse
	mutations *levelMutations
	index     uint32 // in table.routes
	condFirst uint32 // in table.conds
	condEnd   uint32
	overrides uint32 // place in table.overrides; 0 is none
}

// forward is where and how a request is forwarded.
type forward struct {
	clusterHeader string
	weights       []weight // nil unless weighted_clusters
	weightSum     uint64
	upgrades      []string // lower case
	hostLiteral   string
	hostHeader    string
	rewrite       rewrite // of the path
	hostRewrite   *regexRewrite
	duration      *StreamDurationConfig // nil unless the route says how long streams last
	cluster       uint32
	upgradesSet   bool
	connect       connect
	extras        *extras // nil if it has nothing of them
}

// extras are what few routes have.
type extras struct {
	hashes   []hashPolicy
	mirrors  []Mirror
	criteria *upstream.Criteria
}

// weight is one cluster of a weighted route.
type weight struct {
	end         uint64 // sum of the weights up to and with this one
	hostLiteral string
	mutations   *levelMutations
	criteria    *upstream.Criteria
	cluster     uint32
}

// Index returns the place of the route in its table, in the order of the
// configuration; -1 for the redirect of require_tls.
func (r *Route) Index() int { return int(int32(r.index)) }

// Cluster returns the id of the cluster: by weight for weighted clusters, the
// same for the same in.Random. It returns ClusterNone for an unknown
// cluster and ClusterByHeader if ClusterHeaderValue names it.
func (r *Route) Cluster(in *Input) uint32 {
	f := r.forward
	switch {
	case f == nil:
		return ClusterNone
	case f.weights != nil:
		return f.pick(in.Random).cluster
	default:
		return f.cluster
	}
}

// pick returns the weighted cluster of a random value.
func (f *forward) pick(random uint64) *weight {
	at := random % f.weightSum
	for i := range f.weights {
		if at < f.weights[i].end {
			return &f.weights[i]
		}
	}
	panic("BUG: route: weights do not add up")
}

// Criteria returns what the metadata of a host have to be, nil for anything. random is that of Cluster.
func (r *Route) Criteria(random uint64) *upstream.Criteria {
	f := r.forward
	switch {
	case f == nil:
		return nil
	case f.weights != nil:
		return f.pick(random).criteria
	case f.extras == nil:
		return nil
	}
	return f.extras.criteria
}

// ClusterHeaderValue returns the name of the cluster from the request, nil if the header is absent.
// Only for a route whose Cluster is ClusterByHeader.
func (r *Route) ClusterHeaderValue(h *codec.RequestHead) []byte {
	return h.Lookup(r.forward.clusterHeader)
}

// Body returns the text of a direct response. Not to be changed.
func (r *Route) Body() string { return r.body }

// Upgrade is what a route says of an upgrade.
type Upgrade uint8

const (
	UpgradeUnset   Upgrade = iota // the connection manager decides
	UpgradeAllowed                //
	UpgradeRefused                //
)

// Upgrade says whether the request may upgrade to a protocol: the value of
// Upgrade, or "connect" for a CONNECT request.
func (r *Route) Upgrade(protocol []byte) Upgrade {
	f := r.forward
	if f != nil && f.connect.ends && ascii.EqualFoldString(protocol, "connect") {
		return UpgradeAllowed
	}
	if f == nil || !f.upgradesSet {
		return UpgradeUnset
	}
	for _, u := range f.upgrades {
		if ascii.EqualFoldString(protocol, u) {
			return UpgradeAllowed
		}
	}
	return UpgradeRefused
}
