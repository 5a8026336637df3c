package transport

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"

	"millrace/engine/internal/record"
)

const (
	messageFinished = 20

	suiteAES256GCM = 0x1302 // the one suite of TLS 1.3 with SHA-384
	finishedMax    = messageHeadBytes + sha512.Size384

	// idleRecordsMax is how many records that bring nothing, such as change_cipher_spec, may come before the client's Finished.
	idleRecordsMax = 16
)

// retryRandom is the random of a ServerHello that is a HelloRetryRequest. RFC 8446 section 4.1.3
var retryRandom = [32]byte{
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
	0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
}

// handshakeSecrets are what a TLS 1.3 handshake is encrypted with, from the key log.
type handshakeSecrets struct{ client, server []byte }

// note takes a line of the key log.
func (h *handshakeSecrets) note(line []byte) {
	label, rest, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	_, value, _ := bytes.Cut(rest, []byte(" "))
	var to *[]byte
	switch string(label) {
	case "CLIENT_HANDSHAKE_TRAFFIC_SECRET":
		to = &h.client
	case "SERVER_HANDSHAKE_TRAFFIC_SECRET":
		to = &h.server
	default:
		return
	}
	if b, err := hex.DecodeString(string(value)); err == nil {
		*to = b
	}
}

// wipe forgets the secrets.
func (h *handshakeSecrets) wipe() {
	clear(h.client)
	clear(h.server)
	*h = handshakeSecrets{}
}

// awaited is a TLS 1.3 handshake of which only the client's Finished is missing, and which waits for it without a goroutine.
//
// crypto/tls would wait for it on a stack of its own, and two threads more would have to be woken to look at 52 bytes. So it is
// left when it wants to read: what the Finished has to be follows from the messages and the secrets. Whoever is asked for a
// certificate sends more than that, and stays with crypto/tls.
type awaited struct {
	hs   *record.Conn // the keys of the handshake
	rec  *record.Conn // those of the connection
	want [finishedMax]byte
	got  [finishedMax]byte
	size int // of the message
	n    int // of got
	idle int // records that bring nothing: change_cipher_spec, user_canceled
}

// wipe forgets the keys, but for those of a connection that goes on.
func (a *awaited) wipe() {
	a.hs.Wipe()
	if a.rec != nil {
		a.rec.Wipe()
	}
}

// await makes what is needed to check the client's Finished, nil when crypto/tls has to do it. It is called when the first flight is complete.
func (s *shake) await() *awaited {
	p := record.Params{Version: record.VersionTLS13}
	suite, ok := helloSuite(s.written)
	if !s.keys.Fill(&p) || !ok || s.cut.mid() || !record.Supported(p.Version, suite) {
		return nil
	}
	p.Suite = suite
	a := &awaited{}
	var err error
	if a.rec, err = record.New(&p); err != nil {
		return nil
	}
	if _, err = a.rec.CountWritten(s.written, make([]byte, longestRecord(s.written))); err != nil {
		return nil
	}
	p.In, p.Out = s.secrets.client, s.secrets.server
	if a.hs, err = record.New(&p); err != nil {
		return nil
	}
	h := suiteHash(suite)
	sum := h()
	if !writeHello(sum, s.hello) || !a.writeFlight(sum, s.written) {
		return nil
	}
	a.size = messageHeadBytes + sum.Size()
	a.want = [finishedMax]byte{messageFinished, 0, 0, byte(sum.Size())}
	key, err := finishedKey(h, p.In)
	if err != nil {
		return nil
	}
	mac := hmac.New(h, key)
	mac.Write(sum.Sum(nil))
	mac.Sum(a.want[:messageHeadBytes])
	return a
}

// helloSuite returns the cipher suite of the ServerHello that written begins with. It is none for a HelloRetryRequest, after which the
// transcript begins in another way.
func helloSuite(written []byte) (suite uint16, ok bool) {
	random, ok := record.ServerRandom(written)
	if !ok || bytes.Equal(random, retryRandom[:]) {
		return 0, false
	}
	rest := written[record.HeaderLen+messageHeadBytes+2+len(random):]
	if len(rest) < 1 || len(rest) < 1+int(rest[0])+2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(rest[1+rest[0]:]), true
}

func suiteHash(suite uint16) func() hash.Hash {
	if suite == suiteAES256GCM {
		return sha512.New384
	}
	return sha256.New
}

// finishedKey derives the key of the Finished from the secret of the side that sends it. RFC 8446 section 4.4.4
func finishedKey(h func() hash.Hash, secret []byte) ([]byte, error) {
	n := h().Size()
	info := append([]byte{0, byte(n), byte(len("tls13 finished"))}, "tls13 finished\x00"...)
	return hkdf.Expand(h, secret, string(info), n)
}

// writeHello adds the ClientHello that b begins with, without the headers of its records. It reports whether b is that and no more: what
// follows could be a message that belongs to the transcript too.
func writeHello(sum hash.Hash, b []byte) bool {
	size := -1
	var head [messageHeadBytes]byte
	for n := 0; len(b) >= record.HeaderLen; {
		k := int(binary.BigEndian.Uint16(b[3:]))
		if len(b) < record.HeaderLen+k {
			return false
		}
		body := b[record.HeaderLen : record.HeaderLen+k]
		b = b[record.HeaderLen+k:]
		if n < len(head) {
			copy(head[n:], body)
		}
		if n += k; n >= len(head) {
			size = len(head) + int(head[1])<<16 + int(head[2])<<8 + int(head[3])
		}
		if sum.Write(body); n == size {
			return true
		}
	}
	return false
}

// writeFlight adds the messages of the first flight: the ServerHello, and what is encrypted with the keys of the handshake. It reports whether the last
// of them is the Finished.
func (a *awaited) writeFlight(sum hash.Hash, b []byte) bool {
	var m messages
	scratch := make([]byte, longestRecord(b))
	for plain := true; len(b) >= record.HeaderLen; {
		n := record.HeaderLen + int(binary.BigEndian.Uint16(b[3:]))
		if len(b) < n {
			return false
		}
		rec := b[:n]
		b = b[n:]
		switch typ := record.ContentType(rec[0]); {
		case typ == record.TypeChangeCipherSpec:
		case typ == record.TypeHandshake && plain:
			sum.Write(rec[record.HeaderLen:])
			m.add(rec[record.HeaderLen:])
		case typ == record.TypeApplicationData:
			plain = false
			k, typ, err := a.hs.Out().Open(scratch, rec)
			if err != nil {
				return m.whole() && m.typ == messageFinished // tickets, with the keys of the connection
			}
			if typ != record.TypeHandshake {
				return false
			}
			sum.Write(scratch[:k])
			m.add(scratch[:k])
		default:
			return false
		}
	}
	return m.whole() && m.typ == messageFinished
}

// messages follows the handshake messages of a stream.
type messages struct {
	typ  byte // of the last
	head [messageHeadBytes]byte
	at   int // in the message
	size int
}

func (m *messages) add(b []byte) {
	for len(b) > 0 {
		if m.at < len(m.head) {
			n := copy(m.head[m.at:], b)
			m.at, b = m.at+n, b[n:]
			if m.at < len(m.head) {
				return
			}
			m.typ = m.head[0]
			m.size = len(m.head) + int(m.head[1])<<16 + int(m.head[2])<<8 + int(m.head[3])
		}
		n := min(len(b), m.size-m.at)
		m.at, b = m.at+n, b[n:]
		if m.at == m.size {
			m.at = 0
		}
	}
}

// whole reports whether the last message is complete.
func (m *messages) whole() bool { return m.at == 0 }

var (
	errFinishedRecord = errors.New("tls: unexpected record in place of the client's Finished")
	errFinishedWrong  = errors.New("tls: the client's Finished is wrong")
)

// feed takes the records at the beginning of b and returns how much of it they were. done tells that the Finished was among them, and right; then nothing
// behind it is touched. With an error comes the alert to send, CloseNotify for none.
func (a *awaited) feed(b, scratch []byte) (used int, done bool, alert record.Alert, err error) {
	for len(b)-used >= record.HeaderLen {
		rec := b[used:]
		n := record.HeaderLen + int(binary.BigEndian.Uint16(rec[3:]))
		if rec[1] != 3 || rec[2] != 3 {
			return used, false, record.ProtocolVersion, errFinishedRecord
		}
		switch record.ContentType(rec[0]) {
		case record.TypeChangeCipherSpec:
			// "If an implementation detects a change_cipher_spec record received [...] within the handshake, [it] MUST drop it": one byte, 1.
			// RFC 8446 section 5
			if n != record.HeaderLen+1 {
				return used, false, record.UnexpectedMessage, errFinishedRecord
			}
			if len(rec) < n {
				return used, false, 0, nil
			}
			if a.idle++; rec[record.HeaderLen] != 1 || a.idle > idleRecordsMax || a.n > 0 {
				return used, false, record.UnexpectedMessage, errFinishedRecord
			}
			used += n
			continue
		case record.TypeAlert: // of a client that has no keys
			if n == alertBytes && len(rec) < n {
				return used, false, 0, nil
			}
			if n == alertBytes {
				return used + n, false, 0, record.RemoteError(rec[n-1])
			}
		case record.TypeHandshake, record.TypeApplicationData:
		}
		size, err := a.hs.In().RecordLen(rec)
		if err != nil {
			return used, false, alertOf(err), err
		}
		if size == 0 || size > len(rec) {
			return used, false, 0, nil
		}
		used += size
		done, alert, err = a.take(rec[:size], scratch)
		if done || err != nil {
			return used, done, alert, err
		}
	}
	return used, false, 0, nil
}

// take opens one record with a part of the Finished, or with an alert.
func (a *awaited) take(rec, scratch []byte) (done bool, alert record.Alert, err error) {
	if record.ContentType(rec[0]) != record.TypeApplicationData {
		return false, record.UnexpectedMessage, errFinishedRecord
	}
	k, typ, err := a.hs.In().Open(scratch, rec)
	if err != nil {
		return false, alertOf(err), err
	}
	b := scratch[:k]
	switch {
	case typ != record.TypeHandshake && a.n > 0: // within the Finished
		return false, record.UnexpectedMessage, errFinishedRecord
	case typ == record.TypeAlert && k == 2 && record.Alert(b[1]) == record.UserCanceled:
		// A close_notify follows, or nothing that matters, as in the established connection.
		return a.useless()
	case typ == record.TypeAlert && k == 2:
		return false, 0, record.RemoteError(b[1])
	case typ != record.TypeHandshake || k == 0:
		return false, record.UnexpectedMessage, errFinishedRecord
	}
	n := copy(a.got[a.n:a.size], b)
	a.n += n
	switch {
	case a.got[0] != messageFinished:
		return false, record.UnexpectedMessage, errFinishedRecord
	case a.n >= messageHeadBytes && !bytes.Equal(a.got[:messageHeadBytes], a.want[:messageHeadBytes]):
		return false, alertDecryptError, errFinishedWrong // of another length
	case n < k: // nothing may follow it under this key
		return false, record.UnexpectedMessage, errFinishedRecord
	case a.n < a.size:
		return false, 0, nil
	}
	// "Recipients of Finished messages MUST verify that the contents are correct and if incorrect MUST terminate the connection with a
	// "decrypt_error" alert." RFC 8446 section 4.4.4
	if !hmac.Equal(a.got[:a.size], a.want[:a.size]) {
		return false, alertDecryptError, errFinishedWrong
	}
	return true, 0, nil
}

// useless counts a record that brings nothing.
func (a *awaited) useless() (done bool, alert record.Alert, err error) {
	if a.idle++; a.idle > idleRecordsMax {
		return false, record.UnexpectedMessage, errFinishedRecord
	}
	return false, 0, nil
}

const alertDecryptError record.Alert = 51

// alertOf returns the alert for an error of the record layer.
func alertOf(err error) record.Alert {
	var e *record.Error
	if errors.As(err, &e) {
		return e.Alert
	}
	return record.InternalError
}
