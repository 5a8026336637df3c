package h1

import (
	"bytes"
	"testing"

	"millrace/codec"
	"millrace/codec/codectest"
)

// addCases adds the smuggling corpus to the seeds.
func addCases(f *testing.F, other ...any) {
	f.Helper()
	cases, err := codectest.ReadCases("testdata/smuggling")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if len(c.Input) < 4096 {
			f.Add(append([]any{c.Input}, other...)...)
		}
	}
}

// FuzzServerSplit: the events must not depend on where the kernel cut the reads.
func FuzzServerSplit(f *testing.F) {
	codectest.AddSeeds(f, "testdata/requests", uint16(7), uint16(30))
	addCases(f, uint16(21), uint16(22))
	f.Fuzz(func(t *testing.T, in []byte, first, second uint16) {
		whole := recordServer(in)
		halves := codectest.Halves(in, int(first))
		tail := codectest.Halves(halves[1], int(second))
		if split := recordServer(halves[0], tail[0], tail[1]); whole != split {
			t.Errorf("cut at %d and %d bytes the events change\nwhole: %s\nsplit: %s", first, second, whole, split)
		}
		if len(in) < 1000 {
			if split := recordServer(codectest.Bytes(in)...); whole != split {
				t.Errorf("byte by byte the events change\nwhole: %s\nsplit: %s", whole, split)
			}
		}
	})
}

// recordClient records the responses to requests of one kind.
func recordClient(kind uint8, pieces ...[]byte) string {
	limits := codec.DefaultLimits()
	c := NewClient(&limits)
	return codectest.RecordClient(&c, func() bool {
		h := plainRequest(kind)
		c.AppendRequestHead(nil, 0, h, true)
		return true
	}, pieces...)
}

// plainRequest returns a head of one of four kinds: what the framing of a response depends on.
func plainRequest(kind uint8) *codec.RequestHead {
	h := new(codec.RequestHead)
	h.Reset()
	h.SetAuthority([]byte("a.example:80"))
	h.SetPath([]byte("/"))
	switch kind % 4 {
	case 0:
		h.SetMethod(codec.MethodGET)
	case 1:
		h.SetMethod(codec.MethodHEAD)
	case 2:
		h.SetMethod(codec.MethodCONNECT)
	case 3:
		h.SetMethod(codec.MethodGET)
		h.Upgrade = true
		h.AddString("Upgrade", "websocket")
	}
	return h
}

// FuzzClientSplit is FuzzServerSplit for responses.
func FuzzClientSplit(f *testing.F) {
	for kind := range uint8(4) {
		codectest.AddSeeds(f, "testdata/responses", kind, uint16(7), uint16(30))
	}
	f.Fuzz(func(t *testing.T, in []byte, kind uint8, first, second uint16) {
		whole := recordClient(kind, in)
		halves := codectest.Halves(in, int(first))
		tail := codectest.Halves(halves[1], int(second))
		if split := recordClient(kind, halves[0], tail[0], tail[1]); whole != split {
			t.Errorf("cut at %d and %d bytes the events change\nwhole: %s\nsplit: %s", first, second, whole, split)
		}
		if len(in) < 1000 {
			if split := recordClient(kind, codectest.Bytes(in)...); whole != split {
				t.Errorf("byte by byte the events change\nwhole: %s\nsplit: %s", whole, split)
			}
		}
	})
}

// message is a parsed message, whole.
type message struct {
	request  codec.RequestHead
	response codec.ResponseHead
	body     []byte
	trailers codec.Fields
}

// gather feeds in until a message that is not informational is complete.
func gather(feed func([]byte, *codec.Event) (int, *codec.Error), in []byte) (m *message, ok bool) {
	m = new(message)
	ev := codec.Event{Request: &m.request, Response: &m.response, Trailers: &m.trailers}
	for len(in) > 0 {
		n, err := feed(in, &ev)
		if err != nil || ev.Kind == codec.EventNone && n < len(in) {
			return m, false
		}
		in = in[n:]
		m.body = append(m.body, ev.Data...)
		if ev.End {
			return m, true
		}
	}
	return m, false
}

// appendBody appends body and trailers as two pieces.
func appendBody(dst []byte, w *writer, m *message) []byte {
	if w.done {
		return dst
	}
	for _, piece := range codectest.Halves(m.body, len(m.body)/2) {
		dst = w.AppendDataPrefix(dst, 0, len(piece), false)
		dst = append(dst, piece...)
		dst = w.AppendDataSuffix(dst, 0, len(piece), false)
	}
	if m.trailers.Len() > 0 {
		return w.AppendTrailers(dst, 0, &m.trailers)
	}
	return w.AppendDataPrefix(dst, 0, 0, true)
}

// forwardRequest writes a parsed request as a proxy that changes nothing would.
func forwardRequest(m *message) []byte {
	limits := codec.DefaultLimits()
	c := NewClient(&limits)
	out := c.AppendRequestHead(nil, 0, &m.request, m.request.BodyNone())
	return appendBody(out, &c.writer, m)
}

func parseRequest(in []byte) (*message, bool) {
	limits := codec.DefaultLimits()
	limits.HeadBytes *= 2 // what is written may be longer than what was read: "host: x" where there was none
	limits.FieldCount *= 2
	s := NewServer(&limits)
	return gather(s.Feed, in)
}

// FuzzRoundTrip: a request that is parsed, written and parsed again is the same, and is written the same again.
func FuzzRoundTrip(f *testing.F) {
	codectest.AddSeeds(f, "testdata/requests")
	addCases(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		m, ok := parseRequest(in)
		if !ok {
			return
		}
		wire := forwardRequest(m)
		again, ok := parseRequest(wire)
		if !ok {
			if m.request.Version == codec.Version10 && len(m.request.Authority()) == 0 {
				return // HTTP/1.0 without a host: the proxy has to find one
			}
			t.Fatalf("what was written cannot be read\nin: %q\nout: %q", in, wire)
		}
		if !bytes.Equal(m.request.MethodBytes(), again.request.MethodBytes()) ||
			!bytes.Equal(m.request.Path(), again.request.Path()) ||
			!bytes.Equal(m.request.Authority(), again.request.Authority()) {
			t.Errorf("start line changes\nin: %q\nout: %q", in, wire)
		}
		if !bytes.Equal(m.body, again.body) || !m.trailers.Equal(&again.trailers) {
			t.Errorf("body changes\nin: %q\nout: %q", in, wire)
		}
		if a, b := endToEnd(&m.request.Fields), endToEnd(&again.request.Fields); a != b {
			t.Errorf("fields change\nin: %q\nout: %q\n%s\n%s", in, wire, a, b)
		}
		if twice := forwardRequest(again); !bytes.Equal(wire, twice) {
			t.Errorf("written twice it changes\nin: %q\nout: %q\nagain: %q", in, wire, twice)
		}
	})
}

// endToEnd tells the fields that the codec does not write itself.
func endToEnd(f *codec.Fields) string {
	var b bytes.Buffer
	for i := range f.Len() {
		if id, name, value := f.At(i); id == codec.FieldOther || id > codec.FieldUpgrade {
			b.Write(appendField(nil, name, value))
		}
	}
	return b.String()
}

func parseResponse(in []byte, kind uint8) (*message, bool) {
	limits := codec.DefaultLimits()
	limits.HeadBytes *= 2
	limits.FieldCount *= 2
	c := NewClient(&limits)
	c.AppendRequestHead(nil, 0, plainRequest(kind), true)
	m, ok := gather(c.Feed, in)
	if !ok && c.state == stateUntilClose {
		var ev codec.Event
		return m, c.EOF(&ev) == nil && ev.End
	}
	return m, ok
}

// forwardResponse writes a parsed response as a proxy that changes nothing would.
func forwardResponse(m *message, kind uint8) []byte {
	limits := codec.DefaultLimits()
	s := NewServer(&limits)
	s.request = serverRequest{version: codec.Version11, keepAlive: true, head: kind%4 == 1, connect: kind%4 == 2}
	none := m.response.ContentLength == 0 && !m.response.Chunked
	out := s.AppendResponseHead(nil, 0, &m.response, none)
	return appendBody(out, &s.writer, m)
}

// FuzzRoundTripResponse is FuzzRoundTrip for responses.
func FuzzRoundTripResponse(f *testing.F) {
	codectest.AddSeeds(f, "testdata/responses", uint8(0))
	codectest.AddSeeds(f, "testdata/responses", uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, kind uint8) {
		kind %= 2
		m, ok := parseResponse(in, kind)
		if !ok {
			return
		}
		wire := forwardResponse(m, kind)
		again, ok := parseResponse(wire, kind)
		if !ok {
			t.Fatalf("what was written cannot be read\nin: %q\nout: %q", in, wire)
		}
		if m.response.Status != again.response.Status || !bytes.Equal(m.body, again.body) ||
			!m.trailers.Equal(&again.trailers) {
			t.Errorf("message changes\nin: %q\nout: %q", in, wire)
		}
		if a, b := endToEnd(&m.response.Fields), endToEnd(&again.response.Fields); a != b {
			t.Errorf("fields change\nin: %q\nout: %q\n%s\n%s", in, wire, a, b)
		}
		if twice := forwardResponse(again, kind); !bytes.Equal(wire, twice) {
			t.Errorf("written twice it changes\nin: %q\nout: %q\nagain: %q", in, wire, twice)
		}
	})
}
