package l4

import "millrace/filters"

// Builtin lists every listener filter and every network filter but http_connection_manager, in the order in which
// a listener usually has them.
func Builtin() []filters.NetworkSpec {
	return []filters.NetworkSpec{
		// Cheap refusals first: what is over a limit should cost nothing else.
		spec(filters.KindNetwork, "connection_limit", shareConnectionLimit, newConnectionLimit,
			"Closes connections beyond a number of them."),
		spec(filters.KindNetwork, "local_ratelimit", shareLocalRateLimit, newLocalRateLimit,
			"Closes new connections beyond a rate."),
		spec(filters.KindNetwork, "ratelimit", nil, newRateLimit,
			"Asks a rate limit service about new connections."),
		// Who may.
		spec(filters.KindNetwork, "client_ssl_auth", shareClientSSLAuth, newClientSSLAuth,
			"Closes TLS connections of clients whose certificate is not on a list."),
		spec(filters.KindNetwork, "rbac", shareRBAC, newRBAC,
			"Closes connections that its rules do not let pass."),
		// Where to: what tcp_proxy, behind, forwards to.
		spec(filters.KindNetwork, "sni_cluster", nil, newSNICluster,
			"Makes tcp_proxy forward to the cluster that has the name of the server the client asks for."),
		spec(filters.KindNetwork, "sni_dynamic_forward_proxy", shareSNIDynamicForward, newSNIDynamicForward,
			"Makes tcp_proxy forward by the name of the server the client asks for."),
		terminal(spec(filters.KindNetwork, "tcp_proxy", newTCPShared, newTCPProxy,
			"Forwards the bytes of a connection to a host of a cluster, and those of the host back.")),
		terminal(spec(filters.KindNetwork, "echo", nil, newEcho,
			"Writes back what it reads.")),
		terminal(spec(filters.KindNetwork, "direct_response", shareDirectResponse, newDirectResponse,
			"Writes a fixed text and closes.")),
		udp(terminal(spec(filters.KindNetwork, "udp_proxy", newUDPShared, newUDPProxy,
			"Forwards datagrams to a host of a cluster, and the answers back."))),

		// Listener filters, in their order. What is over a limit should cost nothing else.
		spec(filters.KindListener, "local_ratelimit", shareListenerLocalRateLimit, newListenerLocalRateLimit,
			"Closes new connections beyond a rate, before anything is done for them."),
		spec(filters.KindListener, "original_dst", nil, newOriginalDst,
			"Makes the address that a redirected connection wanted to reach its local address."),
		// Its header comes before all other bytes.
		spec(filters.KindListener, "proxy_protocol", nil, newProxyProtocol,
			"Reads the PROXY protocol header that a proxy in front sends."),
		// Behind proxy_protocol: its address is the client's.
		spec(filters.KindListener, "original_src", nil, newOriginalSrc,
			"Makes upstream connections come from the client's address."),
		spec(filters.KindListener, "tls_inspector", nil, newTLSInspector,
			"Finds out whether a connection is TLS, and which server and protocols its client asks for."),
		// Behind tls_inspector: what is TLS it need not look at.
		spec(filters.KindListener, "http_inspector", nil, newHTTPInspector,
			"Finds out whether a connection is HTTP, and which version."),
	}
}

// spec makes one line of the table.
func spec[C, S any](kind, name string, share func(*C, *filters.SharedEnv) (*S, error),
	build func(*C, *S, *filters.NetworkEnv) (any, error), doc string) filters.NetworkSpec {
	s := filters.Network(kind, name, share, build)
	s.Doc = doc
	return s
}

// terminal marks a line of the table as the end of a chain.
func terminal(s filters.NetworkSpec) filters.NetworkSpec {
	s.Terminal = true
	return s
}

// udp marks a line of the table as one for UDP listeners.
func udp(s filters.NetworkSpec) filters.NetworkSpec {
	s.UDP = true
	return s
}
