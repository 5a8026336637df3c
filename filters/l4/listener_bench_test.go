package l4

import (
	"crypto/tls"
	"testing"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters"
)

// dropTerminal closes what it gets when bytes have come.
type dropTerminal struct{ gate filters.Gate }

type dropConn struct {
	enginetest.Recorder
	t  *dropTerminal
	io *engine.Conn
	c  *filters.Connection
}

func (d *dropTerminal) Accept(io *engine.Conn, c *filters.Connection) engine.Handler {
	return &dropConn{t: d, io: io, c: c}
}

func (d *dropConn) OnData(b []byte) int {
	d.io.Close()
	d.t.gate.Left(d.io, d.c)
	return len(b)
}

func (d *dropTerminal) Conns() int { return 0 }
func (d *dropTerminal) Drain()     {}
func (d *dropTerminal) Close()     {}
func (d *dropTerminal) Release()   {}

// BenchmarkListener is a connection from accept to its first bytes at the terminal filter and its end, over a pair
// of unix sockets.
func BenchmarkListener(b *testing.B) {
	hello := string(clientHello(b, &tls.Config{ServerName: "www.customer-3999.example", NextProtos: []string{"h2"}}))
	header := "PROXY TCP4 192.0.2.7 192.0.2.9 1234 443\r\n"
	for _, bb := range []struct {
		name, in string
		setup    func(w *listenerWorld)
	}{
		{"direct", hello, func(*listenerWorld) {}},
		{"tls_inspector", hello, func(w *listenerWorld) { w.add("tls_inspector", tlsInspectorDefaults()) }},
		{"proxy_protocol", header + "x", func(w *listenerWorld) { w.add("proxy_protocol", &ProxyProtocolConfig{}) }},
		{"both-10000-chains", header + hello, func(w *listenerWorld) {
			w.add("proxy_protocol", &ProxyProtocolConfig{})
			w.add("tls_inspector", tlsInspectorDefaults())
			w.match(manyChains()...)
			for len(w.opt.Chains) < 10001 {
				w.opt.Chains = append(w.opt.Chains, w.opt.Chains[0])
			}
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			w := newListenerWorld(b)
			ch, err := NewChain("", nil, &dropTerminal{ChainGate{w}})
			if err != nil {
				b.Fatal(err)
			}
			w.opt.Chains = []*Chain{ch}
			bb.setup(w)
			b.ReportAllocs()
			for b.Loop() {
				_, peer := w.connect()
				peer.Write(bb.in)
				w.loop.Settle()
				peer.Close()
			}
			if w.in != w.left {
				b.Fatalf("%d admitted, %d left", w.in, w.left)
			}
		})
	}
}
