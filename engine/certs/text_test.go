package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// textCertificate makes a certificate of a template.
func textCertificate(t testing.TB, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(1)
	}
	template.NotBefore, template.NotAfter = time.Unix(1700000000, 0), time.Unix(1800000000, 0)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// textName encodes a name whose parts may have several attributes.
func textName(t testing.TB, parts ...pkix.RelativeDistinguishedNameSET) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.RDNSequence(parts))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func textPart(pairs ...any) (set pkix.RelativeDistinguishedNameSET) {
	for i := 0; i < len(pairs); i += 2 {
		set = append(set, pkix.AttributeTypeAndValue{Type: pairs[i].(asn1.ObjectIdentifier), Value: pairs[i+1]})
	}
	return set
}

var (
	oidCN   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidC    = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidO    = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidOU   = asn1.ObjectIdentifier{2, 5, 4, 11}
	oidUID  = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
	oidMail = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	oidOdd  = asn1.ObjectIdentifier{1, 2, 3, 4, 5555555}
)

// TestAppendName: names are printed as OpenSSL does, which is asked too where it is installed.
func TestAppendName(t *testing.T) {
	t.Parallel()
	openssl, _ := exec.LookPath("openssl")
	for _, tt := range []struct {
		name string
		der  []byte
		want string
	}{
		{"the last first", textName(t, textPart(oidC, "DE"), textPart(oidO, "Acme"), textPart(oidCN, "anna")), "CN=anna,O=Acme,C=DE"},
		{"nothing", textName(t), ""},
		{"specials", textName(t, textPart(oidCN, `a,b+c"d\e<f>g;h=i`)), `CN=a\,b\+c\"d\\e\<f\>g\;h=i`},
		{"ends", textName(t, textPart(oidO, " a "), textPart(oidCN, "#a#")), `CN=\#a#,O=\ a\ `},
		{"one space", textName(t, textPart(oidCN, " ")), `CN=\ `},
		{"empty value", textName(t, textPart(oidCN, "")), "CN="},
		{"lines", textName(t, textPart(oidCN, "a\r\nb\x00\x7f")), `CN=a\0D\0Ab\00\7F`},
		{"beyond ASCII", textName(t, textPart(oidCN, "Zoë")), `CN=Zo\C3\AB`},
		{"BMPString", textName(t, textPart(oidCN, asn1.RawValue{Tag: 30, Bytes: []byte{0, 'a', 0x20, 0xac}})), `CN=a\E2\82\AC`},
		{"several in one part", textName(t, textPart(oidO, "b"), textPart(oidCN, "a", oidOU, "u")), "OU=u+CN=a,O=b"},
		{"short names", textName(t, textPart(oidUID, "u"), textPart(oidMail, asn1.RawValue{Tag: 22, Bytes: []byte("a@b")})), "emailAddress=a@b,UID=u"},
		{"unknown", textName(t, textPart(oidOdd, asn1.RawValue{Tag: 12, Bytes: []byte("x")}), textPart(oidCN, "a")), "CN=a,1.2.3.4.5555555=#0C0178"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := string(AppendName([]byte("x"), tt.der)); got != "x"+tt.want {
				t.Errorf("AppendName = %q; want %q", got[1:], tt.want)
			}
			if openssl == "" || tt.want == "" {
				return
			}
			c := textCertificate(t, &x509.Certificate{RawSubject: tt.der})
			cmd := exec.Command(openssl, "x509", "-noout", "-subject", "-nameopt", "RFC2253")
			cmd.Stdin = bytes.NewReader(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
			out, err := cmd.Output()
			if got := strings.TrimSuffix(strings.TrimPrefix(string(out), "subject="), "\n"); err != nil || got != tt.want {
				t.Errorf("openssl prints %q, %v; we %q", got, err, tt.want)
			}
		})
	}
}

// FuzzAppendName: whatever stands in a certificate, its name is printable and has no bare quote.
func FuzzAppendName(f *testing.F) {
	f.Add(textName(f, textPart(oidCN, "a\"\n", oidUID, "ü")))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		escaped := false
		for _, c := range AppendName(nil, der) {
			if c < ' ' || c > '~' || c == '"' && !escaped {
				t.Fatalf("AppendName(%x) has %q", der, c)
			}
			escaped = c == '\\' && !escaped
		}
	})
}

func TestAppendAltNames(t *testing.T) {
	t.Parallel()
	uri, _ := url.Parse("spiffe://acme/anna")
	c := textCertificate(t, &x509.Certificate{
		DNSNames: []string{"a.example", "*.b.example"}, EmailAddresses: []string{"a@b"},
		URIs: []*url.URL{uri}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")},
	})
	for _, tt := range []struct {
		kind NameKind
		want string
	}{
		{NameDNS, "a.example,*.b.example"}, {NameEmail, "a@b"}, {NameURI, "spiffe://acme/anna"},
		{NameIP, "192.0.2.1,2001:db8::1"}, {NameOther, ""},
	} {
		if got := string(AppendAltNames([]byte("x"), c, tt.kind)); got != "x"+tt.want {
			t.Errorf("AppendAltNames(%d) = %q; want %q", tt.kind, got[1:], tt.want)
		}
	}
	if got := AppendAltNames(nil, nil, NameDNS); got != nil {
		t.Errorf("AppendAltNames of no certificate = %q", got)
	}
}

// TestAppendAltNamesOther: names of other types are printed if they are text.
func TestAppendAltNamesOther(t *testing.T) {
	t.Parallel()
	var list cryptobyte.Builder
	list.AddASN1(cbasn1.SEQUENCE, func(list *cryptobyte.Builder) {
		for _, v := range []struct {
			tag  cbasn1.Tag
			text string
		}{{cbasn1.UTF8String, "anna@acme"}, {cbasn1.INTEGER, "\x07"}, {cbasn1.UTF8String, "b"}} {
			list.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3})
				b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
					b.AddASN1(v.tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(v.text)) })
				})
			})
		}
	})
	der := list.BytesOrPanic()
	c := textCertificate(t, &x509.Certificate{ExtraExtensions: []pkix.Extension{{Id: oidAltName[:], Value: der}}})
	if got := string(AppendAltNames(nil, c, NameOther)); got != "anna@acme,b" {
		t.Errorf("AppendAltNames(NameOther) = %q", got)
	}
}

func TestAppendSerial(t *testing.T) {
	t.Parallel()
	long, _ := new(big.Int).SetString("00b13ff63f2dbc118d000102030405060708090a0b0c0d", 16)
	for _, tt := range []struct {
		n    *big.Int
		want string
	}{
		{big.NewInt(0), "0"}, {big.NewInt(10), "0a"}, {big.NewInt(0x1234), "1234"}, {big.NewInt(-255), "-ff"},
		{long, "b13ff63f2dbc118d000102030405060708090a0b0c0d"}, {nil, ""},
	} {
		if got := string(AppendSerial(nil, &x509.Certificate{SerialNumber: tt.n})); got != tt.want {
			t.Errorf("AppendSerial(%v) = %q; want %q", tt.n, got, tt.want)
		}
	}
}

// TestAppendEscapedPEM: it is the PEM of the standard library, escaped as Envoy does.
func TestAppendEscapedPEM(t *testing.T) {
	t.Parallel()
	for i := range 50 { // all lengths of the last line
		c := textCertificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: strings.Repeat("a", i)}})
		plain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		want := strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(string(plain))
		if got := string(AppendEscapedPEM(nil, c)); got != want {
			t.Fatalf("AppendEscapedPEM = %s; want %s", got, want)
		}
	}
}

// TestTextAllocs: a line of a log costs no allocation.
func TestTextAllocs(t *testing.T) {
	uri, _ := url.Parse("spiffe://acme/anna")
	c := textCertificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "anna", Organization: []string{"Acme"}}, URIs: []*url.URL{uri}, DNSNames: []string{"a", "b"},
	})
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		buf = AppendName(buf[:0], c.RawSubject)
		buf = AppendAltNames(buf, c, NameURI)
		buf = AppendSerial(buf, c)
		buf = AppendEscapedPEM(buf, c)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
