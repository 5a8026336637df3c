package l4

import (
	"millrace/engine"
	"millrace/filters"
)

// OriginalDstConfig configures the "original_dst" listener filter: the local address of a connection that the packet
// filter has redirected here (iptables REDIRECT or DNAT, nftables redirect or dnat) becomes the one that the client
// wanted to reach. A connection that was given to a transparent listener by TPROXY has it from the start.
type OriginalDstConfig struct{}

// originalDst asks the kernel where the client wanted to go.
type originalDst struct {
	// ownPort is that of a transparent listener, else 0. Who comes to it means the listener, as far as can be told: if that
	// were a destination, a cluster of type "original_dst" would connect to us for ever.
	ownPort int
}

func newOriginalDst(_ *OriginalDstConfig, _ *struct{}, env *filters.NetworkEnv) (any, error) {
	f := originalDst{}
	if env.Transparent {
		own, err := engine.ParseAddr(env.Address)
		if err != nil {
			return nil, err
		}
		f.ownPort = own.Port()
	}
	return f, nil
}

// OnAccept implements filters.AcceptFilter.
func (f originalDst) OnAccept(c *filters.Connection) filters.ListenerVerdict {
	a, ok := c.IO.OriginalDst()
	// A connection that was not redirected has its own address as the original one.
	redirected := a != c.IO.LocalAddr() || f.ownPort != 0 && a.Port() != f.ownPort
	if ok && redirected {
		c.IO.SetLocalAddr(a)
	}
	return filters.ListenerContinue
}
