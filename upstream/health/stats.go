package health

import "millrace/engine/stats"

// Stats counts the checks of one cluster, under cluster.<name>.health_check. The scheduler writes it, one goroutine at a time.
type Stats struct {
	Attempt        stats.Counter `stat:"attempt" help:"health checks begun"`
	Success        stats.Counter `stat:"success" help:"health checks that passed"`
	Failure        stats.Counter `stat:"failure" help:"health checks that failed, and hosts that failed by what a response said"`
	PassiveFailure stats.Counter `stat:"passive_failure" help:"hosts that failed since a response to a request had x-envoy-immediate-health-check-fail"`
	NetworkFailure stats.Counter `stat:"network_failure" help:"health checks without an answer: no connection, a broken one, or too late"`
	VerifyCluster  stats.Counter `stat:"verify_cluster" help:"health checks that looked at the name of the service"`
	Healthy        stats.Gauge   `stat:"healthy" help:"hosts that pass their health checks"`
	Degraded       stats.Gauge   `stat:"degraded" help:"hosts that call themselves degraded in their health checks"`
}

// SchedulerStats counts the checks of all clusters, under health_check.
type SchedulerStats struct {
	Active       stats.Gauge   `stat:"active" help:"health checks under way"`
	Late         stats.Counter `stat:"late" help:"health checks begun later than they were due, since too many were under way"`
	Ignored      stats.Counter `stat:"ignored_failures" help:"responses with x-envoy-immediate-health-check-fail that were not looked at, since too many came at once"`
	EventsLost   stats.Counter `stat:"events_lost" help:"lines of event logs that were dropped, since their file did not take them"`
	EventsFailed stats.Counter `stat:"events_failed" help:"lines of event logs that could not be written"`
}
