package main

import "google.golang.org/protobuf/encoding/protowire"

// Fields of connectrpc.conformance.v1.ServerCompatRequest and ServerCompatResponse that matter here.
const (
	requestProtocol   = 1
	requestVersion    = 2
	requestUseTLS     = 4
	requestClientCert = 5
	requestLimit      = 6
	requestCreds      = 7
	credsCert         = 1
	credsKey          = 2
	responseHost      = 1
	responsePort      = 2
	responseCert      = 3
)

// A request says what server the cases need.
type request struct {
	protocol, version, limit uint64
	tls                      bool
	cert, key                []byte // of the server, in PEM
	clientCert               []byte // of the clients, in PEM; they have to show it
}

func parseRequest(b []byte) (r request, err error) {
	err = eachField(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case requestProtocol:
			r.protocol = v
		case requestVersion:
			r.version = v
		case requestUseTLS:
			r.tls = v != 0
		case requestClientCert:
			r.clientCert = b
		case requestLimit:
			r.limit = v
		case requestCreds:
			return eachField(b, func(num protowire.Number, _ uint64, b []byte) error {
				switch num {
				case credsCert:
					r.cert = b
				case credsKey:
					r.key = b
				}
				return nil
			})
		}
		return nil
	})
	return r, err
}

// message is r for another server, with TLS or without it. Certificates of clients end at millrace.
func (r request) message(tls bool) []byte {
	var b []byte
	for _, f := range []struct {
		num protowire.Number
		v   uint64
	}{{requestProtocol, r.protocol}, {requestVersion, r.version}, {requestLimit, r.limit}} {
		b = protowire.AppendVarint(protowire.AppendTag(b, f.num, protowire.VarintType), f.v)
	}
	if !tls {
		return b
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, requestUseTLS, protowire.VarintType), 1)
	creds := protowire.AppendBytes(protowire.AppendTag(nil, credsCert, protowire.BytesType), r.cert)
	creds = protowire.AppendBytes(protowire.AppendTag(creds, credsKey, protowire.BytesType), r.key)
	return protowire.AppendBytes(protowire.AppendTag(b, requestCreds, protowire.BytesType), creds)
}

// answer is the ServerCompatResponse for a server at a port of this machine, with its certificate if it has one.
func answer(port int, cert []byte) []byte {
	b := protowire.AppendTag(nil, responseHost, protowire.BytesType)
	b = protowire.AppendString(b, "127.0.0.1")
	b = protowire.AppendTag(b, responsePort, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(port))
	if cert == nil {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, responseCert, protowire.BytesType), cert)
}

// portOf returns the port in a ServerCompatResponse.
func portOf(b []byte) (port uint64, err error) {
	err = eachField(b, func(num protowire.Number, v uint64, _ []byte) error {
		if num == responsePort {
			port = v
		}
		return nil
	})
	return port, err
}

// eachField calls f for every field of a message, with its number or its bytes.
func eachField(b []byte, f func(num protowire.Number, v uint64, b []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v uint64
		var text []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(num, v, text); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
