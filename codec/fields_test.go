package codec

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

// A list of 100 fields is to stay small.
var _ [16 - unsafe.Sizeof(Field{})]byte

// parsed returns fields as a codec makes them, from "name: value" lines.
func parsed(lines ...string) *Fields {
	f := new(Fields)
	var buf []byte
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		f.AppendSpan(KnownField([]byte(name)), Span{uint32(len(buf)), uint32(len(name))},
			Span{uint32(len(buf) + len(name) + 2), uint32(len(value))})
		buf = append(buf, line+"\r\n"...)
	}
	f.SetBuffer(buf)
	return f
}

// dump tells the fields, one to a line, removed ones as "-".
func dump(f *Fields) string {
	var b strings.Builder
	for i := range f.Len() {
		if id, name, value := f.At(i); id == FieldRemoved {
			b.WriteString("-|")
		} else {
			fmt.Fprintf(&b, "%s: %s|", name, value)
		}
	}
	return b.String()
}

func TestFieldsRead(t *testing.T) {
	t.Parallel()
	f := parsed("HOST: a", "X-One: 1", "cookie: c1", "x-one: 2", "Cookie: c2", "Via: ")
	if got := f.Get(FieldHost); string(got) != "a" {
		t.Errorf("Get(host) = %q; want a", got)
	}
	if got := f.Get(FieldVia); got == nil || len(got) != 0 {
		t.Errorf("Get(via) = %#v; want empty, not nil", got)
	}
	if got := f.Get(FieldServer); got != nil {
		t.Errorf("Get(server) = %q; want nil", got)
	}
	if f.Has(FieldServer) || !f.Has(FieldCookie) || f.Has(FieldOther) || f.Has(FieldRemoved) {
		t.Errorf("Has: server %v, cookie %v, other %v, removed %v; want only cookie",
			f.Has(FieldServer), f.Has(FieldCookie), f.Has(FieldOther), f.Has(FieldRemoved))
	}
	if got := f.Count(FieldCookie); got != 2 {
		t.Errorf("Count(cookie) = %d; want 2", got)
	}
	for name, want := range map[string]string{"X-ONE": "1", "hOst": "a", "cookie": "c1", "x-none": ""} {
		if got := f.Lookup(name); string(got) != want {
			t.Errorf("Lookup(%q) = %q; want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"x-One": "1,2", "Cookie": "c1,c2", "date": "", "y": ""} {
		if got := bytes.Join(f.Values(name, nil), []byte(",")); string(got) != want {
			t.Errorf("Values(%q) = %q; want %q", name, got, want)
		}
	}
}

func TestFieldsChange(t *testing.T) {
	t.Parallel()
	base := []string{"Host: a", "X-One: 1", "Cookie: c1", "x-ONE: 2", "COOKIE: c2", "Via: "}
	for _, tt := range []struct {
		name string
		do   func(f *Fields)
		want string
	}{
		{"Add", func(f *Fields) { f.Add(FieldServer, []byte("m")) },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: |server: m|"},
		{"AddString", func(f *Fields) { f.AddString("X-Two", "v") },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: |X-Two: v|"},
		{"AddString empty name", func(f *Fields) { f.AddString("", "v") },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: |"},
		{"AddString name too long", func(f *Fields) { f.AddString(strings.Repeat("a", 1<<16), "v") },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: |"},
		{"Set", func(f *Fields) { f.Set(FieldCookie, []byte("new")) },
			"Host: a|X-One: 1|Cookie: new|x-ONE: 2|-|Via: |"},
		{"Set absent", func(f *Fields) { f.Set(FieldDate, []byte("d")) },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: |date: d|"},
		{"SetString", func(f *Fields) { f.SetString("x-one", "new") },
			"Host: a|X-One: new|Cookie: c1|-|COOKIE: c2|Via: |"},
		{"SetString known", func(f *Fields) { f.SetString("cookie", "new") },
			"Host: a|X-One: 1|Cookie: new|x-ONE: 2|-|Via: |"},
		{"SetString absent", func(f *Fields) { f.SetString("X-New", "n") },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: |X-New: n|"},
		{"AppendTo", func(f *Fields) { f.AppendTo(FieldCookie, []byte("c3")) },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2, c3|Via: |"},
		{"AppendTo empty", func(f *Fields) { f.AppendTo(FieldVia, []byte("1.1 m")) },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: 1.1 m|"},
		{"AppendTo absent", func(f *Fields) { f.AppendTo(FieldXForwardedFor, []byte("10.0.0.1")) },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: |x-forwarded-for: 10.0.0.1|"},
		{"Remove", func(f *Fields) { f.Remove(FieldCookie); f.Remove(FieldDate) },
			"Host: a|X-One: 1|-|x-ONE: 2|-|Via: |"},
		{"RemoveName", func(f *Fields) { f.RemoveName("X-one"); f.RemoveName("HOST"); f.RemoveName("x") },
			"-|-|Cookie: c1|-|COOKIE: c2|Via: |"},
		{"RemoveAt", func(f *Fields) { f.RemoveAt(2); f.RemoveAt(1) },
			"Host: a|-|-|x-ONE: 2|COOKIE: c2|Via: |"},
		{"value from the buffer", func(f *Fields) { f.Add(FieldXForwardedHost, f.Get(FieldHost)) },
			"Host: a|X-One: 1|Cookie: c1|x-ONE: 2|COOKIE: c2|Via: |x-forwarded-host: a|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := parsed(base...)
			before := string(f.buf)
			fed := f.buf
			tt.do(f)
			if got := dump(f); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if string(fed) != before {
				t.Errorf("the bytes fed changed to %q", fed)
			}
		})
	}
}

func TestFieldsKnownFollowsRemoval(t *testing.T) {
	t.Parallel()
	f := parsed("Cookie: 1", "cookie: 2")
	f.RemoveAt(0)
	if !f.Has(FieldCookie) || string(f.Get(FieldCookie)) != "2" {
		t.Errorf("after the first is removed: Has %v, Get %q; want the second", f.Has(FieldCookie), f.Get(FieldCookie))
	}
	f.RemoveAt(1)
	if f.Has(FieldCookie) || f.Get(FieldCookie) != nil || f.Lookup("Cookie") != nil {
		t.Error("after both are removed cookie is still there")
	}
	f.RemoveAt(1) // twice is harmless
	f.Add(FieldCookie, []byte("3"))
	if string(f.Get(FieldCookie)) != "3" {
		t.Errorf("Get = %q; want 3", f.Get(FieldCookie))
	}
}

// TestFieldsInjection: no call may put a line end, or a name that is none, into a message.
func TestFieldsInjection(t *testing.T) {
	t.Parallel()
	const evil = "a\r\nX: y\x00\x7f\tb"
	const safe = "a  X: y  \tb"
	f := parsed("Host: h", "X-One: 1")
	f.Add(FieldVia, []byte(evil))
	f.AddString("X-Two", evil)
	f.AddString("Na me\r\n:", "v")
	f.Set(FieldHost, []byte(evil))
	f.SetString("x-one", evil)
	f.AppendTo(FieldVia, []byte(evil))
	want := "Host: " + safe + "|X-One: " + safe + "|via: " + safe + ", " + safe + "|X-Two: " + safe + "|Na_me___: v|"
	if got := dump(f); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestFieldsOwn(t *testing.T) {
	t.Parallel()
	fed := []byte("Host: a\r\n")
	f := parsed("Host: a")
	f.SetBuffer(fed)
	block := make([]byte, 0, 64)
	f.Own(block)
	fed[6] = 'z'
	if got := f.Get(FieldHost); string(got) != "a" {
		t.Errorf("after Own, Get(host) = %q; want a", got)
	}
	f.Add(FieldVia, []byte("v"))
	if &f.buf[0] != &block[:1][0] {
		t.Error("an addition that fits did not stay in the block")
	}
	f.AddString("x", strings.Repeat("y", 100))
	if &f.buf[0] == &block[:1][0] {
		t.Error("an addition that does not fit wrote past the block")
	}
	if got, want := dump(f), "Host: a|via: v|x: "+strings.Repeat("y", 100)+"|"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	if f.HeadBytes() != len(f.buf) {
		t.Errorf("HeadBytes() = %d; want %d", f.HeadBytes(), len(f.buf))
	}
}

func TestFieldsResetKeepsModerateStorage(t *testing.T) {
	t.Parallel()
	f := parsed("Host: a")
	f.Add(FieldVia, []byte("v"))
	f.Reset()
	if f.Len() != 0 || f.Has(FieldHost) || cap(f.list) == 0 || cap(f.store) == 0 {
		t.Errorf("Reset: Len %d, list %d, store %d; want empty, with capacity", f.Len(), cap(f.list), cap(f.store))
	}
	f.Add(FieldVia, make([]byte, storeKeepMax+1))
	f.Reset()
	if f.store != nil {
		t.Errorf("Reset keeps %d bytes; want at most %d", cap(f.store), storeKeepMax)
	}
}

func TestFieldsEqual(t *testing.T) {
	t.Parallel()
	a, b := parsed("Host: a", "X: 1", "Y: 2"), parsed("host: a", "x: 1", "Z: 9", "y: 2")
	if a.Equal(b) || b.Equal(a) {
		t.Error("Equal: different lists are equal")
	}
	b.RemoveName("z")
	if !a.Equal(b) || !b.Equal(a) {
		t.Error("Equal: lists that differ in a removed entry and in case are not equal")
	}
	b.SetString("y", "3")
	if a.Equal(b) {
		t.Error("Equal: lists that differ in a value are equal")
	}
}

func TestKnownField(t *testing.T) {
	t.Parallel()
	for id := FieldHost; id < fieldCount; id++ {
		name := id.String()
		if name == "" || name != strings.ToLower(name) {
			t.Errorf("FieldID(%d).String() = %q; want a lower-case name", id, name)
		}
		for _, s := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := KnownField([]byte(s)); got != id {
				t.Errorf("KnownField(%q) = %d; want %d", s, got, id)
			}
			if got := knownFieldString(s); got != id {
				t.Errorf("knownFieldString(%q) = %d; want %d", s, got, id)
			}
		}
		for i := range name { // one bit of one character changed
			for bit := range 8 {
				b := []byte(name)
				b[i] ^= 1 << bit
				want := FieldOther
				if strings.EqualFold(string(b), name) {
					want = id
				}
				if got := KnownField(b); got != want && got.String() != strings.ToLower(string(b)) {
					t.Errorf("KnownField(%q) = %q; want %d", b, got, want)
				}
			}
		}
	}
	for _, s := range []string{"", "x", "ho", "hosts", "x-unknown", strings.Repeat("a", 100), "content_length"} {
		if got := KnownField([]byte(s)); got != FieldOther {
			t.Errorf("KnownField(%q) = %s; want none", s, got)
		}
		if got := knownFieldString(s); got != FieldOther {
			t.Errorf("knownFieldString(%q) = %s; want none", s, got)
		}
	}
	if FieldOther.String() != "" || FieldRemoved.String() != "" {
		t.Error("FieldOther and FieldRemoved have names")
	}
}

// TestFieldsAllocs: after the first use, a head that is parsed, changed and reset allocates nothing.
func TestFieldsAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	f := parsed("Host: a", "X: 1")
	buf, list := f.buf, append([]Field(nil), f.list...)
	addr, name := []byte("10.0.0.1"), []byte("1.1 millrace")
	got := testing.AllocsPerRun(100, func() {
		f.Reset()
		f.list = append(f.list, list...)
		f.known = 1 << FieldHost
		f.SetBuffer(buf)
		f.AppendTo(FieldXForwardedFor, addr)
		f.Set(FieldVia, name)
		f.AddString("x-request-id", "0123456789")
		f.SetString("x", "2")
		f.RemoveName("X")
		if f.Lookup("host") == nil {
			t.Error("host is gone")
		}
	})
	if got != 0 {
		t.Errorf("%v allocations; want 0", got)
	}
}

func BenchmarkKnownField(b *testing.B) {
	names := [][]byte{[]byte("Host"), []byte("User-Agent"), []byte("Accept-Language"), []byte("X-Forwarded-For")}
	for b.Loop() {
		for _, n := range names {
			KnownField(n)
		}
	}
}
