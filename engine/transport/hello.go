package transport

import (
	"bytes"

	"millrace/engine/internal/record"
)

const (
	// helloBytesMax bounds a ClientHello with the headers of its records: some 2 KiB with a key share of ML-KEM, and a ticket, in which
	// crypto/tls puts the certificates of the client. While it comes it holds a block of the arena.
	helloBytesMax = 32 << 10
	// helloRecordsMax bounds the records it is spread over, since each look at it walks them.
	helloRecordsMax = 64

	messageClientHello = 1
	messageHeadBytes   = 4

	levelFatal = 2
	alertBytes = record.HeaderLen + 2
)

// helloState is what the first bytes of a client amount to.
type helloState uint8

const (
	helloPartial helloState = iota
	helloWhole
	helloPlain // something that is not TLS
	helloBad   // refused with an alert
	helloLong  // the same, for more than is taken
)

// checkHello looks whether b begins with a whole ClientHello, without looking into it: crypto/tls does. alert is why it is bad.
func checkHello(b []byte) (state helloState, alert record.Alert) {
	if len(b) > 0 && b[0] != byte(record.TypeHandshake) {
		return checkPlain(b[0])
	}
	var head [messageHeadBytes]byte
	size, got := messageHeadBytes, 0 // of the message: how much is known of its size, how much is there
	for at, records := 0, 0; at+record.HeaderLen <= len(b); records++ {
		n := int(b[at+3])<<8 | int(b[at+4])
		switch {
		case b[at] != byte(record.TypeHandshake) || b[at+1] != 3:
			return helloBad, record.UnexpectedMessage
		case n == 0:
			return helloBad, record.UnexpectedMessage
		case n > record.MaxPlaintext:
			return helloBad, record.RecordOverflow
		case records == helloRecordsMax || at+record.HeaderLen+n > helloBytesMax:
			return helloLong, record.DecodeError
		}
		at += record.HeaderLen
		body := b[at:min(at+n, len(b))]
		if got < len(head) {
			copy(head[got:], body)
		}
		got += len(body)
		if got > 0 && head[0] != messageClientHello {
			return helloBad, record.UnexpectedMessage
		}
		if got >= len(head) {
			size = messageHeadBytes + int(head[1])<<16 + int(head[2])<<8 + int(head[3])
		}
		if size > helloBytesMax {
			return helloLong, record.DecodeError
		}
		if got >= size && got >= len(head) {
			return helloWhole, 0
		}
		at += n
	}
	return helloPartial, 0
}

// checkPlain looks at a first byte that begins no handshake. Methods of HTTP are upper-case letters.
func checkPlain(first byte) (helloState, record.Alert) {
	switch {
	case first >= 'A' && first <= 'Z':
		return helloPlain, 0
	case first&0x80 != 0: // SSL 2.0
		return helloBad, record.ProtocolVersion
	}
	return helloBad, record.UnexpectedMessage
}

// plainAlert is an alert before there are keys.
func plainAlert(a record.Alert) []byte {
	return []byte{byte(record.TypeAlert), 3, 1, 0, 2, levelFatal, byte(a)}
}

// sessionID returns the session id of the ServerHello that written begins with, nil if there is none.
func sessionID(written []byte) []byte {
	random, ok := record.ServerRandom(written)
	if !ok {
		return nil
	}
	rest := written[record.HeaderLen+messageHeadBytes+2+len(random):]
	if len(rest) == 0 || int(rest[0]) > len(rest)-1 || rest[0] == 0 || rest[0] > 32 {
		return nil
	}
	return bytes.Clone(rest[1 : 1+rest[0]])
}
