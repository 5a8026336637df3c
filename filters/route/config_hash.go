package route

import (
	"fmt"
	"strings"
	"time"
)

// HashPolicyConfig is one thing that a request is hashed by, for the policies "ring_hash" and "maglev": exactly one of
// header, cookie, query_parameter and source_ip.
type HashPolicyConfig struct {
	// Header hashes the value of a request header. Values of a repeated one are joined with ",".
	Header *HashHeaderConfig `json:"header"`
	// Cookie hashes the value of a cookie.
	Cookie *HashCookieConfig `json:"cookie"`
	// QueryParameter hashes the value of a query parameter.
	QueryParameter *HashQueryConfig `json:"query_parameter"`
	// SourceIP hashes the trusted address of the client, without its port.
	SourceIP *HashSourceConfig `json:"source_ip" v3:"connection_properties.source_ip"`
	// Terminal ends the list here, if there is a hash by now. Default false.
	Terminal bool `json:"terminal" default:"false"`
}

// HashHeaderConfig names a header.
type HashHeaderConfig struct {
	// HeaderName, in any case.
	HeaderName string `json:"header_name" required:"true"`
}

// HashCookieConfig names a cookie.
type HashCookieConfig struct {
	// Name of the cookie.
	Name string `json:"name" required:"true"`
	// TTL makes a cookie for requests without one, which lives so long; 0s ends with the session of the browser. Absent:
	// none is made.
	TTL *time.Duration `json:"ttl" min:"0s"`
	// Path of a cookie that is made. Default: none, which browsers take for that of the request.
	Path string `json:"path"`
	// Attributes of a cookie that is made, such as SameSite.
	Attributes []CookieAttribute `json:"attributes" max:"16"`
}

// CookieAttribute is one attribute of a cookie.
type CookieAttribute struct {
	// Name such as "SameSite".
	Name string `json:"name" required:"true"`
	// Value such as "Strict"; empty for a name alone.
	Value string `json:"value"`
}

// HashQueryConfig names a query parameter.
type HashQueryConfig struct {
	// Name of the parameter, in its case.
	Name string `json:"name" required:"true"`
}

// HashSourceConfig has no fields.
type HashSourceConfig struct{}

// validate reports what the tags cannot say.
func (cfg *HashPolicyConfig) validate(at string, report reporter) {
	if n := count(cfg.Header != nil, cfg.Cookie != nil, cfg.QueryParameter != nil, cfg.SourceIP != nil); n != 1 {
		report(at, fmt.Sprintf("exactly one of header, cookie, query_parameter and source_ip is hashed, not %d", n), "")
	}
	if cfg.Header != nil {
		checkFieldName(strings.TrimPrefix(cfg.Header.HeaderName, ":"), at+".header.header_name", report)
	}
	if k := cfg.Cookie; k != nil {
		checkFieldName(k.Name, at+".cookie.name", report)
		checkCookieText(k.Path, at+".cookie.path", report)
		for i := range k.Attributes {
			path := fmt.Sprintf("%s.cookie.attributes[%d].", at, i)
			checkFieldName(k.Attributes[i].Name, path+"name", report)
			checkCookieText(k.Attributes[i].Value, path+"value", report)
		}
	}
}

// checkCookieText reports what would end an attribute of a cookie.
func checkCookieText(text, path string, report reporter) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f || text[i] == ';' {
			report(path, fmt.Sprintf("%q cannot stand in a cookie", text), "")
			return
		}
	}
}

// suffix returns what follows the value in Set-Cookie.
func (cfg *HashCookieConfig) suffix() string {
	var b strings.Builder
	if cfg.TTL != nil && *cfg.TTL > 0 {
		fmt.Fprintf(&b, "; Max-Age=%d", max(1, *cfg.TTL/time.Second))
	}
	if cfg.Path != "" {
		b.WriteString("; Path=" + cfg.Path)
	}
	for i := range cfg.Attributes {
		a := &cfg.Attributes[i]
		b.WriteString("; " + a.Name)
		if a.Value != "" {
			b.WriteString("=" + a.Value)
		}
	}
	b.WriteString("; HttpOnly")
	return b.String()
}
