package h1

import (
	"strings"
	"testing"

	"millrace/codec"
)

// The tests of this file are named after the section of the RFC whose words stand above them.

// wantOutcomes checks what a server makes of each input, in the words of a corpus.
func wantOutcomes(t *testing.T, want string, inputs ...string) {
	t.Helper()
	t.Parallel()
	for _, in := range inputs {
		if got := outcome(recordServer([]byte(in))); got != want {
			t.Errorf("%q: %s; want %s", in, got, want)
		}
	}
}

const postHead = "POST / HTTP/1.1\r\nHost: a\r\n"

// "A recipient MUST parse an HTTP message as a sequence of octets in an encoding that is a superset of US-ASCII."
func TestRFC9112_2_2_Octets(t *testing.T) {
	wantOutcomes(t, "ok 1", "GET / HTTP/1.1\r\nHost: a\r\nX: \xe5\x8a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \x80\xff\r\n\r\n")
}

// "A sender MUST NOT generate a bare CR ... A recipient of such a bare CR MUST consider that element to be
// invalid or replace each bare CR with SP before processing the element or forwarding the message."
func TestRFC9112_2_2_BareCR(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
		"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n")
}

// "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF)
// received prior to the request-line."
func TestRFC9112_2_2_EmptyLine(t *testing.T) {
	wantOutcomes(t, "ok 1", "\r\n"+get11)
}

// "A recipient that receives whitespace between the start-line and the first header field MUST either reject the
// message as invalid or consume each whitespace-preceded line without further processing of it"
func TestRFC9112_2_2_WhitespaceAfterStartLine(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", "GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n")
}

// "HTTP-version is case-sensitive."
func TestRFC9112_2_3_VersionCase(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", "GET / Http/1.1\r\nHost: a\r\n\r\n")
}

// "No whitespace is allowed in the request-target. ... Recipients of an invalid request-line SHOULD respond with
// either a 400 (Bad Request) error or a 301 (Moved Permanently) redirect"
func TestRFC9112_3_2_WhitespaceInTarget(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n")
}

// "A server that receives a request-target longer than any URI it wishes to parse MUST respond with a 414 (URI Too
// Long) status code"
func TestRFC9112_3_TargetTooLong(t *testing.T) {
	wantOutcomes(t, "ok 0, 414", "GET /"+strings.Repeat("a", testLimits.TargetBytes)+" HTTP/1.1\r\nHost: a\r\n\r\n")
}

// "It is RECOMMENDED that all HTTP senders and recipients support, at a minimum, request-line lengths of 8000 octets."
func TestRFC9112_3_TargetOf8000(t *testing.T) {
	wantOutcomes(t, "ok 1", "GET /"+strings.Repeat("a", 8000)+" HTTP/1.1\r\nHost: a\r\n\r\n")
}

// "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host
// header field and to any request message that contains more than one Host header field line or a Host header field
// with an invalid field value."
func TestRFC9112_3_2_Host(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n")
}

// "a server MUST accept the absolute-form in requests"
func TestRFC9112_3_2_2_AbsoluteForm(t *testing.T) {
	wantOutcomes(t, "ok 1", "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", "GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n")
}

// "A server MUST reject a CONNECT request that targets an empty or invalid port number, typically by responding with a
// 400 (Bad Request) status code."
func TestRFC9110_9_3_6_ConnectPort(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:x HTTP/1.1\r\nHost: a\r\n\r\n")
}

// "No whitespace is allowed between the field name and colon. ... A server MUST reject, with a response status code of
// 400 (Bad Request), any received request message that contains whitespace between a header field name and colon."
func TestRFC9112_5_1_WhitespaceBeforeColon(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", postHead+"X : y\r\n\r\n", postHead+"X\t: y\r\n\r\n", postHead+"Content-Length : 0\r\n\r\n")
}

// "A proxy MUST remove any such whitespace from a response message before forwarding the message downstream."
func TestRFC9112_5_1_WhitespaceBeforeColonInResponse(t *testing.T) {
	t.Parallel()
	const in = "HTTP/1.1 200 OK\r\nX \t: y\r\nContent-Length : 0\r\n\r\n"
	const out = "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 0\r\n\r\n"
	m, ok := parseResponse([]byte(in), kindGET)
	if got := forwardResponse(m, kindGET); !ok || string(got) != out {
		t.Errorf("%q is written as %q; want %q", in, got, out)
	}
}

// "A server that receives an obs-fold in a request message that is not within a "message/http" container MUST either
// reject the message by sending a 400 (Bad Request) ... or replace each received obs-fold with one or more SP octets"
func TestRFC9112_5_2_ObsFold(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", postHead+"X: y\r\n z\r\n\r\n", postHead+"X: y\r\n\tz\r\n\r\n", postHead+"X:\r\n y\r\n\r\n")
}

// "A recipient MUST be able to parse the chunked transfer coding"
func TestRFC9112_6_1_Chunked(t *testing.T) {
	wantOutcomes(t, "ok 1", postHead+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
		postHead+"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n")
}

// "A server that receives a request message with a transfer coding it does not understand SHOULD respond with 501
// (Not Implemented)."
func TestRFC9112_6_1_UnknownCoding(t *testing.T) {
	wantOutcomes(t, "ok 0, 501", postHead+"Transfer-Encoding: gzip, chunked\r\n\r\n", postHead+"Transfer-Encoding: x\r\n\r\n")
}

// "A server MAY reject a request that contains both Content-Length and Transfer-Encoding ... Regardless, the server
// MUST close the connection after responding to such a request to avoid the potential attacks."
func TestRFC9112_6_1_LengthAndCoding(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", postHead+"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n")
}

// "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the
// message as if the framing is faulty, even if a Content-Length is present"
func TestRFC9112_6_1_CodingInHTTP10(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
}

// "Any response to a HEAD request and any response with a 1xx (Informational), 204 (No Content), or 304 (Not Modified)
// status code is always terminated by the first empty line after the header fields"
func TestRFC9112_6_3_NoBody(t *testing.T) {
	t.Parallel()
	for in, kind := range map[string]uint8{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n":          kindHEAD,
		"HTTP/1.1 204 OK\r\nContent-Length: 5\r\n\r\n":          kindGET,
		"HTTP/1.1 304 OK\r\nContent-Length: 5\r\n\r\n":          kindGET,
		"HTTP/1.1 404 OK\r\nTransfer-Encoding: chunked\r\n\r\n": kindHEAD,
	} {
		if _, ok := parseResponse([]byte(in), kind); !ok {
			t.Errorf("%q is not complete after its head", in)
		}
	}
}

// "If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the final
// encoding, the message body length cannot be determined reliably; the server MUST respond with the 400 (Bad Request)
// status code and then close the connection."
func TestRFC9112_6_3_ChunkedNotFinal(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", postHead+"Transfer-Encoding: chunked, gzip\r\n\r\n",
		postHead+"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n")
}

// "If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then the message
// framing is invalid and the recipient MUST treat it as an unrecoverable error, unless the field value can be
// successfully parsed as a comma-separated list ... and all values in the list are the same"
func TestRFC9112_6_3_InvalidLength(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", postHead+"Content-Length: a\r\n\r\n", postHead+"Content-Length: 1, 2\r\n\r\nab",
		postHead+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", postHead+"Content-Length: 99999999999999999999\r\n\r\n")
}

// The exception to the rule above.
func TestRFC9112_6_3_RepeatedLength(t *testing.T) {
	wantOutcomes(t, "ok 1", postHead+"Content-Length: 2, 2\r\n\r\nab", postHead+"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab")
}

// "If this is a request message and none of the above are true, then the message body length is zero"
func TestRFC9112_6_3_RequestWithoutLength(t *testing.T) {
	wantOutcomes(t, "ok 2", postHead+"\r\n"+get11)
}

// "Since there is no way to distinguish a successfully completed, close-delimited response message from a partially
// received message ... a server SHOULD generate encoding or length-delimited messages"
func TestRFC9112_6_3_CloseDelimited(t *testing.T) {
	t.Parallel()
	m, ok := parseResponse([]byte("HTTP/1.1 200 OK\r\n\r\nall of it"), kindGET)
	if got, want := string(forwardResponse(m, kindGET)), "\r\ntransfer-encoding: chunked\r\n\r\n"; !ok || !strings.Contains(got, want) {
		t.Errorf("forwarded as %q; want it chunked", got)
	}
}

// "recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to integer
// conversion overflows or precision loss due to integer representation"
func TestRFC9112_7_1_ChunkSizeOverflow(t *testing.T) {
	chunked := postHead + "Transfer-Encoding: chunked\r\n\r\n"
	wantOutcomes(t, "ok 0, 400", chunked+"10000000000000000\r\n", chunked+"ffffffffffffffff\r\n", chunked+"8000000000000001\r\n")
}

// "A recipient MUST ignore unrecognized chunk extensions."
func TestRFC9112_7_1_1_ChunkExtensions(t *testing.T) {
	chunked := postHead + "Transfer-Encoding: chunked\r\n\r\n"
	wantOutcomes(t, "ok 1", chunked+"1;a\r\nx\r\n0;b=c;d=\"e;f\\\"\"\r\n\r\n", chunked+"1 ;\ta = b\r\nx\r\n0\r\n\r\n")
}

// "A recipient that removes the chunked coding from a message MAY selectively retain or discard the received trailer
// fields."
func TestRFC9112_7_1_2_ForbiddenTrailers(t *testing.T) {
	t.Parallel()
	m, ok := parseRequest([]byte(postHead + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\nHost: b\r\nX: y\r\nAuthorization: z\r\n\r\n"))
	if !ok || m.trailers.Len() != 1 || string(m.trailers.Lookup("x")) != "y" {
		t.Errorf("complete %v, %d trailers; want only X", ok, m.trailers.Len())
	}
}

// "A server that receives an incomplete request message, usually due to a canceled request or a triggered timeout
// exception, MAY send an error response prior to closing the connection. ... A message body that uses the chunked
// transfer coding is incomplete if the zero-sized chunk that terminates the encoding has not been received."
func TestRFC9112_8_Incomplete(t *testing.T) {
	wantOutcomes(t, "ok 0, incomplete", postHead+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", postHead+"Content-Length: 2\r\n\r\na",
		postHead)
}

// "If the "close" connection option is present ..., the connection will not persist after the current response; else,
// If the received protocol is HTTP/1.1 (or later), the connection will persist ...; else, If the received protocol is
// HTTP/1.0, the "keep-alive" connection option is present, ... the connection will persist"
func TestRFC9112_9_3_Persistence(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		get11: true,
		get10: false,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n":      false,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: Close\r\n\r\n": false,
		"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n":                        true,
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n":   false,
	} {
		c := newConn(t)
		c.wantFeed(in, "head.")
		c.head(200, 0, true)
		c.wantDone(true, true, want)
		if said := strings.Contains(string(c.out), "connection: close"); said == want {
			t.Errorf("%q: answered with %q", in, c.out)
		}
	}
}

// "A server MAY process a sequence of pipelined requests in parallel if they all have safe methods, but it MUST send
// the corresponding responses in the same order that the requests were received."
func TestRFC9112_9_3_2_Pipelining(t *testing.T) {
	wantOutcomes(t, "ok 3", get11+postHead+"Content-Length: 1\r\n\r\na"+get11)
}

// "A server that sends a close connection option MUST initiate closure of the connection after it sends the response
// containing the close connection option. The server MUST NOT process any further requests received on that connection."
func TestRFC9112_9_6_NoRequestsAfterClose(t *testing.T) {
	wantOutcomes(t, "ok 1", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"+get11)
}

// "A server MUST NOT send a 1xx response to an HTTP/1.0 client."
func TestRFC9110_15_2_NoInformationalToHTTP10(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.wantFeed(get10, "head.")
	c.head(103, -1, false)
	c.out = c.AppendContinue(c.out, 0)
	c.wantSent("")
}

// "A proxy MUST forward 1xx responses": the codec gives each of them.
func TestRFC9110_15_2_InformationalGiven(t *testing.T) {
	t.Parallel()
	got := recordClient(kindGET, []byte("HTTP/1.1 103 \r\n\r\nHTTP/1.1 199 \r\n\r\nHTTP/1.1 204 \r\n\r\n"))
	if strings.Count(got, "response ") != 3 {
		t.Errorf("got\n%s\nwant three heads", got)
	}
}

// "A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding request's Upgrade
// header field."
func TestRFC9110_7_8_UnaskedSwitch(t *testing.T) {
	t.Parallel()
	if got := recordClient(kindGET, []byte("HTTP/1.1 101 \r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")); !strings.Contains(got, "(502)") {
		t.Errorf("a 101 nobody asked for gives\n%s", got)
	}
}

// "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation."
func TestRFC9110_10_1_1_ExpectInHTTP10(t *testing.T) {
	t.Parallel()
	h := parseHead(t, "PUT / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
	if h.Expect100 {
		t.Error("Expect100 is set for HTTP/1.0")
	}
}

// "A server MUST NOT send any Transfer-Encoding or Content-Length header fields in a 2xx (Successful) response to CONNECT.
// A client MUST ignore any Content-Length or Transfer-Encoding header fields received in a successful response to CONNECT."
func TestRFC9110_9_3_6_NoFramingForConnect(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.wantFeed("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "head.")
	c.head(200, 5, false, "Content-Length", "5", "Transfer-Encoding", "chunked")
	c.wantSent("HTTP/1.1 200 OK\r\n\r\n")
	got := recordClient(kindCONNECT, []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd"))
	if !strings.Contains(got, `data "abcd"`) {
		t.Errorf("a tunnel with Content-Length gives\n%s", got)
	}
}

// "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx (Informational) or 204
// (No Content)."
func TestRFC9110_8_6_NoLength(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.wantFeed(get11, "head.")
	c.head(103, 5, false, "Content-Length", "5")
	c.head(204, 5, true, "Content-Length", "5")
	c.wantSent("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
}

// "Field values containing CR, LF, or NUL characters are invalid and dangerous ...; a recipient of CR, LF, or NUL within
// a field value MUST either reject the message or replace each of those characters with SP"
func TestRFC9110_5_5_DangerousCharacters(t *testing.T) {
	wantOutcomes(t, "ok 0, 400", postHead+"X: a\x00b\r\n\r\n", postHead+"X: a\rb\r\n\r\n", postHead+"X: a\nb\r\n\r\n")
	var f codec.Fields
	f.AddString("X", "a\x00b\rc\nd")
	if got := string(f.Lookup("x")); got != "a b c d" {
		t.Errorf("added as %q; want spaces", got)
	}
}
