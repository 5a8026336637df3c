package health

import (
	"slices"

	"millrace/codec"
	"millrace/upstream"
)

// userAgent is what checks call themselves.
const userAgent = "millrace/HC"

// discardMax is how much of a body is read only to use the connection again, in bytes.
const discardMax = 64 << 10

// httpRules say what a response to a check of type "http" comes to.
type httpRules struct {
	expected, retriable []upstream.StatusRange
	service             *upstream.NameMatcher // nil: not looked at
	receive             [][]byte
	bodyMax             int
}

func newHTTPRules(h *upstream.HealthCheckConfig) httpRules {
	r := httpRules{
		expected: h.ExpectedStatuses, retriable: h.RetriableStatuses, service: h.ServiceNameMatcher,
		receive: payloads(h.Receive), bodyMax: h.ResponseBufferSize,
	}
	if len(r.expected) == 0 {
		r.expected = []upstream.StatusRange{{Start: 200, End: 201}}
	}
	if h.ServiceName != "" {
		r.service = &upstream.NameMatcher{Prefix: h.ServiceName}
	}
	return r
}

// answer is what is looked at of a response.
type answer struct {
	status            int
	service           string // x-envoy-upstream-healthchecked-cluster
	degraded, exclude bool
	body              []byte // its beginning
}

// judge returns what an answer comes to.
func (r *httpRules) judge(a *answer) Result {
	has := func(list []upstream.StatusRange) bool {
		return slices.ContainsFunc(list, func(s upstream.StatusRange) bool { return s.Has(a.status) })
	}
	res := Result{Outcome: Wrong, Exclude: a.exclude}
	if !has(r.expected) {
		res.Retriable = has(r.retriable)
		return res
	}
	if !inOrder(a.body, r.receive) {
		return res
	}
	if r.service != nil {
		res.Verified = true
		if !r.service.Matches(a.service) {
			return res
		}
	}
	return Result{Outcome: Passed, Degraded: a.degraded, Verified: res.Verified}
}

// add keeps a piece of the body, as far as it is looked at. It reports whether that was all of it.
func (r *httpRules) add(a *answer, piece []byte) {
	if room := r.bodyMax - len(a.body); len(r.receive) > 0 && room > 0 {
		a.body = append(a.body, piece[:min(room, len(piece))]...)
	}
}

// newRequest returns the head of the request of a check.
func newRequest(cfg *upstream.Config) *codec.RequestHead {
	h := cfg.HealthCheck()
	head := &codec.RequestHead{}
	head.Reset()
	head.SetMethodName(h.Method)
	head.SetPath([]byte(h.Path))
	head.SetAuthority([]byte(hostOf(cfg)))
	head.SetString("user-agent", userAgent)
	for i := range h.RequestHeadersToAdd {
		addField(&head.Fields, &h.RequestHeadersToAdd[i])
	}
	for _, name := range h.RequestHeadersToRemove {
		head.RemoveName(name)
	}
	if h.Send != nil {
		head.ContentLength = int64(len(h.Send.Bytes()))
	}
	return head
}

// hostOf returns the name of the host in the requests of checks.
func hostOf(cfg *upstream.Config) string {
	h := cfg.HealthCheck()
	if name := h.Host + h.Authority; name != "" { // one of them
		return name
	}
	return cfg.Name
}

func addField(f *codec.Fields, h *upstream.HealthHeaderConfig) {
	there := f.Lookup(h.Key) != nil
	switch {
	case h.AppendAction == "add_if_absent" && there, h.AppendAction == "overwrite_if_exists" && !there:
	case h.AppendAction == "overwrite_if_exists_or_add", h.AppendAction == "overwrite_if_exists":
		f.SetString(h.Key, h.Value)
	default:
		f.AddString(h.Key, h.Value)
	}
}
