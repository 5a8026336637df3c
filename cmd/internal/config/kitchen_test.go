package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"millrace/filters"
)

// kitchen is a config with a field of every kind.
type kitchen struct {
	Bool     bool              `json:"bool" default:"true"`
	Int      int               `json:"int" default:"7" min:"-5" max:"100"`
	Uint8    uint8             `json:"uint8"`
	Uint32   uint32            `json:"uint32" min:"1" default:"3"`
	Int64    int64             `json:"int64"`
	Uint64   uint64            `json:"uint64"`
	Size     int               `json:"size" unit:"bytes" default:"64KiB" min:"1KiB" max:"1MiB"`
	Float    float64           `json:"float" min:"-1.5" max:"2.5"`
	Percent  float64           `json:"percent" unit:"percent" default:"50"`
	Name     string            `json:"name" v3:"some.other.label"`
	Policy   string            `json:"policy" enum:"round_robin,least_request,random" default:"random"`
	Timeout  time.Duration     `json:"timeout" default:"15s" max:"1h"`
	Words    []string          `json:"words" enum:"red,green,blue" max:"3"`
	Codes    []int             `json:"codes" min:"200" max:"599" default:"[502, 503]"`
	Prefix   netip.Prefix      `json:"prefix"`
	Mode     mode              `json:"mode" default:"0644"`
	Free     any               `json:"free"`
	FreeMap  map[string]any    `json:"free_map"`
	Labels   map[string]string `json:"labels"`
	Limits   map[string]limit  `json:"limits"`
	Limit    limit             `json:"limit"`
	Optional *limit            `json:"optional"`
	Default  *limit            `json:"default_limit" default:"{\"max\": 5}"`
	Maybe    *bool             `json:"maybe"`
	Host     host              `json:"host" default:"10.0.0.1"`
	Hosts    []host            `json:"hosts"`
	Tree     *node             `json:"tree"`
	Nodes    map[string]node   `json:"nodes" min:"1"`
	Pair     []host            `json:"pair" min:"1" max:"2"`
	Filters  []filters.Config  `json:"filters" filter:"http" default:"[{\"name\": \"router\"}]"`
	common

	Ignored int `json:"-"`
	private int
}

// common is embedded: its fields are the outer struct's.
type common struct {
	Shared string `json:"shared" default:"everyone"`
}

type limit struct {
	Max  int           `json:"max" default:"10" min:"0"`
	Per  time.Duration `json:"per" default:"1s" min:"1ms"`
	Tags []string      `json:"tags" default:"[\"a\"]"`
}

// host has a short form.
type host struct {
	IP     string   `json:"ip" required:"true"`
	Weight int      `json:"weight" default:"1" min:"1"`
	Notes  []string `json:"notes" default:"[\"none\"]"`
}

func (h *host) DecodeConfigString(s string) error {
	if _, err := netip.ParseAddr(s); err != nil {
		return fmt.Errorf("%q is not an IP address; write \"10.0.0.1\"", s)
	}
	h.IP = s
	return nil
}

// mode is read from a string only.
type mode struct{ bits uint16 }

func (m *mode) DecodeConfigString(s string) error {
	if _, err := fmt.Sscanf(s, "%o", &m.bits); err != nil {
		return errors.New("want octal digits, got " + quote(s))
	}
	return nil
}

func (m *mode) String() string { return fmt.Sprintf("%04o", m.bits) }

// node contains itself, and checks what tags cannot.
type node struct {
	Exact  *string `json:"exact"`
	Regex  *string `json:"regex"`
	Target string  `json:"target"`
	And    []node  `json:"and"`
}

func (n *node) Validate(report func(path, problem, hint string)) {
	if n.Exact != nil && n.Regex != nil {
		report("", "both exact and regex are given", "give one")
	}
	if n.Exact != nil && strings.Contains(*n.Exact, " ") {
		report("exact", "a space in "+quote(*n.Exact), "")
	}
	if len(n.And) > 1 && n.And[0].Exact != nil && n.And[1].Exact != nil && *n.And[0].Exact == *n.And[1].Exact {
		report("and[1].exact", "is that of and[0] again, and not of and[9]", "remove it")
	}
}

func (n *node) References(report func(path, kind, name string)) {
	if n.Target != "" {
		report("target", "cluster", n.Target)
	}
}

// hcm stands for the connection manager.
type hcm struct {
	StatPrefix string           `json:"stat_prefix" default:"ingress"`
	CodecType  string           `json:"codec_type" default:"auto" enum:"auto,http1"`
	Idle       time.Duration    `json:"stream_idle_timeout" default:"5m" max:"24h"`
	HeadersKB  int              `json:"max_request_headers_kb" default:"60" min:"1" max:"8192"`
	Match      *node            `json:"match"`
	HTTP       []filters.Config `json:"http_filters" filter:"http" default:"[{\"name\": \"router\"}]"`
}

// Validate finds fault with the order of its list, which the loader then leaves alone.
func (h *hcm) Validate(report func(path, problem, hint string)) {
	if len(h.HTTP) > 1 && h.HTTP[0].Name == "router" {
		report("http_filters[0]", "router is not last", "")
	}
}

// bufferConfig is the config of a filter with a required field.
type bufferConfig struct {
	MaxRequestBytes int `json:"max_request_bytes" unit:"bytes" required:"true" min:"1"`
}

// codeDefaults has a constructor that sets what its tags do not.
type codeDefaults struct {
	Status int `json:"status" default:"200"`
	Burst  int `json:"burst"`
}

func testRegistry() *Registry {
	r := NewRegistry()
	r.Add("network", "http_connection_manager", Filter{New: func() any { return new(hcm) }, Terminal: true})
	r.Add("network", "tcp_proxy", Filter{New: func() any { return new(node) }, Terminal: true})
	r.Add("network", "connection_limit", Filter{New: func() any { return &codeDefaults{Burst: 9} }})
	r.Add("listener", "everything", Filter{New: func() any { return new(kitchen) }, Doc: "Has every kind of field."})
	r.Add("http", "router", Filter{Terminal: true, Doc: "Forwards."})
	r.Add("http", "buffer", Filter{New: func() any { return new(bufferConfig) }})
	r.Add("http", "health_check", Filter{New: func() any { return &codeDefaults{Burst: 9} }})
	return r
}
