package record

import (
	"bytes"
	"encoding/hex"
)

// A KeyLog takes the lines that crypto/tls writes to Config.KeyLogWriter during one handshake, and keeps the
// secrets of the established connection. It is an io.Writer.
type KeyLog struct {
	random [randomLen]byte
	server secret
	client secret
	master secret
}

type secret struct {
	n uint8 // 0 until it is known
	b [48]byte
}

func (s *secret) bytes() []byte { return s.b[:s.n] }

// Write takes one line: label, client random, secret. What it does not know it leaves out; it never fails.
func (k *KeyLog) Write(line []byte) (int, error) {
	n := len(line)
	label, rest, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	random, value, _ := bytes.Cut(rest, []byte(" "))
	var s *secret
	switch string(label) {
	case "SERVER_TRAFFIC_SECRET_0":
		s = &k.server
	case "CLIENT_TRAFFIC_SECRET_0":
		s = &k.client
	case "CLIENT_RANDOM":
		s = &k.master
	}
	if s == nil || len(random) != 2*randomLen || len(value) > 2*len(s.b) {
		return n, nil
	}
	if _, err := hex.Decode(k.random[:], random); err != nil {
		return n, nil
	}
	if m, err := hex.Decode(s.b[:], value); err == nil {
		s.n = uint8(m)
	}
	return n, nil
}

// Established reports whether the secrets of the established connection have come: with TLS 1.3 before the
// client's Finished, with TLS 1.2 before either.
func (k *KeyLog) Established() bool { return k.client.n > 0 && k.server.n > 0 || k.master.n > 0 }

// Fill puts the secrets into p by its version and role. Those of TLS 1.2 need the server's random too: see
// ServerRandom. They are valid until Wipe. It reports whether k had them.
func (k *KeyLog) Fill(p *Params) bool {
	if p.Version == VersionTLS12 {
		p.Master, p.ClientRandom = k.master.bytes(), k.random[:]
		return k.master.n == masterLen
	}
	p.In, p.Out = k.client.bytes(), k.server.bytes()
	if p.Client {
		p.In, p.Out = p.Out, p.In
	}
	return k.client.n > 0 && k.server.n > 0
}

// Wipe forgets the secrets.
func (k *KeyLog) Wipe() { *k = KeyLog{} }

// ServerRandom returns the random of the ServerHello that written, what a server has sent, begins with. It
// points into written.
func ServerRandom(written []byte) (random []byte, ok bool) {
	const (
		msgServerHello = 2
		at             = HeaderLen + 4 + 2 // header of the record, header of the message, version
	)
	if len(written) < at+randomLen || ContentType(written[0]) != TypeHandshake || written[HeaderLen] != msgServerHello {
		return nil, false
	}
	if n := int(written[3])<<8 | int(written[4]); n < at-HeaderLen+randomLen {
		return nil, false // the message goes on in another record
	}
	return written[at : at+randomLen], true
}
