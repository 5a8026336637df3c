package route

import (
	"fmt"
	"strings"

	"millrace/codec"
)

// A Mirror is one place that copies of requests go to. It is immutable.
type Mirror struct {
	// Cluster is the id of the cluster: ClusterByHeader if ClusterHeaderValue names it, ClusterNone for an unknown one.
	Cluster uint32
	// KeepHost leaves the host of the copy as it is.
	KeepHost bool

	header string
	share  uint32 // millionths of the requests
}

// Wants reports whether a request is copied. random is drawn for this alone: shares must not depend on other choices.
func (m *Mirror) Wants(random uint64) bool { return random%fractionUnit < uint64(m.share) }

// ClusterHeaderValue returns the name of the cluster from the request, nil if the header is absent.
func (m *Mirror) ClusterHeaderValue(h *codec.RequestHead) []byte { return h.Lookup(m.header) }

// Mirrors returns where copies of the requests go.
func (r *Route) Mirrors() []Mirror {
	if r.forward == nil || r.forward.extras == nil {
		return nil
	}
	return r.forward.extras.mirrors
}

// mirrors compiles mirrors; without any of their own those of the level around it hold.
func (c *compiler) mirrors(list *[]MirrorConfig, outer []Mirror, path string) []Mirror {
	if list == nil {
		return outer
	}
	if len(*list) == 0 {
		return nil
	}
	ms := make([]Mirror, len(*list))
	for i := range ms {
		cfg := &(*list)[i]
		ms[i] = Mirror{Cluster: ClusterByHeader, KeepHost: cfg.DisableShadowHostSuffixAppend, header: c.arena.str(strings.ToLower(cfg.ClusterHeader)), share: fractionUnit}
		if cfg.Cluster != "" {
			ms[i].Cluster = c.cluster(cfg.Cluster, fmt.Sprintf("%srequest_mirror_policies[%d].cluster", path, i))
		}
		if f := cfg.RuntimeFraction; f != nil {
			ms[i].share = f.millionths()
		}
	}
	return ms
}
