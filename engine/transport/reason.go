package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"syscall"

	"millrace/engine/certs"
	"millrace/engine/internal/record"
)

// A Reason is why TLS ended a connection, in one word for logs. The words do not change with versions of Go, as the texts of crypto/tls may;
// docs/access-log.md lists them.
type Reason uint8

const (
	ReasonNone Reason = iota // TLS did not end it
	ReasonTimeout
	ReasonShed
	ReasonNotTLS
	ReasonHello
	ReasonHelloLong
	ReasonClosed
	ReasonTruncated
	ReasonReset
	ReasonMemory
	ReasonInternal
	ReasonNoCertificate
	ReasonUntrusted
	ReasonExpired
	ReasonVerify
	ReasonName
	ReasonPin
	ReasonServerName
	ReasonUnavailable
	ReasonVersion
	ReasonSuite
	ReasonGroup
	ReasonProtocol
	ReasonSignature
	ReasonFallback
	ReasonAlert
	ReasonAlertCertificate
	ReasonAlertUntrusted
	ReasonAlertVersion
	ReasonAlertFailure
	ReasonAlertName
	ReasonAlertRequired
	ReasonAlertProtocol
	ReasonRecord
	ReasonMessage
	ReasonFailed
	reasonCount
)

// reasons are the words, and how crypto/tls begins to say it where it has no value for it.
var reasons = [reasonCount]struct{ word, text string }{
	ReasonNone:             {"", ""},
	ReasonTimeout:          {"handshake_timeout", ""},
	ReasonShed:             {"too_many_handshakes", ""},
	ReasonNotTLS:           {"not_tls", "first record does not look like a TLS handshake"},
	ReasonHello:            {"malformed_client_hello", ""},
	ReasonHelloLong:        {"client_hello_too_long", ""},
	ReasonClosed:           {"closed_in_handshake", ""},
	ReasonTruncated:        {"closed_without_close_notify", ""},
	ReasonReset:            {"connection_reset", ""},
	ReasonMemory:           {"no_memory", ""},
	ReasonInternal:         {"internal_error", "internal error"},
	ReasonNoCertificate:    {"certificate_required", "client didn't provide a certificate"},
	ReasonUntrusted:        {"certificate_untrusted", ""},
	ReasonExpired:          {"certificate_expired", ""},
	ReasonVerify:           {"certificate_not_verified", ""},
	ReasonName:             {"certificate_name_mismatch", ""},
	ReasonPin:              {"certificate_hash_mismatch", ""},
	ReasonServerName:       {"server_name_required", "certs: the client asked for no name"},
	ReasonUnavailable:      {"no_certificate_to_present", "certs: ocsp_staple_policy leaves no certificate"},
	ReasonVersion:          {"no_shared_version", "client offered only unsupported versions"},
	ReasonSuite:            {"no_shared_cipher", "no cipher suite supported by both"},
	ReasonGroup:            {"no_shared_group", "no key exchanges supported by both"},
	ReasonProtocol:         {"no_shared_protocol", "client requested unsupported application protocols"},
	ReasonSignature:        {"bad_signature", "invalid signature by"},
	ReasonFallback:         {"inappropriate_fallback", "client using inappropriate protocol fallback"},
	ReasonAlert:            {"alert_from_peer", "remote error: "},
	ReasonAlertCertificate: {"alert_from_peer_certificate_refused", ""},
	ReasonAlertUntrusted:   {"alert_from_peer_certificate_untrusted", ""},
	ReasonAlertVersion:     {"alert_from_peer_version_refused", ""},
	ReasonAlertFailure:     {"alert_from_peer_handshake_failure", ""},
	ReasonAlertName:        {"alert_from_peer_name_unknown", ""},
	ReasonAlertRequired:    {"alert_from_peer_certificate_required", ""},
	ReasonAlertProtocol:    {"alert_from_peer_no_shared_protocol", ""},
	ReasonRecord:           {"bad_record", "local error: "},
	ReasonMessage:          {"bad_handshake_message", "received unexpected handshake message"},
	ReasonFailed:           {"handshake_failed", ""},
}

// String returns the word, "" for ReasonNone.
func (r Reason) String() string { return reasons[r].word }

// alerts are what alerts of the peer mean, by number; ReasonAlert where there is no word of its own.
var alerts = map[record.Alert]Reason{
	40: ReasonAlertFailure, 71: ReasonAlertFailure, 70: ReasonAlertVersion,
	42: ReasonAlertCertificate, 43: ReasonAlertCertificate, 44: ReasonAlertCertificate, 45: ReasonAlertCertificate,
	46: ReasonAlertCertificate, 48: ReasonAlertUntrusted,
	112: ReasonAlertName, 116: ReasonAlertRequired, 120: ReasonAlertProtocol,
}

func alertReason(a record.Alert) Reason {
	if r, ok := alerts[a]; ok {
		return r
	}
	return ReasonAlert
}

// values are the errors that are values.
var values = []struct {
	err    error
	reason Reason
}{
	{ErrTruncated, ReasonTruncated}, {ErrHandshakeTimeout, ReasonTimeout}, {ErrShed, ReasonShed}, {ErrEvicted, ReasonShed}, {ErrPlain, ReasonNotTLS},
	{ErrHello, ReasonHello}, {ErrHelloLong, ReasonHelloLong}, {ErrAborted, ReasonClosed}, {ErrPanic, ReasonInternal}, {ErrNoMemory, ReasonMemory},
	{errFinishedRecord, ReasonMessage}, {errFinishedWrong, ReasonMessage}, {ErrEarly, ReasonInternal},
	{syscall.ECONNRESET, ReasonReset}, {syscall.EPIPE, ReasonReset},
}

// ReasonOf returns why TLS ended a connection whose engine.Conn.TransportError is err. It is called when a connection has
// ended, and may be slow.
func ReasonOf(err error) Reason {
	if err == nil {
		return ReasonNone
	}
	for i := range values {
		if errors.Is(err, values[i].err) {
			return values[i].reason
		}
	}
	var remote record.RemoteError
	if errors.As(err, &remote) {
		return alertReason(record.Alert(remote))
	}
	var own *record.Error
	if errors.As(err, &own) {
		return ReasonRecord
	}
	switch certs.FailureOf(err) {
	case certs.FailNone:
	case certs.FailNoCert:
		return ReasonNoCertificate
	case certs.FailSAN:
		return ReasonName
	case certs.FailHash:
		return ReasonPin
	case certs.FailVerify:
		return chainReason(err)
	}
	return textReason(err.Error())
}

// chainReason returns why a chain of certificates did not verify.
func chainReason(err error) Reason {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return ReasonUntrusted
	case errors.As(err, &name):
		return ReasonName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ReasonExpired
	}
	return ReasonVerify
}

// textReason knows what crypto/tls says by its text only.
func textReason(text string) Reason {
	if alert, ok := strings.CutPrefix(text, reasons[ReasonAlert].text); ok {
		for a := range alerts {
			if alert == tls.AlertError(a).Error() {
				return alerts[a]
			}
		}
		return ReasonAlert
	}
	bare := strings.TrimPrefix(text, "tls: ")
	for r := range reasons {
		if prefix := reasons[r].text; prefix != "" && strings.HasPrefix(bare, prefix) {
			return Reason(r)
		}
	}
	return ReasonFailed
}
