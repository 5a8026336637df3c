package httpconn

import (
	"fmt"
	"net/netip"
	"strconv"
)

// options are the parts of a Config that are worth working out once.
type options struct {
	server      []byte // value of the server field, nil to pass the upstream's through
	serverWhere serverTransformation
	via, via10  []byte // "1.1 name" and "1.0 name", nil for none
	via2        []byte // "2 name"
	internal    []netip.Prefix
	underscores underscoreAction
	slashes     escapedSlashAction
	version     versions
	clientCert  clientCertMode
	schemes     bool   // scheme_header_transformation does something
	scheme      []byte // in place of the request's; nil for that of the connection to the host
}

// versions are those that are spoken downstream.
type versions uint8

const (
	versionAuto versions = iota
	versionHTTP1
	versionHTTP2
)

type serverTransformation uint8

const (
	serverOverwrite serverTransformation = iota
	serverIfAbsent
	serverPassThrough
)

type underscoreAction uint8

const (
	underscoreAllow underscoreAction = iota
	underscoreReject
	underscoreDrop
)

type escapedSlashAction uint8

const (
	slashKeep escapedSlashAction = iota
	slashReject
	slashRedirect
	slashForward
)

// internalNetworks are internal unless internal_address_config says otherwise.
var internalNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("127.0.0.1/32"),
	netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("::1/128"),
}

func newOptions(cfg *Config) (o options, err error) {
	o.server = []byte(cfg.ServerName)
	switch cfg.ServerHeaderTransformation {
	case "append_if_absent":
		o.serverWhere = serverIfAbsent
	case "pass_through":
		o.serverWhere, o.server = serverPassThrough, nil
	}
	if cfg.Via != "" {
		o.via, o.via10, o.via2 = []byte("1.1 "+cfg.Via), []byte("1.0 "+cfg.Via), []byte("2 "+cfg.Via)
	}
	switch cfg.CodecType {
	case "http1":
		o.version = versionHTTP1
	case "http2":
		o.version = versionHTTP2
	}
	switch cfg.ForwardClientCertDetails {
	case "forward_only":
		o.clientCert = clientCertForward
	case "append_forward":
		o.clientCert = clientCertAppend
	case "sanitize_set":
		o.clientCert = clientCertSet
	case "always_forward_only":
		o.clientCert = clientCertAlways
	}
	if t := cfg.SchemeHeaderTransformation; t.SchemeToOverwrite != "" {
		o.schemes, o.scheme = true, []byte(t.SchemeToOverwrite)
	} else {
		o.schemes = t.MatchUpstream
	}
	switch cfg.HeadersWithUnderscoresAction {
	case "reject_request":
		o.underscores = underscoreReject
	case "drop_header":
		o.underscores = underscoreDrop
	}
	switch cfg.PathWithEscapedSlashesAction {
	case "reject_request":
		o.slashes = slashReject
	case "unescape_and_redirect":
		o.slashes = slashRedirect
	case "unescape_and_forward":
		o.slashes = slashForward
	}
	o.internal = internalNetworks
	if len(cfg.InternalAddressConfig.CIDRRanges) > 0 {
		o.internal = nil
		for _, r := range cfg.InternalAddressConfig.CIDRRanges {
			p, err := netip.ParsePrefix(r)
			if err != nil {
				return o, fmt.Errorf("internal_address_config: %w", err)
			}
			o.internal = append(o.internal, p)
		}
	}
	return o, nil
}

func quoted(s string) string { return strconv.Quote(s) }

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
