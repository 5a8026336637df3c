package l4

import (
	"strings"
	"testing"
)

// TestTCPProxyRelay: bytes go both ways, and the ends of both directions one after the other.
func TestTCPProxyRelay(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	client, server := w.pair()
	client.Write("hello")
	w.wantRead(server, "hello")
	server.Write("world")
	w.wantRead(client, "world")
	client.CloseWrite()
	w.wantEOF(server)
	server.Write(strings.Repeat("x", 100000))
	w.wantRead(client, strings.Repeat("x", 100000))
	server.Close()
	w.wantEOF(client)
	w.wantGone()
	st, cs := w.proxy.stats, w.stats("c")
	if st.CxTotal.Load() != 1 || st.CxRxBytes.Load() != 5 || st.CxTxBytes.Load() != 100005 || w.left != 1 {
		t.Errorf("total %d, rx %d, tx %d, left %d; want 1, 5, 100005, 1", st.CxTotal.Load(), st.CxRxBytes.Load(), st.CxTxBytes.Load(), w.left)
	}
	if cs.CxTotal.Load() != 1 || cs.CxRxBytes.Load() != 100005 || cs.CxTxBytes.Load() != 5 || cs.CxDestroyRemote.Load() != 1 {
		t.Errorf("upstream: total %d, rx %d, tx %d, destroyed by the host %d; want 1, 100005, 5, 1",
			cs.CxTotal.Load(), cs.CxRxBytes.Load(), cs.CxTxBytes.Load(), cs.CxDestroyRemote.Load())
	}
}

// TestTCPProxyReset: a reset on one side resets the other.
func TestTCPProxyReset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ends func(client, server *tcpPeer) (resets, hears *tcpPeer)
	}{
		{"by the client", func(client, server *tcpPeer) (*tcpPeer, *tcpPeer) { return client, server }},
		{"by the host", func(client, server *tcpPeer) (*tcpPeer, *tcpPeer) { return server, client }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTCPWorld(t, nil, nil)
			resets, hears := tt.ends(w.pair())
			resets.Reset()
			w.wantReset(hears)
			w.wantGone()
		})
	}
}
