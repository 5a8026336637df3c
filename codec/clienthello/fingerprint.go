package clienthello

import (
	"slices"
	"strconv"
)

// JA3 returns the string whose MD5 is the JA3 fingerprint: version, ciphers, extensions, groups and point formats as
// the client lists them, without GREASE.
//
//	771,4865-4866-4867,0-23-65281,29-23-24,0
//
// Precondition: the bytes given to Parse are still there, as for JA4.
func (h *Hello) JA3() string {
	b := strconv.AppendUint(make([]byte, 0, 512), uint64(h.Version), 10)
	for _, list := range [][]uint16{numbers(h.ciphers), h.extensionTypes(), numbers(h.groups)} {
		b = append(b, ',')
		for i, v := range list {
			if i > 0 {
				b = append(b, '-')
			}
			b = strconv.AppendUint(b, uint64(v), 10)
		}
	}
	b = append(b, ',')
	for i, v := range h.points {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return string(b)
}

// JA4 returns the three parts of the JA4 fingerprint: the first as it is, and of the other two the text whose
// SHA-256 in hexadecimal gives them with its first twelve digits. An empty text stands for "000000000000".
//
//	t13d1516h2   002f,0035,...   0005,000a,..._0403,0804,...
func (h *Hello) JA4() (head, ciphers, extensions string) {
	c, e := numbers(h.ciphers), h.extensionTypes()
	b := append(make([]byte, 0, 16), 't')
	b = append(append(b, h.versionText()...), 'i')
	if h.hasName {
		b[len(b)-1] = 'd'
	}
	b = appendTwoDigits(appendTwoDigits(b, len(c)), len(e))
	head = string(append(b, h.alpnText()...))

	slices.Sort(c)
	slices.Sort(e)
	e = slices.DeleteFunc(e, func(v uint16) bool { return v == extensionServerName || v == extensionALPN })
	text := appendHexList(nil, e)
	if s := numbers(h.signatures); len(text) > 0 && len(s) > 0 {
		text = appendHexList(append(text, '_'), s)
	}
	return head, string(appendHexList(nil, c)), string(text)
}

// extensionTypes are the extensions in the client's order, without GREASE.
func (h *Hello) extensionTypes() (list []uint16) {
	for b := h.extensions; len(b) > 0; {
		typ, _, ok := cutExtension(&b)
		if !ok {
			break
		}
		if !isGREASE(typ) {
			list = append(list, typ)
		}
	}
	return list
}

// versionText is the highest version offered.
func (h *Hello) versionText() string {
	v := h.Version
	if len(h.Versions) > 0 {
		v = slices.Max(h.Versions)
	}
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	}
	return "00"
}

// alpnText is the first and the last character of the first protocol; if one is no letter or digit, of its hexadecimal form.
func (h *Hello) alpnText() string {
	p := h.alpnFirst
	if len(p) == 0 {
		return "00"
	}
	first, last := p[0], p[len(p)-1]
	if !isAlphanumeric(first) || !isAlphanumeric(last) {
		return string([]byte{hexDigits[first>>4], hexDigits[last&0xf]})
	}
	return string([]byte{first, last})
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

const hexDigits = "0123456789abcdef"

func appendTwoDigits(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, byte('0'+n/10), byte('0'+n%10))
}

// appendHexList appends numbers of four digits with commas between them.
func appendHexList(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, hexDigits[v>>12], hexDigits[v>>8&0xf], hexDigits[v>>4&0xf], hexDigits[v&0xf])
	}
	return b
}
