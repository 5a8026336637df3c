package stats

import (
	"slices"
	"strings"
)

// A Scope says whose values a set holds: the front part of their names, and the labels that
// stand for the variable parts of it where a page has labels.
//
//	Root("cluster").Tag("envoy_cluster_name", "web")
//	    upstream_rq_total is cluster.web.upstream_rq_total
//	    or envoy_cluster_upstream_rq_total{envoy_cluster_name="web"}
type Scope struct {
	// Prefix is what the full name starts with, such as "cluster.web.": empty, or with the
	// dot at its end.
	Prefix string
	// Root is Prefix without the values of Labels, such as "cluster.". If it is empty and
	// there are Labels, the registry derives it by removing their values from Prefix.
	Root string
	// Labels are in the order in which their values stand in Prefix.
	Labels []Label
	// Loop tells sets of one name apart; a set that no loop owns leaves it 0. Readers see the sum.
	Loop int
}

// A Label is a variable part of a name.
type Label struct {
	Name  string // as Envoy's, with underscores: "envoy_cluster_name"
	Value string // as the user wrote it, with ':' replaced as in Prefix
}

// Root returns the scope of all names that start with name and a dot.
func Root(name string) Scope { return Scope{}.Name(name) }

// Name returns s with a fixed part, such as "ssl", appended.
func (s Scope) Name(part string) Scope {
	s.Prefix += part + "."
	s.Root += part + "."
	return s
}

// Tag returns s with a variable part appended, which is label in formats that have labels.
// Of value, ':' becomes '_', as in Envoy's names.
func (s Scope) Tag(label, value string) Scope {
	value = cleanName(value)
	s.Prefix += value + "."
	s.Labels = append(s.Labels[:len(s.Labels):len(s.Labels)], Label{label, value})
	return s
}

// OnLoop returns s for the set of loop i.
func (s Scope) OnLoop(i int) Scope {
	s.Loop = i
	return s
}

// ClusterScope is the scope of a cluster's values.
func ClusterScope(name string) Scope { return Root("cluster").Tag("envoy_cluster_name", name) }

// HTTPScope is the scope of an HTTP connection manager with that stat_prefix.
func HTTPScope(prefix string) Scope {
	return Root("http").Tag("envoy_http_conn_manager_prefix", prefix)
}

// ListenerScope is the scope of a listener, named by address or stat_prefix.
func ListenerScope(address string) Scope {
	return Root("listener").Tag("envoy_listener_address", address)
}

// ListenerHTTPScope is the scope of what an HTTP connection manager counts for one listener.
func ListenerHTTPScope(address, prefix string) Scope {
	return ListenerScope(address).Name("http").Tag("envoy_http_conn_manager_prefix", prefix)
}

// TCPScope is the scope of a TCP proxy with that stat_prefix.
func TCPScope(prefix string) Scope { return Root("tcp").Tag("envoy_tcp_prefix", prefix) }

// cleanName makes a name of the user's fit to stand between dots. Control characters would
// let a name forge lines of a text page.
func cleanName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ':' || r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, s)
}

// derive cleans a scope that was written out by hand, and fills its Root from Prefix and
// Labels: each label's value is removed where it stands as a whole part, after the one before it.
func (s Scope) derive() Scope {
	s.Prefix = cleanName(s.Prefix)
	if slices.ContainsFunc(s.Labels, func(l Label) bool { return l.Value != cleanName(l.Value) }) {
		s.Labels = slices.Clone(s.Labels)
		for i := range s.Labels {
			s.Labels[i].Value = cleanName(s.Labels[i].Value)
		}
	}
	if s.Root != "" || len(s.Labels) == 0 {
		if s.Root == "" {
			s.Root = s.Prefix
		}
		return s
	}
	rest := s.Prefix
	for _, l := range s.Labels {
		part := "." + l.Value + "."
		at := strings.Index(rest, part)
		if at < 0 {
			continue
		}
		s.Root += rest[:at+1]
		rest = rest[at+len(part):]
	}
	s.Root += rest
	return s
}
