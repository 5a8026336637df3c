package config

import (
	"reflect"
	"strings"
	"testing"
)

// Every field of every struct that a file can reach has a row.
func TestReferenceHasTheFields(t *testing.T) {
	t.Parallel()
	reg := testRegistry()
	page := string(Reference(reg))
	for _, p := range reachable(reg, reflect.TypeFor[Config](), reflect.TypeFor[kitchen]()) {
		for _, f := range p.fields {
			if !strings.Contains(page, "\n| `"+f.name+"` | ") {
				t.Errorf("the page has no row for %s.%s", p.typ, f.name)
			}
		}
	}
	for _, want := range []string{
		"| `drain_time` | duration | `\"600s\"` | 0s to 24h | How long a removed listener",
		"| `drain_type` | string | `\"default\"` | `default`, `modify_only` |",
		"| `address` | string | required | ",
		"| `per_connection_buffer_limit_bytes` | size | `\"1MiB\"` | 1KiB to 1GiB |",
		"| `tcp_keepalive` | [object](#listenerstcp_keepalive) | absent |",
		"\n## `listeners.tcp_keepalive`\n\nHow silent connections are probed.",
		"| enable_reuse_port gives each loop",
		"\n## Listener filter `everything`\n\nHas every kind of field.\n",
		"| `percent` | percent | `50` | 0 to 100 |",
		"| `pair` | list of [object](#everythinghost) | `[]` | 1 to 2 elements |",
		"| `nodes` | map to [object](#network-filter-tcp_proxy) | `{}` | at least 1 elements |",
		"| `codes` | list of integer | `[502, 503]` | 200 to 599 |",
		"| `words` | list of string | `[]` | `red`, `green`, `blue` |",
		"| `name` | string | `\"\"` |  |  | `some.other.label` |",
		"A string may stand for the object.",
		"\n## HTTP filter `router`\n\nForwards. It has no config.",
		"| `http_filters` | list of http filters | `[{\"name\": \"router\"}]` |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 7 {
			t.Errorf("a row has the wrong number of cells: %s", line)
		}
	}
}

// Each top-level field of our own structs is described.
func TestFieldsHaveDocs(t *testing.T) {
	t.Parallel()
	for _, p := range reachable(NewRegistry(), reflect.TypeFor[Config]()) {
		for i := range p.fields {
			if f := &p.fields[i]; f.doc() == "" && strings.HasPrefix(p.typ.PkgPath(), "millrace/") {
				t.Errorf("%s.%s has no comment; write one and run go generate ./cmd/internal/config", p.typ, f.goName)
			}
		}
	}
}

func TestPlainDoc(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"DrainTime is how long.", "How long."},
		{"DrainTime are the times.", "The times."},
		{"DrainTime bounds it.", "drain_time bounds it."},
		{"DrainTime of it.", "DrainTime of it."},
		{"DrainTime such as 5s.", "DrainTime such as 5s."},
		{"How long.", "How long."},
		{"DrainTimes.", "DrainTimes."},
		{"", ""},
	} {
		if got := plainDoc(tt.in, "DrainTime", "drain_time"); got != tt.want {
			t.Errorf("plainDoc(%q) = %q; want %q", tt.in, got, tt.want)
		}
	}
	if got := plainDoc("CircuitBreakers bound it.", "CircuitBreakers", "circuit_breakers"); got != "circuit_breakers bound it." {
		t.Errorf("plainDoc of a plural = %q", got)
	}
	if got := plainDoc("Node holds it.", "Node", "this"); got != "This holds it." {
		t.Errorf("plainDoc of a struct = %q", got)
	}
}
