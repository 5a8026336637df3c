package l7

import (
	"fmt"
	"slices"
	"strings"

	"millrace/codec"
	"millrace/filters"
)

// GRPCStatsConfig configures the "grpc_stats" filter, which counts the calls of gRPC that pass it, and their messages. At most one
// of its first two fields is given; with neither, calls are counted for their cluster alone.
type GRPCStatsConfig struct {
	// StatsForAllMethods counts each method apart, as long as there are not too many: 1,000 on a loop. Clients choose the names, so
	// leave it off where they are not trusted. Default: false.
	StatsForAllMethods bool `json:"stats_for_all_methods"`
	// IndividualMethodStatsAllowlist are the methods that are counted apart.
	IndividualMethodStatsAllowlist []GRPCStatsService `json:"individual_method_stats_allowlist" max:"1000" v3:"individual_method_stats_allowlist.services"`
	// ReplaceDotsInGRPCServiceName makes "_" of dots in names of services, so that a name is one part of a stat. Default: false.
	ReplaceDotsInGRPCServiceName bool `json:"replace_dots_in_grpc_service_name"`
}

// GRPCStatsService names methods of a service.
type GRPCStatsService struct {
	// Name of the service with its package, such as "shop.v1.Orders".
	Name string `json:"name" required:"true"`
	// MethodNames are the methods. Required.
	MethodNames []string `json:"method_names" required:"true" max:"1000"`
}

// Validate reports fields that exclude one another.
func (c *GRPCStatsConfig) Validate(report func(path, problem, hint string)) {
	if c.StatsForAllMethods && len(c.IndividualMethodStatsAllowlist) > 0 {
		report("individual_method_stats_allowlist", "all methods are counted apart", "leave out stats_for_all_methods, or the list")
	}
	for i, s := range c.IndividualMethodStatsAllowlist {
		if strings.Contains(s.Name, "/") {
			report(fmt.Sprintf("individual_method_stats_allowlist[%d].name", i), fmt.Sprintf("%q is not the name of a service", s.Name),
				`write it without slashes, such as "shop.v1.Orders"`)
		}
	}
}

// grpcStats counts calls.
type grpcStats struct {
	counts  *grpcCounts
	all     bool
	allowed map[string][]string // methods by service
	flat    bool                // no dots in services
	name    []byte
	free    *grpcStatsStream
}

// grpcStatsStream is what is remembered of one call.
type grpcStatsStream struct {
	request, response           grpcFrames
	requestCount, responseCount uint64
	code                        int64
	known                       bool // the status is
	answered                    bool // by gRPC
	next                        *grpcStatsStream
}

func newGRPCStats(cfg *GRPCStatsConfig, env *filters.Env) (any, error) {
	f := &grpcStats{counts: newGRPCCounts(env), all: cfg.StatsForAllMethods, flat: cfg.ReplaceDotsInGRPCServiceName}
	f.allowed = map[string][]string{}
	for _, s := range cfg.IndividualMethodStatsAllowlist {
		f.allowed[s.Name] = append(f.allowed[s.Name], s.MethodNames...)
	}
	return f, nil
}

// OnRequestHead implements filters.RequestHeadFilter.
func (f *grpcStats) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	if !filters.IsGRPC(s.Request.Get(codec.FieldContentType)) {
		return filters.Continue
	}
	st := f.free
	if st == nil {
		st = &grpcStatsStream{}
	}
	f.free = st.next
	*st = grpcStatsStream{}
	s.Slot().P = st
	return filters.Continue
}

// OnRequestData implements filters.RequestDataFilter.
func (f *grpcStats) OnRequestData(s *filters.Stream, data []byte, _ bool) filters.Verdict {
	if st, _ := s.Slot().P.(*grpcStatsStream); st != nil {
		st.requestCount += uint64(st.request.count(data))
	}
	return filters.Continue
}

// OnResponseHead implements filters.ResponseHeadFilter.
func (f *grpcStats) OnResponseHead(s *filters.Stream, end bool) filters.Verdict {
	st, _ := s.Slot().P.(*grpcStatsStream)
	if st == nil {
		return filters.Continue
	}
	st.response, st.responseCount = grpcFrames{}, 0 // an answer of our own may replace one that has begun
	st.answered = filters.IsGRPC(s.Response.Get(codec.FieldContentType))
	st.code, st.known = grpcCodeOf(&s.Response.Fields)
	if !st.known && end {
		st.code, st.known = int64(filters.GRPCOfHTTP(s.Response.Status)), true
	}
	return filters.Continue
}

// OnResponseData implements filters.ResponseDataFilter.
func (f *grpcStats) OnResponseData(s *filters.Stream, data []byte, end bool) filters.Verdict {
	st, _ := s.Slot().P.(*grpcStatsStream)
	if st == nil {
		return filters.Continue
	}
	if st.answered { // which filters further on may have changed meanwhile
		st.responseCount += uint64(st.response.count(data))
	}
	if end && !st.known {
		st.code, st.known = int64(filters.GRPCOfHTTP(s.Response.Status)), true
	}
	return filters.Continue
}

// OnResponseTrailers implements filters.ResponseTrailersFilter.
func (f *grpcStats) OnResponseTrailers(s *filters.Stream, t *codec.Fields) filters.Verdict {
	if st, _ := s.Slot().P.(*grpcStatsStream); st != nil {
		if code, ok := grpcCodeOf(t); ok {
			st.code, st.known = code, true
		}
	}
	return filters.Continue
}

// OnDestroy implements filters.Destroyer: the call is over. One that broke off has no status, and counts its messages alone.
func (f *grpcStats) OnDestroy(s *filters.Stream) {
	st, _ := s.Slot().P.(*grpcStatsStream)
	if st == nil {
		return
	}
	s.Slot().P = nil
	st.next, f.free = f.free, st
	if s.Info.Cluster == "" {
		return
	}
	m := f.callsOf(s)
	if st.known {
		m.count(st.code)
	}
	m.requestMessages.Add(st.requestCount)
	m.responseMessages.Add(st.responseCount)
}

// callsOf returns the counters of the stream's method.
func (f *grpcStats) callsOf(s *filters.Stream) *grpcCalls {
	service, method := cutGRPCPath(s.Request.Path())
	if !f.all && !slices.Contains(f.allowed[string(service)], string(method)) {
		method = nil
	}
	if f.flat {
		f.name = append(f.name[:0], service...)
		for i, c := range f.name {
			if c == '.' {
				f.name[i] = '_'
			}
		}
		service = f.name
	}
	return f.counts.of(s.Info.Cluster, "grpc", service, method)
}
