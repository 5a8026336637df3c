package h2

import (
	"millrace/codec"
	"millrace/codec/hpack"
)

// Options is how one side of connections behaves: what it tells in its SETTINGS, and what it allows. Shared by
// connections, and not changed once in use.
type Options struct {
	// Limits bound heads and trailers, as for HTTP/1.1: HeadBytes, FieldCount (cookie crumbs counted), TargetBytes,
	// TrailerBytes, TrailerCount, InformationalCount.
	Limits *codec.Limits

	// ConcurrentStreams is how many streams the peer may have open (SETTINGS_MAX_CONCURRENT_STREAMS); more are
	// refused. Default 100. For a client: how many it opens at most.
	ConcurrentStreams uint32
	// StreamWindow is how much of one stream's body may be under way and not yet consumed
	// (SETTINGS_INITIAL_WINDOW_SIZE), ConnWindow how much of all of them. 65535 to 2^31-1. Default 256 KiB and 1 MiB.
	StreamWindow, ConnWindow uint32
	// FrameBytes is the largest frame that is taken (SETTINGS_MAX_FRAME_SIZE). 16 KiB, the default, to 64 KiB.
	FrameBytes uint32
	// TableBytes is the size of the table for decoding (SETTINGS_HEADER_TABLE_SIZE), EncoderTableBytes the most used
	// for encoding, however much the peer offers. Default 4096 each.
	TableBytes, EncoderTableBytes uint32
	// ConnectProtocol offers extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL). Servers only.
	ConnectProtocol bool

	// SwellBytes is how much longer than TableBytes and twice its length on the wire a header block may be when it is
	// decoded, names and values. Huffman and static entries make up for the factor and some kilobytes, entries of the
	// table for its size if each is named once; beyond lies only what names the same entry again and again. 0 is no
	// limit. Default 4 KiB.
	SwellBytes int
	// Continuations is how many CONTINUATION frames a header block may have. Default 10.
	Continuations int
	// Resets is how many streams may be reset at once, by the peer or because of what it did, and ResetsPerSecond how
	// many in the long run. Default 100, and 10.
	Resets, ResetsPerSecond int32
	// ControlFrames is how many frames that carry nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown ones) may
	// come at once, and ControlFramesPerSecond how many in the long run, beside those that traffic explains: each
	// frame with data or a head, in either direction, allows ControlFramesPerData more, since clients give the windows
	// back in small steps. Default 1000, 100 and 20.
	ControlFrames, ControlFramesPerSecond, ControlFramesPerData int32
	// EmptyFrames is how many frames without content and without an end may come in a row. Default 10.
	EmptyFrames int32
}

// DefaultOptions returns the defaults.
func DefaultOptions(l *codec.Limits) Options {
	return Options{
		Limits:                 l,
		ConcurrentStreams:      100,
		StreamWindow:           256 << 10,
		ConnWindow:             1 << 20,
		FrameBytes:             frameBytesMin,
		TableBytes:             hpack.TableSizeDefault,
		EncoderTableBytes:      hpack.TableSizeDefault,
		SwellBytes:             swellBytesDefault,
		Continuations:          10,
		Resets:                 100,
		ResetsPerSecond:        10,
		ControlFrames:          1000,
		ControlFramesPerSecond: 100,
		ControlFramesPerData:   20,
		EmptyFrames:            10,
	}
}

// swellBytesDefault is more than what a hundred static entries bring.
const swellBytesDefault = 4 << 10

// second in nanoseconds, the unit of SetNow.
const second = int64(1e9)

// budget is an allowance that comes back with time.
type budget struct {
	left int32
	at   int64 // up to when left is right, ns
}

// take uses one of it up, and reports false if nothing is left.
func (b *budget) take(now int64, burst, perSecond int32) bool {
	if b.left <= 0 {
		b.refill(now, burst, perSecond)
	}
	b.left--
	return b.left >= 0
}

// refill adds what time has brought since the last refill.
func (b *budget) refill(now int64, burst, perSecond int32) {
	add := (now - b.at) / second * int64(perSecond)
	if perSecond > 0 && add == 0 { // less than a second: whole units of it only, so that nothing is lost
		unit := second / int64(perSecond)
		add = (now - b.at) / unit
		b.at += add * unit
	} else {
		b.at = now
	}
	b.left = int32(min(int64(burst), int64(max(b.left, 0))+add))
}

// grant adds n, up to the burst.
func (b *budget) grant(n, burst int32) {
	if b.left < burst {
		b.left = min(b.left+n, burst)
	}
}
