package config

import (
	"os"
	"strings"
	"testing"
	"time"
)

func loadErrors(text []byte) Errors {
	_, errs := Load("edge.json", text, testRegistry())
	return errs
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	const hcmFilters = `"filters": [{"name": "http_connection_manager"}]`
	runErrorCases(t, []errorCase{
		{"unknown cluster, near", `{"listeners": [{"address": ":80", "filters": [{"name": "http_connection_manager", "config": {"match": {"target": "wbe"}}}]}],
 "clusters": [{"name": "api"}, {"name": "web"}]}`,
			`edge.json:1:114: listeners[0].filters[0].config.match.target: unknown cluster "wbe"; did you mean "web"? (clusters[1].name at edge.json:2:41)`},
		{"unknown cluster, far", `{"listeners": [{"address": ":80", "filters": [{"name": "tcp_proxy", "config": {"and": [{"target": "search"}]}}]}],
 "clusters": [{"name": "api"}, {"name": "web"}]}`,
			`edge.json:1:99: listeners[0].filters[0].config.and[0].target: unknown cluster "search"; known are "api" or "web" (clusters are defined at edge.json:2:14)`},
		{"no clusters", `{"listeners": [{"address": ":80", "filters": [{"name": "tcp_proxy", "config": {"target": "web"}}]}]}`,
			`edge.json:1:90: listeners[0].filters[0].config.target: unknown cluster "web"; the file defines no clusters`},
		{"no echo of a broken cluster", `{"listeners": [{"address": ":80", "filters": [{"name": "tcp_proxy", "config": {"target": "web"}}]}],
 "clusters": [{"nmae": "web"}]}`,
			`edge.json:2:16: clusters[0].nmae: unknown field; did you mean "name"?`},
		{"no echo of broken clusters", `{"listeners": [{"address": ":80", "filters": [{"name": "tcp_proxy", "config": {"target": "web"}}]}],
 "clusters": {}}`,
			`edge.json:2:14: clusters: want an array, got an object`},
		{"clusters defined twice", `{"clusters": [{"name": "web"}, {"name": "api"},
 {"name": "web"}]}`,
			`edge.json:2:11: clusters[2].name: cluster "web" is defined twice (clusters[0].name at edge.json:1:24)`},
		{"zones without proxies", `{"clusters": [{"name": "web", "zone_aware_lb_config": {}}]}`,
			`edge.json:1:55: warning: clusters[0].zone_aware_lb_config: has no effect: nothing says which proxies there are; set "cluster_manager": {"local_cluster_name": ...} and "node": {"locality": ...}`},
		{"one address twice", `{"listeners": [{"address": "127.0.0.1:80", ` + hcmFilters + `},
 {"address": "127.0.0.1:80", ` + hcmFilters + `}]}`,
			`edge.json:2:14: listeners[1].address: address "127.0.0.1:80" is taken (listeners[0].address at edge.json:1:28)`},
		{"one address in two spellings", `{"listeners": [{"address": "[::1]:080", ` + hcmFilters + `},
 {"address": "[0:0::1]:80", "name": "b", ` + hcmFilters + `}]}`,
			`edge.json:2:14: listeners[1].address: address "[0:0::1]:80" is taken (listeners[0].address at edge.json:1:28)`},
		{"all addresses and one family", `{"listeners": [{"address": ":80", ` + hcmFilters + `},
 {"address": "0.0.0.0:80", ` + hcmFilters + `}]}`,
			`edge.json:2:14: listeners[1].address: address "0.0.0.0:80" is taken (listeners[0].address at edge.json:1:28)`},
		{"unix twice", `{"listeners": [{"address": "unix:@a", ` + hcmFilters + `},
 {"address": "unix:@a", ` + hcmFilters + `}]}`,
			`edge.json:2:14: listeners[1].address: address "unix:@a" is taken (listeners[0].address at edge.json:1:28)`},
		{"the admin port's address", `{"admin": {"address": "127.0.0.1:80"}, "listeners": [
 {"address": "127.0.0.1:80", ` + hcmFilters + `}]}`,
			`edge.json:2:14: listeners[0].address: address "127.0.0.1:80" is taken (admin.address at edge.json:1:23)`},
		{"the admin port's default address", `{"admin": {}, "listeners": [
 {"address": "127.0.0.1:9901", ` + hcmFilters + `}]}`,
			`edge.json:2:14: listeners[0].address: address "127.0.0.1:9901" is taken (admin.address at edge.json:1:11)`},
		{"one name twice", `{"listeners": [{"name": "a", "address": ":80", ` + hcmFilters + `},
 {"name": "a", "address": ":81", ` + hcmFilters + `}]}`,
			`edge.json:2:11: listeners[1].name: listener "a" is defined twice (listeners[0].name at edge.json:1:25)`},
		{"a name that is another's address", `{"listeners": [{"name": ":81", "address": ":80", ` + hcmFilters + `},
 {"address": ":81", ` + hcmFilters + `}]}`,
			`edge.json:2:14: listeners[1].address: listener ":81" is defined twice (listeners[0].name at edge.json:1:25)`},
		{"addresses", `{"admin": {"address": "localhost:1"}, "listeners": [{"address": "80", ` + hcmFilters + `}, {"address": "::1:80", ` + hcmFilters + `}]}`, `
			edge.json:1:23: admin.address: address "localhost:1": "localhost" is not an IP address; names are not resolved here, write the address
			edge.json:1:65: listeners[0].address: address "80" is a port alone; write ":80"
			edge.json:1:134: listeners[1].address: address "::1:80": an IPv6 address needs brackets; write "[::1]:80"`},
		{"no filters", `{"listeners": [{"address": ":80"}, {"address": ":81", "filter_chains": [{"filters": []}]}]}`, `
			edge.json:1:16: listeners[0]: listener has no filters; give "filters", or entries in "filter_chains"
			edge.json:1:85: listeners[1].filter_chains[0].filters: filter chain has no filters`},
		{"both forms of filters", `{"listeners": [{"address": ":80", ` + hcmFilters + `, "filter_chains": [{` + hcmFilters + `}]}]}`,
			`edge.json:1:46: listeners[0].filters: stands beside filter_chains; give one of the two`},
		{"a chain that does not end", `{"listeners": [{"address": ":80", "filters": [{"name": "connection_limit"}]}]}`,
			`edge.json:1:56: listeners[0].filters[0].name: the last filter must end the chain, and "connection_limit" does not; put last "http_connection_manager" or "tcp_proxy"`},
		{"an order that a struct refuses itself", `{"listeners": [{"address": ":80", "filters": [{"name": "http_connection_manager", "config": {"http_filters": [{"name": "router"}, {"name": "health_check"}]}}]}]}`,
			`edge.json:1:111: listeners[0].filters[0].config.http_filters[0]: router is not last`},
		{"keepalive", `{"listeners": [{"address": ":80", "tcp_keepalive": {"keepalive_time": "1500ms", "keepalive_interval": "10h"}, ` + hcmFilters + `}]}`, `
			edge.json:1:71: listeners[0].tcp_keepalive.keepalive_time: 1.5s is not a number of whole seconds
			edge.json:1:103: listeners[0].tcp_keepalive.keepalive_interval: "10h" is out of range 0s to 9h`},
		{"what is not there yet", `{"runtime": {}, "listeners": [{"address": ":80", "tracing": {}, ` + hcmFilters + `}]}`, `
			edge.json:1:2: runtime: unknown field; not supported yet: runtime values
			edge.json:1:50: listeners[0].tracing: unknown field; not supported yet: tracing`},
		{"everything at once", `{
  // Six mistakes, one run.
  "listners": 1,
  "listeners": [
    {"name": "a", "address": ":80", "filters": [{"name": "http_connection_manager",
      "config": {"stat_prefix": 1, "codec_type": "http2", "match": {"target": "web"}}}]},
    {"name": "a", "address": ":81", "filter_chains": [{"filters": [{"name": "tcp_proxy"}]}]},
  ],
  "clusters": [{"name": "web1", "hosts": ["a:1"]}, /* trailing */],
}`, `
			edge.json:3:3: listners: unknown field; "listeners" is given already
			edge.json:6:33: listeners[0].filters[0].config.stat_prefix: want a string, got 1; put it in quotes
			edge.json:6:50: listeners[0].filters[0].config.codec_type: unknown value "http2"; did you mean "http1"?
			edge.json:6:79: listeners[0].filters[0].config.match.target: unknown cluster "web"; did you mean "web1"? (clusters[0].name at edge.json:9:25)
			edge.json:7:14: listeners[1].name: listener "a" is defined twice (listeners[0].name at edge.json:5:14)
			edge.json:9:43: clusters[0].hosts[0].address: "a:1" is a name, not an address; "type": "strict_dns" resolves names`},
	}, loadErrors)
}

func TestLoad(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/edge.json")
	if err != nil {
		t.Fatal(err)
	}
	c, errs := Load("edge.json", text, testRegistry())
	if errs != nil {
		t.Fatalf("Load = %v", errs)
	}
	l := &c.Listeners[0]
	manager, ok := l.FilterChains[0].Filters[0].Config.(*hcm)
	switch {
	case !ok || manager.StatPrefix != "edge" || manager.Idle != 5*time.Minute || len(manager.HTTP) != 2:
		t.Errorf("config of the connection manager = %+v", l.FilterChains[0].Filters[0].Config)
	case l.PerConnectionBufferLimitBytes != 256<<10 || !l.EnableReusePort || l.DrainType != "default":
		t.Errorf("listener = %+v", l)
	case l.TCPKeepalive.KeepaliveTime != time.Minute || c.DrainTime != 600*time.Second || c.Concurrency != 2:
		t.Errorf("config = %+v", c)
	}
}

func TestLoadShortForms(t *testing.T) {
	t.Parallel()
	short := `{"listeners": [{"address": ":80", "filters": [{"name": "tcp_proxy"}]}]}`
	long := `{"listeners": [{"address": ":80", "name": ":80", "filter_chains": [{"filters": [{"config": {}, "name": "tcp_proxy"}]}]}]}`
	a, errs := Load("a", []byte(short), testRegistry())
	b, errsB := Load("b", []byte(long), testRegistry())
	if errs != nil || errsB != nil {
		t.Fatal(errs, errsB)
	}
	if got, want := string(Marshal(a)), string(Marshal(b)); got != want || Hash(a) != Hash(b) {
		t.Errorf("the short form becomes\n%s\nwant\n%s", got, want)
	}
}

func TestLoadAdmin(t *testing.T) {
	t.Parallel()
	if c, _ := Load("a", []byte(`{}`), nil); c == nil || c.Admin != nil {
		t.Errorf("Load({}) has the admin port %v; want none", c)
	}
	if c, _ := Load("a", []byte(`{"admin": {}}`), nil); c == nil || c.Admin.Address != "127.0.0.1:9901" {
		t.Errorf("Load with an empty admin block = %+v; want the default address", c)
	}
}

// Port 0 takes a free port, so two listeners may both ask for it.
func TestLoadFreePorts(t *testing.T) {
	t.Parallel()
	in := `{"listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": [{"name": "tcp_proxy"}]},
		{"name": "b", "address": "127.0.0.1:0", "filters": [{"name": "tcp_proxy"}]}]}`
	if _, errs := Load("a", []byte(in), testRegistry()); errs != nil {
		t.Errorf("Load with port 0 twice: %v", errs)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	load := func(in string) *Config {
		t.Helper()
		c, errs := Load("a", []byte(in), testRegistry())
		if errs != nil {
			t.Fatal(errs)
		}
		return c
	}
	const tail = `"hosts": ["10.0.0.1:80"]}]}`
	base := load(`{"clusters": [{"name": "web", ` + tail)
	same := load(`{"clusters": [{"lb_policy": "round_robin", "connect_timeout": "5000ms", "name": "web", ` + tail)
	other := load(`{"clusters": [{"name": "web", "connect_timeout": "6s", ` + tail)
	if Hash(base.Clusters[0]) != Hash(same.Clusters[0]) || Hash(&base.Clusters[0]) != Hash(base.Clusters[0]) {
		t.Errorf("Hash differs where only spelling does:\n%s\n%s", Marshal(base), Marshal(same))
	}
	if Hash(base.Clusters[0]) == Hash(other.Clusters[0]) {
		t.Errorf("Hash is the same for\n%s\n%s", Marshal(base), Marshal(other))
	}
	// The hash must not change from run to run: a successor process compares with it.
	if got, want := Hash(&limit{Max: 3, Per: time.Second}), Hash(&limit{Max: 3, Per: 1e9}); got != want || got != 0xbf06d0b140afe118 {
		t.Errorf("Hash = %#x; want 0xbf06d0b140afe118", got)
	}
}

// Decoding canonical text gives the part again.
func TestMarshalRoundTrip(t *testing.T) {
	t.Parallel()
	in := `{"bool": false, "mode": "0700", "prefix": "10.0.0.0/8", "timeout": "59m60s", "codes": [], "words": ["red"],
		"float": 0.1, "free": {"b": [1, null], "a": "x"}, "labels": {"z": "1", "a": "2"}, "limits": {"l": {"tags": []}},
		"maybe": false, "hosts": ["::1"], "tree": {"and": [{"exact": ""}]}, "optional": {},
		"filters": [{"name": "buffer", "config": {"max_request_bytes": 1}}, {"name": "router"}]}`
	var k kitchen
	if errs := Decode("f", []byte(in), &k, testRegistry()); errs != nil {
		t.Fatal(errs)
	}
	text := Marshal(&k)
	var again kitchen
	if errs := Decode("f", text, &again, testRegistry()); errs != nil {
		t.Fatalf("Decode of canonical %s: %v", text, errs)
	}
	if got := Marshal(&again); string(got) != string(text) {
		t.Errorf("canonical text changes:\n%s\n%s", text, got)
	}
	if strings.Contains(string(text), "null,") || !strings.Contains(string(text), `"timeout":"1h"`) {
		t.Errorf("canonical text = %s", text)
	}
}
