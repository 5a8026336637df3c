package health

import (
	"net/netip"

	"millrace/engine"
)

// addrPort returns an address of TCP as the standard library has it.
func addrPort(a engine.Addr) netip.AddrPort { return netip.AddrPortFrom(a.NetIP(), uint16(a.Port())) }
