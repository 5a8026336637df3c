package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/codec"
)

// compileFormats compiles with the operator %REQ(name)%.
func compileFormats(t testing.TB, text string) (*Table, *formats) {
	t.Helper()
	f := new(formats)
	table, problems := Compile(parseConfig(t, text), clusters, f.new)
	if table == nil {
		t.Fatalf("Compile(%s) = %v", text, problems)
	}
	return table, f
}

func TestMutation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mutations string
		fields    []string
		want      []string
	}{
		{`"request_headers_to_add": [{"key": "X-B", "value": "2"}]`, []string{"x-a: 1"}, []string{"x-a: 1", "x-b: 2"}},
		{`"request_headers_to_add": [{"key": "x-a", "value": "2"}]`, []string{"X-A: 1"}, []string{"X-A: 1", "x-a: 2"}},
		{`"request_headers_to_add": [{"key": "x-a", "value": "2", "append_action": "add_if_absent"}]`, []string{"X-A: 1"}, []string{"X-A: 1"}},
		{`"request_headers_to_add": [{"key": "x-a", "value": "2", "append_action": "add_if_absent"}]`, nil, []string{"x-a: 2"}},
		{`"request_headers_to_add": [{"key": "x-a", "value": "2", "append_action": "overwrite_if_exists_or_add"}]`, []string{"X-A: 1", "b: 1", "x-a: 3"}, []string{"X-A: 2", "b: 1"}},
		{`"request_headers_to_add": [{"key": "x-a", "value": "2", "append_action": "overwrite_if_exists_or_add"}]`, nil, []string{"x-a: 2"}},
		{`"request_headers_to_add": [{"key": "x-a", "value": "2", "append_action": "overwrite_if_exists"}]`, []string{"x-a: 1"}, []string{"x-a: 2"}},
		{`"request_headers_to_add": [{"key": "x-a", "value": "2", "append_action": "overwrite_if_exists"}]`, nil, nil},
		{`"request_headers_to_add": [{"key": "user-agent", "value": "m", "append_action": "overwrite_if_exists"}]`, []string{"User-Agent: x"}, []string{"User-Agent: m"}},
		{`"request_headers_to_remove": ["X-A", "user-agent"]`, []string{"x-a: 1", "User-Agent: x", "X-a: 2", "b: 1"}, []string{"b: 1"}},
		// Removal comes first.
		{`"request_headers_to_remove": ["x-a"], "request_headers_to_add": [{"key": "x-a", "value": "2"}]`, []string{"x-a: 1"}, []string{"x-a: 2"}},
		{`"request_headers_to_remove": ["x-a"], "request_headers_to_add": [{"key": "x-a", "value": "2", "append_action": "overwrite_if_exists"}]`, []string{"x-a: 1"}, nil},
		// Empty values change nothing, unless kept.
		{`"request_headers_to_add": [{"key": "x-a", "append_action": "overwrite_if_exists_or_add"}]`, []string{"x-a: 1"}, []string{"x-a: 1"}},
		{`"request_headers_to_add": [{"key": "x-a", "append_action": "overwrite_if_exists_or_add", "keep_empty_value": true}]`, []string{"x-a: 1"}, []string{"x-a: "}},
		{`"request_headers_to_add": [{"key": "x-b", "value": "%REQ(x-none)%"}]`, nil, nil},
		{`"request_headers_to_add": [{"key": "x-b", "value": "%REQ(x-none)%", "keep_empty_value": true}]`, nil, []string{"x-b: "}},
		{`"request_headers_to_add": [{"key": "x-b", "value": "100%%"}]`, nil, []string{"x-b: 100%"}},
		// Values see the head as the level found it; overwrites come before additions.
		{`"request_headers_to_add": [{"key": "x-c", "value": "%REQ(x-a)%"}, {"key": "x-a", "value": "2", "append_action": "overwrite_if_exists_or_add"}, {"key": "x-d", "value": "%REQ(x-a)%"}]`,
			[]string{"x-a: 1"}, []string{"x-a: 2", "x-c: 1", "x-d: 1"}},
		{`"request_headers_to_add": [{"key": "user-agent", "value": "%REQ(x-a)%", "append_action": "overwrite_if_exists_or_add"}, {"key": "referer", "value": "%REQ(x-a)%"}]`,
			[]string{"x-a: 1", "User-Agent: y"}, []string{"x-a: 1", "User-Agent: 1", "referer: 1"}},
		{`"request_headers_to_add": [{"key": "x-a", "value": "%REQ(x-b)%", "append_action": "overwrite_if_exists_or_add"}]`, []string{"x-a: 1", "x-b: 2"}, []string{"x-a: 2", "x-b: 2"}},
	} {
		table, f := compileFormats(t, `{"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c1"}, `+tt.mutations+`}]}`)
		in := request("GET /", tt.fields...)
		f.head = in.Head
		table.Route(0).ApplyRequest(in.Head, 0, f)
		if got := fieldsOf(&in.Head.Fields); !slices.Equal(got, tt.want) {
			t.Errorf("%s of %q = %q; want %q", tt.mutations, tt.fields, got, tt.want)
		}
		// The same for a response.
		table, f = compileFormats(t, strings.ReplaceAll(`{"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c1"}, `+tt.mutations+`}]}`, "request_headers", "response_headers"))
		f.head = request("GET /", tt.fields...).Head
		var h codec.ResponseHead
		h.Reset()
		for _, line := range tt.fields {
			name, value, _ := strings.Cut(line, ": ")
			h.AddString(name, value)
		}
		table.Route(0).ApplyResponse(&h, 0, f)
		if got := fieldsOf(&h.Fields); !slices.Equal(got, tt.want) {
			t.Errorf("response: %s of %q = %q; want %q", tt.mutations, tt.fields, got, tt.want)
		}
	}
}

// TestMutationLevels: weighted cluster, route, virtual host, table; the other way round if the most specific wins.
func TestMutationLevels(t *testing.T) {
	t.Parallel()
	add := func(level string) string {
		return fmt.Sprintf(`"request_headers_to_add": [{"key": "x-level", "value": %q}, {"key": "x-last", "value": %q, "append_action": "overwrite_if_exists_or_add"},
			{"key": "x-first", "value": %q, "append_action": "add_if_absent"}]`, level, level, level)
	}
	text := `{"most_specific_header_mutations_wins": %v, ` + add("table") + `, "virtual_hosts": [{"name": "v", "domains": ["*"], ` + add("host") + `, "routes": [
		{"match": {"prefix": "/"}, ` + add("route") + `, "route": {"weighted_clusters": [{"name": "c1", ` + add("one") + `}, {"name": "c2", ` + add("two") + `}]}}]}]}`
	for _, tt := range []struct {
		wins        bool
		random      uint64
		levels      string
		first, last string
	}{
		{false, 0, "one route host table", "one", "table"},
		{false, 1, "two route host table", "two", "table"},
		{true, 1, "table host route two", "table", "two"},
	} {
		table := compile(t, fmt.Sprintf(text, tt.wins))
		in := request("GET /")
		table.Route(0).ApplyRequest(in.Head, tt.random, nil)
		var levels []string
		for _, v := range in.Head.Values("x-level", nil) {
			levels = append(levels, string(v))
		}
		if got := strings.Join(levels, " "); got != tt.levels {
			t.Errorf("wins %v, random %d: levels %s; want %s", tt.wins, tt.random, got, tt.levels)
		}
		if first, last := in.Head.Lookup("x-first"), in.Head.Lookup("x-last"); string(first) != tt.first || string(last) != tt.last {
			t.Errorf("wins %v, random %d: first %s, last %s; want %s, %s", tt.wins, tt.random, first, last, tt.first, tt.last)
		}
	}
}

// TestMutationSafe: no value computed from a request can add a line to a message.
func TestMutationSafe(t *testing.T) {
	t.Parallel()
	table, f := compileFormats(t, `{"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c1"},
		"request_headers_to_add": [{"key": "x-b", "value": "%REQ(x-a)%"}, {"key": "referer", "value": "%REQ(x-a)%"}]}]}`)
	table.Route(0).ApplyRequest(request("GET /").Head, 0, nil) // no Values: nothing happens
	in := request("GET /")
	table.Route(0).ApplyRequest(in.Head, 0, evil{f})
	if got, want := fieldsOf(&in.Head.Fields), []string{"x-b: a  x-evil: 1", "referer: a  x-evil: 1"}; !slices.Equal(got, want) {
		t.Errorf("fields %q; want %q", got, want)
	}
}

type evil struct{ *formats }

func (evil) Value(FormatID) []byte { return []byte("a\r\nx-evil: 1") }

func TestMutationMany(t *testing.T) {
	t.Parallel()
	var list []string
	for i := range mutationsPerLevel {
		list = append(list, fmt.Sprintf(`{"key": "x-%d", "value": "v"}`, i))
	}
	table := compileRoutes(t, `{"match": {"prefix": "/"}, "route": {"cluster": "c1"}, "request_headers_to_add": [`+strings.Join(list, ",")+`]}`)
	in := request("GET /")
	table.Route(0).ApplyRequest(in.Head, 0, nil)
	if got := len(fieldsOf(&in.Head.Fields)); got != mutationsPerLevel {
		t.Errorf("%d fields; want %d", got, mutationsPerLevel)
	}
}

func TestMutationAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	table, f := compileFormats(t, `{"request_headers_to_remove": ["x-gone"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c1"}, "request_headers_to_add": [
		{"key": "x-literal", "value": "a value that is longer than thirty-two bytes"}, {"key": "x-forwarded-port", "value": "%REQ(x-port)%"},
		{"key": "user-agent", "value": "m", "append_action": "overwrite_if_exists"}]}]}`)
	in := request("GET /x", "user-agent: curl", "x-gone: 1", "x-port: 8080")
	f.head = in.Head
	block := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		in.Head.Reset()
		in.Head.Own(block)
		in.Head.AddString("user-agent", "curl")
		in.Head.AddString("x-gone", "1")
		in.Head.AddString("x-port", "8080")
		table.Route(0).ApplyRequest(in.Head, 0, f)
	}); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}
