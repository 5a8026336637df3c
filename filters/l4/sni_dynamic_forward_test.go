package l4

import (
	"strings"
	"testing"

	"millrace/filters"
	"millrace/filters/accesslog"
)

func sniDynamicForwardConfig(star bool) *SNIDynamicForwardConfig {
	cfg := &SNIDynamicForwardConfig{StatPrefix: "egress", PortValue: 5432, Routes: []SNIRoute{
		{ServerNames: []string{"DB.example.com", "*.Example.com"}, Cluster: "db"},
		{ServerNames: []string{"*.eu.example.com"}, Cluster: "eu"},
	}}
	if star {
		cfg.Routes = append(cfg.Routes, SNIRoute{ServerNames: []string{"*"}, Cluster: "others"})
	}
	return cfg
}

func TestSNIDynamicForward(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, want, wantStar string }{
		{"db.example.com", "db", "db"},
		{"www.example.com", "db", "db"},
		{"a.b.example.com", "db", "db"},
		{"a.eu.example.com", "eu", "eu"},
		{"a.b.eu.example.com", "eu", "eu"},
		{"eu.example.com", "db", "db"},
		{"example.com", "", "others"},
		{".example.com", "", "others"}, // nothing below
		{"evilexample.com", "", "others"},
		{"db.example.com.evil.org", "", "others"},
		{"db.example.com.", "", "others"},
		{"x", "", "others"},
		{"", "", ""},
	} {
		for _, star := range []bool{false, true} {
			p := newFakeProcess(t)
			f := p.build(t, "sni_dynamic_forward_proxy", sniDynamicForwardConfig(star)).(filters.NewConnectionFilter)
			want := tt.want
			if star {
				want = tt.wantStar
			}
			c := newFakeConnection(nil)
			c.ServerName = tt.name
			v := f.OnNewConnection(c)
			wantStats, wantDetails := "total=1", ""
			switch {
			case tt.name == "":
				wantStats, wantDetails = "no_server_name=1 total=1", "sni_dynamic_forward_proxy_no_server_name"
			case want == "":
				wantStats, wantDetails = "no_route=1 total=1", "sni_dynamic_forward_proxy_no_route"
			case c.Metadata["envoy.upstream"]["dynamic_host"] != tt.name || c.Metadata["envoy.upstream"]["dynamic_port"] != "5432":
				t.Errorf("%q: metadata %v", tt.name, c.Metadata)
			}
			if (v == filters.NetworkContinue) != (want != "") || c.Cluster != want || c.Details != wantDetails || (c.Flags == accesslog.FlagNoRoute) != (want == "") {
				t.Errorf("%q with star %v: %v, cluster %q, details %q, flags %v; want cluster %q", tt.name, star, v, c.Cluster, c.Details, c.Flags, want)
			}
			if got := p.stats("sni_dynamic_forward_proxy.egress."); got != wantStats {
				t.Errorf("%q: stats %q, want %q", tt.name, got, wantStats)
			}
		}
	}
}

func TestSNIDynamicForwardConfig(t *testing.T) {
	t.Parallel()
	good := sniDynamicForwardConfig(true)
	if got := problems(good.Validate); got != "" {
		t.Errorf("Validate = %q", got)
	}
	refs := ""
	good.References(func(path, kind, name string) { refs += path + " " + kind + " " + name + "; " })
	if want := "routes[0].cluster cluster db; routes[1].cluster cluster eu; routes[2].cluster cluster others; "; refs != want {
		t.Errorf("References = %q, want %q", refs, want)
	}
	bad := SNIDynamicForwardConfig{Routes: []SNIRoute{
		{ServerNames: []string{"a.com", "", "*.", "*a.com", "a.*", "*..com", ".com", "a:1", "a/b", "a b"}},
		{ServerNames: []string{"A.com", "*.a.com", "*", "*"}},
	}}
	want := []string{
		`routes[0].server_names[1]: "" is not a server name`,
		`routes[0].server_names[2]: "*." is not a server name`,
		`routes[0].server_names[3]: "*a.com" is not a server name`,
		`routes[0].server_names[4]: "a.*" is not a server name`,
		`routes[0].server_names[5]: "*..com" is not a server name`,
		`routes[0].server_names[6]: ".com" is not a server name`,
		`routes[0].server_names[7]: "a:1" is not a server name`,
		`routes[0].server_names[8]: "a/b" is not a server name`,
		`routes[0].server_names[9]: "a b" is not a server name`,
		`routes[1].server_names[0]: server name "A.com" is also routes[0].server_names[0]`,
		`routes[1].server_names[3]: server name "*" is also routes[1].server_names[2]`,
	}
	if got := problems(bad.Validate); got != strings.Join(want, "\n") {
		t.Errorf("Validate =\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
