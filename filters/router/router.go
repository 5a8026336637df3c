package router

import (
	"millrace/codec"
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// freeRequestsMax is how many ended requests a router keeps for reuse.
const freeRequestsMax = 1024

// Deps is what a [Router] needs of the process.
type Deps struct {
	// Loop the router lives on.
	Loop *engine.Loop
	// Clusters are the clusters of that loop.
	Clusters *pool.Table
	// ClusterByName finds a cluster for cluster_header. It is only called for such routes.
	ClusterByName func(name []byte) (upstream.ClusterID, bool)
	// Stats registers counters under a scope. May be nil.
	Stats stats.Registrar
	// HostFailed is told that a response of a host asks for no more requests, for now. It is called on the loop. May be nil.
	HostFailed func(cluster string, host *upstream.Host)
	// Scope is the connection manager's: "http.<stat_prefix>.".
	Scope stats.Scope
}

// A Router is the terminal of one chain on one loop. It implements filters.Terminal.
type Router struct {
	loop       *engine.Loop
	clusters   *pool.Table
	byName     func(name []byte) (upstream.ClusterID, bool)
	hostFailed func(cluster string, host *upstream.Host)
	suppress   bool

	// Owned by the loop.
	free     *request // ended requests, linked
	freeLen  int
	spare    *hedge // attempts for requests that hedge, linked
	spareLen int
	input    route.Input
	pick     upstream.Pick
	scratch  []byte
	target   pool.TCPTarget
	preface  []byte
	mirrors  int // copies under way

	freeMirrors    *mirror // ended copies, linked
	freeMirrorsLen int

	attempted []accesslog.Attempt // of the stream that is being described

	stats *routerStats
}

// routerStats counts one router on one loop: "http.<stat_prefix>.".
type routerStats struct {
	NoRoute        stats.Counter `stat:"no_route" help:"requests without a route: 404, or 421"`
	NoCluster      stats.Counter `stat:"no_cluster" help:"requests whose cluster does not exist"`
	Redirect       stats.Counter `stat:"rq_redirect" help:"requests answered with a redirect"`
	DirectResponse stats.Counter `stat:"rq_direct_response" help:"requests answered with a direct response"`
	Total          stats.Counter `stat:"rq_total" help:"requests forwarded"`
	Mirrored       stats.Counter `stat:"rq_mirrored" help:"copies of requests sent to another cluster"`
	MirrorOverflow stats.Counter `stat:"rq_mirror_overflow" help:"copies of requests not made because too many were under way"`
	MirrorTooLong  stats.Counter `stat:"rq_mirror_response_too_large" help:"copies of requests given up because too much was answered"`
	ResetAfter     stats.Counter `stat:"rq_reset_after_downstream_response_started" help:"responses the upstream broke off"`
}

// New returns the router of one chain.
func New(cfg *Config, d Deps) *Router {
	return &Router{
		loop: d.Loop, clusters: d.Clusters, byName: d.ClusterByName, hostFailed: d.HostFailed,
		suppress: cfg.SuppressEnvoyHeaders, scratch: make([]byte, 0, 4096),
		stats: stats.Register[routerStats](d.Stats, d.Scope),
	}
}

// PickHost implements filters.Terminal. The first time it answers what needs no upstream, and
// makes the head fit to be forwarded.
func (r *Router) PickHost(s *filters.Stream) filters.Verdict {
	rq, _ := s.Upstream.(*request)
	if rq == nil {
		if s.Route == nil {
			r.stats.NoRoute.Inc()
			if s.Misdirected {
				return s.ReplyWith(filters.LocalReply{Status: 421, Details: "misdirected_request", Flags: accesslog.FlagNoRoute})
			}
			return s.ReplyWith(filters.LocalReply{Status: 404, Details: "route_not_found", Flags: accesslog.FlagNoRoute})
		}
		if s.Route.Action != route.ActionForward {
			return r.answer(s)
		}
		c := r.cluster(s)
		if c == nil {
			r.stats.NoCluster.Inc()
			return s.ReplyWith(filters.LocalReply{
				Status: s.Route.Status, Details: "cluster_not_found", Flags: accesslog.FlagNoClusterFound,
			})
		}
		rq = r.begin(s, c)
	}
	return rq.pick(&rq.first)
}

// answer replies to a request whose route is a redirect or a direct response.
func (r *Router) answer(s *filters.Stream) filters.Verdict {
	if s.Route.Action == route.ActionDirectResponse {
		r.stats.DirectResponse.Inc()
		return s.ReplyWith(filters.LocalReply{Status: s.Route.Status, Body: s.Route.Body(), Details: "direct_response"})
	}
	r.stats.Redirect.Inc()
	r.scratch = s.Route.AppendLocation(r.scratch[:0], r.inputOf(s))
	return s.ReplyWith(filters.LocalReply{Status: s.Route.Status, Location: r.scratch, Details: "direct_response"})
}

// cluster returns the cluster of the stream's route, nil if it does not exist.
func (r *Router) cluster(s *filters.Stream) *pool.Cluster {
	id := s.Route.Cluster(r.inputOf(s))
	if id == route.ClusterByHeader {
		return r.clusterNamed(s.Route.ClusterHeaderValue(&s.Request))
	}
	return r.clusterWithID(id)
}

// clusterNamed returns the cluster that a request names, nil if it does not exist.
func (r *Router) clusterNamed(name []byte) *pool.Cluster {
	if r.byName == nil || len(name) == 0 {
		return nil
	}
	found, ok := r.byName(name)
	if !ok {
		return nil
	}
	return r.clusters.Cluster(found)
}

// clusterWithID returns the cluster that a route names, nil if it does not exist.
func (r *Router) clusterWithID(id uint32) *pool.Cluster {
	if id == route.ClusterNone {
		return nil
	}
	return r.clusters.Cluster(upstream.ClusterID(id))
}

// inputOf fills the input of route decisions for s.
func (r *Router) inputOf(s *filters.Stream) *route.Input {
	in := &r.input
	in.Head, in.Random, in.Internal = &s.Request, s.Random, s.Info.Internal
	return in
}

// begin makes the router's side of a stream.
func (r *Router) begin(s *filters.Stream, c *pool.Cluster) *request {
	rq := r.free
	if rq == nil {
		rq = newRequest(r)
	} else {
		r.free, rq.nextFree = rq.nextFree, nil
		r.freeLen--
	}
	r.stats.Total.Inc()
	rq.stream, rq.cluster, rq.cur = s, c, &rq.first
	rq.first.init(rq, &s.Response)
	s.Upstream = rq
	s.Info.Cluster = c.Shared().Name
	rq.prepare()
	if s.Route.Hashes() {
		rq.hashRequest()
	}
	return rq
}

// Forward implements filters.Terminal: one attempt.
func (r *Router) Forward(s *filters.Stream) filters.Verdict {
	return s.Upstream.(*request).cur.start()
}

// OnRequestData implements filters.Terminal.
func (r *Router) OnRequestData(s *filters.Stream, data []byte, end bool) {
	if rq, _ := s.Upstream.(*request); rq != nil {
		rq.sendData(data, end)
	}
}

// OnRequestTrailers implements filters.Terminal.
func (r *Router) OnRequestTrailers(s *filters.Stream, t *codec.Fields) {
	if rq, _ := s.Upstream.(*request); rq != nil {
		rq.sendTrailers(t)
	}
}

// PauseResponse implements filters.Terminal.
func (r *Router) PauseResponse(s *filters.Stream) {
	if rq, _ := s.Upstream.(*request); rq != nil {
		rq.pauseResponse()
	}
}

// ResumeResponse implements filters.Terminal.
func (r *Router) ResumeResponse(s *filters.Stream) {
	if rq, _ := s.Upstream.(*request); rq != nil {
		rq.resumeResponse()
	}
}

// Abandon implements filters.Terminal.
func (r *Router) Abandon(s *filters.Stream) {
	if rq, _ := s.Upstream.(*request); rq != nil {
		rq.abandon()
	}
}

// OnDestroy implements filters.Terminal.
func (r *Router) OnDestroy(s *filters.Stream) {
	rq, _ := s.Upstream.(*request)
	if rq == nil {
		return
	}
	s.Upstream = nil
	rq.end()
}

// Describe implements filters.Terminal.
func (r *Router) Describe(s *filters.Stream, rec *accesslog.Record) {
	rq, _ := s.Upstream.(*request)
	if rq == nil || rq.cur.host == nil {
		return
	}
	a := rq.cur
	rec.UpstreamRemote = a.x.RemoteAddr(a.host)
	if rec.UpstreamProtocol = codec.Version11; a.x.IsHTTP2() {
		rec.UpstreamProtocol = codec.Version20
	}
	if rec.UpstreamLocal = rq.local; rq.local.IsZero() {
		rec.UpstreamLocal = a.x.LocalAddr()
	}
	rec.UpstreamTLS = a.x.Session()
	rec.UpstreamConnID = r.connID(a.x.ConnID())
	rec.UpstreamWireSent, rec.UpstreamWireReceived = a.x.BytesSent(), a.x.BytesReceived()
	rec.UpstreamHeadSent, rec.UpstreamHeadReceived = a.headSent, a.headRecv
	if rq.tunnel != nil {
		rq.tunnel.describe(r, rec)
	}
	r.attempted = r.attempted[:0]
	for _, t := range rq.tried {
		r.attempted = append(r.attempted, accesslog.Attempt{Host: t.host.Name, Addr: *t.host.Target(), ConnID: r.connID(t.conn)})
	}
	rec.Attempted = r.attempted
}

// connID makes the number of a connection one of the process, 0 for none.
func (r *Router) connID(id uint32) uint64 {
	if id == 0 {
		return 0
	}
	return uint64(id)<<8 | uint64(r.loop.Index())
}
