package hpack

// integerMax bounds every integer in a block: indices, lengths and table sizes. All of them are far below.
const integerMax = 1 << 28

// readInteger reads an integer with a prefix of so many bits (RFC 7541 section 5.1).
func readInteger(b []byte, bits uint) (v uint32, n int, err Error) {
	mask := byte(1)<<bits - 1
	v = uint32(b[0] & mask)
	if v < uint32(mask) {
		return v, 1, ErrNone
	}
	for n, shift := 1, 0; ; n, shift = n+1, shift+7 {
		if n == len(b) {
			return 0, 0, ErrMore
		}
		// "Integer encodings that exceed implementation limits -- in value or octet length -- MUST be treated as
		// decoding errors."
		// RFC 7541 section 5.1
		if shift > 28 {
			return 0, 0, ErrInteger
		}
		c := b[n]
		sum := uint64(v) + uint64(c&0x7f)<<shift
		if sum > integerMax {
			return 0, 0, ErrInteger
		}
		v = uint32(sum)
		if c < 0x80 {
			return v, n + 1, ErrNone
		}
	}
}

// appendInteger appends v with a prefix of so many bits, above which the bits of first stay.
func appendInteger(dst []byte, first byte, bits uint, v uint32) []byte {
	mask := uint32(1)<<bits - 1
	if v < mask {
		return append(dst, first|byte(v))
	}
	dst = append(dst, first|byte(mask))
	for v -= mask; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}
