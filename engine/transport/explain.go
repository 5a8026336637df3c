package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// Explain says in words why a connection to a host could not be opened, or ended. err is of engine.Conn.TransportError.
func Explain(err error) string {
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		remote  *net.OpError
	)
	switch {
	case errors.As(err, &name):
		return explainName(&name)
	case errors.As(err, &unknown):
		return explainIssuer(&unknown)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return explainExpired(&invalid)
	case errors.As(err, &record):
		return "the host does not speak TLS"
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert
		return "the host refused the handshake: " + plain(remote.Err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, ErrAborted):
		return "the host closed the connection during the TLS handshake"
	case errors.Is(err, ErrTruncated):
		return "the host closed the connection without close_notify"
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno.Error()
	}
	return plain(err)
}

// plain returns the text of err without the names of packages.
func plain(err error) string {
	s := err.Error()
	for _, prefix := range []string{"certs: ", "tls: ", "failed to verify certificate: ", "x509: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	return s
}

// explainName says whose certificate was shown in place of the one that was asked for.
func explainName(e *x509.HostnameError) string {
	const most = 4
	names := append([]string(nil), e.Certificate.DNSNames...)
	for _, ip := range e.Certificate.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "certificate has no names, so it is not for " + e.Host
	case len(names) > most:
		names = append(names[:most], "…")
	}
	return fmt.Sprintf("certificate is for %s, not %s", strings.Join(names, ", "), e.Host)
}

// explainIssuer says who has issued a certificate that leads to no CA that is trusted.
func explainIssuer(e *x509.UnknownAuthorityError) string {
	c := e.Cert
	if c == nil {
		return "certificate is signed by an unknown authority"
	}
	if string(c.RawIssuer) == string(c.RawSubject) {
		return fmt.Sprintf("certificate of %s is signed by itself, an unknown authority", c.Subject)
	}
	return fmt.Sprintf("certificate of %s is signed by %s, an unknown authority", c.Subject, c.Issuer)
}

// explainExpired says when a certificate was, or will be, valid.
func explainExpired(e *x509.CertificateInvalidError) string {
	const day = "2006-01-02 15:04 MST"
	return fmt.Sprintf("certificate is valid from %s to %s, which is not now",
		e.Cert.NotBefore.UTC().Format(day), e.Cert.NotAfter.UTC().Format(day))
}
