package admin

import "net/http"

// listeners is /listeners: "name::address" lines, or envoy.admin.v3.Listeners as JSON with
// the state of each listener besides.
func (s *Server) listeners(w http.ResponseWriter, r *http.Request) {
	list := s.deps.Listeners()
	if choice(r, "format", "text") == "json" {
		j := newJSON(w, r, indented)
		defer j.done()
		j.object("")
		j.array("listener_statuses")
		for i := range list {
			j.object("")
			j.str("name", list[i].Name)
			j.listenerAddress("local_address", list[i].Address, list[i].UDP)
			if len(list[i].Additional) > 0 {
				j.array("additional_local_addresses")
				for _, a := range list[i].Additional {
					j.listenerAddress("", a, list[i].UDP)
				}
				j.end()
			}
			j.optional("state", list[i].State)
			if len(list[i].Chains) > 0 {
				j.strings("filter_chains", list[i].Chains)
			}
			j.end()
		}
		j.end()
		j.end()
		return
	}
	p := newPage(w, r, textType)
	defer p.end()
	for i := range list {
		if list[i].Retired {
			continue
		}
		for _, a := range append([]string{list[i].Address}, list[i].Additional...) {
			p.line(oneLine(list[i].Name), "::", oneLine(a))
		}
		p.spill()
	}
}

// listenerAddress writes an address; UDP ones say so.
func (j *jsonPage) listenerAddress(key, address string, udp bool) {
	protocol := ""
	if udp {
		protocol = "UDP"
	}
	j.protocolAddress(key, address, protocol)
}
