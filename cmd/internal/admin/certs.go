package admin

import (
	"net/http"
	"strconv"
	"time"
)

// certs is /certs: envoy.admin.v3.Certificates as JSON, with the subject of each certificate and what was wrong with a
// file the last time besides.
func (s *Server) certs(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	j := newJSON(w, r, indented)
	defer j.done()
	j.object("")
	j.array("certificates")
	for _, c := range s.deps.Certificates() {
		j.object("")
		j.certificates("ca_cert", c.CA, now)
		j.certificates("cert_chain", c.Chain, now)
		if c.LastError != "" {
			j.str("last_error", c.LastError)
			j.time("last_error_time", c.LastErrorAt)
		}
		j.end()
		j.spill()
	}
	j.end()
	j.end()
}

// certificates writes the certificates of one file.
func (j *jsonPage) certificates(key string, list []Certificate, now time.Time) {
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
		j.str("days_until_expiration", strconv.FormatInt(daysUntil(c.NotAfter, now), 10))
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

// daysUntil returns the whole days until t, 0 if it has passed.
func daysUntil(t, now time.Time) int64 { return max(0, int64(t.Sub(now)/(24*time.Hour))) }
