package upstream

import (
	"net/url"
	"time"
)

// Metrics that autoscaling goes by.
const (
	RequestsPerSecond = "requests_per_second"
	ActiveRequests    = "active_requests"
)

// AutoscalingConfig says how many hosts a cluster should have for the traffic it gets, and who is told.
type AutoscalingConfig struct {
	// Metric is what is measured: "requests_per_second", or "active_requests" (the mean of those under way, waiting for a
	// connection included). Attempts count: a retry is one more. Default "requests_per_second".
	Metric string `json:"metric" default:"requests_per_second" enum:"requests_per_second,active_requests"`
	// TargetPerHost is how much of it one host should have. Required, above 0.
	TargetPerHost float64 `json:"target_per_host" required:"true" min:"0.001" max:"1000000000"`
	// Window is the time that traffic is averaged over. Nothing is wanted otherwise than it is before one has passed.
	// Default 30s.
	Window time.Duration `json:"window" default:"30s" min:"1s" max:"1h"`
	// MinHosts is the least number wanted. Default 1.
	MinHosts uint32 `json:"min_hosts" default:"1" max:"1000000"`
	// MaxHosts is the largest number wanted. Default 100.
	MaxHosts uint32 `json:"max_hosts" default:"100" min:"1" max:"1000000"`
	// HysteresisPercent is how far traffic has to be beyond what another number of hosts would be for. Percent.
	// Default 10.
	HysteresisPercent float64 `json:"hysteresis_percent" default:"10" unit:"percent"`
	// HysteresisHosts is the least change. Default 1.
	HysteresisHosts uint32 `json:"hysteresis_hosts" default:"1" min:"1" max:"1000000"`
	// ScaleUpStabilization is how long more hosts have to be wanted, without a break, before they are; then it is the
	// least number wanted in that time. Default 0s.
	ScaleUpStabilization time.Duration `json:"scale_up_stabilization" default:"0s" min:"0s" max:"24h"`
	// ScaleDownStabilization is the same for fewer hosts, and the largest number. Default 5m.
	ScaleDownStabilization time.Duration `json:"scale_down_stabilization" default:"5m" min:"0s" max:"24h"`
	// Cooldown is the least time between two changes. Default 0s.
	Cooldown time.Duration `json:"cooldown" default:"0s" min:"0s" max:"24h"`
	// Webhook is told of each change. Absent: none is.
	Webhook *AutoscalingWebhook `json:"webhook"`
	// Command is run at each change. Absent: none is.
	Command *AutoscalingCommand `json:"command"`
}

// AutoscalingWebhook is where a change is posted as JSON. What came meanwhile replaces what could not be told yet.
type AutoscalingWebhook struct {
	// URL such as "http://127.0.0.1:9000/scale". Required.
	URL string `json:"url" required:"true"`
	// Timeout bounds one try. Default 5s.
	Timeout time.Duration `json:"timeout" default:"5s" min:"1ms" max:"1m"`
	// Retries is how often a change is posted again that was not answered with 2xx. Default 5.
	Retries uint32 `json:"retries" default:"5" max:"100"`
	// RetryBaseInterval is the wait before the first of them; it doubles with each. Default 1s.
	RetryBaseInterval time.Duration `json:"retry_base_interval" default:"1s" min:"1ms" max:"1h"`
	// RetryMaxInterval is the longest wait. Default 30s.
	RetryMaxInterval time.Duration `json:"retry_max_interval" default:"30s" min:"1ms" max:"1h"`
}

// AutoscalingCommand is a program that is run, without a shell. One runs at a time for a cluster.
type AutoscalingCommand struct {
	// Argv is the program, as an absolute path, and its arguments. Required.
	Argv []string `json:"argv" required:"true" max:"64"`
	// Timeout is when it is killed, with what it has started. Default 30s.
	Timeout time.Duration `json:"timeout" default:"30s" min:"1ms" max:"1h"`
}

// Validate reports what the tags cannot say.
func (c *AutoscalingConfig) Validate(report func(path, problem, hint string)) {
	if c.MinHosts > c.MaxHosts {
		report("min_hosts", "is above max_hosts", "")
	}
}

// Validate reports what the tags cannot say.
func (c *AutoscalingWebhook) Validate(report func(path, problem, hint string)) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		report("url", "is not an address to post to", "such as \"http://127.0.0.1:9000/scale\"")
	case u.User != nil:
		report("url", "has a user or a password in it, which /config_dump would show", "post to a proxy that adds them")
	}
	if c.RetryBaseInterval > c.RetryMaxInterval {
		report("retry_base_interval", "is above retry_max_interval", "")
	}
}

// Validate reports what the tags cannot say.
func (c *AutoscalingCommand) Validate(report func(path, problem, hint string)) {
	if len(c.Argv) == 0 || len(c.Argv[0]) == 0 || c.Argv[0][0] != '/' {
		report("argv", "does not begin with the absolute path of a program", "such as [\"/usr/local/bin/scale\", \"shop\"]")
	}
}
