package route

import "millrace/codec"

// connect is a compiled connect_config.
type connect struct {
	ends, post   bool  // what ends here: CONNECT, and POST
	proxyVersion uint8 // of the PROXY protocol, 0 for no header
}

// newConnect compiles a config. Nil gives the zero value.
func newConnect(cfg *ConnectConfig) (c connect) {
	if cfg == nil {
		return c
	}
	c.ends, c.post = true, cfg.AllowPost
	if p := cfg.ProxyProtocolConfig; p != nil {
		if c.proxyVersion = 1; p.Version == "v2" {
			c.proxyVersion = 2
		}
	}
	return c
}

// Terminates reports whether a request ends here: its bytes go to the cluster over a connection of TCP.
func (r *Route) Terminates(h *codec.RequestHead) bool {
	if r.forward == nil || !r.forward.connect.ends {
		return false
	}
	m := h.Method()
	return m == codec.MethodCONNECT || m == codec.MethodPOST && r.forward.connect.post
}

// ConnectProxyVersion is the version of the PROXY protocol that the connection of a request begins with that ends here, 0
// for none. Only for a request that Terminates.
func (r *Route) ConnectProxyVersion() int { return int(r.forward.connect.proxyVersion) }

// validateConnect reports a connect_config that no request can come to.
func (cfg *RouteConfig) validateConnect(report reporter) {
	if cfg.Route == nil || cfg.Route.ConnectConfig == nil || cfg.Match.kinds() != 1 {
		return
	}
	post := cfg.Route.ConnectConfig.AllowPost
	switch kind, _ := cfg.Match.kind(); {
	case kind == pathConnect && post:
		report("route.connect_config.allow_post", "no POST can come to a route with connect_matcher", "give POST requests a route with a path")
	case kind != pathConnect && !post:
		report("route.connect_config", "no CONNECT can come to a route with "+kind.String(), "match with \"connect_matcher\": {}")
	}
}
