package httpconn

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"

	"millrace/engine/transport"
	"millrace/filters"
)

// FuzzClientCert: whatever a client says in x-forwarded-client-cert and whatever names its certificate has, the last element is
// this proxy's, and is whole.
func FuzzClientCert(f *testing.F) {
	f.Add("Hash=1;Subject=\"a,b\"", []byte("spiffe://a"))
	f.Add(`Subject="`, []byte("\",By=x;Hash=0,"))
	f.Add(`a\"`, []byte(`\`))
	f.Fuzz(func(t *testing.T, given string, name []byte) {
		if len(name) > 100 {
			return
		}
		names := append([]byte{0x86, byte(len(name))}, name...)
		peer := &x509.Certificate{Extensions: []pkix.Extension{{Id: []int{2, 5, 29, 17}, Value: append([]byte{0x30, byte(len(names))}, names...)}}}
		own := appendClientCert(nil, &filters.Connection{Session: &transport.Session{Peer: peer}}, &ClientCertDetails{URI: true, Subject: true})
		s := &stream{}
		s.Request.Reset()
		s.Request.AddString("x-forwarded-client-cert", given)
		elements := splitElements(string(append(s.appendGivenCerts(nil), own...)))
		if last := elements[len(elements)-1]; last != string(own) {
			t.Errorf("given %q and name %q: the last element is %q; want %q", given, name, last, own)
		}
		if pairs := strings.Split(unquoted(string(own)), ";"); len(pairs) != 3 || !strings.HasPrefix(pairs[0], "Hash=") ||
			!strings.HasPrefix(pairs[1], "Subject=") || !strings.HasPrefix(pairs[2], "URI=") {
			t.Errorf("name %q: pairs %q", name, pairs)
		}
	})
}

// splitElements splits a value at the commas outside of quotes, as hosts do.
func splitElements(value string) (elements []string) {
	quoted, from := false, 0
	for i := 0; i < len(value); i++ {
		switch {
		case value[i] == '\\' && quoted:
			i++
		case value[i] == '"':
			quoted = !quoted
		case value[i] == ',' && !quoted:
			elements, from = append(elements, value[from:i]), i+1
		}
	}
	return append(elements, value[from:])
}

// unquoted takes out what is in quotes.
func unquoted(value string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(value); i++ {
		switch {
		case value[i] == '\\' && quoted:
			i++
		case value[i] == '"':
			quoted = !quoted
		case !quoted:
			b.WriteByte(value[i])
		}
	}
	return b.String()
}
