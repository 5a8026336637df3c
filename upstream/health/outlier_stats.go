package health

import "millrace/engine/stats"

// OutlierStats counts the ejections of one cluster, under cluster.<name>.outlier_detection. [Outliers] writes it, one
// goroutine at a time.
type OutlierStats struct {
	Enforced stats.Counter `stat:"ejections_enforced_total" help:"ejections"`
	Active   stats.Gauge   `stat:"ejections_active" help:"hosts that are ejected"`
	Overflow stats.Counter `stat:"ejections_overflow" help:"ejections that max_ejection_percent did not allow"`

	DetectedDegradation stats.Counter `stat:"detected_degradation" help:"hosts found by x-envoy-degraded in a response"`

	Enforced5xx              stats.Counter `stat:"ejections_enforced_consecutive_5xx" help:"ejections for 5xx in a row"`
	EnforcedGateway          stats.Counter `stat:"ejections_enforced_consecutive_gateway_failure" help:"ejections for 502, 503 and 504 in a row"`
	EnforcedLocal            stats.Counter `stat:"ejections_enforced_consecutive_local_origin_failure" help:"ejections for failed connections and timeouts in a row"`
	EnforcedSuccessRate      stats.Counter `stat:"ejections_enforced_success_rate" help:"ejections for a low success rate"`
	EnforcedLocalSuccessRate stats.Counter `stat:"ejections_enforced_local_origin_success_rate" help:"ejections for a low success rate of connections and times"`
	EnforcedPercentage       stats.Counter `stat:"ejections_enforced_failure_percentage" help:"ejections for a high share of failures"`
	EnforcedLocalPercentage  stats.Counter `stat:"ejections_enforced_local_origin_failure_percentage" help:"ejections for a high share of failed connections and timeouts"`

	Detected5xx              stats.Counter `stat:"ejections_detected_consecutive_5xx" help:"hosts found by 5xx in a row, ejected or not"`
	DetectedGateway          stats.Counter `stat:"ejections_detected_consecutive_gateway_failure" help:"hosts found by 502, 503 and 504 in a row, ejected or not"`
	DetectedLocal            stats.Counter `stat:"ejections_detected_consecutive_local_origin_failure" help:"hosts found by failed connections and timeouts in a row, ejected or not"`
	DetectedSuccessRate      stats.Counter `stat:"ejections_detected_success_rate" help:"hosts found by a low success rate, ejected or not"`
	DetectedLocalSuccessRate stats.Counter `stat:"ejections_detected_local_origin_success_rate" help:"hosts found by a low success rate of connections and times, ejected or not"`
	DetectedPercentage       stats.Counter `stat:"ejections_detected_failure_percentage" help:"hosts found by a high share of failures, ejected or not"`
	DetectedLocalPercentage  stats.Counter `stat:"ejections_detected_local_origin_failure_percentage" help:"hosts found by a high share of failed connections and timeouts, ejected or not"`
}

// of returns the counters of a kind.
func (s *OutlierStats) of(k outlierKind) (detected, enforced *stats.Counter) {
	p := [kindCount][2]*stats.Counter{
		{&s.Detected5xx, &s.Enforced5xx}, {&s.DetectedGateway, &s.EnforcedGateway}, {&s.DetectedLocal, &s.EnforcedLocal},
		{&s.DetectedSuccessRate, &s.EnforcedSuccessRate}, {&s.DetectedLocalSuccessRate, &s.EnforcedLocalSuccessRate},
		{&s.DetectedPercentage, &s.EnforcedPercentage}, {&s.DetectedLocalPercentage, &s.EnforcedLocalPercentage},
	}[k]
	return p[0], p[1]
}

// OutliersStats counts outlier detection of all clusters, under outlier_detection.
type OutliersStats struct {
	Ignored      stats.Counter `stat:"ignored_rows" help:"rows of failures that were not looked at, since too many came at once"`
	EventsLost   stats.Counter `stat:"events_lost" help:"lines of event logs that were dropped, since their file did not take them"`
	EventsFailed stats.Counter `stat:"events_failed" help:"lines of event logs that could not be written"`
}
