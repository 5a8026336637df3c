package accesslog

import "millrace/engine/certs"

// A definition is one line of the table of operators.
type definition struct {
	name     string
	operator operator
	parse    func(o *operator, arg string) error // nil: no argument
	needsArg bool
	usage    string
}

// definitions lists every operator, as docs/access-log.md does.
var definitions = []definition{
	// Time.
	{name: "START_TIME", operator: operator{build: startTime}, parse: parseTime, usage: timeUsage},
	{
		name: "START_TIME_LOCAL", operator: operator{build: startTime, local: true},
		parse: parseTime, usage: timeUsage,
	},
	{name: "EMIT_TIME", operator: operator{build: emitTime}, parse: parseTime, usage: timeUsage},
	{
		name: "EMIT_TIME_LOCAL", operator: operator{build: emitTime, local: true},
		parse: parseTime, usage: timeUsage,
	},

	// Durations, in milliseconds.
	{name: "DURATION", operator: between(pointStart, pointEnd)},
	{name: "REQUEST_DURATION", operator: between(pointStart, pointRequestEnd)},
	{name: "REQUEST_TX_DURATION", operator: between(pointStart, pointUpstreamLastTx)},
	{name: "RESPONSE_DURATION", operator: between(pointStart, pointUpstreamFirstRx)},
	{name: "RESPONSE_TX_DURATION", operator: between(pointUpstreamFirstRx, pointDownstreamLastTx)},
	{name: "UPSTREAM_CONNECTION_POOL_READY_DURATION", operator: between(pointStart, pointUpstreamReady)},
	{name: "ROUNDTRIP_DURATION", operator: absent()},
	{name: "DOWNSTREAM_HANDSHAKE_DURATION", operator: operator{number: handshakeDuration}},
	{
		name: "COMMON_DURATION", operator: operator{number: duration},
		parse: parseDuration, needsArg: true, usage: "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%",
	},

	// Sizes, in bytes.
	{
		name:     "BYTES_RECEIVED",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return r.RequestBytes, true }},
	},
	{
		name:     "BYTES_SENT",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return r.ResponseBytes, true }},
	},
	{name: "REQUEST_HEADERS_BYTES", operator: operator{number: requestHeadBytes}},
	{name: "DOWNSTREAM_HEADER_BYTES_RECEIVED", operator: operator{number: requestHeadBytes}},
	{name: "RESPONSE_HEADERS_BYTES", operator: operator{number: responseHeadBytes}},
	{name: "DOWNSTREAM_HEADER_BYTES_SENT", operator: operator{number: responseHeadBytes}},
	{name: "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", operator: operator{number: requestHeadBytes}},
	{name: "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", operator: operator{number: responseHeadBytes}},
	{name: "RESPONSE_TRAILERS_BYTES", operator: operator{number: responseTrailersBytes}},
	{
		name:     "DOWNSTREAM_WIRE_BYTES_RECEIVED",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return r.WireReceived, true }},
	},
	{
		name:     "DOWNSTREAM_WIRE_BYTES_SENT",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return r.WireSent, true }},
	},
	{name: "BYTES_RETRANSMITTED", operator: operator{number: zero}},
	{name: "PACKETS_RETRANSMITTED", operator: operator{number: zero}},

	// Result.
	{
		name:     "PROTOCOL",
		operator: operator{str: func(_ *operator, r *Record) string { return protocolName(r.Protocol) }},
	},
	{
		name:     "UPSTREAM_PROTOCOL",
		operator: operator{str: func(_ *operator, r *Record) string { return protocolName(r.UpstreamProtocol) }},
	},
	{
		name:     "RESPONSE_CODE",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return uint64(r.Status), true }},
	},
	{
		name: "RESPONSE_CODE_DETAILS", operator: operator{build: details},
		parse: parseDetails, usage: "%RESPONSE_CODE_DETAILS% or %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%",
	},
	{
		name:     "CONNECTION_TERMINATION_DETAILS",
		operator: operator{str: func(_ *operator, r *Record) string { return r.ConnectionDetails }},
	},
	{
		name:     "RESPONSE_FLAGS",
		operator: operator{build: func(dst []byte, _ *operator, r *Record) []byte { return r.Flags.AppendShort(dst) }},
	},
	{
		name:     "RESPONSE_FLAGS_LONG",
		operator: operator{build: func(dst []byte, _ *operator, r *Record) []byte { return r.Flags.AppendLong(dst) }},
	},
	{name: "CUSTOM_FLAGS", operator: absent()},
	{
		name: "GRPC_STATUS", operator: operator{build: grpcStatus},
		parse: parseGRPCStatus, usage: "%GRPC_STATUS%, or with CAMEL_STRING, SNAKE_STRING or NUMBER in parentheses",
	},
	{name: "GRPC_STATUS_NUMBER", operator: operator{number: grpcStatusNumber}},
	{
		name:     "LOCAL_REPLY_BODY",
		operator: operator{str: func(_ *operator, r *Record) string { return r.LocalReplyBody }},
	},
	{
		name:     "ACCESS_LOG_TYPE",
		operator: operator{str: func(_ *operator, r *Record) string { return r.Type.String() }},
	},

	// Fields.
	{
		name: "REQ", operator: operator{bytes: requestField},
		parse: parseField, needsArg: true, usage: "%REQ(NAME)% or %REQ(NAME?OTHER):LENGTH%",
	},
	{
		name: "REQUEST_HEADER", operator: operator{bytes: requestField},
		parse: parseField, needsArg: true, usage: "%REQUEST_HEADER(NAME?OTHER):LENGTH%",
	},
	{
		name: "REQ_WITHOUT_QUERY", operator: operator{bytes: requestField, noQuery: true},
		parse: parseField, needsArg: true, usage: "%REQ_WITHOUT_QUERY(:PATH)%",
	},
	{
		name: "RESP", operator: operator{bytes: responseField},
		parse: parseResponseField, needsArg: true, usage: "%RESP(NAME)% or %RESP(NAME?OTHER):LENGTH%",
	},
	{
		name: "RESPONSE_HEADER", operator: operator{bytes: responseField},
		parse: parseResponseField, needsArg: true, usage: "%RESPONSE_HEADER(NAME?OTHER):LENGTH%",
	},
	{
		name: "TRAILER", operator: operator{bytes: trailerField},
		parse: parseTrailerField, needsArg: true, usage: "%TRAILER(NAME)% or %TRAILER(NAME?OTHER):LENGTH%",
	},
	{
		name: "RESPONSE_TRAILER", operator: operator{bytes: trailerField},
		parse: parseTrailerField, needsArg: true, usage: "%RESPONSE_TRAILER(NAME?OTHER):LENGTH%",
	},
	{
		name: "PATH", operator: operator{bytes: requestField},
		parse: parsePath,
		usage: "%PATH(WQ:ORIG_OR_PATH)%, with WQ or NQ for with or without the query, and ORIG, PATH or ORIG_OR_PATH",
	},
	{
		name: "QUERY_PARAM", operator: operator{bytes: queryParam},
		parse: parseQueryParam, needsArg: true, usage: "%QUERY_PARAM(NAME)% or %QUERY_PARAM(NAME):LENGTH%",
	},
	{
		name: "QUERY_PARAMS", operator: operator{bytes: queryParams},
		parse: parseQueryParams, usage: "%QUERY_PARAMS% or %QUERY_PARAMS(ORIG):LENGTH%",
	},

	// Route and cluster.
	{name: "ROUTE_NAME", operator: operator{str: func(_ *operator, r *Record) string { return r.RouteName }}},
	{
		name:     "VIRTUAL_HOST_NAME",
		operator: operator{str: func(_ *operator, r *Record) string { return r.VirtualHost }},
	},
	{
		name:     "UPSTREAM_CLUSTER",
		operator: operator{str: func(_ *operator, r *Record) string { return r.Cluster }},
	},
	{
		name:     "UPSTREAM_CLUSTER_RAW",
		operator: operator{str: func(_ *operator, r *Record) string { return r.Cluster }},
	},

	// Upstream.
	{
		name:     "UPSTREAM_HOST",
		operator: operator{str: func(_ *operator, r *Record) string { return r.UpstreamHost }},
	},
	{
		name:     "UPSTREAM_HOST_NAME",
		operator: operator{str: func(_ *operator, r *Record) string { return r.UpstreamHost }},
	},
	{
		name:     "UPSTREAM_HOST_NAME_WITHOUT_PORT",
		operator: operator{str: func(_ *operator, r *Record) string { return withoutPort(r.UpstreamHost) }},
	},
	{
		name:     "UPSTREAM_CONNECTION_ID",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return r.UpstreamConnID, r.UpstreamConnID != 0 }},
	},
	{name: "UPSTREAM_HOSTS_ATTEMPTED", operator: operator{build: attempted, attempt: attemptAddress}},
	{name: "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", operator: operator{build: attempted, attempt: attemptIP}},
	{name: "UPSTREAM_HOST_NAMES_ATTEMPTED", operator: operator{build: attempted, attempt: attemptName}},
	{name: "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", operator: operator{build: attempted, attempt: attemptBareName}},
	{name: "UPSTREAM_CONNECTION_IDS_ATTEMPTED", operator: operator{build: attempted, attempt: attemptConnID}},
	{
		name:     "UPSTREAM_REQUEST_ATTEMPT_COUNT",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return uint64(r.Attempts), true }},
	},
	{
		name:     "UPSTREAM_TRANSPORT_FAILURE_REASON",
		operator: operator{str: func(_ *operator, r *Record) string { return r.UpstreamTransportFailure }},
	},
	{
		name:     "UPSTREAM_WIRE_BYTES_SENT",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return r.UpstreamWireSent, true }},
	},
	{
		name:     "UPSTREAM_WIRE_BYTES_RECEIVED",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return r.UpstreamWireReceived, true }},
	},
	{name: "UPSTREAM_HEADER_BYTES_SENT", operator: operator{number: upstreamHeadSent}},
	{name: "UPSTREAM_HEADER_BYTES_RECEIVED", operator: operator{number: upstreamHeadReceived}},
	{name: "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", operator: operator{number: upstreamHeadSent}},
	{name: "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", operator: operator{number: upstreamHeadReceived}},
	{
		name:     "UPSTREAM_DETECTED_CLOSE_TYPE",
		operator: operator{str: func(_ *operator, r *Record) string { return r.UpstreamCloseType.String() }},
	},
	{
		name:     "UPSTREAM_LOCAL_CLOSE_REASON",
		operator: operator{str: func(_ *operator, r *Record) string { return r.UpstreamCloseReason }},
	},
	{name: "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID", operator: absent()},
	{name: "UPSTREAM_LOCAL_ADDRESS", operator: operator{build: address, addr: upstreamLocal}},
	{
		name:     "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
		operator: operator{build: addressIP, addr: upstreamLocal},
		parse:    parseMask, usage: maskUsage,
	},
	{name: "UPSTREAM_LOCAL_PORT", operator: operator{number: addressPort, addr: upstreamLocal}},
	{name: "UPSTREAM_REMOTE_ADDRESS", operator: operator{build: address, addr: upstreamRemote}},
	{
		name:     "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
		operator: operator{build: addressIP, addr: upstreamRemote},
		parse:    parseMask, usage: maskUsage,
	},
	{name: "UPSTREAM_REMOTE_PORT", operator: operator{number: addressPort, addr: upstreamRemote}},

	// Downstream.
	{name: "DOWNSTREAM_REMOTE_ADDRESS", operator: operator{build: address, addr: downstreamRemote}},
	{
		name:     "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
		operator: operator{build: addressIP, addr: downstreamRemote},
		parse:    parseMask, usage: maskUsage,
	},
	{name: "DOWNSTREAM_REMOTE_PORT", operator: operator{number: addressPort, addr: downstreamRemote}},
	{name: "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", operator: operator{build: address, addr: downstreamDirect}},
	{
		name:     "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
		operator: operator{build: addressIP, addr: downstreamDirect},
		parse:    parseMask, usage: maskUsage,
	},
	{name: "DOWNSTREAM_DIRECT_REMOTE_PORT", operator: operator{number: addressPort, addr: downstreamDirect}},
	{name: "DOWNSTREAM_LOCAL_ADDRESS", operator: operator{build: address, addr: downstreamLocal}},
	{
		name:     "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
		operator: operator{build: addressIP, addr: downstreamLocal},
		parse:    parseMask, usage: maskUsage,
	},
	{name: "DOWNSTREAM_LOCAL_PORT", operator: operator{number: addressPort, addr: downstreamLocal}},
	{name: "DOWNSTREAM_DIRECT_LOCAL_ADDRESS", operator: operator{build: address, addr: downstreamDirectLocal}},
	{
		name:     "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
		operator: operator{build: addressIP, addr: downstreamDirectLocal},
		parse:    parseMask, usage: maskUsage,
	},
	{name: "DOWNSTREAM_DIRECT_LOCAL_PORT", operator: operator{number: addressPort, addr: downstreamDirectLocal}},
	{name: "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID", operator: absent()},
	{
		name:     "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
		operator: operator{str: func(_ *operator, r *Record) string { return r.TransportFailure }},
	},
	{
		name:     "DOWNSTREAM_DETECTED_CLOSE_TYPE",
		operator: operator{str: func(_ *operator, r *Record) string { return r.CloseType.String() }},
	},
	{
		name:     "DOWNSTREAM_LOCAL_CLOSE_REASON",
		operator: operator{str: func(_ *operator, r *Record) string { return r.CloseReason }},
	},
	{
		name:     "FILTER_CHAIN_NAME",
		operator: operator{str: func(_ *operator, r *Record) string { return r.FilterChain }},
	},
	{
		name:     "REQUESTED_SERVER_NAME",
		operator: operator{str: func(_ *operator, r *Record) string { return r.RequestedServerName }},
	},
	{
		name:     "TLS_JA3_FINGERPRINT",
		operator: operator{str: func(_ *operator, r *Record) string { return r.JA3 }},
	},
	{
		name: "TLS_JA4_FINGERPRINT",
		operator: operator{str: func(_ *operator, r *Record) string {
			return r.Metadata["envoy.filters.listener.tls_inspector"]["ja4"]
		}},
	},
	{
		name: "DYNAMIC_METADATA", operator: operator{str: metadata},
		parse: parseMetadata, needsArg: true, usage: "%DYNAMIC_METADATA(NAMESPACE:KEY)%",
	},
	{
		name: "METADATA", operator: operator{str: metadata},
		parse: parseTypedMetadata, needsArg: true, usage: "%METADATA(DYNAMIC:NAMESPACE:KEY)%",
	},
	{
		name:     "CONNECTION_ID",
		operator: operator{number: func(_ *operator, r *Record) (uint64, bool) { return r.ConnID, r.ConnID != 0 }},
	},
	{name: "STREAM_ID", operator: operator{build: streamID}},
	{name: "TRACE_ID", operator: traceOperator()},

	// TLS sessions and certificates.
	{name: "DOWNSTREAM_TLS_VERSION", operator: operator{str: tlsVersion, tls: downstreamSession}},
	{name: "DOWNSTREAM_TLS_CIPHER", operator: operator{str: tlsCipher, tls: downstreamSession}},
	{name: "DOWNSTREAM_TLS_SESSION_ID", operator: operator{build: tlsSessionID, tls: downstreamSession}},
	{name: "DOWNSTREAM_PEER_SUBJECT", operator: certificateText(downstreamSession, subject)},
	{name: "DOWNSTREAM_PEER_ISSUER", operator: certificateText(downstreamSession, issuer)},
	{name: "DOWNSTREAM_LOCAL_SUBJECT", operator: certificateText(downstreamOwn, subject)},
	{name: "DOWNSTREAM_PEER_SERIAL", operator: certificateText(downstreamSession, certs.AppendSerial)},
	{name: "DOWNSTREAM_PEER_FINGERPRINT_256", operator: certificateText(downstreamSession, appendSHA256)},
	{name: "DOWNSTREAM_PEER_FINGERPRINT_1", operator: certificateText(downstreamSession, appendSHA1)},
	{name: "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", operator: chainText(appendSHA256)},
	{name: "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1", operator: chainText(appendSHA1)},
	{name: "DOWNSTREAM_PEER_CHAIN_SERIALS", operator: chainText(certs.AppendSerial)},
	{name: "DOWNSTREAM_PEER_CERT", operator: certificateText(downstreamSession, certs.AppendEscapedPEM)},
	{name: "DOWNSTREAM_PEER_CERT_V_START", operator: operator{build: validFrom, tls: downstreamSession}, parse: parseTime, usage: validityUsage},
	{name: "DOWNSTREAM_PEER_CERT_V_END", operator: operator{build: validTo, tls: downstreamSession}, parse: parseTime, usage: validityUsage},
	{name: "DOWNSTREAM_PEER_URI_SAN", operator: altNames(downstreamSession, certs.NameURI)},
	{name: "DOWNSTREAM_LOCAL_URI_SAN", operator: altNames(downstreamOwn, certs.NameURI)},
	{name: "DOWNSTREAM_PEER_DNS_SAN", operator: altNames(downstreamSession, certs.NameDNS)},
	{name: "DOWNSTREAM_LOCAL_DNS_SAN", operator: altNames(downstreamOwn, certs.NameDNS)},
	{name: "DOWNSTREAM_PEER_IP_SAN", operator: altNames(downstreamSession, certs.NameIP)},
	{name: "DOWNSTREAM_LOCAL_IP_SAN", operator: altNames(downstreamOwn, certs.NameIP)},
	{name: "DOWNSTREAM_PEER_EMAIL_SAN", operator: altNames(downstreamSession, certs.NameEmail)},
	{name: "DOWNSTREAM_LOCAL_EMAIL_SAN", operator: altNames(downstreamOwn, certs.NameEmail)},
	{name: "DOWNSTREAM_PEER_OTHERNAME_SAN", operator: altNames(downstreamSession, certs.NameOther)},
	{name: "DOWNSTREAM_LOCAL_OTHERNAME_SAN", operator: altNames(downstreamOwn, certs.NameOther)},

	{name: "UPSTREAM_TLS_VERSION", operator: operator{str: tlsVersion, tls: upstreamSession}},
	{name: "UPSTREAM_TLS_CIPHER", operator: operator{str: tlsCipher, tls: upstreamSession}},
	{name: "UPSTREAM_TLS_SESSION_ID", operator: operator{build: tlsSessionID, tls: upstreamSession}},
	{name: "UPSTREAM_PEER_SUBJECT", operator: certificateText(upstreamSession, subject)},
	{name: "UPSTREAM_PEER_ISSUER", operator: certificateText(upstreamSession, issuer)},
	{name: "UPSTREAM_PEER_CERT", operator: certificateText(upstreamSession, certs.AppendEscapedPEM)},
	{name: "UPSTREAM_PEER_CERT_V_START", operator: operator{build: validFrom, tls: upstreamSession}, parse: parseTime, usage: validityUsage},
	{name: "UPSTREAM_PEER_CERT_V_END", operator: operator{build: validTo, tls: upstreamSession}, parse: parseTime, usage: validityUsage},
	{name: "UPSTREAM_PEER_URI_SAN", operator: altNames(upstreamSession, certs.NameURI)},
	{name: "UPSTREAM_LOCAL_URI_SAN", operator: altNames(upstreamOwn, certs.NameURI)},
	{name: "UPSTREAM_PEER_DNS_SAN", operator: altNames(upstreamSession, certs.NameDNS)},
	{name: "UPSTREAM_LOCAL_DNS_SAN", operator: altNames(upstreamOwn, certs.NameDNS)},
	{name: "UPSTREAM_PEER_IP_SAN", operator: altNames(upstreamSession, certs.NameIP)},
	{name: "UPSTREAM_LOCAL_IP_SAN", operator: altNames(upstreamOwn, certs.NameIP)},

	// Process.
	{name: "HOSTNAME", operator: operator{str: constant}, parse: parseHostname},
	{
		name: "ENVIRONMENT", operator: operator{str: constant},
		parse: parseEnvironment, needsArg: true, usage: "%ENVIRONMENT(NAME)%",
	},
	{name: "UNIQUE_ID", operator: operator{build: uniqueID}},
	{
		name: coalesceName, parse: parseCoalesce, needsArg: true,
		usage: `%COALESCE({"operators": ["NAME", {"command": "NAME", "param": "ARGUMENT", "max_length": 9}]})%`,
	},
}

// coalesceName is the operator that takes others.
const coalesceName = "COALESCE"

const validityUsage = "the name alone, or with a format of strftime such as (%Y-%m-%d)"

// envoyOnly lists Envoy's operators that nothing here can fill, so that the message about
// one can say so.
var envoyOnly = []string{
	"STREAM_INFO_REQ", "VIRTUAL_CLUSTER_NAME", "CLUSTER_METADATA", "UPSTREAM_METADATA", "FILTER_STATE", "UPSTREAM_FILTER_STATE",
	"CEL", "TYPED_CEL",
}
