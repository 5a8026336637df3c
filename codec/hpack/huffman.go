package hpack

import "encoding/binary"

const (
	symbols = 257
	eos     = 256 // the symbol that may not occur: padding is the start of its code
	codeMax = 30  // bits of the longest code
	// fastBits is how many bits one look at a table decodes. All letters and digits have fewer.
	fastBits = 10
)

// codes are the codes by symbol, in the low bits. Never written.
var codes = makeCodes()

// fast maps the next fastBits bits to a symbol and the length of its code, or to length 0 for longer codes.
// Never written.
var fast = makeFast()

// long describes the codes of one length above fastBits: they are first, first+1 and so on, for the symbols from
// base on in bySymbol. Never written.
var long, bySymbol = makeLong()

type fastEntry struct{ symbol, length uint8 }

type longEntry struct{ first, end, base uint32 }

func makeCodes() (t [symbols]uint32) {
	code := uint32(0)
	for n := uint8(1); n <= codeMax; n++ {
		for s := range t {
			if codeLengths[s] == n {
				t[s] = code
				code++
			}
		}
		code <<= 1
	}
	return t
}

func makeFast() (t [1 << fastBits]fastEntry) {
	for s := range eos {
		n := codeLengths[s]
		if n > fastBits {
			continue
		}
		from := codes[s] << (fastBits - n)
		for i := range uint32(1) << (fastBits - n) {
			t[from+i] = fastEntry{uint8(s), n}
		}
	}
	return t
}

func makeLong() (t [codeMax + 1]longEntry, list [symbols]uint16) {
	at := uint32(0)
	for n := uint8(fastBits + 1); n <= codeMax; n++ {
		t[n].base = at
		for s := range symbols {
			if codeLengths[s] != n {
				continue
			}
			if t[n].first == 0 {
				t[n].first = codes[s]
			}
			t[n].end = codes[s] + 1
			list[at] = uint16(s)
			at++
		}
	}
	return t, list
}

// appendHuffmanDecoded appends the string that b encodes. It gives up beyond limit bytes.
//
// Hot path: BenchmarkDecode. The next bits are at the top of a word; one look at a table gives a symbol.
func appendHuffmanDecoded(dst, b []byte, limit int) ([]byte, Error) {
	var bits uint64 // at the top
	var have uint   // valid bits
	end := len(dst) + limit
	for {
		for have <= 56 && len(b) > 0 {
			bits |= uint64(b[0]) << (56 - have)
			have += 8
			b = b[1:]
		}
		e := fast[bits>>(64-fastBits)]
		if e.length != 0 && uint(e.length) <= have {
			if len(dst) == end {
				return dst, ErrTooLong
			}
			dst = append(dst, e.symbol)
			bits <<= e.length
			have -= uint(e.length)
			continue
		}
		if isPadding(bits, have) {
			return dst, ErrNone
		}
		s, n := longSymbol(bits)
		if uint(n) > have || s == eos {
			return dst, ErrHuffman
		}
		if len(dst) == end {
			return dst, ErrTooLong
		}
		dst = append(dst, byte(s))
		bits <<= n
		have -= uint(n)
	}
}

// isPadding reports whether what is left is what a string may end with:
//
// "A padding strictly longer than 7 bits MUST be treated as a decoding error. A padding not corresponding to the most
// significant bits of the code for the EOS symbol MUST be treated as a decoding error."
// RFC 7541 section 5.2
func isPadding(bits uint64, have uint) bool {
	return have < 8 && bits>>(64-have) == 1<<have-1
}

// longSymbol decodes a code of more than fastBits bits. Bits that begin no code give eos.
func longSymbol(bits uint64) (symbol uint16, length uint8) {
	for n := uint8(fastBits + 1); n <= codeMax; n++ {
		code := uint32(bits >> (64 - n))
		if l := &long[n]; code >= l.first && code < l.end {
			return bySymbol[l.base+code-l.first], n
		}
	}
	return eos, codeMax
}

// huffmanLength returns how many bytes s takes when encoded.
func huffmanLength(s []byte) int {
	n := 0
	for _, c := range s {
		n += int(codeLengths[c])
	}
	return (n + 7) / 8
}

// packed are the codes with their lengths in the low six bits. Never written.
var packed = makePacked()

func makePacked() (t [256]uint64) {
	for c := range t {
		t[c] = uint64(codes[c])<<6 | uint64(codeLengths[c])
	}
	return t
}

// appendHuffman appends s encoded.
//
// Hot path: BenchmarkEncode. Four bytes leave at a time: that and one table in place of two halved it (November 2026).
func appendHuffman(dst, s []byte) []byte {
	var bits uint64
	var have uint // below 32, and no code is longer than 30
	for _, c := range s {
		e := packed[c]
		n := uint(e & 63)
		bits = bits<<n | e>>6
		if have += n; have >= 32 {
			have -= 32
			dst = binary.BigEndian.AppendUint32(dst, uint32(bits>>have))
		}
	}
	for have >= 8 {
		have -= 8
		dst = append(dst, byte(bits>>have))
	}
	if have > 0 { // padded with the start of EOS, which is all ones
		dst = append(dst, byte(bits<<(8-have))|byte(1<<(8-have)-1))
	}
	return dst
}
