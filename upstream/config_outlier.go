package upstream

import "time"

// OutlierConfig ejects hosts by what requests bring: they get none for a while, unless too few hosts are left
// (healthy_panic_threshold).
type OutlierConfig struct {
	// Interval is the time between two looks at success rates and at hosts whose ejection is over. Default 10s.
	Interval time.Duration `json:"interval" default:"10s" min:"10ms" max:"1h"`
	// BaseEjectionTime is how long a host is ejected, times the number of its ejections of late. Default 30s.
	BaseEjectionTime time.Duration `json:"base_ejection_time" default:"30s" min:"1ms" max:"24h"`
	// MaxEjectionTime bounds that. 0 is 300s, or base_ejection_time if that is longer. Default 0s.
	MaxEjectionTime time.Duration `json:"max_ejection_time" default:"0s" min:"0s" max:"168h"`
	// MaxEjectionTimeJitter lengthens each ejection by a random time up to this. Default 0s.
	MaxEjectionTimeJitter time.Duration `json:"max_ejection_time_jitter" default:"0s" min:"0s" max:"24h"`
	// MaxEjectionPercent is the share of the hosts that may be ejected at one time. With the default a cluster of less than
	// 10 hosts ejects none. Default 10.
	MaxEjectionPercent uint32 `json:"max_ejection_percent" default:"10" max:"100"`
	// AlwaysEjectOneHost allows one ejected host, whatever max_ejection_percent says. Default false.
	AlwaysEjectOneHost bool `json:"always_eject_one_host" default:"false"`

	// Consecutive5xx ejects a host after so many responses with 5xx in a row. Without split_external_local_origin_errors a
	// connection that fails counts as 503, a timeout as 504. 0 is never. Default 5.
	Consecutive5xx uint32 `json:"consecutive_5xx" default:"5"`
	// ConsecutiveGatewayFailure does so after 502, 503 and 504. 0 is never. Default 5.
	ConsecutiveGatewayFailure uint32 `json:"consecutive_gateway_failure" default:"5"`
	// ConsecutiveLocalOriginFailure does so after connections that failed and timeouts. Only with
	// split_external_local_origin_errors. 0 is never. Default 5.
	ConsecutiveLocalOriginFailure uint32 `json:"consecutive_local_origin_failure" default:"5"`
	// SplitExternalLocalOriginErrors judges connections that fail, and timeouts, apart from what the host answers. Default
	// false.
	SplitExternalLocalOriginErrors bool `json:"split_external_local_origin_errors" default:"false"`

	// EnforcingConsecutive5xx is the chance, in percent, that a host is ejected when it is found. Default 100.
	EnforcingConsecutive5xx uint32 `json:"enforcing_consecutive_5xx" default:"100" max:"100"`
	// EnforcingConsecutiveGatewayFailure is that of consecutive_gateway_failure. Default 0.
	EnforcingConsecutiveGatewayFailure uint32 `json:"enforcing_consecutive_gateway_failure" default:"0" max:"100"`
	// EnforcingConsecutiveLocalOriginFailure is that of consecutive_local_origin_failure. Default 100.
	EnforcingConsecutiveLocalOriginFailure uint32 `json:"enforcing_consecutive_local_origin_failure" default:"100" max:"100"`
	// EnforcingSuccessRate is that of success rates. Default 100.
	EnforcingSuccessRate uint32 `json:"enforcing_success_rate" default:"100" max:"100"`
	// EnforcingLocalOriginSuccessRate is that of success rates of connections and times. Default 100.
	EnforcingLocalOriginSuccessRate uint32 `json:"enforcing_local_origin_success_rate" default:"100" max:"100"`
	// EnforcingFailurePercentage is that of failure_percentage_threshold. Default 0.
	EnforcingFailurePercentage uint32 `json:"enforcing_failure_percentage" default:"0" max:"100"`
	// EnforcingFailurePercentageLocalOrigin is that of failure_percentage_threshold for connections and times. Default 0.
	EnforcingFailurePercentageLocalOrigin uint32 `json:"enforcing_failure_percentage_local_origin" default:"0" max:"100"`

	// SuccessRateMinimumHosts is how many hosts need success_rate_request_volume for success rates to be compared. Default 5.
	SuccessRateMinimumHosts uint32 `json:"success_rate_minimum_hosts" default:"5"`
	// SuccessRateRequestVolume is how many results a host needs in an interval to be compared. Default 100.
	SuccessRateRequestVolume uint32 `json:"success_rate_request_volume" default:"100"`
	// SuccessRateStdevFactor, in thousandths, times the standard deviation is how far below the mean of all hosts a success
	// rate may be. Default 1900.
	SuccessRateStdevFactor uint32 `json:"success_rate_stdev_factor" default:"1900"`
	// FailurePercentageThreshold ejects hosts of whose results so many percent or more are failures. Default 85.
	FailurePercentageThreshold uint32 `json:"failure_percentage_threshold" default:"85" max:"100"`
	// FailurePercentageMinimumHosts is how many hosts need failure_percentage_request_volume for that. Default 5.
	FailurePercentageMinimumHosts uint32 `json:"failure_percentage_minimum_hosts" default:"5"`
	// FailurePercentageRequestVolume is how many results a host needs in an interval for that. Default 50.
	FailurePercentageRequestVolume uint32 `json:"failure_percentage_request_volume" default:"50"`

	// DetectDegradedHosts makes a host whose response says x-envoy-degraded one that is used when the others are too few, for
	// as long as an ejection would last. Default false.
	DetectDegradedHosts bool `json:"detect_degraded_hosts" default:"false"`

	// SuccessfulActiveHealthCheckUnejectHost ends the ejection of a host when a health check of it passes. Default true.
	SuccessfulActiveHealthCheckUnejectHost bool `json:"successful_active_health_check_uneject_host" default:"true"`
	// EventLogPath is a file for one JSON line for each host that is ejected or comes back. Default: none.
	EventLogPath string `json:"event_log_path" v3:"cluster_manager.outlier_detection.event_log_path"`
}

// EjectionMax returns the longest ejection, jitter aside.
func (c *OutlierConfig) EjectionMax() time.Duration {
	if c.MaxEjectionTime > 0 {
		return c.MaxEjectionTime
	}
	return max(300*time.Second, c.BaseEjectionTime)
}

// Validate reports what the tags cannot say.
func (c *OutlierConfig) Validate(report func(path, problem, hint string)) {
	if c.MaxEjectionTime > 0 && c.MaxEjectionTime < c.BaseEjectionTime {
		report("max_ejection_time", "is shorter than base_ejection_time", "make it longer, or leave it out")
	}
}
