package admin

import (
	"net/http"
	"strconv"
)

// certs is /certs: envoy.admin.v3.Certificates as JSON, with the subject of each certificate, who uses it, and what is
// wrong with the files as they are now besides.
func (s *Server) certs(w http.ResponseWriter, r *http.Request) {
	j := newJSON(w, r, indented)
	defer j.done()
	j.object("")
	j.array("certificates")
	for _, c := range s.deps.Certificates() {
		j.object("")
		j.certificates("ca_cert", c.CA)
		j.certificates("cert_chain", c.Chain)
		if len(c.Users) > 0 {
			j.strings("used_by", c.Users)
		}
		j.optional("last_error", c.LastError)
		j.end()
		j.spill()
	}
	j.end()
	j.end()
}

// certificates writes the certificates of one file.
func (j *jsonPage) certificates(key string, list []Certificate) {
	j.array(key)
	for i := range list {
		c := &list[i]
		j.object("")
		j.str("path", c.Path)
		j.str("serial_number", c.Serial)
		j.optional("subject", c.Subject)
		j.array("subject_alt_names")
		for _, n := range c.Names {
			j.object("")
			j.str(n.Kind, n.Value)
			j.end()
		}
		j.end()
		// Envoy's are numbers of 64 bits, which JSON has as strings.
		j.str("days_until_expiration", strconv.FormatInt(c.DaysLeft, 10))
		j.time("valid_from", c.NotBefore)
		j.time("expiration_time", c.NotAfter)
		if !c.OCSPUntil.IsZero() {
			j.object("ocsp_details")
			j.time("valid_from", c.OCSPFrom)
			j.time("expiration", c.OCSPUntil)
			j.end()
		}
		j.end()
	}
	j.end()
}
