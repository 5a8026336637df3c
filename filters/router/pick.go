package router

import (
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
)

// pick finds the host of an attempt.
func (rq *request) pick(a *attempt) filters.Verdict {
	s, full := rq.stream, false
	rq.cur = a
	if rq.cluster.ByDestination() {
		a.host, full = rq.pickDestination()
	} else {
		a.host = rq.balance(a)
	}
	if a.host == nil {
		if rq.hopes(a) {
			rq.forget(a)
			return filters.Replied
		}
		rq.cluster.Stats.CountCode(503, s.Info.Internal)
		switch {
		case full:
			return s.ReplyWith(destinationsFullReply)
		case rq.cluster.Shared().Unresolved():
			return s.ReplyWith(unresolvedReply)
		}
		return s.ReplyWith(noHostReply)
	}
	s.Info.UpstreamHost = a.host.Name
	if s.Route.Mirrors() != nil && rq.attempts == 0 {
		rq.mirror()
	}
	if s.Route.AutoHostRewrite && a.host.Hostname != "" {
		rq.takeHostname(a.host.Hostname)
	}
	return filters.Continue
}

// noHostReply answers a request for which there is no host, unresolvedReply one of a cluster of whose names none could be
// resolved so far.
var (
	noHostReply = filters.LocalReply{
		Status: 503, Body: "no healthy upstream", Details: "no_healthy_upstream", Flags: accesslog.FlagNoHealthyUpstream,
	}
	unresolvedReply = filters.LocalReply{
		Status: 503, Body: "no healthy upstream", Details: "no_healthy_upstream{dns_resolution_failure}",
		Flags: accesslog.FlagNoHealthyUpstream | accesslog.FlagDNSResolutionFailed,
	}
)

// balance asks the policy of the cluster for a host.
func (rq *request) balance(a *attempt) *upstream.Host {
	p := &rq.router.pick
	p.Random, p.Attempt = rq.stream.Random, rq.attempts
	p.Hash, p.HashSet, p.Criteria = rq.hash, rq.hashSet, rq.stream.Route.Criteria(rq.stream.Random)
	p.Reselect, p.Passed = 0, upstream.Priorities{}
	if rq.attempts == 0 {
		return rq.cluster.Pick(p)
	}
	if a.again {
		p.Attempt--
		return rq.cluster.Pick(p)
	}
	return rq.balanceRetry(p)
}

// balanceRetry asks for the host of a retry: as often as the policy says, while it would be one that is to be gone round. The last
// host is taken, whatever it is.
func (rq *request) balanceRetry(p *upstream.Pick) *upstream.Host {
	policy := rq.limits.policy
	if policy.PassPriorities > 0 {
		rq.passPriorities(policy.PassPriorities)
		p.Passed = rq.passed
	}
	h := rq.cluster.Pick(p)
	for p.Reselect < policy.Reselects && h != nil && rq.rejects(h) {
		p.Reselect++
		h = rq.cluster.Pick(p)
	}
	if rq.passed != p.Passed { // no other priority has a host that is well
		rq.passed, rq.passFrom = p.Passed, len(rq.tried)
	}
	return h
}

// rejects reports whether a retry is to go round a host.
func (rq *request) rejects(h *upstream.Host) bool {
	policy := rq.limits.policy
	if policy.OmitPrevious && rq.isTried(h) {
		return true
	}
	for _, c := range policy.OmitMatching {
		if rq.cluster.Shared().HostSet().Matches(h, c) {
			return true
		}
	}
	return false
}

// isTried reports whether the request has been sent to a host.
func (rq *request) isTried(h *upstream.Host) bool {
	for i := range rq.tried {
		if rq.tried[i].host == h {
			return true
		}
	}
	return false
}

// passPriorities adds the priorities of the hosts tried to those that are gone round, each time that every more of them have been
// tried.
func (rq *request) passPriorities(every int) {
	tried := rq.tried[rq.passFrom:]
	if len(tried) < every || len(tried)%every != 0 {
		return
	}
	hosts := rq.cluster.Shared().HostSet()
	for i := range tried {
		if tried[i].host != nil {
			rq.passed.Add(hosts.PriorityOf(tried[i].host))
		}
	}
}
