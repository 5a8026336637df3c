package route

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"

	"millrace/codec/ascii"
)

// hostIndex finds the virtual host of a host: exact domain, longest suffix
// wildcard, longest prefix wildcard, "*". All texts are lower case.
type hostIndex struct {
	exact      domainTable
	suffix     domainTable // the text after "*"
	prefix     domainTable // the text before "*"
	any        int32       // virtual host of "*", or -1
	ignorePort bool
}

// domainTable is an open-addressing hash table over lower-cased text.
type domainTable struct {
	slots []domainSlot // a power of two, at most half full; nil if empty
	sizes []uint32     // distinct lengths of the texts, longest first
}

type domainSlot struct {
	text string // "" if the slot is free
	hash uint32
	vh   int32
}

// lookup returns the virtual host of a host, or -1.
func (x *hostIndex) lookup(host []byte) int32 {
	host = x.compared(host)
	if x.exact.slots != nil {
		if vh := x.exact.find(host); vh >= 0 {
			return vh
		}
	}
	for _, n := range x.suffix.sizes {
		if len(host) > int(n) { // a wildcard never stands for nothing
			if vh := x.suffix.find(host[len(host)-int(n):]); vh >= 0 {
				return vh
			}
		}
	}
	for _, n := range x.prefix.sizes {
		if len(host) > int(n) {
			if vh := x.prefix.find(host[:n]); vh >= 0 {
				return vh
			}
		}
	}
	return x.any
}

// compared returns the part of the host that domains are compared with.
func (x *hostIndex) compared(host []byte) []byte {
	if x.ignorePort {
		if i := portIndex(host); i >= 0 && ascii.All(host[i+1:], ascii.Digit) {
			return host[:i]
		}
	}
	return host
}

// find returns the virtual host of a text in any case, or -1. Precondition: the table is not empty.
func (d *domainTable) find(text []byte) int32 {
	h := foldHash(text)
	mask := uint32(len(d.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := &d.slots[i]
		if s.text == "" {
			return -1
		}
		if s.hash == h && ascii.EqualFoldString(text, s.text) {
			return s.vh
		}
	}
}

// foldHash hashes text without regard to the case of ASCII letters.
//
// Collisions can be made on purpose, but only by the author of the
// configuration: what requests bring is looked up, never stored.
func foldHash(b []byte) uint32 {
	h := uint64(len(b)) * hashMul
	for len(b) >= 8 {
		h = mix(h, lowerWord(binary.LittleEndian.Uint64(b)))
		b = b[8:]
	}
	if len(b) > 0 {
		var w uint64
		for i, c := range b {
			w |= uint64(c) << (8 * i)
		}
		h = mix(h, lowerWord(w))
	}
	return uint32(h ^ h>>32)
}

const hashMul = 0x9e3779b97f4a7c15

func mix(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w, hashMul)
	return hi ^ lo
}

// lowerWord makes A-Z in eight bytes a-z.
func lowerWord(w uint64) uint64 {
	const ones = 0x0101010101010101
	low := w &^ (ones * 0x80)                  // additions below cannot carry into the next byte
	above := low + ones*(0x80-'A')             // high bit: byte is 'A' or above
	past := low + ones*(0x80-'Z'-1)            // high bit: byte is above 'Z'
	return w | (above&^past&^w&(ones*0x80))>>2 // 0x80>>2 is 0x20
}

// newDomainTable builds a table of distinct lower-case texts.
func newDomainTable(domains map[string]int32) domainTable {
	if len(domains) == 0 {
		return domainTable{}
	}
	d := domainTable{slots: make([]domainSlot, 1<<bits.Len(uint(2*len(domains))))}
	mask := uint32(len(d.slots) - 1)
	for text, vh := range domains {
		h := foldHash([]byte(text))
		i := h & mask
		for d.slots[i].text != "" {
			i = (i + 1) & mask
		}
		d.slots[i] = domainSlot{text, h, vh}
		if n := uint32(len(text)); !slices.Contains(d.sizes, n) {
			d.sizes = append(d.sizes, n)
		}
	}
	slices.SortFunc(d.sizes, func(a, b uint32) int { return int(b) - int(a) })
	return d
}

// domainKind is the form of a domain, in the order of precedence.
type domainKind uint8

const (
	domainExact domainKind = iota
	domainSuffix
	domainPrefix
	domainAny
)

func (k domainKind) String() string { return [...]string{"exact", "suffix", "prefix", "any"}[k] }

// parseDomain returns the form of a domain and its text in lower case without the wildcard.
// problem is not empty if it has none of the four forms.
func parseDomain(domain string) (kind domainKind, text, problem string) {
	text = strings.ToLower(domain)
	switch stars := strings.Count(text, "*"); {
	case domain == "":
		return 0, "", "a domain is empty"
	case text == "*":
		return domainAny, "", ""
	case stars == 0:
		kind = domainExact
	case stars == 1 && text[0] == '*':
		kind, text = domainSuffix, text[1:]
	case stars == 1 && text[len(text)-1] == '*':
		kind, text = domainPrefix, text[:len(text)-1]
	default:
		return 0, "", "a domain has one \"*\" at most, at its beginning or its end"
	}
	if !ascii.All([]byte(text), ascii.Host) {
		return 0, "", "a domain has a character that no host can have"
	}
	return kind, text, ""
}
