package transport

import (
	"errors"

	"millrace/engine/certs"
	"millrace/engine/internal/record"
	"millrace/engine/stats"
)

// Stats counts the TLS of a listener or a cluster on one loop, under its scope and "ssl". The names are Envoy's, up to
// those of the last group; staples are counted by who chooses the certificate.
type Stats struct {
	Handshake       stats.Counter `stat:"handshake" help:"TLS handshakes that succeeded"`
	ConnectionError stats.Counter `stat:"connection_error" help:"TLS errors but those of certificate verification"`
	SessionReused   stats.Counter `stat:"session_reused" help:"TLS handshakes that resumed a session"`
	NoCertificate   stats.Counter `stat:"no_certificate" help:"TLS handshakes in which the peer showed no certificate"`

	FailVerifyNoCert   stats.Counter `stat:"fail_verify_no_cert" help:"TLS handshakes refused for want of a client certificate"`
	FailVerifyError    stats.Counter `stat:"fail_verify_error" help:"TLS handshakes refused because the peer's chain did not verify"`
	FailVerifySAN      stats.Counter `stat:"fail_verify_san" help:"TLS handshakes refused for the names of the peer's certificate"`
	FailVerifyCertHash stats.Counter `stat:"fail_verify_cert_hash" help:"TLS handshakes refused because the peer's certificate is not pinned"`

	Versions numbers[version] `stat:"versions." help:"TLS handshakes by version"`
	Ciphers  numbers[suite]   `stat:"ciphers." help:"TLS handshakes by cipher suite"`
	Curves   numbers[curve]   `stat:"curves." help:"TLS handshakes by group"`

	PlainRequests     stats.Counter   `stat:"plain_requests" help:"clients that spoke HTTP where TLS was expected"`
	HandshakeTimeout  stats.Counter   `stat:"handshake_timeout" help:"TLS handshakes that took longer than handshake_timeout"`
	HandshakeShed     stats.Counter   `stat:"handshake_shed" help:"TLS handshakes refused because there were too many"`
	HandshakeEvicted  stats.Counter   `stat:"handshake_evicted" help:"TLS handshakes given up because there were too many and their clients kept them waiting"`
	HelloTooLong      stats.Counter   `stat:"client_hello_too_long" help:"clients refused for a ClientHello of more than 32 KiB or 64 records"`
	HandshakeAborted  stats.Counter   `stat:"handshake_aborted" help:"TLS handshakes in which the peer went away"`
	HandshakeTime     stats.Histogram `stat:"handshake_time" unit:"us" help:"first byte to the end of the handshake"`
	Truncated         stats.Counter   `stat:"truncated" help:"TLS connections that the peer closed without close_notify"`
	EstablishedOwn    stats.Counter   `stat:"established_own" help:"TLS connections on the own record layer"`
	EstablishedCrypto stats.Counter   `stat:"established_crypto_tls" help:"TLS connections on crypto/tls"`
	Kernel            stats.Counter   `stat:"kernel_tls" help:"TLS connections whose sending has gone over to the kernel"`
	KernelRefused     stats.Counter   `stat:"kernel_tls_refused" help:"TLS connections whose sending the kernel has not taken over, although it should"`
	KernelKeyUpdate   stats.Counter   `stat:"kernel_tls_key_update" help:"TLS connections that ended because the client asked for a KeyUpdate and the kernel was sending"`
}

// numbers counts by a number of a protocol's registry that has a name. There are few of them, so a linear search does.
type numbers[T interface {
	~uint16
	String() string
}] struct {
	places [numbersMax]numberPlace
	other  stats.Counter
}

// numbersMax is how many different numbers are told apart; crypto/tls has fewer. The rest count as "other".
const numbersMax = 24

type numberPlace struct {
	number stats.Gauge // 1 + the number, 0 for a place that is free
	count  stats.Counter
}

// inc counts v.
func (b *numbers[T]) inc(v T) {
	for i := range b.places {
		p := &b.places[i]
		if p.number.Load() == 0 {
			p.number.Set(1 + int64(v))
		}
		if p.number.Load() == 1+int64(v) {
			p.count.Inc()
			return
		}
	}
	b.other.Inc()
}

// EachStat implements stats.Dynamic.
func (b *numbers[T]) EachStat(yield func(name string, n uint64)) {
	for i := range b.places {
		v := b.places[i].number.Load()
		if v == 0 {
			return
		}
		yield(T(v-1).String(), b.places[i].count.Load())
	}
	if n := b.other.Load(); n > 0 {
		yield("other", n)
	}
}

// established counts a handshake that succeeded.
func (s *Stats) established(x *Session) {
	s.Handshake.Inc()
	s.HandshakeTime.Record(uint64(max(0, x.Duration.Microseconds())))
	if x.Resumed {
		s.SessionReused.Inc()
	}
	if x.Peer == nil {
		s.NoCertificate.Inc()
	}
	s.Versions.inc(version(x.Version))
	s.Ciphers.inc(suite(x.Suite))
	if x.Curve != 0 {
		s.Curves.inc(curve(x.Curve))
	}
	if x.Own {
		s.EstablishedOwn.Inc()
	} else {
		s.EstablishedCrypto.Inc()
	}
}

// failed counts a handshake, or a connection, that err has ended.
func (s *Stats) failed(err error) {
	switch {
	case errors.Is(err, ErrHandshakeTimeout):
		s.HandshakeTimeout.Inc()
	case errors.Is(err, ErrShed):
		s.HandshakeShed.Inc()
	case errors.Is(err, ErrEvicted):
		s.HandshakeEvicted.Inc()
	case errors.Is(err, ErrHelloLong):
		s.HelloTooLong.Inc()
	case errors.Is(err, ErrAborted):
		s.HandshakeAborted.Inc()
	case errors.Is(err, ErrTruncated):
		s.Truncated.Inc()
	case errors.Is(err, ErrPlain):
		s.PlainRequests.Inc()
	case errors.Is(err, record.ErrKeyUpdate):
		s.KernelKeyUpdate.Inc()
		s.ConnectionError.Inc()
	default:
		s.refused(certs.FailureOf(err))
	}
}

// refused counts a peer whose certificate was not accepted, or another error.
func (s *Stats) refused(f certs.Failure) {
	switch f {
	case certs.FailNoCert:
		s.FailVerifyNoCert.Inc()
	case certs.FailVerify:
		s.FailVerifyError.Inc()
	case certs.FailSAN:
		s.FailVerifySAN.Inc()
	case certs.FailHash:
		s.FailVerifyCertHash.Inc()
	case certs.FailNone:
		s.ConnectionError.Inc()
	}
}
