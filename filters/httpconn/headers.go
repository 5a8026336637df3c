package httpconn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"time"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/filters"
	"millrace/filters/route"
)

// prepareRequest checks a head and makes it fit to be routed: Envoy's order, see
// docs/life-of-a-request.md. It reports false when it has answered the request itself.
func (s *stream) prepareRequest() bool {
	h, m := &s.Request, s.m
	if m.opt.underscores != underscoreAllow && !s.checkUnderscores() {
		return false
	}
	if !s.normalizeTarget() {
		return false
	}
	if h.Expect100 && !m.cfg.Proxy100Continue {
		s.wire.sendContinue(s)
		h.Remove(codec.FieldExpect)
		m.stats.Rq1xx.Inc()
	}
	s.removeHopByHop(&h.Fields, h.Upgrade)
	s.addForwarded()
	if m.opt.schemes {
		s.transformScheme()
	}
	s.sanitize()
	s.requestID()
	if m.opt.clientCert != clientCertSanitize || h.Has(codec.FieldXForwardedClientCert) {
		s.forwardClientCert()
	}
	s.addVia(&h.Fields, h.Version)
	return true
}

// addVia notes that a message went through here: "Each member of the Via field value represents a proxy or
// gateway that has forwarded the message", with the protocol it was received in.
// RFC 9110 section 7.6.3
func (s *stream) addVia(f *codec.Fields, version uint8) {
	switch o := &s.m.opt; {
	case o.via == nil:
	case version == codec.Version10:
		f.AppendTo(codec.FieldVia, o.via10)
	case version == codec.Version20:
		f.AppendTo(codec.FieldVia, o.via2)
	default:
		f.AppendTo(codec.FieldVia, o.via)
	}
}

// checkUnderscores applies headers_with_underscores_action.
func (s *stream) checkUnderscores() bool {
	h := &s.Request
	for i := 0; i < h.Len(); i++ {
		id, name, _ := h.At(i)
		if id != codec.FieldOther || bytes.IndexByte(name, '_') < 0 {
			continue // no known name has an underscore
		}
		if s.m.opt.underscores == underscoreReject {
			s.m.stats.RejectedUnderscores.Inc()
			s.SendLocalReply(filters.LocalReply{Status: 400, Details: s.underscoreDetails(), Close: true})
			return false
		}
		s.m.stats.DroppedUnderscores.Inc()
		h.RemoveAt(i)
	}
	return true
}

// underscoreDetails names what checkUnderscores refuses.
func (s *stream) underscoreDetails() string {
	if s.Request.Version == codec.Version20 {
		return "http2.unexpected_underscore"
	}
	return "http1.unexpected_underscore"
}

// removeHopByHop removes the fields that concern one connection only, and those that Connection
// names: "Intermediaries MUST … remove or replace the Connection header field".
// RFC 9110 section 7.6.1
// Framing and Host stay: the codec writes them anew, and a Connection field cannot take them away.
func (s *stream) removeHopByHop(f *codec.Fields, upgrade bool) {
	if f.Has(codec.FieldConnection) {
		s.removeNominated(f)
		if !upgrade {
			f.Remove(codec.FieldConnection)
		}
	}
	if f.Has(codec.FieldUpgrade) && !upgrade {
		f.Remove(codec.FieldUpgrade)
	}
	if f.Has(codec.FieldKeepAlive) {
		f.Remove(codec.FieldKeepAlive)
	}
	if f.Has(codec.FieldProxyConnection) {
		f.Remove(codec.FieldProxyConnection)
	}
	if f.Has(codec.FieldTE) {
		trailers := listHas(f.Get(codec.FieldTE), "trailers")
		f.Remove(codec.FieldTE)
		if trailers {
			f.Add(codec.FieldTE, []byte("trailers"))
		}
	}
}

// removeNominated removes the fields that Connection lists.
func (s *stream) removeNominated(f *codec.Fields) {
	for i := 0; i < f.Len(); i++ {
		id, _, value := f.At(i)
		if id != codec.FieldConnection {
			continue
		}
		for len(value) > 0 {
			var name []byte
			name, value = ascii.CutList(value)
			switch codec.KnownField(name) {
			case codec.FieldHost, codec.FieldContentLength, codec.FieldTransferEncoding, codec.FieldConnection,
				codec.FieldUpgrade, codec.FieldTE, codec.FieldKeepAlive:
			case codec.FieldOther:
				if ascii.EqualFoldString(name, "close") {
					continue
				}
				for j := 0; j < f.Len(); j++ {
					if id, n, _ := f.At(j); id == codec.FieldOther && ascii.EqualFold(n, name) {
						f.RemoveAt(j)
					}
				}
			default:
				f.Remove(codec.KnownField(name))
			}
		}
	}
}

// addForwarded finds the client's address, and says who the request came from:
// x-forwarded-for, x-forwarded-proto, x-envoy-internal, x-envoy-external-address.
func (s *stream) addForwarded() {
	h, m := &s.Request, s.m
	peer := s.wire.socket().RemoteAddr()
	given := h.Has(codec.FieldXForwardedFor)
	addr, single := s.clientAddr(given)
	if m.cfg.UseRemoteAddress {
		if !addr.IsValid() {
			addr = peer.NetIP()
		}
		if !m.cfg.SkipXffAppend && !peer.IsUnix() {
			m.scratch = peer.AppendIP(m.scratch[:0])
			h.AppendTo(codec.FieldXForwardedFor, m.scratch)
		}
	}
	trusted := !m.cfg.UseRemoteAddress || m.cfg.XffNumTrustedHops > 0
	if !trusted || !h.Has(codec.FieldXForwardedProto) {
		h.Set(codec.FieldXForwardedProto, s.proto())
	}
	if len(h.Scheme()) == 0 && ascii.EqualFoldString(h.Get(codec.FieldXForwardedProto), "https") {
		h.SetScheme(protoHTTPS) // without, it is http
	}
	if m.cfg.AppendXForwardedPort && (!trusted || !h.Has(codec.FieldXForwardedPort)) {
		m.scratch = appendInt(m.scratch[:0], s.wire.socket().LocalAddr().Port())
		h.Set(codec.FieldXForwardedPort, m.scratch)
	}
	internal := single && m.isInternal(addr) || peer.IsUnix() && m.cfg.InternalAddressConfig.UnixSockets
	s.Info.Internal = internal
	s.Client = addr
	if h.Has(codec.FieldXEnvoyInternal) {
		h.Remove(codec.FieldXEnvoyInternal)
	}
	switch {
	case internal:
		h.Add(codec.FieldXEnvoyInternal, valueTrue)
	case m.cfg.UseRemoteAddress && addr.IsValid():
		m.scratch = addr.AppendTo(m.scratch[:0])
		h.Set(codec.FieldXEnvoyExternalAddress, m.scratch)
	}
}

// transformScheme applies scheme_header_transformation.
func (s *stream) transformScheme() {
	if scheme := s.m.opt.scheme; scheme != nil {
		s.Request.SetScheme(scheme)
		return
	}
	s.MatchScheme = true
}

var (
	protoHTTP  = []byte("http")
	protoHTTPS = []byte("https")
	valueTrue  = []byte("true")
)

// tls reports whether the request came by TLS.
func (s *stream) tls() bool {
	c := s.wire.facts()
	return c != nil && c.Session != nil
}

// proto returns the scheme that the connection stands for.
func (s *stream) proto() []byte {
	if s.tls() {
		return protoHTTPS
	}
	return protoHTTP
}

// clientAddr returns what x-forwarded-for says of the client, by the rules of Envoy's
// use_remote_address and xff_num_trusted_hops, and whether that is the only address known: only then can
// a request be internal.
func (s *stream) clientAddr(given bool) (addr netip.Addr, single bool) {
	cfg := s.m.cfg
	if cfg.UseRemoteAddress {
		if given && cfg.XffNumTrustedHops > 0 {
			addr, _ = s.forwardedFor(cfg.XffNumTrustedHops)
		} else if !given {
			addr = s.wire.socket().RemoteAddr().NetIP()
		}
		return addr, !given
	}
	if !given {
		return netip.Addr{}, false
	}
	return s.forwardedFor(cfg.XffNumTrustedHops + 1)
}

// forwardedFor returns the nth address of x-forwarded-for from the right, counted from 1, and
// whether the field has one address only.
func (s *stream) forwardedFor(n int) (addr netip.Addr, single bool) {
	h := &s.Request
	count := 0
	for i := h.Len() - 1; i >= 0; i-- {
		id, _, v := h.At(i)
		if id != codec.FieldXForwardedFor {
			continue
		}
		for {
			at := bytes.LastIndexByte(v, ',')
			if count++; count == n {
				// Not on the way of a request at an edge without trusted hops: the string may cost.
				addr, _ = netip.ParseAddr(string(bytes.TrimSpace(v[at+1:])))
			}
			if at < 0 {
				break
			}
			v = v[:at]
		}
	}
	return addr, count == 1
}

// isInternal reports whether an address belongs to an internal network.
func (m *Manager) isInternal(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	for _, p := range m.opt.internal {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// externalOnly are the fields that an edge removes from external requests.
var externalOnly = []codec.FieldID{
	codec.FieldXEnvoyDecoratorOperation, codec.FieldXEnvoyDownstreamServiceCluster,
	codec.FieldXEnvoyDownstreamServiceNode, codec.FieldXEnvoyOriginalPath, codec.FieldXEnvoyOriginalHost,
}

// internalOnly are the fields that only internal requests may carry.
var internalOnly = []codec.FieldID{
	codec.FieldXEnvoyRetryOn, codec.FieldXEnvoyRetryGrpcOn, codec.FieldXEnvoyMaxRetries,
	codec.FieldXEnvoyUpstreamAltStatName, codec.FieldXEnvoyUpstreamRqTimeoutMs,
	codec.FieldXEnvoyUpstreamRqPerTryTimeoutMs, codec.FieldXEnvoyUpstreamRqTimeoutAltResponse,
	codec.FieldXEnvoyExpectedRqTimeoutMs, codec.FieldXEnvoyForceTrace, codec.FieldXEnvoyIPTags,
	codec.FieldXEnvoyOriginalURL, codec.FieldXEnvoyHedgeOnPerTryTimeout,
	codec.FieldXEnvoyRetriableStatusCodes, codec.FieldXEnvoyRetriableHeaderNames, codec.FieldXEnvoyOriginalDstHost,
}

// sanitize removes what a client outside may not tell the proxy.
func (s *stream) sanitize() {
	if s.Info.Internal {
		return
	}
	h := &s.Request
	if s.m.cfg.UseRemoteAddress {
		for _, id := range externalOnly {
			if h.Has(id) {
				h.Remove(id)
			}
		}
	}
	for _, id := range internalOnly {
		if h.Has(id) {
			h.Remove(id)
		}
	}
	if s.m.routes != nil {
		for _, name := range s.m.routes.InternalOnlyHeaders() {
			h.RemoveName(name)
		}
	}
}

// requestID gives the request an x-request-id: an edge does not believe the one it came with.
func (s *stream) requestID() {
	cfg, h := s.m.cfg, &s.Request
	if !cfg.GenerateRequestID {
		return
	}
	edge := cfg.UseRemoteAddress && !s.Info.Internal
	if h.Has(codec.FieldXRequestID) && (!edge || cfg.PreserveExternalRequestID) {
		return
	}
	var id [36]byte
	r := s.m.loop.Rand()
	appendUUID(&id, r.Uint64(), r.Uint64())
	h.Set(codec.FieldXRequestID, id[:])
}

// appendUUID writes a random UUID, version 4 (RFC 9562 section 5.4). The version digit also is
// Envoy's "not traced".
func appendUUID(dst *[36]byte, a, b uint64) {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], a)
	binary.BigEndian.PutUint64(raw[8:], b)
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	hex.Encode(dst[0:8], raw[0:4])
	dst[8] = '-'
	hex.Encode(dst[9:13], raw[4:6])
	dst[13] = '-'
	hex.Encode(dst[14:18], raw[6:8])
	dst[18] = '-'
	hex.Encode(dst[19:23], raw[8:10])
	dst[23] = '-'
	hex.Encode(dst[24:36], raw[10:16])
}

// routeInput fills what the route table looks at.
func (s *stream) routeInput(in *route.Input) {
	in.Head = &s.Request
	in.RemoteIP = s.Client
	in.Internal = s.Info.Internal
	in.Random = s.Random
	in.TLS = s.tls()
}

// finishResponseHead makes the head of an upstream's response fit to go downstream.
func (s *stream) finishResponseHead() {
	h, m := &s.Response, s.m
	s.removeHopByHop(&h.Fields, h.Status == 101)
	switch m.opt.serverWhere {
	case serverOverwrite:
		h.Set(codec.FieldServer, m.opt.server)
	case serverIfAbsent:
		if !h.Has(codec.FieldServer) {
			h.Add(codec.FieldServer, m.opt.server)
		}
	case serverPassThrough:
	}
	// "A recipient with a clock that receives a response message without a Date header field MUST
	// record the time it was received and append a corresponding Date header field". RFC 9110 section 6.6.1
	if !h.Has(codec.FieldDate) && h.Status >= 200 {
		h.Add(codec.FieldDate, m.date())
	}
	s.addVia(&h.Fields, h.Version)
	if m.cfg.AlwaysSetRequestIDInResponse {
		h.Set(codec.FieldXRequestID, s.Request.Get(codec.FieldXRequestID))
	}
}

// date returns the value of a Date field, made once a second.
func (m *Manager) date() []byte {
	sec := m.loop.Unix() / int64(time.Second)
	if sec != m.dateSec {
		m.dateSec = sec
		m.dateText = time.Unix(sec, 0).UTC().AppendFormat(m.dateText[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return m.dateText
}

// listHas reports whether a comma-separated list has a token, in any case.
func listHas(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		item, list = ascii.CutList(list)
		if ascii.EqualFoldString(item, token) {
			return true
		}
	}
	return false
}

// appendInt appends n in decimal. Ports and the like: at most five digits.
func appendInt(dst []byte, n int) []byte {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return append(dst, b[i:]...)
		}
	}
}
