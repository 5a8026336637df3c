package route

import "fmt"

// MirrorConfig sends copies of requests to a cluster, whose answers nobody sees: exactly one of cluster and cluster_header.
type MirrorConfig struct {
	// Cluster is the name of the cluster.
	Cluster string `json:"cluster"`
	// ClusterHeader names the request header that holds the name of the cluster. A request without it is not copied.
	ClusterHeader string `json:"cluster_header"`
	// RuntimeFraction is the share of the requests that are copied. Default: all.
	RuntimeFraction *FractionConfig `json:"runtime_fraction"`
	// DisableShadowHostSuffixAppend leaves the host of the copy as it is. Default false: it gets "-shadow", before the port.
	DisableShadowHostSuffixAppend bool `json:"disable_shadow_host_suffix_append"`
}

// Validate reports what tags cannot say of a mirror.
func (cfg *MirrorConfig) Validate(report func(path, problem, hint string)) {
	if n := count(cfg.Cluster != "", cfg.ClusterHeader != ""); n != 1 {
		report("", fmt.Sprintf("exactly one of cluster and cluster_header says where to, not %d", n), "")
	}
	if cfg.ClusterHeader != "" {
		checkFieldName(cfg.ClusterHeader, "cluster_header", report)
	}
}

func validateMirrors(list *[]MirrorConfig, report reporter) {
	if list != nil {
		for i := range *list {
			(*list)[i].Validate(within(report, fmt.Sprintf("request_mirror_policies[%d]", i)))
		}
	}
}

// mirrorReferences reports the clusters that mirrors name.
func mirrorReferences(list *[]MirrorConfig, path string, report func(path, kind, name string)) {
	if list == nil {
		return
	}
	for i := range *list {
		if name := (*list)[i].Cluster; name != "" {
			report(fmt.Sprintf("%srequest_mirror_policies[%d].cluster", path, i), "cluster", name)
		}
	}
}
