package router

import (
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
)

// destinationsFullReply answers a request for one more host than a cluster by destination may have.
var destinationsFullReply = filters.LocalReply{
	Status: 503, Body: "too many original destinations", Details: "original_dst_host_overflow",
	Flags: accesslog.FlagUpstreamOverflow, Overloaded: true,
}

// pickDestination returns the host that the client wanted to reach, nil if that is not known, or if there would be too many:
// full.
func (rq *request) pickDestination() (h *upstream.Host, full bool) {
	s := rq.stream
	var field []byte
	if name := rq.cluster.DestinationHeader(); name != "" {
		field = s.Request.Lookup(name)
	}
	return rq.cluster.PickDestination(s.Conn(), field)
}
