package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"millrace/codec/codectest"
)

const (
	caseWait     = 2 * time.Second // for what comes back
	smuggledPath = "/smuggled"
)

// hugeHead sends fields without end.
func hugeHead(a *attacker) error {
	go a.discard()
	if err := a.send([]byte("GET " + smallPath + " HTTP/1.1\r\nHost: a\r\n")); err != nil {
		return err
	}
	fields := bytes.Repeat([]byte("X-Fill: 0123456789abcdef0123456789abcdef\r\n"), 100)
	return a.repeat(func() []byte { return fields })
}

func longLine(a *attacker) error {
	go a.discard()
	if err := a.send([]byte("GET /")); err != nil {
		return err
	}
	piece := bytes.Repeat([]byte{'x'}, 4096)
	return a.repeat(func() []byte { return piece })
}

// chunks sends a body that is mostly not body.
func chunks(a *attacker) error {
	go a.discard()
	if err := a.send([]byte("POST " + smallPath + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")); err != nil {
		return err
	}
	piece := bytes.Repeat([]byte("1;"+strings.Repeat("e", 200)+"\r\nx\r\n"), 20)
	return a.repeat(func() []byte { return piece })
}

// pipeline asks and does not listen.
func pipeline(a *attacker) error {
	requests := bytes.Repeat([]byte("GET /65536 HTTP/1.1\r\nHost: a\r\n\r\n"), 100)
	return a.repeat(func() []byte { return requests })
}

func emptyLines(a *attacker) error {
	go a.discard()
	lines := bytes.Repeat([]byte("\r\n"), 2048)
	return a.repeat(func() []byte { return lines })
}

// smuggling makes a strike of each case of the corpus, and of each way to hide a request that follows below.
func smuggling(corpus string) ([]func(a *attacker) error, error) {
	cases, err := codectest.ReadCases(corpus)
	if err != nil {
		return nil, err
	}
	var all []func(a *attacker) error
	for _, c := range cases {
		all = append(all, func(a *attacker) error { return a.exchange(c.Place+": "+c.Name, c.Input) })
	}
	for _, h := range hidden {
		all = append(all, func(a *attacker) error { return a.exchange(h.name, []byte(h.request)) })
	}
	return all, nil
}

// hidden are requests with another inside their body, to be seen as a request only by one who reads them wrong. The
// origin of this suite tells when it sees one.
var hidden = []struct{ name, request string }{
	{"CL.TE", hide("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
	{"TE.CL", hide("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "")},
	{"TE with a space before the colon", hide("Content-Length: %d\r\nTransfer-Encoding : chunked\r\n", "0\r\n\r\n")},
	{"TE folded", hide("Content-Length: %d\r\nTransfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n")},
	{"TE with a tab", hide("Content-Length: %d\r\nTransfer-Encoding:\tchunked\r\n", "0\r\n\r\n")},
	{"TE of another coding", hide("Content-Length: %d\r\nTransfer-Encoding: xchunked\r\n", "0\r\n\r\n")},
	{"two TE", hide("Content-Length: %d\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
	{"two CL", hide("Content-Length: 0\r\nContent-Length: %d\r\n", "")},
	{"CL with a plus", hide("Content-Length: +%d\r\n", "")},
	{"CL of a list", hide("Content-Length: %d, 0\r\n", "")},
	{"CL behind a bare CR", hide("X: y\rContent-Length: %d\r\n", "")},
	{"a chunk size with 0x", hide("Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n")},
	{"a chunk ended by LF", hide("Transfer-Encoding: chunked\r\n", "0\n\n")},
	{"a chunk extension with LF", hide("Transfer-Encoding: chunked\r\n", "0;a\nb\r\n\r\n")},
}

// hide makes a request whose body begins with some bytes and then holds another request. A %d in fields is its length.
func hide(fields, before string) string {
	inner := before + "GET " + smuggledPath + " HTTP/1.1\r\nHost: a\r\nX: "
	if strings.Contains(fields, "%d") {
		fields = fmt.Sprintf(fields, len(inner))
	}
	return "POST " + smallPath + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + inner
}

// exchange sends a case and reads what comes back. A target must answer or end the connection, not hang.
func (a *attacker) exchange(name string, input []byte) error {
	if err := a.send(input); err != nil {
		return nil // refused before its end, which is an answer
	}
	_ = a.CloseWrite()
	_ = a.SetReadDeadline(time.Now().Add(caseWait))
	for {
		resp, err := http.ReadResponse(a.r, nil)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = a.left("", err)
			}
			return nil
		}
		n, _ := io.Copy(io.Discard, resp.Body)
		a.tally.received.Add(n)
		if resp.Header.Get("X-Smuggled") != "" {
			a.tally.wrong("%s: the answer to a hidden request came back", name)
		}
		a.tally.ended(fmt.Sprintf("%d", resp.StatusCode))
	}
}

// CloseWrite ends our direction.
func (a *attacker) CloseWrite() error {
	return a.Conn.(interface{ CloseWrite() error }).CloseWrite()
}
