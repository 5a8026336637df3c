package router

// Config is the config of the HTTP filter "router".
type Config struct {
	// SuppressEnvoyHeaders leaves out the x-envoy-* fields the router adds to requests and responses,
	// except for the attempt counts a virtual host asks for.
	SuppressEnvoyHeaders bool `json:"suppress_envoy_headers" default:"false"`
}
