package main

import (
	"millrace/cmd/internal/config"
	"millrace/filters/httpconn"
	"millrace/filters/router"
)

// registry lists the filters of the reference page.
func registry() *config.Registry {
	r := config.NewRegistry()
	r.Add("network", "http_connection_manager", config.Filter{
		New: func() any { return new(httpconn.Config) }, Terminal: true})
	r.Add("http", "router", config.Filter{New: func() any { return new(router.Config) }})
	return r
}
