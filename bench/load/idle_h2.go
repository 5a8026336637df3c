package load

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FilledTable is how much the requests of [HoldIdleH2] put into the receiver's table of header fields, which holds 4,096
// bytes by the count of RFC 7541 section 4.1.
const FilledTable = filledFields * (filledName + filledValue + filledOverhead)

const (
	filledFields   = 16
	filledName     = 8
	filledValue    = 200
	filledOverhead = 32
)

// HoldIdleH2 is HoldIdle over HTTP/2 without TLS. Its requests fill the receiver's table of header fields.
func HoldIdleH2(addr, path string, count int) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, count)
	for i := range count {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return conns, fmt.Errorf("connection %d of %d: %w", i+1, count, err)
		}
		conns = append(conns, c)
		if err := requestOnceH2(c, addr, path); err != nil {
			return conns, fmt.Errorf("request on connection %d of %d: %w", i+1, count, err)
		}
	}
	return conns, nil
}

func requestOnceH2(c net.Conn, host, path string) error {
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	w := http2.NewFramer(&out, nil)
	if err := errors.Join(w.WriteSettings(), w.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: filledBlock(host, path),
	})); err != nil {
		return err
	}
	if _, err := c.Write(out.Bytes()); err != nil {
		return err
	}
	r := http2.NewFramer(c, c) // unbuffered: nothing of the connection must be lost with it
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = r.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if status := f.PseudoValue("status"); status != "200" {
				return fmt.Errorf("status %s; want 200", status)
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return nil
			}
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			return fmt.Errorf("%v; want an answer on a kept connection", f)
		}
		if err != nil {
			return err
		}
	}
}

// filledBlock is a request with fields that are worth FilledTable bytes of a table.
func filledBlock(host, path string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http", Sensitive: true},
		{Name: ":authority", Value: host, Sensitive: true}, {Name: ":path", Value: path, Sensitive: true},
	} {
		_ = enc.WriteField(f) // writes to memory
	}
	for i := range filledFields {
		_ = enc.WriteField(hpack.HeaderField{Name: fmt.Sprintf("x-fill%02d", i), Value: strings.Repeat(string(rune('a'+i)), filledValue)})
	}
	return b.Bytes()
}
