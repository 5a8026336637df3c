package upstream

import "fmt"

// PreconnectConfig has connections opened before there are requests for them, so that these need not wait. What is open
// or opening is compared with the requests there are, on each loop by itself.
type PreconnectConfig struct {
	// PerUpstreamPreconnectRatio is how many requests the connections to a host are to be enough for, for each that it
	// has now. 1 opens none ahead. 1 to 3. Default 1.
	PerUpstreamPreconnectRatio float64 `json:"per_upstream_preconnect_ratio" default:"1" min:"1" max:"3"`
	// PredictivePreconnectRatio is the same for the cluster as a whole: connections open to the hosts that come next.
	// Only with lb_policy "round_robin" and "random", which can say. 1 to 3. Default 1.
	PredictivePreconnectRatio float64 `json:"predictive_preconnect_ratio" default:"1" min:"1" max:"3"`
}

// DefaultPreconnectConfig returns the defaults.
func DefaultPreconnectConfig() PreconnectConfig {
	return PreconnectConfig{PerUpstreamPreconnectRatio: 1, PredictivePreconnectRatio: 1}
}

// checkPreconnect reports what cannot work.
func (c *Config) checkPreconnect(report func(path, problem, hint string)) {
	pc := &c.PreconnectPolicy
	if pc.PredictivePreconnectRatio > 1 && c.LbPolicy != "round_robin" && c.LbPolicy != "random" {
		report("preconnect_policy.predictive_preconnect_ratio", fmt.Sprintf("lb_policy %q does not know its next host before there is a request for it", c.LbPolicy),
			`use "round_robin" or "random", or per_upstream_preconnect_ratio`)
	}
	if c.ProxyProtocol != nil && *pc != DefaultPreconnectConfig() {
		report("preconnect_policy", "connections that begin with a PROXY header are each for one client", "leave it out, or proxy_protocol")
	}
}
