package accesslog

import (
	"strings"
	"testing"
)

func str(s string) *string { return &s }

func TestFilter(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	status := func(op string, v uint32) FilterConfig { return FilterConfig{StatusCode: &Comparison{op, v}} }
	for _, tt := range []struct {
		name string
		cfg  *FilterConfig
		want bool
	}{
		{"none", nil, true},
		{"status eq", &FilterConfig{StatusCode: &Comparison{"eq", 200}}, true},
		{"status ge", &FilterConfig{StatusCode: &Comparison{"ge", 201}}, false},
		{"status le", &FilterConfig{StatusCode: &Comparison{"le", 200}}, true},
		{"status ne", &FilterConfig{StatusCode: &Comparison{"ne", 200}}, false},
		{"duration", &FilterConfig{Duration: &Comparison{"ge", 17}}, true},
		{"duration below", &FilterConfig{Duration: &Comparison{"ge", 18}}, false},
		{"not health check", &FilterConfig{NotHealthCheck: &struct{}{}}, true},
		{"any flag", &FilterConfig{ResponseFlags: &FlagsConfig{}}, false},
		{"header", &FilterConfig{Header: &HeaderConfig{Name: "X-Tenant"}}, true},
		{"header absent", &FilterConfig{Header: &HeaderConfig{Name: "x-tenant", Present: &no}}, false},
		{"header inverted", &FilterConfig{Header: &HeaderConfig{Name: "x-tenant", Present: &yes, InvertMatch: true}}, false},
		{"header exact", &FilterConfig{Header: &HeaderConfig{Name: "x-tenant", Exact: str("blue")}}, true},
		{"header exact, not", &FilterConfig{Header: &HeaderConfig{Name: "x-tenant", Exact: str("Blue")}}, false},
		{"header not exact", &FilterConfig{Header: &HeaderConfig{Name: "x-tenant", Exact: str("red"), InvertMatch: true}}, true},
		{"header not exact, absent", &FilterConfig{Header: &HeaderConfig{Name: "x-none", Exact: str("red"), InvertMatch: true}}, false},
		{"header prefix", &FilterConfig{Header: &HeaderConfig{Name: ":path", Prefix: str("/shop/")}}, true},
		{"header suffix", &FilterConfig{Header: &HeaderConfig{Name: ":path", Suffix: str("/shop/")}}, false},
		{"header contains", &FilterConfig{Header: &HeaderConfig{Name: ":authority", Contains: str("example")}}, true},
		{"sample all", &FilterConfig{Sample: &SampleConfig{100}}, true},
		{"sample none", &FilterConfig{Sample: &SampleConfig{0}}, false},
		{"and", &FilterConfig{And: []FilterConfig{status("ge", 200), status("le", 299)}}, true},
		{"and, not", &FilterConfig{And: []FilterConfig{status("ge", 200), status("ge", 299)}}, false},
		{"or", &FilterConfig{Or: []FilterConfig{status("ge", 500), status("eq", 200)}}, true},
		{"or, not", &FilterConfig{Or: []FilterConfig{status("ge", 500), status("eq", 404)}}, false},
	} {
		f, err := newFilter(tt.cfg)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := f.match(newRecord()); got != tt.want {
			t.Errorf("%s: match = %v; want %v", tt.name, got, tt.want)
		}
		f.match(&Record{}) // a stream without a request must not panic
	}
}

func TestFilterFlagsAndHealthCheck(t *testing.T) {
	t.Parallel()
	r := newRecord()
	r.Flags, r.HealthCheck = FlagUpstreamConnectionFailure|FlagUpstreamRetryLimitExceeded, true
	for _, tt := range []struct {
		cfg  FilterConfig
		want bool
	}{
		{FilterConfig{ResponseFlags: &FlagsConfig{}}, true},
		{FilterConfig{ResponseFlags: &FlagsConfig{[]string{"NR", "UF"}}}, true},
		{FilterConfig{ResponseFlags: &FlagsConfig{[]string{"NR"}}}, false},
		{FilterConfig{NotHealthCheck: &struct{}{}}, false},
	} {
		f, _ := newFilter(&tt.cfg)
		if got := f.match(r); got != tt.want {
			t.Errorf("match of %+v = %v; want %v", tt.cfg, got, tt.want)
		}
	}
}

// TestFilterSample: the share is met, also for numbers that only count up.
func TestFilterSample(t *testing.T) {
	t.Parallel()
	f, _ := newFilter(&FilterConfig{Sample: &SampleConfig{Percent: 10}})
	r, n := newRecord(), 0
	for i := range uint64(10000) {
		if r.StreamID = i; f.match(r) {
			n++
		}
	}
	if n < 900 || n > 1100 {
		t.Errorf("a sample of 10%% took %d of 10000", n)
	}
}

func TestFilterValidate(t *testing.T) {
	t.Parallel()
	deep := FilterConfig{NotHealthCheck: &struct{}{}}
	for range FilterDepthMax {
		deep = FilterConfig{And: []FilterConfig{deep, deep}}
		deep.And[1] = FilterConfig{NotHealthCheck: &struct{}{}}
	}
	for _, tt := range []struct {
		cfg  FilterConfig
		want string
	}{
		{FilterConfig{NotHealthCheck: &struct{}{}}, ""},
		{FilterConfig{}, "no filter is given"},
		{FilterConfig{NotHealthCheck: &struct{}{}, Sample: &SampleConfig{1}}, "2 filters are given"},
		{FilterConfig{Or: []FilterConfig{{}}}, "one filter alone"},
		{deep, "nested deeper than 16"},
	} {
		var got []string
		tt.cfg.Validate(func(_, problem, _ string) { got = append(got, problem) })
		if s := strings.Join(got, "|"); tt.want == "" && s != "" || !strings.Contains(s, tt.want) {
			t.Errorf("Validate = %q; want %q", s, tt.want)
		}
	}
	var got []string
	report := func(path, problem, _ string) { got = append(got, path+": "+problem) }
	(&FlagsConfig{[]string{"UF", "XX"}}).Validate(report)
	(&HeaderConfig{Name: "a b"}).Validate(report)
	(&HeaderConfig{Name: "a", Exact: str(""), Prefix: str("")}).Validate(report)
	want := `flags[1]: unknown response flag "XX"|name: "a b" is not the name of a field|: 2 matches are given`
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("Validate = %q; want %q", s, want)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for i := range flagNames {
		if f, ok := ParseFlag(flagNames[i].short); !ok || f.String() != flagNames[i].short {
			t.Errorf("ParseFlag(%q) = %v, %v", flagNames[i].short, f, ok)
		}
	}
	if n := Flags(1) << len(flagNames); n != flagsEnd {
		t.Errorf("%d names for flags up to %#x", len(flagNames), flagsEnd)
	}
	f := FlagNoRoute | FlagUpstreamOverflow | FlagUnconditionalDropOverload | flagsEnd
	if got, want := string(f.AppendShort([]byte("x"))), "xUO,NR,UDO"; got != want {
		t.Errorf("AppendShort = %q; want %q", got, want)
	}
	if got, want := string(f.AppendLong(nil)), "UpstreamOverflow,NoRouteFound,UnconditionalDropOverload"; got != want {
		t.Errorf("AppendLong = %q; want %q", got, want)
	}
}
