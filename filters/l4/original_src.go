package l4

import "millrace/filters"

// OriginalSrcConfig configures the "original_src" listener filter: tcp_proxy connects to the upstream from the
// client's own address, with another port. It needs CAP_NET_ADMIN, and routes that bring the answers back here.
// Behind proxy_protocol it is the address of the header.
type OriginalSrcConfig struct {
	// Mark is set on the sockets of such connections (SO_MARK), for routing rules. Default: 0, none.
	Mark uint32 `json:"mark"`
}

// originalSrc asks for upstream connections from the client's address.
type originalSrc struct{ mark uint32 }

func newOriginalSrc(cfg *OriginalSrcConfig, _ *struct{}, _ *filters.NetworkEnv) (any, error) {
	return originalSrc{cfg.Mark}, nil
}

// OnAccept implements filters.AcceptFilter.
func (f originalSrc) OnAccept(c *filters.Connection) filters.ListenerVerdict {
	if !c.IO.RemoteAddr().IsUnix() {
		c.OriginalSource, c.SourceMark = true, f.mark
	}
	return filters.ListenerContinue
}
