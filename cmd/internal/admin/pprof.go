package admin

import (
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
)

// pprof is /debug/pprof/, GET only: the profiles that write a symbol table on POST are of no
// use to go tool pprof, which carries its own.
func (s *Server) pprof(w http.ResponseWriter, r *http.Request) {
	if n, err := strconv.Atoi(r.URL.Query().Get("seconds")); err == nil && n > profileSecondsMax {
		http.Error(w, "parameter seconds: at most "+strconv.Itoa(profileSecondsMax), http.StatusBadRequest)
		return
	}
	w.Header().Del("Content-Security-Policy") // its index page has a style of its own
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}
