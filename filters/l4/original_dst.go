package l4

import "millrace/filters"

// OriginalDstConfig configures the "original_dst" listener filter: the local address of a connection that the packet
// filter has redirected here (iptables REDIRECT or DNAT, nftables redirect or dnat) becomes the one that the client
// wanted to reach. A connection that was given to a transparent listener by TPROXY has it from the start.
type OriginalDstConfig struct{}

// originalDst asks the kernel where the client wanted to go.
type originalDst struct{}

func newOriginalDst(*OriginalDstConfig, *struct{}, *filters.NetworkEnv) (any, error) {
	return originalDst{}, nil
}

// OnAccept implements filters.AcceptFilter.
func (originalDst) OnAccept(c *filters.Connection) filters.ListenerVerdict {
	// A connection that was not redirected has its own address as the original one.
	if a, ok := c.IO.OriginalDst(); ok && a != c.IO.LocalAddr() {
		c.IO.SetLocalAddr(a)
		c.LocalRestored = true
	}
	return filters.ListenerContinue
}
