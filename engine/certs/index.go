package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/tls"
	"strings"
	"time"
)

// An entry is one certificate of a context, ready to present. It is immutable.
type entry struct {
	pair     *pair
	rank     int // of the key type: lower is preferred
	plain    *tls.Certificate
	stapled  *tls.Certificate // plain with its OCSP response, or nil
	staple   *staple          // valid only if stapled is not nil
	demanded bool             // the certificate itself demands a staple (RFC 7633)
}

// An index finds the certificate for a ClientHello. It is immutable.
type index struct {
	list    []entry            // in the order of the config
	names   map[string][]int32 // places in list by name, in lower case; "*.example.com" is under ".example.com"
	byRank  []int32            // all places, the preferred key type first
	policy  staplePolicy
	scanAll bool
	needSNI bool
	counts  *stapleCounts
	now     func() time.Time
}

// rankOf orders key types: ECDSA is preferred for its speed, RSA is what every client can.
func rankOf(p *pair) int {
	switch p.leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return 0
	case ed25519.PublicKey:
		return 1
	}
	return 2
}

// build fills the maps from list.
func (x *index) build() {
	x.names = map[string][]int32{}
	for i := range x.list {
		e := &x.list[i]
		e.rank = rankOf(e.pair)
		for _, name := range e.pair.serverNames() {
			x.names[name] = x.insert(x.names[name], int32(i))
		}
		x.byRank = x.insert(x.byRank, int32(i))
	}
}

// insert puts place i behind the places of the same rank or a better one.
func (x *index) insert(places []int32, i int32) []int32 {
	at := len(places)
	for at > 0 && x.list[places[at-1]].rank > x.list[i].rank {
		at--
	}
	if at > 0 && places[at-1] == i { // the certificate has the name twice
		return places
	}
	places = append(places, 0)
	copy(places[at+1:], places[at:])
	places[at] = i
	return places
}

// serverNames returns the names a certificate is found by: its DNS names, or the common name if it has none.
func (p *pair) serverNames() (names []string) {
	dns := p.leaf.DNSNames
	if len(dns) == 0 && p.leaf.Subject.CommonName != "" {
		dns = []string{p.leaf.Subject.CommonName}
	}
	for _, n := range dns[:min(len(dns), namesPerCertMax)] {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if rest, wild := strings.CutPrefix(n, "*."); wild {
			n = "." + rest
		}
		names = append(names, n)
	}
	return names
}

// get is the GetCertificate of a config. It runs on the goroutine of a handshake.
func (x *index) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	sni := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if sni == "" && x.needSNI {
		return nil, nil // crypto/tls answers with the alert unrecognized_name
	}
	wantsStaple := hasExtension(hello, extensionStatusRequest)
	if wantsStaple {
		x.counts.requests.Add(1)
	}
	e := x.pick(sni, hello, wantsStaple)
	if e == nil {
		x.counts.failed.Add(1)
		return nil, errNoStaple
	}
	switch {
	case !wantsStaple:
		return e.plain, nil
	case x.act(e, true) == stapleSend:
		x.counts.responses.Add(1)
		return e.stapled, nil
	}
	x.counts.omitted.Add(1)
	return e.plain, nil
}

// pick returns the best certificate: with the exact name, else with a wildcard for it, else any; among those
// the preferred key type that the client can use. It returns nil only if the policy of staples forbids all.
func (x *index) pick(sni string, hello *tls.ClientHelloInfo, wantsStaple bool) *entry {
	if sni != "" {
		if e := x.best(x.names[sni], hello, wantsStaple); e != nil {
			return e
		}
		if dot := strings.IndexByte(sni, '.'); dot > 0 && dot < len(sni)-1 {
			if e := x.best(x.names[sni[dot:]], hello, wantsStaple); e != nil {
				return e
			}
		}
		if !x.scanAll {
			return x.first(hello, wantsStaple)
		}
	}
	return x.best(x.byRank, hello, wantsStaple)
}

// best returns the first of places that the client can use, else the first that may be used at all.
func (x *index) best(places []int32, hello *tls.ClientHelloInfo, wantsStaple bool) (fallback *entry) {
	single := len(places) == 1
	for _, i := range places {
		e := &x.list[i]
		if x.act(e, wantsStaple) == stapleFail {
			continue
		}
		if single || usable(e, hello) {
			return e
		}
		if fallback == nil {
			fallback = e
		}
	}
	return fallback
}

// first returns the first certificate of the config, unless the client can only use a later one.
func (x *index) first(hello *tls.ClientHelloInfo, wantsStaple bool) (fallback *entry) {
	for i := range x.list {
		e := &x.list[i]
		if x.act(e, wantsStaple) == stapleFail {
			continue
		}
		if len(x.list) == 1 || usable(e, hello) {
			return e
		}
		if fallback == nil {
			fallback = e
		}
	}
	return fallback
}

// usable reports whether the client can verify signatures of the key of e.
func usable(e *entry, hello *tls.ClientHelloInfo) bool {
	anyName := *hello // SupportsCertificate would compare the name too, which is done already
	anyName.ServerName = ""
	return anyName.SupportsCertificate(e.plain) == nil
}

// extensionStatusRequest asks for an OCSP staple (RFC 6066 section 8).
const extensionStatusRequest = 5

func hasExtension(hello *tls.ClientHelloInfo, id uint16) bool {
	for _, e := range hello.Extensions {
		if e == id {
			return true
		}
	}
	return false
}
