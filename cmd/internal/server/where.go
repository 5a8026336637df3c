package server

import (
	"strings"

	"millrace/engine"
	"millrace/filters/l4"
)

// A whereabouts finds the listener of an address on one loop, for use_original_dst.
type whereabouts struct {
	exact map[engine.Addr]*l4.Listener
	all   map[allAddresses]*l4.Listener
}

// allAddresses are all addresses of one family with one port.
type allAddresses struct {
	port int
	v4   bool
}

// find returns the listener with exactly an address, else one for all addresses with its port, else nil.
func (a *whereabouts) find(local engine.Addr) *l4.Listener {
	if l := a.exact[local]; l != nil || local.IsUnix() {
		return l
	}
	return a.all[allAddresses{local.Port(), local.NetIP().Is4()}]
}

// index makes the listeners in force known, those without a socket too.
func (a *whereabouts) index(servings map[string]*serving) {
	a.exact, a.all = map[engine.Addr]*l4.Listener{}, map[allAddresses]*l4.Listener{}
	for _, sv := range servings {
		if sv.front == nil {
			continue
		}
		for i := range sv.listener.Sockets {
			at := sv.listener.Sockets[i].Bound
			a.exact[at] = sv.front
			if at.IsUnix() || !at.NetIP().IsUnspecified() {
				continue
			}
			v4 := at.NetIP().Is4()
			a.all[allAddresses{at.Port(), v4}] = sv.front
			if both := sv.listener.Options.IPv4Compat || strings.HasPrefix(at.String(), ":"); both {
				a.all[allAddresses{at.Port(), true}] = sv.front
			}
		}
	}
}
