package admin

import (
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// clusters is /clusters.
func (s *Server) clusters(w http.ResponseWriter, r *http.Request) {
	re, err := regexParam(r, "filter")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if choice(r, "format", "text") == "json" {
		s.clustersJSON(w, r, re)
		return
	}
	s.clustersText(w, r, re)
}

// hostValue is one number of a host, under Envoy's key.
type hostValue struct {
	key   string
	gauge bool
	get   func(*Host) int64
}

// hostValues are in Envoy's order.
var hostValues = []hostValue{
	{"cx_active", true, func(h *Host) int64 { return h.CxActive }},
	{"cx_connect_fail", false, func(h *Host) int64 { return int64(h.CxConnectFail) }},
	{"cx_total", false, func(h *Host) int64 { return int64(h.CxTotal) }},
	{"rq_active", true, func(h *Host) int64 { return h.RqActive }},
	{"rq_error", false, func(h *Host) int64 { return int64(h.RqError) }},
	{"rq_success", false, func(h *Host) int64 { return int64(h.RqSuccess) }},
	{"rq_timeout", false, func(h *Host) int64 { return int64(h.RqTimeout) }},
	{"rq_total", false, func(h *Host) int64 { return int64(h.RqTotal) }},
}

// clusterText writes lines of cluster::key::value and cluster::host::key::value.
type clusterText struct {
	*page
	name, host string
}

func (s *Server) clustersText(w http.ResponseWriter, r *http.Request, re *regexp.Regexp) {
	t := clusterText{page: newPage(w, r, textType)}
	defer t.page.end()
	s.deps.Clusters(func(c *Cluster) bool {
		if re != nil && !re.MatchString(c.Name) {
			return true
		}
		t.cluster(c)
		return t.spill()
	})
}

// put writes one line. A name cannot break out of it: config names may hold any character.
func (t *clusterText) put(key, value string) {
	t.str(t.name)
	t.str("::")
	if t.host != "" {
		t.str(t.host)
		t.str("::")
	}
	t.line(key, "::", oneLine(value))
}

func (t *clusterText) cluster(c *Cluster) {
	t.name, t.host = oneLine(c.Name), ""
	t.put("observability_name", observabilityName(c))
	o := Outlier{-1, -1, -1, -1}
	if c.Outlier != nil {
		o = *c.Outlier
	}
	t.put("outlier::success_rate_average", rate(o.SuccessRateAverage, true))
	t.put("outlier::success_rate_ejection_threshold", rate(o.SuccessRateThreshold, true))
	t.put("outlier::local_origin_success_rate_average", rate(o.LocalOriginSuccessRateAverage, true))
	t.put("outlier::local_origin_success_rate_ejection_threshold", rate(o.LocalOriginSuccessRateThreshold, true))
	t.thresholds("default_priority::", &c.Default)
	t.thresholds("high_priority::", &c.High)
	t.put("added_via_api", strconv.FormatBool(c.AddedViaAPI))
	t.put("eds_service_name", c.EDSServiceName)
	if a := c.Autoscaling; a != nil {
		t.put("autoscaling::wanted_hosts", strconv.FormatUint(uint64(a.Wanted), 10))
		t.put("autoscaling::current_hosts", strconv.FormatUint(uint64(a.Current), 10))
		t.put("autoscaling::metric", a.Metric)
		t.put("autoscaling::traffic", rate(a.Traffic, true))
		t.put("autoscaling::target_per_host", rate(a.TargetPerHost, true))
	}
	for i := range c.Hosts {
		t.hostLines(&c.Hosts[i])
	}
}

func observabilityName(c *Cluster) string {
	if c.ObservabilityName != "" {
		return c.ObservabilityName
	}
	return c.Name
}

func (t *clusterText) thresholds(priority string, b *Thresholds) {
	t.put(priority+"max_connections", strconv.FormatUint(b.MaxConnections, 10))
	t.put(priority+"max_pending_requests", strconv.FormatUint(b.MaxPendingRequests, 10))
	t.put(priority+"max_requests", strconv.FormatUint(b.MaxRequests, 10))
	t.put(priority+"max_retries", strconv.FormatUint(b.MaxRetries, 10))
}

func (t *clusterText) hostLines(h *Host) {
	t.host = oneLine(h.Address)
	for _, v := range hostValues {
		t.put(v.key, strconv.FormatInt(v.get(h), 10))
	}
	t.put("hostname", h.Hostname)
	t.put("health_flags", healthFlags(h))
	t.put("weight", strconv.FormatUint(uint64(h.Weight), 10))
	t.put("region", h.Region)
	t.put("zone", h.Zone)
	t.put("sub_zone", h.SubZone)
	t.put("canary", strconv.FormatBool(h.Canary))
	t.put("priority", strconv.FormatUint(uint64(h.Priority), 10))
	t.put("success_rate", rate(h.SuccessRate, h.HasSuccessRate))
	t.put("local_origin_success_rate", rate(h.LocalOriginSuccessRate, h.HasLocalOriginRate))
}

func healthFlags(h *Host) string {
	if len(h.HealthFlags) == 0 {
		return "healthy"
	}
	return strings.Join(h.HealthFlags, "")
}

// rate formats a success rate; -1 stands for too little traffic to tell.
func rate(v float64, known bool) string {
	if !known {
		return "-1"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// oneLine makes control characters spaces.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// clustersJSON writes the JSON of envoy.admin.v3.Clusters. 64-bit numbers are strings, as
// protobuf's JSON has them.
func (s *Server) clustersJSON(w http.ResponseWriter, r *http.Request, re *regexp.Regexp) {
	j := newJSON(w, r, indented)
	defer j.done()
	j.object("")
	j.array("cluster_statuses")
	s.deps.Clusters(func(c *Cluster) bool {
		if re == nil || re.MatchString(c.Name) {
			j.cluster(c)
		}
		return j.spill()
	})
	j.end()
	j.end()
}

func (j *jsonPage) cluster(c *Cluster) {
	j.object("")
	j.str("name", c.Name)
	j.bool("added_via_api", c.AddedViaAPI)
	j.array("host_statuses")
	for i := range c.Hosts {
		j.host(&c.Hosts[i])
	}
	j.end()
	if o := c.Outlier; o != nil {
		j.percent("success_rate_ejection_threshold", o.SuccessRateThreshold)
		j.percent("local_origin_success_rate_ejection_threshold", o.LocalOriginSuccessRateThreshold)
	}
	j.object("circuit_breakers")
	j.array("thresholds")
	j.thresholds("DEFAULT", &c.Default)
	j.thresholds("HIGH", &c.High)
	j.end()
	j.end()
	j.str("observability_name", observabilityName(c))
	j.optional("eds_service_name", c.EDSServiceName)
	if a := c.Autoscaling; a != nil {
		j.object("autoscaling")
		j.uint("wanted_hosts", uint64(a.Wanted))
		j.uint("current_hosts", uint64(a.Current))
		j.str("metric", a.Metric)
		j.float("traffic", a.Traffic)
		j.float("target_per_host", a.TargetPerHost)
		j.end()
	}
	j.end()
}

// percent writes v as envoy.type.v3.Percent.
func (j *jsonPage) percent(key string, v float64) {
	j.object(key)
	j.float("value", v)
	j.end()
}

func (j *jsonPage) thresholds(priority string, b *Thresholds) {
	j.object("")
	j.str("priority", priority)
	j.uint("max_connections", b.MaxConnections)
	j.uint("max_pending_requests", b.MaxPendingRequests)
	j.uint("max_requests", b.MaxRequests)
	j.uint("max_retries", b.MaxRetries)
	j.end()
}

func (j *jsonPage) host(h *Host) {
	j.object("")
	j.address("address", h.Address)
	j.array("stats")
	for _, v := range hostValues {
		j.object("")
		j.str("name", v.key)
		j.str("value", strconv.FormatInt(v.get(h), 10))
		if v.gauge {
			j.str("type", "GAUGE")
		}
		j.end()
	}
	j.end()
	j.healthStatus(h)
	if h.HasSuccessRate {
		j.percent("success_rate", h.SuccessRate)
	}
	if h.HasLocalOriginRate {
		j.percent("local_origin_success_rate", h.LocalOriginSuccessRate)
	}
	j.uint("weight", uint64(h.Weight))
	j.str("hostname", h.Hostname)
	j.uint("priority", uint64(h.Priority))
	j.object("locality")
	j.optional("region", h.Region)
	j.optional("zone", h.Zone)
	j.optional("sub_zone", h.SubZone)
	j.end()
	j.end()
}

// healthStatus writes each flag as a member, as Envoy does: "/failed_active_hc" becomes
// "failed_active_health_check".
func (j *jsonPage) healthStatus(h *Host) {
	j.object("health_status")
	eds := "HEALTHY"
	for _, flag := range h.HealthFlags {
		switch flag {
		case "/failed_eds_health":
			eds = "UNHEALTHY"
		case "/degraded_eds_health":
			eds = "DEGRADED"
		case "/eds_status_draining":
			eds = "DRAINING"
		case "/failed_active_hc":
			j.bool("failed_active_health_check", true)
		case "/degraded_active_hc":
			j.bool("failed_active_degraded_check", true)
		default:
			j.bool(strings.TrimPrefix(flag, "/"), true)
		}
	}
	j.str("eds_health_status", eds)
	j.end()
}

// address writes an address as envoy.config.core.v3.Address.
func (j *jsonPage) address(key, address string) { j.protocolAddress(key, address, "") }

// protocolAddress is address with a protocol, which is left out if it is "".
func (j *jsonPage) protocolAddress(key, address, protocol string) {
	j.object(key)
	defer j.end()
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		j.object("pipe")
		j.str("path", path)
		j.end()
		return
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, "0"
	}
	n, _ := strconv.ParseUint(port, 10, 16) // a port that is no number is shown as 0
	j.object("socket_address")
	j.optional("protocol", protocol)
	j.str("address", host)
	j.uint("port_value", n)
	j.end()
}
