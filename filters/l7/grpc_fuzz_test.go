package l7

import (
	"testing"

	"millrace/filters"
)

// cut passes b in as pieces of n bytes of direction d, as long as the stream goes on.
func cut(s *filters.Stream, d filters.Direction, b []byte, n int, end bool) bool {
	for len(b) > n {
		if !s.PassData(d, b[:n], false) {
			return false
		}
		b = b[n:]
	}
	return s.PassData(d, b, end)
}

// FuzzGRPCJSONPieces: what becomes of a request and of a response does not depend on where they are cut, and nothing makes the
// filter panic.
func FuzzGRPCJSONPieces(f *testing.F) {
	f.Add("/post", []byte(`{"text": "a"}`), []byte(echoText("a")), 3)
	f.Add("/up", []byte(`[{"text": "a"}, {"text": "b"}]`), []byte(echoText("ab")), 1)
	f.Add("/down", []byte(`{}`), []byte(echoText("a")+echoText("b")), 4)
	f.Add("/down", []byte(`[`), []byte("\x00\x00\x00\x00\x01\xff"), 2)
	f.Fuzz(func(t *testing.T, path string, request, response []byte, n int) {
		if len(path) == 0 || path[0] != '/' || len(request) == 0 || len(response) == 0 {
			return
		}
		n = max(1, n&0x3f)
		run := func(n int) (string, string, int) {
			fake, filter := newFake(t, "grpc_json_transcoder", echoConfig(t), nil)
			s := fake.request("POST " + path)
			if !s.Pass(filters.Request, false) || !cut(s, filters.Request, request, n, true) {
				return "", "", s.Response.Status
			}
			fake.respondHead(200, false, grpcContent)
			if cut(s, filters.Response, response, n, false) {
				s.PassTrailers(filters.Response, fields("grpc-status: 0"))
			}
			if st := filter.(*grpcJSON).stats; st.RsInvalid.Load()+st.RsTooLarge.Load() > 0 {
				return fake.body(filters.Request), "", s.Response.Status
			}
			return fake.body(filters.Request), fake.body(filters.Response), s.Response.Status
		}
		rq, rs, status := run(1 << 20)
		rqCut, rsCut, statusCut := run(n)
		if rq != rqCut || rs != rsCut || status != statusCut {
			t.Errorf("%s %q %q: whole %q, %q, %d; in pieces of %d %q, %q, %d", path, request, response, rq, rs, status, n, rqCut, rsCut, statusCut)
		}
	})
}
