package admin

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
)

// endpoint is one row of the table that routes requests and makes /help and the index page.
type endpoint struct {
	path   string
	method string // GET (and HEAD) or POST; nothing else
	help   string
	params []param
	handle func(*Server, http.ResponseWriter, *http.Request)
	needs  func(*Deps) bool // whether the process offers it; nil means always
	hidden bool             // not in /help unless needs
}

// param is one query parameter of an endpoint.
type param struct {
	name string
	help string
	oneOf
}

// oneOf are the values a parameter may have, the default first; nil means any text.
type oneOf []string

// onOff is the oneOf of a parameter that is on when it is given, see isSet.
var onOff = oneOf{}

func (p *param) isFlag() bool { return p.oneOf != nil && len(p.oneOf) == 0 }

const (
	get  = http.MethodGet
	post = http.MethodPost
)

var formatParam = param{"format", "form of the answer", oneOf{"text", "json"}}

// endpoints is the table, in the order of /help. It is a function because handlers refer to it.
func endpoints() []endpoint {
	filter := param{"filter", "regular expression that part of the name must match", nil}
	usedOnly := param{"usedonly", "leave out what is zero or was never recorded", onOff}
	return []endpoint{
		{"/", get, "this page", nil, (*Server).index, nil, false},
		{"/apis", get, "the groups of metrics for Kubernetes", nil, (*Server).apis, offersMetrics, true},
		{metricsGroupPath, get, "the versions of the external metrics", nil, (*Server).apis, offersMetrics, true},
		{metricsPath, get, "the external metrics there are", nil, (*Server).apis, offersMetrics, true},
		{metricsPath + "/", get, "how many hosts clusters want, for a HorizontalPodAutoscaler", nil, (*Server).externalMetric, offersMetrics, true},
		{"/certs", get, "certificates, and the days they are good for", nil, (*Server).certs, func(d *Deps) bool { return d.Certificates != nil }, false},
		{"/clusters", get, "clusters and their hosts", []param{formatParam, filter}, (*Server).clusters, func(d *Deps) bool { return d.Clusters != nil }, false},
		{"/config_dump", get, "the running configuration, without secrets", []param{
			{"resource", "only this member of the configuration, such as clusters", nil},
			{"name_regex", "only elements with a matching name", nil},
		}, (*Server).configDump, func(d *Deps) bool { return d.ConfigDump != nil }, false},
		{"/config_status", get, "how the last loads of the configuration went", nil, (*Server).configStatus, func(d *Deps) bool { return d.ConfigStatus != nil }, false},
		{"/debug/pprof/", get, "Go profiles, when the config allows them", nil, (*Server).pprof, func(d *Deps) bool { return d.Pprof }, true},
		{"/drain_listeners", post, "drain the listeners", []param{
			{"graceful", "give connections the drain time first", onOff},
			{"skip_exit", "with graceful: keep the listeners open afterwards", onOff},
			{"inboundonly", "only inbound listeners", onOff},
		}, (*Server).drain, func(d *Deps) bool { return d.Drain != nil }, false},
		{"/healthcheck/fail", post, "make the server fail health checks", nil, (*Server).healthFail, func(d *Deps) bool { return d.SetHealthy != nil }, false},
		{"/healthcheck/ok", post, "make the server pass health checks", nil, (*Server).healthOK, func(d *Deps) bool { return d.SetHealthy != nil }, false},
		{"/help", get, "this list", nil, (*Server).help, nil, false},
		{"/listeners", get, "listeners and the addresses they are bound to", []param{formatParam}, (*Server).listeners, func(d *Deps) bool { return d.Listeners != nil }, false},
		{"/logging", post, "show or set the level of the process log", []param{
			{"level", "the new level", oneOf{"", "debug", "info", "warn", "warning", "error"}},
		}, (*Server).logging, func(d *Deps) bool { return d.LogLevel != nil }, false},
		{"/memory", get, "memory of the process and its collections", nil, (*Server).memory, nil, false},
		{"/memory/collect", post, "run a garbage collection and wait for it", []param{
			{"release", "give free memory back to the system too", onOff},
		}, (*Server).collect, nil, false},
		{"/quitquitquit", post, "end the process", nil, (*Server).quit, func(d *Deps) bool { return d.Quit != nil }, false},
		{"/ready", get, "200 if the server is live, else 503", nil, (*Server).ready, func(d *Deps) bool { return d.State != nil }, false},
		{"/reload", post, "load the configuration again and tell what changed", []param{formatParam}, (*Server).reload, func(d *Deps) bool { return d.Reload != nil }, false},
		{"/reopen_logs", post, "reopen log files", nil, (*Server).reopenLogs, func(d *Deps) bool { return d.ReopenLogs != nil }, false},
		{"/reset_counters", post, "let every counter start at zero again", nil, (*Server).resetCounters, nil, false},
		{"/server_info", get, "version, state, uptime and node", nil, (*Server).serverInfo, func(d *Deps) bool { return d.Info != nil && d.State != nil }, false},
		{"/stats", get, "the values of all counters, gauges and histograms", []param{
			usedOnly, filter,
			{"format", "form of the answer", oneOf{"text", "json", "prometheus"}},
			{"type", "only values of this type", oneOf{"All", "Counters", "Gauges", "Histograms", "TextReadouts"}},
			{"histogram_buckets", "show buckets instead of quantiles", oneOf{"none", "cumulative", "disjoint", "detailed", "summary"}},
		}, (*Server).statsPage, nil, false},
		{"/stats/prometheus", get, "the same for Prometheus", []param{
			usedOnly, filter,
			{"type", "only values of this type", oneOf{"All", "Counters", "Gauges", "Histograms", "TextReadouts"}},
			{"text_readouts", "show texts as gauges with a label", onOff},
		}, (*Server).prometheus, nil, false},
	}
}

// find returns the endpoint of path.
func find(table []endpoint, path string) *endpoint {
	for i := range table {
		e := &table[i]
		if e.path == path || e.path != "/" && strings.HasSuffix(e.path, "/") && strings.HasPrefix(path, e.path) {
			return e
		}
	}
	return nil
}

// recorder remembers the status of a response.
type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// ServeHTTP guards, routes and counts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{w, http.StatusOK}
	h := rec.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	r.Body = http.MaxBytesReader(rec, r.Body, bodyBytesMax)
	refused := false
	defer func() { s.finish(rec, r, refused, recover()) }()
	if refused = s.guarded(rec, r); !refused {
		s.route(rec, r)
	}
}

// finish counts and logs a request. A panic of a handler ends its connection, not the proxy.
func (s *Server) finish(rec *recorder, r *http.Request, refused bool, panicked any) {
	if panicked != nil {
		rec.code = http.StatusInternalServerError
		s.deps.Log.Error("admin handler panicked", "path", r.URL.Path, "panic", panicked, "stack", string(debug.Stack()))
	}
	s.count(rec.code, refused)
	if r.Method == post {
		s.deps.Log.Info("admin request", "path", r.URL.Path, "query", r.URL.RawQuery, "status", rec.code, "from", r.RemoteAddr)
	}
	if panicked != nil {
		panic(http.ErrAbortHandler) // the way to cut a response off; net/http does not log it
	}
}

// route finds the endpoint and checks what all of them require.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	e := find(s.endpoints, r.URL.Path)
	switch {
	case e == nil || e.hidden && !s.offers(e):
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write(s.helpText("invalid path. "))
	case s.deps.AllowPaths != nil && !s.deps.AllowPaths(r.URL.Path):
		http.Error(w, "path not allowed by the config", http.StatusForbidden)
	case e.method == get && r.Method != get && r.Method != http.MethodHead:
		refuseMethod(w, r, "GET, HEAD")
	case e.method == post && r.Method != post:
		refuseMethod(w, r, "POST")
	case !s.offers(e):
		http.Error(w, "not offered by this process", http.StatusNotImplemented)
	case !e.hidden && badParams(w, r, e):
	default:
		e.handle(s, w, r)
	}
}

func (s *Server) offers(e *endpoint) bool { return e.needs == nil || e.needs(&s.deps) }

// refuseMethod answers 405, as Envoy does (its documentation says 400).
func refuseMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, fmt.Sprintf("method %s not allowed; use %s", r.Method, allow), http.StatusMethodNotAllowed)
}
