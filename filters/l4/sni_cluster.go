package l4

import "millrace/filters"

// SNIClusterConfig is that of the "sni_cluster" filter, which has nothing to configure.
type SNIClusterConfig struct{}

// sniCluster makes tcp_proxy forward to the cluster that has the name the client asks for (SNI), in lower case.
// A client that asks for none goes where tcp_proxy says. The listener filter tls_inspector finds the name out.
type sniCluster struct{}

func newSNICluster(*SNIClusterConfig, *struct{}, *filters.NetworkEnv) (any, error) {
	return sniCluster{}, nil
}

// OnNewConnection implements filters.NewConnectionFilter.
func (sniCluster) OnNewConnection(c *filters.Connection) filters.NetworkVerdict {
	if c.ServerName != "" {
		c.Cluster = c.ServerName
	}
	return filters.NetworkContinue
}
