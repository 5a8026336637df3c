package h2

import (
	"encoding/binary"

	"millrace/codec"
	"millrace/codec/hpack"
)

// The settings of RFC 9113 section 6.5.2, RFC 8441 and RFC 9218.
const (
	settingTableSize         = 0x1
	settingEnablePush        = 0x2
	settingConcurrentStreams = 0x3
	settingInitialWindow     = 0x4
	settingFrameBytes        = 0x5
	settingHeadBytes         = 0x6
	settingConnectProtocol   = 0x8
	settingNoPriorities      = 0x9
)

// settingsMax is how many settings a frame may have: each costs something, and there are not many.
const settingsMax = 64

func appendSetting(dst []byte, id uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, id), v)
}

// onSettings handles a SETTINGS frame.
func (c *conn) onSettings(h frameHead, p []byte, ev *codec.Event) *codec.Error {
	if h.stream != 0 {
		return &errFrame
	}
	if h.flags&flagAck != 0 {
		if len(p) != 0 {
			return &errFrameSize
		}
		if c.acked { // this one is of nothing
			return c.spend(&errSettingsFlood)
		}
		c.acked = true
		if c.opt.TableBytes < hpack.TableSizeDefault {
			c.dec.SetAgreed(c.opt.TableBytes)
		}
		return nil
	}
	if len(p)%6 != 0 {
		return &errFrameSize
	}
	if len(p) > 6*settingsMax {
		return &errSettingsFlood
	}
	if err := c.spend(&errSettingsFlood); err != nil {
		return err
	}
	if err := c.takeSettings(p, ev); err != nil {
		return err
	}
	c.peer.known = true
	c.room()
	c.out = appendFrameHead(c.out, 0, frameSettings, flagAck, 0)
	return nil
}

// takeSettings takes the settings of one frame in, in their order. The windows of the streams move once, however often
// SETTINGS_INITIAL_WINDOW_SIZE is among them: the last one counts, and the largest says whether a window was too large
// meanwhile.
func (c *conn) takeSettings(p []byte, ev *codec.Event) *codec.Error {
	initial, largest := c.peer.initialWindow, int32(0)
	for ; len(p) > 0; p = p[6:] {
		id, v := binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])
		if id == settingInitialWindow {
			if v > windowMax {
				return &errSettingsWindow
			}
			initial, largest = int32(v), max(largest, int32(v))
			continue
		}
		if err := c.setting(id, v); err != nil {
			return err
		}
	}
	if initial == c.peer.initialWindow && largest <= initial {
		return nil
	}
	return c.moveWindows(initial, largest, ev)
}

// setting takes one setting of the peer in, other than the initial window.
func (c *conn) setting(id uint16, v uint32) *codec.Error {
	switch id {
	case settingTableSize:
		c.enc.SetMax(min(v, c.opt.EncoderTableBytes))
	case settingEnablePush:
		// "A client MUST treat receipt of a SETTINGS frame with SETTINGS_ENABLE_PUSH set to 1 as a connection error of
		// type PROTOCOL_ERROR." RFC 9113 section 6.5.2
		if v > 1 || c.client && v == 1 {
			return &errSettings
		}
	case settingConcurrentStreams:
		c.peer.streams = v
	case settingFrameBytes:
		if v < frameBytesMin || v > frameBytesMax {
			return &errSettings
		}
		c.peer.frameBytes = v
	case settingConnectProtocol:
		// "A sender MUST NOT send a SETTINGS_ENABLE_CONNECT_PROTOCOL parameter with the value of 0 after previously
		// sending a value of 1." RFC 8441 section 3
		if v > 1 || v == 0 && c.peer.connectProtocol {
			return &errSettings
		}
		c.peer.connectProtocol = v == 1
	case settingNoPriorities:
		// "The value of SETTINGS_NO_RFC7540_PRIORITIES MUST be 0 or 1. Any value other than 0 or 1 MUST be treated as a
		// connection error ... of type PROTOCOL_ERROR." RFC 9218 section 2.1
		if v > 1 {
			return &errSettings
		}
	}
	return nil
}

// moveWindows adds the change of the initial window to the window of every stream. largest is the most that it was on the way.
//
// "An endpoint MUST treat a change to SETTINGS_INITIAL_WINDOW_SIZE that causes any flow-control window to exceed the
// maximum size as a connection error of type FLOW_CONTROL_ERROR."
// RFC 9113 section 6.9.2
func (c *conn) moveWindows(initial, largest int32, ev *codec.Event) *codec.Error {
	change, most := int64(initial)-int64(c.peer.initialWindow), int64(largest)-int64(c.peer.initialWindow)
	c.peer.initialWindow = initial
	for i := range c.streams.slots {
		s := &c.streams.slots[i]
		if s.id == 0 {
			continue
		}
		window := int64(s.sendWindow) + change
		if int64(s.sendWindow)+most > windowMax {
			return &errWindow
		}
		s.sendWindow = int32(window)
		if s.state&blocked != 0 && window > 0 {
			s.state &^= blocked
			ev.Kind, ev.Stream = codec.EventWindow, 0
		}
	}
	return nil
}

// onWindowUpdate handles a WINDOW_UPDATE frame.
func (c *conn) onWindowUpdate(h frameHead, p []byte, ev *codec.Event) *codec.Error {
	if len(p) != 4 {
		return &errFrameSize
	}
	if err := c.spend(&errWindowUpdates); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(p) & windowMax)
	if h.stream == 0 {
		switch {
		case n == 0:
			return &errWindowZero
		case c.sendWindow+n > windowMax:
			return &errWindow
		}
		c.sendWindow += n
		if c.blocked && c.sendWindow > 0 {
			c.blocked = false
			ev.Kind, ev.Stream = codec.EventWindow, 0
		}
		return nil
	}
	slot, ok := c.streams.find(h.stream)
	if !ok {
		if c.isIdle(h.stream) {
			return &errFrame
		}
		return nil // "WINDOW_UPDATE ... can be received on a closed stream"
	}
	s := &c.streams.slots[slot]
	switch {
	case n == 0:
		return c.resetStream(h.stream, &errStreamWindow0, ev)
	case int64(s.sendWindow)+n > windowMax:
		return c.resetStream(h.stream, &errStreamWindow, ev)
	}
	s.sendWindow += int32(n)
	if s.state&blocked != 0 && s.sendWindow > 0 {
		s.state &^= blocked
		ev.Kind, ev.Stream, ev.Slot = codec.EventWindow, codec.StreamID(h.stream), slot
	}
	return nil
}

// onReset handles a RST_STREAM frame.
func (c *conn) onReset(h frameHead, p []byte, ev *codec.Event) *codec.Error {
	switch {
	case len(p) != 4:
		return &errFrameSize
	case h.stream == 0 || c.isIdle(h.stream):
		return &errFrame
	}
	slot, ok := c.streams.find(h.stream)
	if !ok { // nothing was given up; and if we reset it as well, nothing more of it is under way
		c.forgetReset(h.stream)
		return c.spend(&errResets)
	}
	if !c.countReset() {
		return &errResets
	}
	ev.Kind, ev.Stream, ev.Slot, ev.Code = codec.EventReset, codec.StreamID(h.stream), slot, binary.BigEndian.Uint32(p)
	c.closeStream(h.stream)
	return nil
}

// onPing answers a PING, or counts an answer.
func (c *conn) onPing(h frameHead, p []byte) *codec.Error {
	switch {
	case h.stream != 0:
		return &errFrame
	case len(p) != 8:
		return &errFrameSize
	case h.flags&flagAck != 0:
		if v := binary.BigEndian.Uint64(p); v > c.heard && v <= c.pinged { // else nobody asked for it
			c.heard = v
		}
		return c.spend(&errPings)
	}
	if err := c.spend(&errPings); err != nil {
		return err
	}
	c.room()
	c.out = append(appendFrameHead(c.out, 8, framePing, flagAck, 0), p...)
	return nil
}

// onGoAway handles a GOAWAY frame.
func (c *conn) onGoAway(h frameHead, p []byte, ev *codec.Event) *codec.Error {
	switch {
	case h.stream != 0:
		return &errFrame
	case len(p) < 8:
		return &errFrameSize
	}
	if err := c.spend(&errUnknownFrames); err != nil {
		return err
	}
	c.peerAway = true
	ev.Kind, ev.Stream = codec.EventGoAway, codec.StreamID(binary.BigEndian.Uint32(p)&windowMax)
	ev.Code = binary.BigEndian.Uint32(p[4:])
	return nil
}

// onPriority drops a PRIORITY frame: those priorities are deprecated (RFC 9113 section 5.3.2).
func (c *conn) onPriority(h frameHead, p []byte, ev *codec.Event) *codec.Error {
	if h.stream == 0 {
		return &errFrame
	}
	if err := c.spend(&errPriorities); err != nil {
		return err
	}
	switch {
	case len(p) != 5:
		return c.resetStream(h.stream, &errStreamFrameSize, ev)
	case binary.BigEndian.Uint32(p)&windowMax == h.stream:
		return c.resetStream(h.stream, &errSelfDependency, ev)
	}
	return nil
}

// onPriorityUpdate handles a PRIORITY_UPDATE frame. That of a stream that is not open yet is kept for it.
//
// "Servers SHOULD buffer the most recently received PRIORITY_UPDATE frame and apply it once the referenced stream is
// opened. Holding PRIORITY_UPDATE frames for each stream requires server resources, which can be bounded by local
// implementation policy."
// RFC 9218 section 7.1
func (c *conn) onPriorityUpdate(h frameHead, p []byte) *codec.Error {
	switch {
	case h.stream != 0 || c.client:
		return &errFrame
	case len(p) < 4:
		return &errFrameSize
	}
	if err := c.spend(&errPriorities); err != nil {
		return err
	}
	id := binary.BigEndian.Uint32(p) & windowMax
	if id == 0 || id&1 == 0 {
		return &errFrame
	}
	if s := c.streams.get(id); s != nil {
		s.setPriority(p[4:])
	} else if id > c.lastPeer {
		c.expect(id, p[4:])
	}
	return nil
}

// expected is the priority of a stream that is not open yet.
type expected struct {
	id      uint32
	urgency uint8
	state   streamState // of which only incremental is used
}

// expectedMax is how many of them are kept. The one that came first makes room.
const expectedMax = 16

// expect keeps the value of a priority field for a stream that is not open yet.
func (c *conn) expect(id uint32, value []byte) {
	var s stream
	s.setPriority(value)
	e := expected{id, s.urgency, s.state}
	for i := range c.expected {
		if c.expected[i].id == id {
			c.expected[i] = e
			return
		}
	}
	if len(c.expected) == expectedMax {
		c.expected = append(c.expected[:0], c.expected[1:]...)
	}
	c.expected = append(c.expected, e)
}

// meet gives a stream that opens the priority that came before it, which counts for more than that of its head, and forgets those
// of streams that will not open any more.
func (c *conn) meet(s *stream) {
	rest := c.expected[:0]
	for _, e := range c.expected {
		switch {
		case e.id == s.id:
			s.urgency, s.state = e.urgency, s.state&^incremental|e.state
		case e.id > s.id:
			rest = append(rest, e)
		}
	}
	c.expected = rest
}

// setPriority takes the value of a priority field in.
func (s *stream) setPriority(value []byte) {
	urgency, increments := parsePriority(value)
	s.urgency = urgency
	if s.state &^= incremental; increments {
		s.state |= incremental
	}
}
