package accesslog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"millrace/engine/transport"
)

// newCertificate makes a certificate that is its own issuer.
func newCertificate(t testing.TB, serial int64, edit func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC),
		NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // what says "never"
	}
	edit(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// newSession is a session in which both sides have shown a certificate.
func newSession(t testing.TB) *transport.Session {
	t.Helper()
	uri := func(s string) []*url.URL { u, _ := url.Parse(s); return []*url.URL{u} }
	peer := newCertificate(t, 0xabcd, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: `an"na`, Organization: []string{"Acme"}}
		c.URIs, c.DNSNames = uri("spiffe://acme/anna"), []string{"anna.example", "a.example"}
		c.IPAddresses, c.EmailAddresses = []net.IP{net.IPv4(192, 0, 2, 1)}, []string{"anna@example"}
	})
	local := newCertificate(t, 1, func(c *x509.Certificate) {
		c.Subject, c.URIs, c.DNSNames = pkix.Name{CommonName: "edge"}, uri("spiffe://acme/edge"), []string{"edge.example"}
	})
	return &transport.Session{
		Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ServerName: "edge.example",
		ID: []byte{1, 0xab}, Duration: 17 * time.Millisecond, Local: local, Peer: peer, PeerChain: []*x509.Certificate{peer, local},
	}
}

func TestTLSOperators(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	sum := sha256.Sum256(s.Peer.Raw)
	digest := hex.EncodeToString(sum[:])
	for _, tt := range []struct{ format, want string }{
		{"%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_SESSION_ID%", "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 01ab"},
		{"%DOWNSTREAM_PEER_SUBJECT%", `CN=an\x5C\x22na,O=Acme`}, // the escape of the name is escaped once more
		{"%DOWNSTREAM_PEER_ISSUER:5%", `CN=an`},
		{"%DOWNSTREAM_LOCAL_SUBJECT%", "CN=edge"},
		{"%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_DNS_SAN%", "spiffe://acme/anna anna.example,a.example"},
		{"%DOWNSTREAM_PEER_IP_SAN% %DOWNSTREAM_PEER_EMAIL_SAN% %DOWNSTREAM_PEER_OTHERNAME_SAN%", "192.0.2.1 anna@example -"},
		{"%DOWNSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_LOCAL_DNS_SAN% %DOWNSTREAM_LOCAL_IP_SAN%", "spiffe://acme/edge edge.example -"},
		{"%DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_FINGERPRINT_256%", "abcd " + digest},
		{"%DOWNSTREAM_PEER_CHAIN_SERIALS%", "abcd,01"},
		{"%DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_START(%Y)%", "2024-01-02T03:04:05.000Z 2024"},
		{"%DOWNSTREAM_PEER_CERT_V_END%", "9999-12-31T23:59:59.000Z"},
		{"%DOWNSTREAM_HANDSHAKE_DURATION%", "17"},
		{"%UPSTREAM_TLS_VERSION% %UPSTREAM_PEER_SUBJECT% %UPSTREAM_PEER_CERT_V_END%", "- - -"},
	} {
		if got := line(t, tt.format, &Record{TLS: s}); got != tt.want {
			t.Errorf("%s = %q; want %q", tt.format, got, tt.want)
		}
		up := strings.ReplaceAll(tt.format, "DOWNSTREAM_", "UPSTREAM_")
		if f, err := Compile(&Config{Format: up}); err == nil && up != tt.format {
			if got := strings.TrimSuffix(string(f.Append(nil, &Record{UpstreamTLS: s})), "\n"); got != tt.want {
				t.Errorf("%s = %q; want %q", up, got, tt.want)
			}
		}
		if strings.Contains(line(t, tt.format, &Record{}), "=") {
			t.Errorf("%s without TLS has a value", tt.format)
		}
	}
	if got := line(t, "%DOWNSTREAM_PEER_CERT%", &Record{TLS: s}); !strings.HasPrefix(got, "-----BEGIN%20CERTIFICATE-----%0AMII") {
		t.Errorf("DOWNSTREAM_PEER_CERT = %q", got)
	}
	anonymous := *s
	anonymous.Peer, anonymous.PeerChain = nil, nil
	if got := line(t, "%DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_CHAIN_SERIALS% %DOWNSTREAM_TLS_VERSION%", &Record{TLS: &anonymous}); got != "- - TLSv1.2" {
		t.Errorf("of a client without a certificate: %q", got)
	}
}

// line is what a format prints of a record, without the newline.
func line(t testing.TB, format string, r *Record) string {
	t.Helper()
	f, err := Compile(&Config{Format: format})
	if err != nil {
		t.Fatalf("Compile(%q) = %v", format, err)
	}
	return strings.TrimSuffix(string(f.Append(nil, r)), "\n")
}

// TestTLSOperatorsValue: in a header field they stand as they are.
func TestTLSOperatorsValue(t *testing.T) {
	t.Parallel()
	f, err := CompileValue("%DOWNSTREAM_PEER_SUBJECT%;%UPSTREAM_TLS_CIPHER%")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Append(nil, &Record{TLS: newSession(t)})); got != `CN=an\"na,O=Acme;` {
		t.Errorf("Append = %q", got)
	}
}

// TestTLSOperatorsAllocs: a line about certificates allocates nothing once the record has room.
func TestTLSOperatorsAllocs(t *testing.T) {
	f, err := Compile(&Config{Format: "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_URI_SAN% " +
		"%DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_CERT%"})
	if err != nil {
		t.Fatal(err)
	}
	s, r, buf := newSession(t), &Record{}, make([]byte, 0, 16<<10)
	if n := testing.AllocsPerRun(100, func() {
		r.Reset()
		r.TLS = s
		buf = f.Append(buf[:0], r)
	}); n != 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
