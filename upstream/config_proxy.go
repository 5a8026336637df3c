package upstream

import (
	"encoding/base64"
	"fmt"
	"slices"
)

// ProxyProtocolConfig makes each connection to a host begin with a PROXY protocol header, which tells the address of the
// client it is for. Such connections are not shared: one of HTTP carries a single request.
type ProxyProtocolConfig struct {
	// Version of the header: "v1" is a line of text, "v2" binary, with room for TLVs. Default "v1".
	Version string `json:"version" default:"v1" enum:"v1,v2"`
	// PassThroughTLVs are those of the header that downstream sent, which go on to the host. Version "v2" only. The listener
	// filter proxy_protocol has to keep them. Absent: none.
	PassThroughTLVs *PassThroughTLVs `json:"pass_through_tlvs"`
	// AddedTLVs are added to each header, and take the place of those of the same type that are passed through.
	// Version "v2" only.
	AddedTLVs []TLVConfig `json:"added_tlvs" max:"64"`
	// AllowUnspecifiedAddress sends a header without addresses, with TLVs, when they are unknown or of no kind that the header can
	// hold. Without it such a header says LOCAL: the host takes the address of the connection, and there are no TLVs. Version "v2"
	// only; "v1" says UNKNOWN in any case. Default false.
	AllowUnspecifiedAddress bool `json:"allow_unspecified_address" default:"false"`
}

// PassThroughTLVs says which TLVs of downstream are kept: by the listener filter proxy_protocol, or on the way to a host.
type PassThroughTLVs struct {
	// MatchType is "include_all", or "include" for those in tlv_type. The checksum of the header is never kept: it was that
	// of another header. Default "include_all".
	MatchType string `json:"match_type" default:"include_all" enum:"include_all,include"`
	// TLVType are the types that are kept, 0 to 255.
	TLVType []int `json:"tlv_type" min:"0" max:"255"`
}

// Keeps reports whether TLVs of a type are kept.
func (p *PassThroughTLVs) Keeps(kind uint8) bool {
	return kind != tlvCRC32C && (p.MatchType == "include_all" || slices.Contains(p.TLVType, int(kind)))
}

// TLVConfig is a value for the header. Exactly one of value and value_base64 is given.
type TLVConfig struct {
	// Type is its number. 1 to 255, beyond those that the header has a meaning for: 224 to 239 are for private use. Required.
	Type int `json:"type" required:"true" min:"1" max:"255"`
	// Value is its bytes, as text, at most 16 KiB.
	Value string `json:"value"`
	// ValueBase64 is its bytes in Base64.
	ValueBase64 string `json:"value_base64"`
}

const (
	// tlvBytesMax bounds the value of a configured TLV.
	tlvBytesMax = 16 << 10
	// The types below mean something to whoever reads a header, which a fixed value cannot.
	tlvCRC32C, tlvNoop = 3, 4
)

// Bytes returns the value.
func (t *TLVConfig) Bytes() ([]byte, error) {
	if t.ValueBase64 == "" {
		return []byte(t.Value), nil
	}
	return base64.StdEncoding.DecodeString(t.ValueBase64)
}

// Validate reports a value that cannot be read, or does not fit.
func (t *TLVConfig) Validate(report func(path, problem, hint string)) {
	if t.Value != "" && t.ValueBase64 != "" {
		report("value_base64", "value and value_base64 are both given", "keep one of them")
		return
	}
	b, err := t.Bytes()
	switch {
	case err != nil:
		report("value_base64", "is not Base64: "+err.Error(), "")
	case len(b) > tlvBytesMax:
		report("value", fmt.Sprintf("%d bytes exceed the maximum of %d", len(b), tlvBytesMax), "")
	case t.Type == tlvCRC32C || t.Type == tlvNoop:
		report("type", fmt.Sprintf("type %d has no value to choose", t.Type), "types 224 to 239 are for private use")
	}
}

// CheckTLVs reports two TLVs of one type in a list at path.
func CheckTLVs(path string, list []TLVConfig, report func(path, problem, hint string)) {
	for i := range list {
		first := slices.IndexFunc(list[:i], func(t TLVConfig) bool { return t.Type == list[i].Type })
		if first >= 0 {
			report(fmt.Sprintf("%s[%d].type", path, i), fmt.Sprintf("type %d is that of %s[%d] too", list[i].Type, path, first), "")
		}
	}
}

// Validate reports what version 1 cannot say, and types that are no byte.
func (p *ProxyProtocolConfig) Validate(report func(path, problem, hint string)) {
	if p.Version == "v1" {
		for _, f := range []struct {
			path string
			set  bool
		}{
			{"pass_through_tlvs", p.PassThroughTLVs != nil},
			{"added_tlvs", len(p.AddedTLVs) > 0},
			{"allow_unspecified_address", p.AllowUnspecifiedAddress},
		} {
			if f.set {
				report(f.path, `a header of version "v1" has no room for it`, `write "version": "v2"`)
			}
		}
	}
	CheckTLVs("added_tlvs", p.AddedTLVs, report)
}

// Validate reports lists that have no effect.
func (p *PassThroughTLVs) Validate(report func(path, problem, hint string)) {
	switch all := p.MatchType == "include_all"; {
	case all && len(p.TLVType) > 0:
		report("tlv_type", `match_type "include_all" takes all types`, `write "match_type": "include"`)
	case !all && len(p.TLVType) == 0:
		report("tlv_type", `match_type "include" without a type keeps nothing`, `give types, or write "match_type": "include_all"`)
	}
}

// checkProxyProtocol reports a header on connections that carry requests of several clients.
func (c *Config) checkProxyProtocol(report func(path, problem, hint string)) {
	if c.ProxyProtocol != nil && c.Protocol != "http1" {
		report("proxy_protocol", fmt.Sprintf("a connection of protocol %q carries requests of several clients, and its header speaks for one", c.Protocol),
			`write "protocol": "http1"`)
	}
}

// same reports whether two clusters send the same headers.
func (p *ProxyProtocolConfig) same(o *ProxyProtocolConfig) bool {
	if p == nil || o == nil {
		return p == o
	}
	a, b := p.PassThroughTLVs, o.PassThroughTLVs
	return p.Version == o.Version && p.AllowUnspecifiedAddress == o.AllowUnspecifiedAddress &&
		slices.Equal(p.AddedTLVs, o.AddedTLVs) && (a == nil) == (b == nil) &&
		(a == nil || a.MatchType == b.MatchType && slices.Equal(a.TLVType, b.TLVType))
}
