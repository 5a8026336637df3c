package h1

import (
	"bytes"

	"millrace/codec"
	"millrace/codec/ascii"
)

// contentLength returns the length that the Content-Length fields of f give, which must all be the same text.
//
// "If a message is received without Transfer-Encoding and with an invalid Content-Length header
// field, then the message framing is invalid and the recipient MUST treat it as an
// unrecoverable error, unless the field value can be successfully parsed as a comma-separated list,
// all values in the list are valid, and all values in the list are the same"
// RFC 9112 section 6.3
func contentLength(f *codec.Fields) (n int64, ok bool) {
	var text []byte
	for i := range f.Len() {
		id, _, list := f.At(i)
		if id != codec.FieldContentLength {
			continue
		}
		for more := true; more; {
			var elem []byte
			elem, list = ascii.CutList(list)
			if more = list != nil; text == nil {
				text = elem
			} else if !bytes.Equal(text, elem) {
				return 0, false
			}
		}
	}
	return ascii.ParseInt(text)
}

// transferEncoding checks that the Transfer-Encoding fields of f are one "chunked" and nothing else.
func transferEncoding(f *codec.Fields) codec.Reason {
	chunked, other := 0, false
	for i := range f.Len() {
		id, _, list := f.At(i)
		if id != codec.FieldTransferEncoding {
			continue
		}
		for more := true; more; {
			var coding []byte
			coding, list = ascii.CutList(list)
			more = list != nil
			// An empty element is legal, and used only to hide a coding from somebody. So are parameters,
			// which "chunked" has not.
			if len(coding) == 0 || !ascii.All(coding, ascii.Token) {
				return codec.ReasonTransferEncoding
			}
			if ascii.EqualFoldString(coding, "chunked") {
				chunked++
			} else if chunked > 0 {
				// "If a Transfer-Encoding header field is present in a request and the chunked transfer
				// coding is not the final encoding, the message body length cannot be determined
				// reliably; the server MUST respond with the 400 (Bad Request) status code and then close"
				// RFC 9112 section 6.3
				return codec.ReasonTransferEncoding
			} else {
				other = true
			}
		}
	}
	switch {
	case chunked > 1: // "A sender MUST NOT apply the chunked transfer coding more than once", section 6.1
		return codec.ReasonTransferEncoding
	case other:
		// "A server that receives a request message with a transfer coding it does not understand SHOULD
		// respond with 501 (Not Implemented)."
		// RFC 9112 section 6.1
		return codec.ReasonTransferEncodingOther
	}
	return codec.ReasonNone
}

// framing tells the length of the body as the fields give it: -1 for none given.
func framing(f *codec.Fields, version uint8) (length int64, chunked bool, why codec.Reason) {
	if !f.Has(codec.FieldTransferEncoding) {
		if !f.Has(codec.FieldContentLength) {
			return -1, false, codec.ReasonNone
		}
		length, ok := contentLength(f)
		if !ok {
			return -1, false, codec.ReasonContentLength
		}
		return length, false, codec.ReasonNone
	}
	if f.Has(codec.FieldContentLength) {
		// "A server MAY reject a request that contains both Content-Length and Transfer-Encoding ...
		// Regardless, the server MUST close the connection after responding to such a request"
		// RFC 9112 section 6.1
		return -1, false, codec.ReasonLengthAndChunked
	}
	if version < codec.Version11 {
		// "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding
		// header field MUST treat the message as if the framing is faulty"
		// RFC 9112 section 6.1
		return -1, false, codec.ReasonTransferEncodingIn10
	}
	return -1, true, transferEncoding(f)
}

// wantsUpgrade reports whether f has one Upgrade field, which names a protocol, and no version of HTTP among them. A tunnel
// that speaks HTTP would carry requests that nobody looks at: RFC 9113 section 3.1 withdrew h2c.
func wantsUpgrade(f *codec.Fields) bool {
	if f.Count(codec.FieldUpgrade) != 1 {
		return false
	}
	for list := f.Get(codec.FieldUpgrade); list != nil; {
		var protocol []byte
		protocol, list = ascii.CutList(list)
		name, _, _ := bytes.Cut(protocol, []byte("/"))
		if len(name) == 0 || ascii.EqualFoldString(name, "h2c") || ascii.EqualFoldString(name, "http") {
			return false
		}
	}
	return true
}

// connectionOptions are the options of Connection that the codec acts upon.
type connectionOptions struct{ close, keepAlive, upgrade bool }

func parseConnection(f *codec.Fields) (o connectionOptions) {
	if !f.Has(codec.FieldConnection) {
		return o
	}
	for i := range f.Len() {
		id, _, list := f.At(i)
		if id != codec.FieldConnection {
			continue
		}
		for list != nil {
			var option []byte
			option, list = ascii.CutList(list)
			switch len(option) {
			case len("close"):
				o.close = o.close || ascii.EqualFoldString(option, "close")
			case len("keep-alive"):
				o.keepAlive = o.keepAlive || ascii.EqualFoldString(option, "keep-alive")
			case len("upgrade"):
				o.upgrade = o.upgrade || ascii.EqualFoldString(option, "upgrade")
			}
		}
	}
	return o
}

// persists reports whether the peer keeps the connection open after the message: RFC 9112 section 9.3.
func (o connectionOptions) persists(version uint8) bool {
	return !o.close && (version >= codec.Version11 || o.keepAlive)
}
