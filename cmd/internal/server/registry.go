package server

import (
	"millrace/cmd/internal/config"
	"millrace/filters"
	"millrace/filters/httpconn"
	"millrace/filters/l4"
	"millrace/filters/l7"
	"millrace/filters/router"
)

// connectionManager and routerFilter are the names of the filters that are not in a table of
// their room.
const (
	connectionManager = "http_connection_manager"
	routerFilter      = "router"
)

// Registry returns the filters that a configuration file may use.
func Registry() *config.Registry {
	reg := config.NewRegistry()
	reg.Add("network", connectionManager, config.Filter{
		New:      func() any { return new(httpconn.Config) },
		Terminal: true,
		Doc:      "Speaks HTTP on a listener: requests are routed and forwarded to clusters.",
	})
	reg.Add("http", routerFilter, config.Filter{
		New:      func() any { return new(router.Config) },
		Terminal: true,
		Doc:      "Forwards the request as its route says. The last HTTP filter, and the default.",
	})
	for _, spec := range l4.Builtin() {
		reg.Add(spec.Kind, spec.Name, config.Filter{New: spec.NewConfig, Terminal: spec.Terminal, UDP: spec.UDP, Doc: spec.Doc})
	}
	for _, spec := range l7.Builtin() {
		reg.Add("http", spec.Name, config.Filter{New: spec.NewConfig, Doc: spec.Doc})
		reg.Add("http_route", spec.Name, config.Filter{New: spec.RouteConfig})
	}
	return reg
}

// httpFilters are the builtin HTTP filters by name.
func httpFilters() map[string]filters.Spec {
	m := map[string]filters.Spec{}
	for _, spec := range l7.Builtin() {
		m[spec.Name] = spec
	}
	return m
}

// networkKey is a listener or network filter: there may be one of each kind with the same name.
type networkKey struct{ kind, name string }

// networkFilters are the builtin listener and network filters.
func networkFilters() map[networkKey]filters.NetworkSpec {
	m := map[networkKey]filters.NetworkSpec{}
	for _, spec := range l4.Builtin() {
		m[networkKey{spec.Kind, spec.Name}] = spec
	}
	return m
}
