package main

import "fmt"

// A version is what an attack speaks.
type version int

const (
	http1 version = 1
	http2 version = 2
	https version = 3 // HTTP/1.1 over TLS
)

// String implements fmt.Stringer.
func (v version) String() string {
	if v == https {
		return "HTTPS"
	}
	return fmt.Sprintf("HTTP/%d", int(v))
}

// An attack is one row of the suite.
type attack struct {
	name    string
	about   string
	version version
	conns   int // attackers at once
	// strike is one connection. It returns when the connection or the time ends; another one follows.
	strike  func(a *attacker) error
	control dialControl // of the sockets, or nil
	// memoryFloor is by how many bytes memory may move beside its 5 %, if not by what -memory-floor says.
	memoryFloor int64
	// sheds is set where new connections may be refused: the healthy client then keeps to the ones it has.
	sheds bool
	// cases are run one after the other, each on its own connection, instead of strike.
	cases func(corpus string) ([]func(a *attacker) error, error)
}

const (
	few  = 4
	some = 16
	many = 200 // slow ones

	crowds = 10000 // of handshakes that do not end
)

// suite lists every attack, in the order they run.
func suite() []attack {
	return []attack{
		{name: "rapid-reset", about: "each request is reset at once (CVE-2023-44487)", version: http2, conns: some, strike: rapidReset},
		{name: "reset-batches", about: "a hundred requests that may start, then a hundred resets", version: http2, conns: some, strike: resetBatches},
		{name: "made-you-reset", about: "requests that the target has to reset: bad window updates, data after the end, bad lengths (CVE-2025-8671)", version: http2, conns: some, strike: madeYouReset},
		{name: "continuation-flood", about: "a header block of small CONTINUATION frames without end (CVE-2024-27316)", version: http2, conns: some, strike: continuationFlood},
		{name: "continuation-empty", about: "a header block of empty CONTINUATION frames without end", version: http2, conns: some, strike: continuationEmpty},
		{name: "hpack-bomb", about: "a stored field of 4,000 bytes, named thousands of times by one byte each (CVE-2016-6581)", version: http2, conns: some, strike: hpackBomb},
		{name: "cookie-crumbs", about: "thousands of cookie crumbs of one byte on the wire", version: http2, conns: some, strike: cookieCrumbs},
		{name: "empty-names", about: "fields with empty names and values (CVE-2019-9516)", version: http2, conns: some, strike: emptyNames},
		{name: "http2-bomb", about: "heads that swell, on streams whose window of zero keeps them and their bodies", version: http2, conns: some, strike: zeroWindow, memoryFloor: 2 << 20},
		{name: "window-drip", about: "large bodies through a window of a byte at a time (CVE-2019-9511)", version: http2, conns: some, strike: windowDrip},
		{name: "ping-flood", about: "pings, and their answers are not read (CVE-2019-9512)", version: http2, conns: some, strike: deaf(pings)},
		{name: "settings-flood", about: "settings, and their acknowledgements are not read (CVE-2019-9515)", version: http2, conns: some, strike: deaf(settingsFrames)},
		{name: "priority-flood", about: "PRIORITY and PRIORITY_UPDATE of streams that shift about (CVE-2019-9513)", version: http2, conns: some, strike: hearing(priorities)},
		{name: "window-update-flood", about: "WINDOW_UPDATE of one byte without data", version: http2, conns: some, strike: hearing(windowUpdates)},
		{name: "unknown-flood", about: "frames of a type that nobody knows", version: http2, conns: some, strike: hearing(unknownFrames)},
		{name: "empty-data", about: "a request body of empty and of padded DATA frames (CVE-2019-9518)", version: http2, conns: some, strike: emptyData},
		{name: "empty-headers", about: "header blocks without a field, as requests and as trailers", version: http2, conns: some, strike: emptyHeaders},
		{name: "stream-flood", about: "requests beyond the concurrent streams, whose bodies never end", version: http2, conns: some, strike: streamFlood},
		{name: "h2-slow-heads", about: "a header block that gets a byte every half second", version: http2, conns: many, strike: slowHead2},
		{name: "h2-slow-bodies", about: "bodies that get a byte every half second, on ten streams", version: http2, conns: many, strike: slowBody2},
		{name: "h2-slow-preface", about: "a preface that gets a byte every half second", version: http2, conns: many, strike: slowPreface},
		{name: "h2-one-byte", about: "whole requests, each byte a packet of its own", version: http2, conns: some, strike: oneByte2},

		{name: "slow-heads", about: "a head that gets a byte every half second (slowloris)", version: http1, conns: many, strike: slowHead},
		{name: "slow-bodies", about: "a body that gets a byte every half second", version: http1, conns: many, strike: slowBody},
		{name: "slow-reads", about: "large bodies, taken a kilobyte every half second", version: http1, conns: many, strike: slowRead, control: smallBuffer},
		{name: "silence", about: "connections that say nothing", version: http1, conns: many, strike: silence},
		{name: "one-byte", about: "whole requests, each byte a packet of its own", version: http1, conns: some, strike: oneByte},
		{name: "huge-heads", about: "heads of fields without end", version: http1, conns: some, strike: hugeHead},
		{name: "long-lines", about: "a request line without end", version: http1, conns: some, strike: longLine},
		{name: "chunk-flood", about: "chunks of one byte with extensions of 200", version: http1, conns: some, strike: chunks},
		{name: "pipeline", about: "requests without end whose answers are not read", version: http1, conns: some, strike: pipeline},
		{name: "empty-lines", about: "empty lines before a request without end", version: http1, conns: some, strike: emptyLines},
		{name: "smuggling", about: "requests that servers read differently; the origin must not see the hidden ones", version: http1, conns: few, cases: smuggling},

		{name: "tls-silence", about: "ten thousand connections that never begin their handshake", version: https, conns: crowds, strike: silence, memoryFloor: 64 << 20},
		{name: "tls-half-hello", about: "ten thousand connections with half a ClientHello", version: https, conns: crowds, strike: halfHello, memoryFloor: 128 << 20},
		{name: "tls-abandoned", about: "ten thousand connections that send their ClientHello and nothing more", version: https, conns: crowds, strike: abandoned, memoryFloor: 320 << 20, sheds: true},
		{name: "tls-slow-hello", about: "a ClientHello that gets a byte every half second, of ten thousand clients", version: https, conns: crowds, strike: slowHello, memoryFloor: 128 << 20},
		{name: "tls-handshakes", about: "whole handshakes as fast as they are answered", version: https, conns: many, strike: handshakes, sheds: true},
		{name: "tls-tiny-records", about: "handshakes whose every byte is a record of its own", version: https, conns: some, strike: tinyRecords},
		{name: "tls-key-updates", about: "changes of keys without data (TLS 1.3)", version: https, conns: some, strike: keyUpdates},
		{name: "tls-empty-records", about: "records without a byte in them", version: https, conns: some, strike: emptyRecords},
		{name: "tls-large-records", about: "records longer than they may be", version: https, conns: some, strike: largeRecords},
		{name: "tls-alerts", about: "warnings without end (TLS 1.2)", version: https, conns: some, strike: warnings},
		{name: "tls-renegotiation", about: "another handshake wanted, again and again (TLS 1.2)", version: https, conns: some, strike: renegotiations},
		{name: "tls-garbage", about: "records that nobody has sealed", version: https, conns: some, strike: garbage},
	}
}
