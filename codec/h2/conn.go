package h2

import (
	"encoding/binary"
	"slices"

	"millrace/codec"
	"millrace/codec/hpack"
)

// Scratch is memory that the connections of one loop share.
type Scratch struct {
	head  []byte   // decoded fields, until the next Feed of any connection
	lower []byte   // a field name in lower case
	spare [][]byte // buffers of AppendControl that are free
	// tables is memory of header tables that is free.
	tables hpack.Memory
}

const (
	headKeepMax   = 128 << 10 // bytes of Scratch.head that stay
	spareKeepMax  = 64        // buffers in Scratch.spare
	controlMin    = 256       // bytes of a buffer for control frames
	controlKeep   = 4 << 10   // the largest that goes to Scratch.spare
	recentResets  = 128       // streams reset by us whose late frames are still expected
	urgencyLowest = 7
	// urgencyDefault is that of a stream that says nothing (RFC 9218 section 4.1).
	urgencyDefault = 3
)

// conn is what both sides of a connection share.
type conn struct {
	// Immutable.
	opt     *Options
	scratch *Scratch
	client  bool

	// Reading.
	phase         phase
	acked         bool // our SETTINGS were acknowledged
	failed        *codec.Error
	data          dataFrame
	dataReset     *codec.Error // the stream of data ends with it
	block         []byte       // fragments of a header block that goes over several frames
	blockStream   uint32       // whose, 0 for none
	continuations int
	blockEnds     bool // the block ends the stream
	blockSelf     bool // the block's priority depends on the stream itself
	empty         int32
	dec           hpack.Decoder
	recvWindow    int32 // what the peer may still send
	consumed      int32 // by the caller, not yet told
	control       budget
	resets        budget
	now           int64
	pinged, heard uint64     // data of the last PING, and of the last that was answered
	expected      []expected // priorities of streams that are not open yet

	// Writing.
	out        []byte // control frames that wait for AppendControl
	enc        hpack.Encoder
	sendWindow int64
	blocked    bool // a stream waits for sendWindow: EventWindow is due
	peer       peerSettings

	// Streams.
	streams   streamTable
	lastPeer  uint32                // highest id the peer has opened
	lastLocal uint32                // highest id we have opened
	goAway    uint32                // last stream of the GOAWAY we sent; windowMax before
	peerAway  bool                  // the peer sent GOAWAY
	recent    *[recentResets]uint32 // ring of streams that we reset, nil before the first
	recentAt  uint8
	resetTop  uint32 // highest of ours that we reset
}

type phase uint8

const (
	phasePreface  phase = iota // a server waits for the client's
	phaseSettings              // the first frame must be SETTINGS
	phaseFrames                //
	phaseFailed                // after a connection error
)

// dataFrame is a DATA frame of which not all has come.
type dataFrame struct {
	stream uint32 // 0 if there is none
	left   int    // bytes of data
	pad    int    // bytes of padding
	ends   bool
	open   bool // the stream still wants it
}

// peerSettings are what the peer told.
type peerSettings struct {
	known           bool // the first SETTINGS have come
	initialWindow   int32
	frameBytes      uint32
	streams         uint32
	connectProtocol bool
}

func newConn(opt *Options, scratch *Scratch, client bool) conn {
	c := conn{
		opt: opt, scratch: scratch, client: client, goAway: windowMax,
		dec: hpack.NewDecoder(max(opt.TableBytes, hpack.TableSizeDefault)), enc: hpack.NewEncoder(hpack.TableSizeDefault),
		recvWindow: windowInitial, sendWindow: windowInitial,
		peer:    peerSettings{initialWindow: windowInitial, frameBytes: frameBytesMin, streams: windowMax},
		control: budget{left: opt.ControlFrames}, resets: budget{left: opt.Resets},
	}
	c.dec.Share(&scratch.tables)
	c.enc.Share(&scratch.tables)
	if opt.EncoderTableBytes < hpack.TableSizeDefault {
		c.enc.SetMax(opt.EncoderTableBytes)
	}
	if client {
		c.phase, c.streams.keep = phaseSettings, slotsKeepClient
	}
	return c
}

// SetNow tells the time, in nanoseconds of any clock that goes forward, for limits by the second.
func (c *conn) SetNow(now int64) {
	if c.now == 0 {
		c.control.at, c.resets.at = now, now
	}
	c.now = now
}

// Streams returns the number of open streams.
func (c *conn) Streams() int { return c.streams.count }

// Acknowledged reports whether the peer has acknowledged our SETTINGS.
func (c *conn) Acknowledged() bool { return c.acked }

// Slots returns an upper bound of the slots in use.
func (c *conn) Slots() int { return len(c.streams.slots) }

// HasControl reports whether AppendControl has something to append.
func (c *conn) HasControl() bool { return len(c.out) > 0 }

// AppendControl appends the frames that the protocol itself has to send.
func (c *conn) AppendControl(dst []byte) []byte {
	if len(c.out) == 0 {
		return dst
	}
	dst = append(dst, c.out...)
	if cap(c.out) <= controlKeep && len(c.scratch.spare) < spareKeepMax {
		c.scratch.spare = append(c.scratch.spare, c.out[:0])
	}
	c.out = nil
	return dst
}

// room makes sure that control frames can be appended to c.out.
func (c *conn) room() {
	if c.out != nil {
		return
	}
	if n := len(c.scratch.spare); n > 0 {
		c.out = c.scratch.spare[n-1]
		c.scratch.spare = c.scratch.spare[:n-1]
		return
	}
	c.out = make([]byte, 0, controlMin)
}

// sendSettings puts our SETTINGS in front of everything, and the window of the connection behind them.
func (c *conn) sendSettings() {
	c.room()
	at := len(c.out)
	c.out = appendFrameHead(c.out, 0, frameSettings, 0, 0)
	if c.client {
		c.out = appendSetting(c.out, settingEnablePush, 0)
	} else {
		c.out = appendSetting(c.out, settingConcurrentStreams, c.opt.ConcurrentStreams)
	}
	if c.opt.TableBytes != hpack.TableSizeDefault {
		c.out = appendSetting(c.out, settingTableSize, c.opt.TableBytes)
	}
	if c.opt.StreamWindow != windowInitial {
		c.out = appendSetting(c.out, settingInitialWindow, c.opt.StreamWindow)
	}
	if c.opt.FrameBytes != frameBytesMin {
		c.out = appendSetting(c.out, settingFrameBytes, c.opt.FrameBytes)
	}
	c.out = appendSetting(c.out, settingHeadBytes, uint32(min(c.opt.Limits.HeadBytes, windowMax)))
	if !c.client && c.opt.ConnectProtocol {
		c.out = appendSetting(c.out, settingConnectProtocol, 1)
	}
	if !c.client {
		c.out = appendSetting(c.out, settingNoPriorities, 1)
	}
	putFrameLength(c.out[at:], len(c.out)-at-frameHeadLen)
	if add := int32(c.opt.ConnWindow) - c.recvWindow; add > 0 {
		c.windowUpdate(0, add)
		c.recvWindow += add
	}
}

func (c *conn) windowUpdate(stream uint32, n int32) {
	c.room()
	c.out = appendFrameHead(c.out, 4, frameWindowUpdate, 0, stream)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(n))
}

// Reset ends a stream with an error code. For one that is gone it does nothing, and reports false.
func (c *conn) Reset(id codec.StreamID, code uint32) bool {
	if c.streams.get(uint32(id)) == nil {
		return false
	}
	c.sendReset(uint32(id), code)
	c.closeStream(uint32(id))
	return true
}

// Trim gives memory back that a connection without streams has no use for until the next one: call it when there have been none
// for a while.
func (c *conn) Trim() {
	c.dec.Trim()
	c.enc.Trim()
	if c.streams.count == 0 {
		c.streams = streamTable{keep: c.streams.keep}
	}
	if len(c.expected) == 0 {
		c.expected = nil
	}
}

// Release gives the memory of a connection that has ended to the next one. It must not be fed or appended to any more.
func (c *conn) Release() {
	c.dec.Release()
	c.enc.Release()
}

// Owes reports whether a stream is open and we have not ended our direction of it.
func (c *conn) Owes(id codec.StreamID) bool {
	s := c.streams.get(uint32(id))
	return s != nil && s.state&sentEnd == 0
}

// sendReset appends a RST_STREAM and remembers that frames of the stream may be under way.
func (c *conn) sendReset(id, code uint32) {
	c.room()
	c.out = appendFrameHead(c.out, 4, frameRSTStream, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, code)
	if c.recent == nil {
		c.recent = new([recentResets]uint32)
	}
	c.recent[c.recentAt%recentResets] = id
	c.recentAt++
	c.resetTop = max(c.resetTop, id)
}

// forgetReset notes that no more frames of a stream are under way.
func (c *conn) forgetReset(id uint32) {
	if c.recent == nil {
		return
	}
	for i := range c.recent {
		if c.recent[i] == id {
			c.recent[i] = 0
		}
	}
}

// wasReset reports whether we reset a stream not long ago. A client may give up any number of requests in one go, and the
// answers to all of them may be under way, so there it is any up to the latest.
func (c *conn) wasReset(id uint32) bool {
	if c.client && id <= c.resetTop {
		return true
	}
	return c.recent != nil && slices.Contains(c.recent[:], id)
}

// isLate reports whether what comes for a stream that is not open may have been under way when it ended for us, and is dropped.
//
// "After sending a GOAWAY frame, the sender can discard frames for streams initiated by the receiver with identifiers
// higher than the identified last stream."
// RFC 9113 section 6.8
func (c *conn) isLate(id uint32) bool { return c.wasReset(id) || !c.client && id > c.goAway }

// closeStream forgets a stream. What comes of a frame that has begun counts as consumed; what the caller got it consumes.
func (c *conn) closeStream(id uint32) {
	c.streams.close(id)
	if c.data.stream == id {
		c.data.open = false
	}
}

// SendGoAway tells the peer that no stream above last is taken any more. Called twice for a graceful end: first with
// [GoAwayLater], which only warns, and when a round trip has passed with LastStream.
//
// "A server that is attempting to gracefully shut down a connection SHOULD send an initial GOAWAY frame with the last
// stream identifier set to 2^31-1 and a NO_ERROR code. ... After allowing time for any in-flight stream creation (at
// least one round-trip time), the server MAY send another GOAWAY frame with an updated last stream identifier."
// RFC 9113 section 6.8
func (c *conn) SendGoAway(last, code uint32) {
	c.goAway = min(c.goAway, last)
	c.room()
	c.out = appendFrameHead(c.out, 8, frameGoAway, 0, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, c.goAway)
	c.out = binary.BigEndian.AppendUint32(c.out, code)
}

// GoAwayLater is the last stream of a GOAWAY that only warns.
const GoAwayLater = windowMax

// LastStream is the highest stream that the peer has opened.
func (c *conn) LastStream() uint32 { return c.lastPeer }

// fail ends the connection with a GOAWAY.
func (c *conn) fail(err *codec.Error) *codec.Error {
	if c.phase == phaseFailed {
		return c.failed
	}
	c.phase, c.failed = phaseFailed, err
	c.SendGoAway(min(c.goAway, c.lastPeer), uint32(err.Code))
	return err
}

// Failed reports whether the connection has ended with an error; a GOAWAY says so already.
func (c *conn) Failed() bool { return c.phase == phaseFailed }

// SettingsTimeout ends the connection because SETTINGS were not acknowledged in time.
func (c *conn) SettingsTimeout() *codec.Error { return c.fail(&errSettingsTimeout) }

// Ping sends a PING with data of the choice of the caller, more each time. Heard tells of the answers.
func (c *conn) Ping(data uint64) {
	c.pinged = data
	c.room()
	c.out = appendFrameHead(c.out, 8, framePing, 0, 0)
	c.out = binary.BigEndian.AppendUint64(c.out, data)
}

// Heard returns the data of the latest PING that was answered, 0 before the first. Answers to what nobody asked do not count.
func (c *conn) Heard() uint64 { return c.heard }

// Consume implements [codec.Server] and [codec.Client]: n bytes of a stream's data have gone on, and the peer may
// send as many. The windows are told when half of one has been consumed.
func (c *conn) Consume(id codec.StreamID, n int) {
	c.credit(int32(n))
	c.ConsumeStream(id, n)
}

// ConsumeConn is the half of Consume that is about the window of the connection, for data that is kept on account of one
// stream and is not to hold up the others. ConsumeStream follows.
func (c *conn) ConsumeConn(n int) { c.credit(int32(n)) }

// ConsumeStream is the half of Consume that is about the window of the stream.
func (c *conn) ConsumeStream(id codec.StreamID, n int) {
	s := c.streams.get(uint32(id))
	if s == nil || s.state&recvEnd != 0 {
		return
	}
	s.consumed += int32(n)
	if s.consumed >= int32(c.opt.StreamWindow)/2 {
		c.windowUpdate(s.id, s.consumed)
		s.recvWindow += s.consumed
		s.consumed = 0
	}
}

// credit counts n bytes of data as consumed for the connection.
func (c *conn) credit(n int32) {
	c.consumed += n
	if c.consumed >= int32(c.opt.ConnWindow)/2 {
		c.windowUpdate(0, c.consumed)
		c.recvWindow += c.consumed
		c.consumed = 0
	}
}

// Writable implements [codec.Server] and [codec.Client]. When it is 0, an EventWindow follows as soon as it is more.
func (c *conn) Writable(id codec.StreamID) int {
	s := c.streams.get(uint32(id))
	if s == nil {
		return 0
	}
	if s.sendWindow <= 0 {
		s.state |= blocked
		return 0
	}
	if c.sendWindow <= 0 {
		c.blocked = true
		return 0
	}
	return int(min(c.sendWindow, int64(s.sendWindow)))
}

// ConnWritable returns how many bytes of data of all streams together the peer takes. When it is 0, an EventWindow
// follows as soon as it is more.
func (c *conn) ConnWritable() int {
	if c.sendWindow <= 0 {
		c.blocked = true
		return 0
	}
	return int(c.sendWindow)
}

// InBlock reports whether a header block has begun that is not complete.
func (c *conn) InBlock() bool { return c.blockStream != 0 }

// Skip implements [codec.Server] and [codec.Client]. Data of HTTP/2 lies in frames: none is opaque.
func (c *conn) Skip(codec.StreamID, int64) { panic("BUG: h2: data moved without Feed") }

// Priority returns the urgency of a stream, 0 to 7 with 0 first, and whether it is incremental.
func (c *conn) Priority(id codec.StreamID) (urgency uint8, increments bool) {
	s := c.streams.get(uint32(id))
	if s == nil {
		return urgencyDefault, false
	}
	return s.urgency, s.state&incremental != 0
}
