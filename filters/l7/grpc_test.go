package l7

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/filters"
)

// grpcMessage is a message with its framing.
func grpcMessage(flags byte, text string) string {
	return string(appendGRPCHead(nil, flags, len(text))) + text
}

// fields makes trailers of "name: value".
func fields(list ...string) *codec.Fields {
	f := &codec.Fields{}
	for _, field := range list {
		name, value, _ := strings.Cut(field, ": ")
		f.AddString(name, value)
	}
	return f
}

// respondHead passes the head of a response in, with fields.
func (f *fakeDownstream) respondHead(status int, end bool, list ...string) {
	f.stream.Response.Reset()
	f.stream.Response.Status = status
	for _, field := range list {
		name, value, _ := strings.Cut(field, ": ")
		f.stream.Response.AddString(name, value)
	}
	f.stream.Pass(filters.Response, end)
}

// body joins what has reached the sink of direction d, and tells how it ended.
func (f *fakeDownstream) body(d filters.Direction) string {
	var out strings.Builder
	for _, e := range f.log {
		var text string
		var end bool
		if n, _ := fmt.Sscanf(e, sides[d]+" data %q end=%t", &text, &end); n == 2 {
			if out.WriteString(text); end {
				out.WriteString(".")
			}
		} else if e == sides[d]+" trailers" {
			out.WriteString(" trailers")
		}
	}
	return out.String()
}

// count returns a counter of the calls of gRPC.
func (c *grpcCounts) count(name string) (n uint64) {
	c.EachStat(func(s string, v uint64) {
		if s == name {
			n = v
		}
	})
	return n
}

func TestCutType(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"application/grpc-web": " text=false", "application/grpc-web+proto": "+proto text=false", "Application/gRPC-Web-Text+proto": "+proto text=true",
		"application/grpc-web-text; charset=utf-8": " text=true", "application/grpc-web-texts": "", "application/grpc": "", "application/grpc-webx": "", "": "",
	} {
		got := ""
		if suffix, text, ok := cutGRPCWeb([]byte(in)); ok {
			got = fmt.Sprintf("%s text=%v", suffix, text)
		}
		if got != want {
			t.Errorf("cutGRPCWeb(%q): %q; want %q", in, got, want)
		}
	}
}

func TestGRPCStatusMapping(t *testing.T) {
	t.Parallel()
	want := []int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
	for code, status := range want {
		if got := filters.HTTPOfGRPC(int64(code)); got != status {
			t.Errorf("status of %d is %d; want %d", code, got, status)
		}
	}
	for _, tt := range []struct {
		value string
		code  int64
		ok    bool
	}{{"0", 0, true}, {"16", 16, true}, {"x", grpcCodeInvalid, true}, {"-1", grpcCodeInvalid, true}, {"99", 99, true}} {
		if code, ok := grpcCodeOf(fields("grpc-status: " + tt.value)); code != tt.code || ok != tt.ok || filters.HTTPOfGRPC(99) != 500 {
			t.Errorf("grpc-status %q is %d, %v", tt.value, code, ok)
		}
	}
}

// frames cuts messages out of pieces of n bytes.
func frames(in []byte, n, most int) (messages []string, count int, err error) {
	var f, counting grpcFrames
	for len(in) > 0 {
		piece := in[:min(n, len(in))]
		in = in[len(piece):]
		count += counting.count(piece)
		for len(piece) > 0 && err == nil {
			message, rest, ok, e := f.next(piece, most)
			if err = e; ok {
				messages = append(messages, string(message))
			}
			piece = rest
		}
	}
	if err == nil && f.partial() != counting.partial() {
		err = errors.New("next and count do not agree about the end")
	}
	return messages, count, err
}

func TestGRPCFrames(t *testing.T) {
	t.Parallel()
	in := []byte(grpcMessage(0, "abc") + grpcMessage(0, "") + grpcMessage(0, strings.Repeat("x", 50)))
	for n := 1; n <= len(in); n++ {
		if got, count, err := frames(in, n, 50); len(got) != 3 || got[0] != "abc" || got[1] != "" || len(got[2]) != 50 || count != 3 || err != nil {
			t.Fatalf("in pieces of %d: %q, %d, %v", n, got, count, err)
		}
	}
	if _, _, err := frames(in, 7, 49); !errors.Is(err, errGRPCTooLong) {
		t.Errorf("a long message: %v", err)
	}
	if _, _, err := frames([]byte(grpcMessage(1, "abc")), 7, 49); !errors.Is(err, errGRPCCompressed) {
		t.Errorf("a compressed message: %v", err)
	}
	if _, _, err := frames([]byte("\x00\xff\xff\xff\xff"), 1, 1<<30); !errors.Is(err, errGRPCTooLong) {
		t.Errorf("a head that promises 4 GiB: %v", err)
	}
}

// FuzzGRPCFrames: the messages do not depend on where the pieces are cut.
func FuzzGRPCFrames(f *testing.F) {
	f.Add([]byte(grpcMessage(0, "abc")+grpcMessage(0, "")), 3)
	f.Add([]byte("\x00\x00\x00\x00\x05ab"), 1)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		whole, count, err := frames(in, len(in)+1, 100)
		got, countOfPieces, errOfPieces := frames(in, max(1, n&0xff), 100)
		if strings.Join(whole, "|") != strings.Join(got, "|") || len(whole) != len(got) || count != countOfPieces || !errors.Is(errOfPieces, err) {
			t.Errorf("whole: %q, %d, %v; in pieces %q, %d, %v", whole, count, err, got, countOfPieces, errOfPieces)
		}
	})
}

// FuzzGRPCWebText: what base64 stands for does not depend on where the pieces are cut, and is what package base64 says of
// each padded run.
func FuzzGRPCWebText(f *testing.F) {
	f.Add("YWJj", 1)
	f.Add("YQ==YWI=YWJj", 5)
	f.Add("YQ=a", 2)
	f.Add("Y\nQ==", 2)
	f.Fuzz(func(t *testing.T, in string, n int) {
		decode := func(n int) (out []byte, ok bool) {
			var st grpcWebStream
			for b := []byte(in); len(b) > 0; {
				k := min(n, len(b))
				if out, ok = st.decode(out, b[:k]); !ok {
					return nil, false
				}
				b = b[k:]
			}
			return out, st.have == 0
		}
		whole, ok := decode(len(in) + 1)
		pieces, okOfPieces := decode(max(1, n&0xff))
		if ok != okOfPieces || ok && !bytes.Equal(whole, pieces) {
			t.Errorf("%q: whole %q, %v; in pieces %q, %v", in, whole, ok, pieces, okOfPieces)
		}
		if want, err := base64.StdEncoding.DecodeString(in); err == nil && !strings.ContainsAny(in, "\r\n") && (!ok || !bytes.Equal(whole, want)) {
			t.Errorf("%q: %q, %v; want %q", in, whole, ok, want)
		}
	})
}

// TestGRPCCounts: names that clients choose are bounded, in number and in form.
func TestGRPCCounts(t *testing.T) {
	t.Parallel()
	c := newGRPCCounts(&filters.Env{})
	for i := range grpcMethodsMax + 10 {
		c.of("web", "grpc", []byte("shop.Orders"), fmt.Appendf(nil, "M%d", i)).count(0)
	}
	if n := len(*c.calls.Load()); n != grpcMethodsMax+1 {
		t.Errorf("%d sets of counters; want %d", n, grpcMethodsMax+1)
	}
	if n := c.count("web.grpc.0"); n != 10 {
		t.Errorf("%d calls count for the cluster alone; want 10", n)
	}
	for _, name := range []string{"", "a b", "a\nb", strings.Repeat("x", grpcNameMax)} {
		c.of("web", "grpc", []byte("shop.Orders"), []byte(name)).count(99)
	}
	if n := c.count("web.grpc.other"); n != 4 {
		t.Errorf("%d calls of odd names count for the cluster; want 4", n)
	}
	for in, want := range map[string]string{
		"/a.B/C": "a.B C", "/a.B/C?d": "a.B C", "/a.B": "a.B ", "a/b": " ", "/a/b/c": " ", "": " ", "*": " ",
	} {
		if service, method := cutGRPCPath([]byte(in)); string(service)+" "+string(method) != want {
			t.Errorf("cutGRPCPath(%q) = %q, %q", in, service, method)
		}
	}
}
