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
			j.address("local_address", list[i].Address)
			j.optional("state", list[i].State)
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
		p.line(oneLine(list[i].Name), "::", oneLine(list[i].Address))
		p.spill()
	}
}
