package admin

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The API that a HorizontalPodAutoscaler asks for external metrics.
//
// Source: k8s.io/metrics, pkg/apis/external_metrics/v1beta1.
const (
	metricsGroup     = "external.metrics.k8s.io"
	metricsVersion   = metricsGroup + "/v1beta1"
	metricsGroupPath = "/apis/" + metricsGroup
	metricsPath      = "/apis/" + metricsVersion
)

func offersMetrics(d *Deps) bool { return d.Autoscaling != nil }

// object is an object of JSON.
type object = map[string]any

// externalMetrics are the metrics there are.
var externalMetrics = []struct {
	name  string
	value func(*Autoscaling) float64
}{
	{"millrace_wanted_hosts", func(a *Autoscaling) float64 { return float64(a.Wanted) }},
	{"millrace_current_hosts", func(a *Autoscaling) float64 { return float64(a.Current) }},
	{"millrace_traffic", func(a *Autoscaling) float64 { return a.Traffic }},
}

// apis answers what is asked to find out what there is.
func (s *Server) apis(w http.ResponseWriter, r *http.Request) {
	version := object{"groupVersion": metricsVersion, "version": "v1beta1"}
	group := object{"name": metricsGroup, "versions": []object{version}, "preferredVersion": version}
	switch r.URL.Path {
	case "/apis":
		writeObject(w, http.StatusOK, object{"kind": "APIGroupList", "apiVersion": "v1", "groups": []object{group}})
	case metricsGroupPath:
		group["kind"], group["apiVersion"] = "APIGroup", "v1"
		writeObject(w, http.StatusOK, group)
	default:
		list := make([]object, len(externalMetrics))
		for i := range externalMetrics {
			list[i] = object{"name": externalMetrics[i].name, "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": []string{"get"}}
		}
		writeObject(w, http.StatusOK, object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": metricsVersion, "resources": list})
	}
}

// externalMetric is one metric of the clusters that labelSelector chooses. There are no namespaces here: any will do.
func (s *Server) externalMetric(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, metricsPath+"/"), "/")
	i := -1
	if len(parts) == 3 && parts[0] == "namespaces" && parts[1] != "" {
		for at := range externalMetrics {
			if externalMetrics[at].name == parts[2] {
				i = at
			}
		}
	}
	if i < 0 {
		writeStatus(w, http.StatusNotFound, "NotFound", "there is no such metric")
		return
	}
	text := r.URL.Query().Get("labelSelector")
	if len(text) > filterBytesMax {
		writeStatus(w, http.StatusBadRequest, "BadRequest", "labelSelector is too long")
		return
	}
	selector, err := parseSelector(text)
	if err != nil {
		writeStatus(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	items, now := []object{}, time.Now().UTC().Format(time.RFC3339)
	s.deps.Autoscaling(func(cluster string, a *Autoscaling) bool {
		labels := map[string]string{"cluster": cluster, "metric": a.Metric}
		if selector.matches(labels) {
			items = append(items, object{"metricName": externalMetrics[i].name, "metricLabels": labels, "timestamp": now, "value": quantity(externalMetrics[i].value(a))})
		}
		return true
	})
	writeObject(w, http.StatusOK, object{"kind": "ExternalMetricValueList", "apiVersion": metricsVersion, "metadata": object{}, "items": items})
}

// quantity writes a number as Kubernetes does: "3", or in thousandths "2500m".
func quantity(v float64) string {
	if v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	m := strconv.FormatFloat(math.Round(v*1000), 'f', 0, 64)
	if whole, ok := strings.CutSuffix(m, "000"); ok {
		return whole
	}
	return m + "m"
}

func writeStatus(w http.ResponseWriter, code int, reason, message string) {
	writeObject(w, code, object{"kind": "Status", "apiVersion": "v1", "metadata": object{}, "status": "Failure", "reason": reason, "message": message, "code": code})
}

func writeObject(w http.ResponseWriter, code int, o object) {
	text, err := json.Marshal(o)
	if err != nil {
		panic("BUG: admin: " + err.Error()) // texts and numbers
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n'))
}

// requirement is what a label has to be.
type requirement struct {
	key    string
	exists bool     // any value, or none with not
	values []string // one of them
	not    bool
}

type selector []requirement

func (s selector) matches(labels map[string]string) bool {
	return !slices.ContainsFunc(s, func(r requirement) bool {
		v, has := labels[r.key]
		return (has && (r.exists || slices.Contains(r.values, v))) == r.not
	})
}

// parseSelector reads "a=b,c!=d,e in (f,g),h notin (i),j,!k".
func parseSelector(text string) (list selector, err error) {
	for rest := strings.TrimSpace(text); rest != ""; {
		var part string
		end := strings.IndexByte(rest, ',')
		if open := strings.IndexByte(rest, '('); open >= 0 && (end < 0 || open < end) {
			shut := strings.IndexByte(rest, ')')
			if shut < open {
				return nil, fmt.Errorf("labelSelector: no ) in %q", rest)
			}
			if end = strings.IndexByte(rest[shut:], ','); end >= 0 {
				end += shut
			}
		}
		if part, rest = rest, ""; end >= 0 {
			part, rest = part[:end], strings.TrimSpace(part[end+1:])
		}
		r, ok := parseRequirement(strings.TrimSpace(part))
		if !ok {
			return nil, fmt.Errorf("labelSelector: %q is not understood", part)
		}
		list = append(list, r)
	}
	return list, nil
}

func parseRequirement(part string) (r requirement, ok bool) {
	if head, set, found := strings.Cut(part, "("); found {
		words := strings.Fields(head)
		set, closed := strings.CutSuffix(set, ")")
		if len(words) != 2 || words[1] != "in" && words[1] != "notin" || !closed {
			return r, false
		}
		for v := range strings.SplitSeq(set, ",") {
			r.values = append(r.values, strings.TrimSpace(v))
		}
		r.key, r.not = words[0], words[1] == "notin"
		return r, true
	}
	for _, op := range []string{"!=", "==", "="} {
		if key, value, found := strings.Cut(part, op); found {
			r = requirement{key: strings.TrimSpace(key), values: []string{strings.TrimSpace(value)}, not: op == "!="}
			return r, r.key != "" && !strings.ContainsAny(r.values[0], "=! ")
		}
	}
	r.key, r.not = strings.CutPrefix(part, "!")
	r.exists = true
	return r, r.key != "" && !strings.ContainsAny(r.key, "! ()")
}
