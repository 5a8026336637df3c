package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestAutoscaling: load raises the number of hosts wanted, its end lowers it; the webhook, which refuses the first time,
// and the command are told, and Kubernetes would be.
func TestAutoscaling(t *testing.T) {
	t.Parallel()
	host := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") })
	var mu sync.Mutex
	var told []map[string]any
	refused := false
	hook := origin(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !refused {
			refused = true
			w.WriteHeader(503)
			return
		}
		var m map[string]any
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || r.Method != "POST" {
			t.Errorf("%s: %v", r.Method, err)
		}
		told = append(told, m)
	})
	file := filepath.Join(t.TempDir(), "told")
	p := startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", "hosts": ["`+host+`"], "autoscaling": {"target_per_host": 10, "window": "1s", "max_hosts": 4,
		"scale_down_stabilization": "300ms", "webhook": {"url": "http://`+hook+`/scale", "retry_base_interval": "10ms"},
		"command": {"argv": ["/bin/sh", "-c", "echo $MILLRACE_CLUSTER $MILLRACE_PREVIOUS_WANTED_HOSTS $MILLRACE_WANTED_HOSTS >> `+file+`"]}}}]}`)
	p.wantStat("cluster.c.autoscaling.wanted_hosts", 1)
	stop := traffic(t, p.url("/"))
	p.wantStat("cluster.c.autoscaling.wanted_hosts", 4)
	p.wantStat("cluster.c.autoscaling.webhook_success", 1)
	p.wantStat("cluster.c.autoscaling.command_success", 1)
	if page := p.adminGet("/clusters"); !strings.Contains(page, "c::autoscaling::wanted_hosts::4\n") {
		t.Errorf("/clusters:\n%s", page)
	}
	const metric = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/millrace_wanted_hosts?labelSelector="
	if page := p.adminGet(metric + "cluster%3Dc"); !strings.Contains(page, `"value":"4"`) {
		t.Errorf("metric: %s", page)
	}
	if page := p.adminGet(metric + "cluster%21%3Dc"); !strings.Contains(page, `"items":[]`) {
		t.Errorf("metric of other clusters: %s", page)
	}
	if _, bad := stop(); bad != "" {
		t.Error(bad)
	}
	p.wantStat("cluster.c.autoscaling.wanted_hosts", 1)
	lines := ""
	if !eventually(func() bool { b, _ := os.ReadFile(file); lines = string(b); return strings.HasSuffix(lines, " 1\n") }) || !strings.HasPrefix(lines, "c 1 ") {
		t.Errorf("the command was told %q", lines)
	}
	eventually(func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) > 1 && told[len(told)-1]["wanted_hosts"] == 1.0
	})
	mu.Lock()
	defer mu.Unlock()
	if len(told) < 2 || told[0]["cluster"] != "c" || told[len(told)-1]["wanted_hosts"] != 1.0 {
		t.Errorf("the webhook was told %v", told)
	}
	if n := p.stat("cluster.c.autoscaling.webhook_retry"); n < 1 {
		t.Errorf("%d tries were made again, want some", n)
	}
}

// driveAutoscalingExample checks what is told of the cluster.
func driveAutoscalingExample(t *testing.T, p *proxy) {
	p.wantStat("cluster.shop.autoscaling.wanted_hosts", 2)
	p.wantStat("cluster.shop.autoscaling.current_hosts", 2)
	if page := p.adminGet("/apis/external.metrics.k8s.io/v1beta1"); !strings.Contains(page, `"millrace_wanted_hosts"`) {
		t.Error(page)
	}
}
