package main

// A suite is one run of connectconformance: what it tests, and what stands behind millrace.
type suite struct {
	name     string
	features string   // the configuration file: which cases there are
	cases    int      // how many those are; a suite that loses cases has lost proofs
	server   string   // the program behind millrace
	upstream uint64   // the version that millrace speaks to it; 0 for that of the cases
	filter   string   // an HTTP filter before the router
	tls      bool     // millrace speaks TLS to it in the cases with TLS
	known    []string // patterns of cases that fail without millrace too, and must fail
}

// The programs of the suite that answer calls. The one is connect-go and knows all protocols, the other grpc-go.
const (
	referenceServer = "connectconformance-referenceserver"
	grpcServer      = "connectconformance-grpcserver"
)

// Values of connectrpc.conformance.v1.HTTPVersion.
const (
	http1 = 1
	http2 = 2
)

// protocols of clusters by version.
var protocols = map[uint64]string{http1: "http1", http2: "http2"}

const (
	grpcFeatures = `features:
  versions: [HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC]
`
	connectFeatures = `features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  protocols: [PROTOCOL_CONNECT]
`
	webFeatures = `features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC_WEB]
`
	certFeatures = `features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  codecs: [CODEC_PROTO]
  compressions: [COMPRESSION_IDENTITY]
  supportsTlsClientCerts: true
`
	// HTTP/1.1 servers of Go do not answer before they have read the request.
	halfDuplex = `  streamTypes: [STREAM_TYPE_UNARY, STREAM_TYPE_CLIENT_STREAM, STREAM_TYPE_SERVER_STREAM, STREAM_TYPE_HALF_DUPLEX_BIDI_STREAM]
`
	// The server in grpc-go knows one encoding of messages.
	protoOnly = `  codecs: [CODEC_PROTO]
`
)

// cardinality are the cases in which grpc-go answers "internal" where gRPC's list of statuses has "unimplemented". The
// suite's own runs against that server list them too.
var cardinality = []string{"**/unary/multiple-requests", "**/unary/no-request", "**/server-stream/multiple-requests", "**/server-stream/no-request"}

// suites lists all of them. Those of grpc-web with a server in grpc-go prove the filter, the others what is forwarded.
var suites = []suite{
	{name: "grpc", features: grpcFeatures, cases: 872, server: referenceServer},
	{name: "grpc-go", features: grpcFeatures + protoOnly, cases: 568, server: grpcServer, known: cardinality},
	{name: "connect", features: connectFeatures, cases: 1522, server: referenceServer},
	{name: "connect-to-http1", features: connectFeatures + halfDuplex, cases: 1442, server: referenceServer, upstream: http1},
	{name: "connect-to-http2", features: connectFeatures, cases: 1522, server: referenceServer, upstream: http2},
	{name: "grpc-web", features: webFeatures, cases: 1226, server: referenceServer},
	{name: "grpc-web-to-http1", features: webFeatures + halfDuplex, cases: 1154, server: referenceServer, upstream: http1},
	{name: "grpc-web-to-http2", features: webFeatures, cases: 1226, server: referenceServer, upstream: http2},
	{name: "client-certs", features: certFeatures, cases: 1129, server: referenceServer},
	{name: "tls-to-tls", features: certFeatures, cases: 1129, server: referenceServer, tls: true},
	{name: "grpc-web-filter", features: webFeatures + protoOnly, cases: 686, server: grpcServer, upstream: http2, filter: `{"name": "grpc_web"}`, known: cardinality},
}
