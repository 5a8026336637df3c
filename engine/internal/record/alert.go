package record

import (
	"io"
	"strconv"
)

// An Alert is the description of a TLS alert.
type Alert uint8

// The alerts that this package sends or looks at.
const (
	CloseNotify       Alert = 0
	UnexpectedMessage Alert = 10
	BadRecordMAC      Alert = 20
	RecordOverflow    Alert = 22
	IllegalParameter  Alert = 47
	DecodeError       Alert = 50
	ProtocolVersion   Alert = 70
	InternalError     Alert = 80
	UserCanceled      Alert = 90
	NoRenegotiation   Alert = 100
)

// Levels of an alert. TLS 1.3 has none: what a description means is fixed.
const (
	levelWarning = 1
	levelFatal   = 2
)

// alertNames are the names of RFC 8446 section 6, and of those that peers with TLS 1.2 send.
var alertNames = map[Alert]string{
	0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow",
	30: "decompression_failure", 40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate",
	44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter",
	48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version",
	71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled",
	100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
	113: "bad_certificate_status_response", 115: "unknown_psk_identity", 116: "certificate_required",
	120: "no_application_protocol",
}

// String returns the name that the RFC gives a, or its number.
func (a Alert) String() string {
	if s, ok := alertNames[a]; ok {
		return s
	}
	return "alert " + strconv.Itoa(int(a))
}

// A RemoteError is the alert with which the peer ended the connection.
type RemoteError Alert

// Error implements error.
func (e RemoteError) Error() string { return "tls: the peer sent " + Alert(e).String() }

// An Error is why this side ends the connection, and the alert that says so.
type Error struct {
	Alert  Alert
	Reason string
}

// Error implements error.
func (e *Error) Error() string { return "tls: " + e.Reason + " (" + e.Alert.String() + ")" }

// An ending is how the reading side came to its end. It has its own number in a Conn, instead of an error, for the
// size of it.
type ending uint8

const (
	endNone ending = iota
	endClosed
	endRemote
	endVersion
	endType
	endTooLong
	endMAC
	endNoType
	endInnerType
	endSequence
	endAlert
	endUseless
	endEmptyHandshake
	endInterleaved
	endHandshake
	endRenegotiation
	endHandshakeTooLong
	endTicket
	endKeyUpdate
	endKeyUpdateValue
	endKeyUpdateBoundary
	endKeyUpdateGiven
	endKeys
)

// ErrKeyUpdate ends a connection whose peer asks for a KeyUpdate when another one seals: see Conn.Give.
var ErrKeyUpdate = &Error{InternalError, "KeyUpdate asked for, and no next key to seal with"}

// failures are the errors of the endings that are our own.
var failures = [...]*Error{
	endVersion:           {ProtocolVersion, "record of another version"},
	endType:              {UnexpectedMessage, "record of an unexpected type"},
	endTooLong:           {RecordOverflow, "record too long"},
	endMAC:               {BadRecordMAC, "record that its key does not open"},
	endNoType:            {UnexpectedMessage, "record of padding alone"},
	endInnerType:         {UnexpectedMessage, "record with an unexpected inner type"},
	endSequence:          {InternalError, "sequence numbers used up"},
	endAlert:             {UnexpectedMessage, "malformed alert"},
	endUseless:           {UnexpectedMessage, "too many records without data"},
	endEmptyHandshake:    {UnexpectedMessage, "empty handshake record"},
	endInterleaved:       {UnexpectedMessage, "record within a handshake message"},
	endHandshake:         {UnexpectedMessage, "unexpected handshake message"},
	endRenegotiation:     {NoRenegotiation, "renegotiation asked for"},
	endHandshakeTooLong:  {InternalError, "handshake message too long"},
	endTicket:            {DecodeError, "malformed NewSessionTicket"},
	endKeyUpdate:         {DecodeError, "malformed KeyUpdate"},
	endKeyUpdateValue:    {DecodeError, "KeyUpdate with an unknown request"},
	endKeyUpdateBoundary: {UnexpectedMessage, "KeyUpdate that does not end its record"},
	endKeyUpdateGiven:    ErrKeyUpdate,
	endKeys:              {InternalError, "no key for the next generation"},
}

// err returns the error of e; code is the alert of a peer that ended the connection.
func (e ending) err(code Alert) error {
	switch e {
	case endNone:
		return nil
	case endClosed:
		return io.EOF
	case endRemote:
		return RemoteError(code)
	default:
		return failures[e]
	}
}
