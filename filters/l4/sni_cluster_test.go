package l4

import (
	"testing"

	"millrace/filters"
)

func TestSNICluster(t *testing.T) {
	t.Parallel()
	f := newFakeProcess(t).build(t, "sni_cluster", &SNIClusterConfig{}).(filters.NewConnectionFilter)
	for _, name := range []string{"db.example.com", ""} {
		c := newFakeConnection(nil)
		c.ServerName = name
		if v := f.OnNewConnection(c); v != filters.NetworkContinue || c.Cluster != name {
			t.Errorf("server name %q: %v, cluster %q", name, v, c.Cluster)
		}
	}
}
