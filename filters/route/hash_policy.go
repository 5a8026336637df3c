package route

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// hashPolicy is one thing that a request is hashed by.
type hashPolicy struct {
	source   condition   // of it only where the value comes from
	client   bool        // the address of the client instead
	made     *MadeCookie // nil unless a cookie is made
	terminal bool
}

// A MadeCookie is a cookie that is made for requests without one, so that the next ones of the client go to the same host.
type MadeCookie struct {
	name, suffix string
}

// cookieDigits is the length of the value of a MadeCookie.
const cookieDigits = 16

// AppendValue appends the value, which comes from who the client is.
func (k *MadeCookie) AppendValue(dst []byte, client uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[client>>shift&15])
	}
	return dst
}

// AppendSetCookie appends the value of a Set-Cookie field.
func (k *MadeCookie) AppendSetCookie(dst []byte, client uint64) []byte {
	dst = append(append(dst, k.name...), '=', '"')
	dst = append(k.AppendValue(dst, client), '"')
	return append(dst, k.suffix...)
}

// hashPolicies compiles the hash policies of a route.
func (c *compiler) hashPolicies(list []HashPolicyConfig) (ps []hashPolicy) {
	for i := range list {
		cfg := &list[i]
		p := hashPolicy{terminal: cfg.Terminal}
		switch {
		case cfg.Header != nil:
			c.header(&p.source, cfg.Header.HeaderName)
		case cfg.Cookie != nil:
			p.source.from, p.source.name = fromCookie, c.arena.str(cfg.Cookie.Name)
			if cfg.Cookie.TTL != nil {
				p.made = &MadeCookie{name: cfg.Cookie.Name, suffix: cfg.Cookie.suffix()}
			}
		case cfg.QueryParameter != nil:
			p.source.from, p.source.name = fromQuery, c.arena.str(cfg.QueryParameter.Name)
		default:
			p.client = true
		}
		ps = append(ps, p)
	}
	return ps
}

// Hashes reports whether requests of the route are hashed.
func (r *Route) Hashes() bool {
	return r.forward != nil && r.forward.extras != nil && r.forward.extras.hashes != nil
}

// RequestHash returns the hash of a request, by the hash policies of the route. ok is false if it has nothing that they
// hash. A cookie that a response has to set is returned too; client tells who the client is, for its value.
func (r *Route) RequestHash(in *Input, client uint64) (hash uint64, ok bool, made *MadeCookie) {
	list := r.forward.extras.hashes
	for i := range list {
		p := &list[i]
		h, found := p.hash(in)
		if !found && p.made != nil {
			var text [cookieDigits]byte
			h, found, made = xxhash.Sum64(p.made.AppendValue(text[:0], client)), true, p.made
		}
		if found {
			if ok {
				hash = bits.RotateLeft64(hash, 1)
			}
			hash, ok = hash^h, true
		}
		if ok && p.terminal {
			break
		}
	}
	return hash, ok, made
}

// hash hashes one thing.
func (p *hashPolicy) hash(in *Input) (hash uint64, ok bool) {
	if p.client {
		if !in.RemoteIP.IsValid() {
			return 0, false
		}
		var text [64]byte
		return xxhash.Sum64(in.RemoteIP.AppendTo(text[:0])), true
	}
	v := p.source.find(in)
	if len(v) == 0 {
		return 0, false
	}
	return xxhash.Sum64(v), true
}
