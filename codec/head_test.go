package codec

import (
	"strconv"
	"strings"
	"testing"
)

// TestTake: a head goes over with all it has, and its room for many fields stays where it was.
func TestTake(t *testing.T) {
	t.Parallel()
	var from, to RequestHead
	for _, count := range []int{3, 100, 5, 40, 20} {
		from.Reset()
		from.SetPath([]byte("/path"))
		for i := range count {
			from.AddString("x-"+strconv.Itoa(i), "value")
		}
		from.ContentLength = int64(count)
		to.Take(&from)
		from.Reset()
		from.AddString("other", "one")
		to.Own(make([]byte, to.HeadBytes()+100))
		if to.Len() != count || to.ContentLength != int64(count) || string(to.Path()) != "/path" ||
			string(to.Lookup("x-"+strconv.Itoa(count-1))) != "value" || to.Lookup("other") != nil {
			t.Errorf("a head of %d fields: %d fields, length %d, path %q", count, to.Len(), to.ContentLength, to.Path())
		}
		if most := max(count, listShort); cap(to.list) > most {
			t.Errorf("a list of %d for %d fields", cap(to.list), count)
		}
		if to.Forget(); cap(to.list) > listShort || to.Len() != 0 || to.Path() != nil || to.ContentLength != int64(count) {
			t.Errorf("after Forget: a list of %d, %d fields, path %q", cap(to.list), to.Len(), to.Path())
		}
	}
}

func TestMethod(t *testing.T) {
	t.Parallel()
	for m := MethodGET; m < methodCount; m++ {
		if got := ParseMethod([]byte(m.String())); got != m {
			t.Errorf("ParseMethod(%q) = %d; want %d", m, got, m)
		}
		if got := ParseMethod([]byte(strings.ToLower(m.String()))); got != MethodOther {
			t.Errorf("ParseMethod(%q) = %d; want other", strings.ToLower(m.String()), got)
		}
	}
	for _, s := range []string{"", "GE", "GETS", "PURGE", "PROPFIND", "XXX", "XXXX", "XXXXX", "XXXXXX", "XXXXXXX"} {
		if got := ParseMethod([]byte(s)); got != MethodOther {
			t.Errorf("ParseMethod(%q) = %s; want other", s, got)
		}
	}
	idempotent := map[Method]bool{MethodGET: true, MethodHEAD: true, MethodPUT: true, MethodDELETE: true,
		MethodOPTIONS: true, MethodTRACE: true}
	for m := MethodOther; m < methodCount; m++ {
		if got := m.Idempotent(); got != idempotent[m] {
			t.Errorf("%q.Idempotent() = %v; want %v", m, got, idempotent[m])
		}
	}
	if Method(200).String() != "" {
		t.Error("a method out of range has a name")
	}
}

func newRequest() *RequestHead {
	h := new(RequestHead)
	h.Reset()
	return h
}

func TestRequestHeadSetters(t *testing.T) {
	t.Parallel()
	h := newRequest()
	if h.Path() != nil || h.Authority() != nil || h.Scheme() != nil || !h.BodyNone() {
		t.Errorf("an empty head has path %q, authority %q, scheme %q", h.Path(), h.Authority(), h.Scheme())
	}
	h.SetMethod(MethodPOST)
	if string(h.MethodBytes()) != "POST" || h.Method() != MethodPOST {
		t.Errorf("method %q", h.MethodBytes())
	}
	h.SetMethodName("PURGE")
	if string(h.MethodBytes()) != "PURGE" || h.Method() != MethodOther {
		t.Errorf("method %q", h.MethodBytes())
	}
	h.SetMethodName("BAD X\r\n")
	if string(h.MethodBytes()) != "BAD_X__" {
		t.Errorf("method %q; want BAD_X__", h.MethodBytes())
	}
	h.SetMethodName("HEAD")
	h.SetMethodName("")
	if h.Method() != MethodHEAD {
		t.Errorf("method %q; want HEAD", h.MethodBytes())
	}
}

func TestRequestHeadSetPath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                "/",
		"*":               "*",
		"a":               "/a",
		"http://b/":       "/http://b/",
		"?q":              "/?q",
		"/a?b=c":          "/a?b=c",
		"/a b":            "/a%20b",
		"/a\r\nX: y":      "/a%0D%0AX:%20y",
		"/\x00\x7f\xc3":   "/%00%7F%C3",
		"/%41":            "/%41",
		"/a HTTP/1.1\r\n": "/a%20HTTP/1.1%0D%0A",
	} {
		h := newRequest()
		h.SetPath([]byte(in))
		if got := h.Path(); string(got) != want {
			t.Errorf("SetPath(%q): Path() = %q; want %q", in, got, want)
		}
	}
	h := newRequest()
	h.SetPath([]byte("/prefix/rest"))
	h.SetPath(h.Path()[len("/prefix"):]) // an alias of the buffer
	if got := h.Path(); string(got) != "/rest" {
		t.Errorf("Path() = %q; want /rest", got)
	}
}

func TestRequestHeadAuthority(t *testing.T) {
	t.Parallel()
	h := newRequest()
	h.Fields = *parsed("X: 1", "HOST: a.example")
	if got := h.Authority(); string(got) != "a.example" {
		t.Errorf("Authority() = %q; want that of Host", got)
	}
	h.SetAuthority([]byte("b.example:80"))
	if got, want := dump(&h.Fields), "X: 1|HOST: b.example:80|"; got != want {
		t.Errorf("fields %q; want %q", got, want)
	}
	h.SetAuthority([]byte("b\r\nX: y@/"))
	if got, want := string(h.Authority()), "b__X:_y__"; got != want {
		t.Errorf("Authority() = %q; want %q", got, want)
	}
	h.Own(make([]byte, 0, 256))
	if got, want := string(h.Authority()), "b__X:_y__"; got != want {
		t.Errorf("after Own, Authority() = %q; want %q", got, want)
	}
	h.Reset()
	if h.Authority() != nil || h.ContentLength != -1 || h.Len() != 0 {
		t.Error("Reset leaves something")
	}
}

func TestResponseHead(t *testing.T) {
	t.Parallel()
	h := new(ResponseHead)
	h.Reset()
	if len(h.Reason()) != 0 {
		t.Errorf("Reason() = %q; want none", h.Reason())
	}
	h.SetReason("All\r\nX: y")
	if got := string(h.Reason()); got != "All  X: y" {
		t.Errorf("Reason() = %q", got)
	}
	h.Reset()
	if len(h.Reason()) != 0 || h.ContentLength != -1 {
		t.Error("Reset leaves something")
	}
}

func TestReasonPhrase(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{200: "OK", 404: "Not Found", 299: "", 99: "", 0: "", -1: "", 600: "",
		511: "Network Authentication Required", 512: ""} {
		if got := ReasonPhrase(status); got != want {
			t.Errorf("ReasonPhrase(%d) = %q; want %q", status, got, want)
		}
	}
}

func TestReasonNames(t *testing.T) {
	t.Parallel()
	seen := map[string]Reason{}
	for r := range reasonCount {
		name := r.String()
		if other, dup := seen[name]; name == "" || dup {
			t.Errorf("Reason(%d) is called %q, as is %d", r, name, other)
		}
		seen[name] = r
	}
	if reasonCount.String() != "unknown" || Reasons() != int(reasonCount) {
		t.Error("a reason out of range has a name")
	}
	e := &Error{ScopeConn, 431, ReasonHeadTooLarge}
	if got, want := e.Error(), "codec: http1.headers_too_large (431)"; got != want {
		t.Errorf("Error() = %q; want %q", got, want)
	}
}

func TestEventKindString(t *testing.T) {
	t.Parallel()
	if EventGoAway.String() != "goaway" || EventKind(99).String() != "unknown" {
		t.Errorf("%q, %q", EventGoAway, EventKind(99))
	}
}

// TestCopyFrom: a copy outlives what it was made of, and takes no memory the second time.
func TestCopyFrom(t *testing.T) {
	var from, to RequestHead
	fill := func() []byte {
		from.Reset()
		buf := []byte("/path?q x-name value")
		from.SetBuffer(buf)
		from.SetTarget(Span{Off: 0, Len: 7}, Span{}, Span{})
		from.AppendSpan(FieldOther, Span{Off: 8, Len: 6}, Span{Off: 15, Len: 5})
		from.SetMethod(MethodPOST)
		from.ContentLength, from.Version = 12, Version20
		from.SetAuthority([]byte("host:1"))
		return buf
	}
	buf := fill()
	to.Reset()
	to.CopyFrom(&from)
	clear(buf)
	from.SetAuthority([]byte("another"))
	from.Reset()
	if string(to.Path()) != "/path?q" || string(to.Lookup("X-Name")) != "value" || string(to.Authority()) != "host:1" ||
		to.Method() != MethodPOST || to.ContentLength != 12 || to.Version != Version20 {
		t.Errorf("the copy is %s %s %s, %d bytes, x-name %s", to.MethodBytes(), to.Authority(), to.Path(), to.ContentLength, to.Lookup("x-name"))
	}
	to.SetAuthority([]byte("changed")) // of the copy alone
	fill()
	if n := testing.AllocsPerRun(100, func() {
		to.Reset()
		to.CopyFrom(&from)
		to.SetAuthority([]byte("host-shadow:1"))
	}); n != 0 && !raceEnabled {
		t.Errorf("%v allocations for a copy", n)
	}
	if string(from.Authority()) != "host:1" {
		t.Errorf("the original's host is %s", from.Authority())
	}
}
