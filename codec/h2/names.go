package h2

import (
	"millrace/codec"
	"millrace/codec/hpack"
)

// staticKnown and knownNames say where the static table has the name of a known field, and how it is spelled; modes
// whether its values are worth a place in the dynamic table. Never written.
var staticKnown, knownNames, modes = makeKnown()

const knownMax = 64

func makeKnown() (static [knownMax]uint8, names [knownMax][]byte, modes [knownMax]hpack.Mode) {
	for id := codec.FieldHost; id < knownMax && id.String() != ""; id++ {
		static[id] = uint8(hpack.StaticName(id.String()))
		names[id] = []byte(id.String())
	}
	for _, id := range []codec.FieldID{
		codec.FieldContentLength, codec.FieldSetCookie, codec.FieldLocation, codec.FieldXRequestID, codec.FieldReferer,
		codec.FieldXEnvoyUpstreamServiceTime, codec.FieldXEnvoyExpectedRqTimeoutMs, codec.FieldXEnvoyOriginalPath,
		codec.FieldXEnvoyOriginalURL, codec.FieldRetryAfter,
	} {
		modes[id] = hpack.Literal
	}
	// Values that must not be guessed by compressing them beside guesses (RFC 7541 section 7.1).
	for _, id := range []codec.FieldID{codec.FieldAuthorization, codec.FieldProxyAuthorization} {
		modes[id] = hpack.NeverIndex
	}
	return static, names, modes
}

// staticOthers finds names of the static table that are no known fields, by length and two letters. Never written.
var staticOthers = makeOthers()

type staticOtherEntry struct {
	index uint8
	mode  hpack.Mode
}

const othersCount = 256

func otherPlace(name []byte) uint8 {
	n := len(name)
	return uint8(n*31) ^ name[0]*5 ^ name[n-1]*17 ^ name[n/2]*3
}

func makeOthers() (t [othersCount][]staticOtherEntry) {
	literal := map[string]bool{
		"age": true, "etag": true, "expires": false, "if-modified-since": true, "if-none-match": true, "last-modified": true,
		"content-range": true, "range": true, "content-disposition": true,
	}
	for i := 1; i <= hpack.StaticCount; i++ {
		name, _ := hpack.StaticEntry(i)
		if name[0] == ':' || codec.KnownField([]byte(name)) != codec.FieldOther || hpack.StaticName(name) != i {
			continue
		}
		e := staticOtherEntry{index: uint8(i)}
		if literal[name] {
			e.mode = hpack.Literal
		}
		p := otherPlace([]byte(name))
		t[p] = append(t[p], e)
	}
	return t
}

// findOther returns the entry of a name in lower case.
func findOther(name []byte) staticOtherEntry {
	if len(name) > 0 {
		for _, e := range staticOthers[otherPlace(name)] {
			if text, _ := hpack.StaticEntry(int(e.index)); text == string(name) {
				return e
			}
		}
	}
	return staticOtherEntry{}
}
