package upstream

import (
	"fmt"

	"millrace/codec/ascii"
)

// ClusterProvided is the policy of clusters that leave no choice: the host follows from the request.
const ClusterProvided = "cluster_provided"

// originalDstHeader is the field that names the host unless the config names another one.
const originalDstHeader = "x-envoy-original-dst-host"

// OriginalDstConfig says where a request of a cluster of type "original_dst" goes.
type OriginalDstConfig struct {
	// UseHTTPHeader lets a field of the request name the host, such as "10.0.0.1:80", before the original destination of its
	// connection does. Whoever can send it reaches whatever this process can. x-envoy-original-dst-host is taken away
	// from requests that are not internal; a field by another name is not. Default false.
	UseHTTPHeader bool `json:"use_http_header" default:"false"`
	// HTTPHeaderName is the field of use_http_header. Default "x-envoy-original-dst-host".
	HTTPHeaderName string `json:"http_header_name" default:"x-envoy-original-dst-host"`
	// UpstreamPortOverride takes the place of the port of the destination, wherever that comes from. 0 does not. Default 0.
	UpstreamPortOverride uint16 `json:"upstream_port_override" default:"0"`
	// MaxHosts bounds the hosts that the cluster has at one time. A request for one more gets 503 with flag UO and the detail
	// original_dst_host_overflow. Default 4096.
	MaxHosts uint32 `json:"max_hosts" default:"4096" min:"1" max:"1000000"`
}

// DefaultOriginalDstConfig returns the defaults.
func DefaultOriginalDstConfig() OriginalDstConfig {
	return OriginalDstConfig{HTTPHeaderName: originalDstHeader, MaxHosts: 4096}
}

// OriginalDstHeader returns the name of the field that names the host, "" if none does.
func (c *Config) OriginalDstHeader() string {
	if c.Type != OriginalDst || !c.OriginalDst.UseHTTPHeader {
		return ""
	}
	return c.OriginalDst.HTTPHeaderName
}

// checkOriginalDst reports what a cluster of type "original_dst" cannot have, and what others cannot.
func (c *Config) checkOriginalDst(report func(path, problem, hint string)) {
	o := &c.OriginalDst
	if c.Type != OriginalDst {
		if c.LbPolicy == ClusterProvided {
			report("lb_policy", fmt.Sprintf("a cluster of type %q provides no hosts of its own choice", c.Type), `it goes with "type": "original_dst"`)
		}
		if *o != DefaultOriginalDstConfig() {
			report("original_dst_lb_config", fmt.Sprintf("a cluster of type %q does not look at it", c.Type), `it goes with "type": "original_dst"`)
		}
		return
	}
	if c.LbPolicy != ClusterProvided {
		report("lb_policy", fmt.Sprintf("%q has no choice: the host is where the client wanted to go", c.LbPolicy), `write "lb_policy": "cluster_provided"`)
	}
	for _, f := range []struct {
		path, problem string
		given         bool
	}{
		{"hosts", "the hosts of a cluster of type \"original_dst\" are where its clients want to go", len(c.Hosts) > 0},
		{"health_checks", "there is no other host to take instead of one that is not well", len(c.HealthChecks) > 0},
		{"outlier_detection", "there is no other host to take instead of one that is ejected", c.OutlierDetection != nil},
	} {
		if f.given {
			report(f.path, f.problem, "remove it")
		}
	}
	if name := o.HTTPHeaderName; name == "" || !ascii.All([]byte(name), ascii.Token) {
		report("original_dst_lb_config.http_header_name", fmt.Sprintf("%q is not the name of a field", name), "")
	} else if name != originalDstHeader && !o.UseHTTPHeader {
		report("original_dst_lb_config.http_header_name", "no field names the host", `write "use_http_header": true`)
	}
}
