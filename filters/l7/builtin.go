package l7

import (
	"millrace/engine/stats"
	"millrace/filters"
)

// Builtin lists every HTTP filter, in the order in which a chain usually has them.
func Builtin() []filters.Spec {
	return []filters.Spec{
		// First: a health check must not be held up or refused by others.
		spec("health_check", newHealthCheck,
			"Answers active health checks for the process, and fails them while it drains."),
		// Before filters that look at who is asking: a preflight carries no credentials.
		filters.PerRoute(spec("cors", newCORS,
			"Answers preflight requests of browsers, and marks responses that other origins may read."), newCORSRoute),
		// In front of grpc_web, whose requests it would take for its own.
		spec("grpc_http1_bridge", newGRPCHTTP1Bridge, "Lets clients of HTTP/1.1, which know no trailers, call unary methods of gRPC."),
		// Behind cors, which answers preflights of browsers; in front of what counts calls of gRPC.
		spec("grpc_web", newGRPCWeb, "Lets browsers call gRPC by grpc-web, in binary or base64."),
		spec("grpc_json_transcoder", newGRPCJSONTranscoder, "Lets clients call gRPC with JSON, by the google.api.http annotations of its methods."),
		// Behind those that make calls of gRPC of other requests.
		spec("grpc_stats", newGRPCStats, "Counts calls of gRPC by method and status, and their messages."),
		// Behind what answers by itself: its requests are those that go to hosts.
		filters.Shared(spec("adaptive_concurrency", newAdaptiveConcurrency,
			"Finds out how many requests may be under way at once from how long they take, and answers those beyond."), shareConcurrency),
		// Last: what it keeps should be meant for upstream.
		filters.PerRoute(spec("buffer", newBuffer, "Takes in a request whole before anything of it goes upstream."), newBufferRoute),
	}
}

// spec makes one line of the table.
func spec[C any](name string, build func(*C, *filters.Env) (any, error), doc string) filters.Spec {
	s := filters.HTTP(name, build)
	s.Doc = doc
	return s
}

// scopeOf is the scope of a filter's counters: http.<stat_prefix>.<filter>.
func scopeOf(env *filters.Env, filter string) stats.Scope { return env.Scope.Name(filter) }
