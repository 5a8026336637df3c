package l4

import (
	"fmt"
	"io"
	"os"
	"time"

	"millrace/engine"
	"millrace/filters"
)

const (
	// directResponseBytesMax bounds a response, in bytes.
	directResponseBytesMax = 1 << 20
	// directResponsePiece is how much is written at a time, in bytes.
	directResponsePiece = 64 << 10
	// directResponseLinger is how long to wait for the peer to close, so that what it sends meanwhile does not
	// reset the connection before it has read the response.
	directResponseLinger = time.Second
)

// DirectResponseConfig configures the "direct_response" filter, which writes a fixed text and closes. At most one of
// response and response_file is given; with none of them it just closes.
type DirectResponseConfig struct {
	// Response is the text. At most 1 MiB. Default: empty.
	Response string `json:"response" v3:"response.inline_string"`
	// ResponseFile is a file with the text, of at most 1 MiB, which is read when the configuration is loaded.
	ResponseFile string `json:"response_file" v3:"response.filename"`
}

// Validate reports a text given twice, and one that is too long.
func (c *DirectResponseConfig) Validate(report func(path, problem, hint string)) {
	if c.Response != "" && c.ResponseFile != "" {
		report("response_file", "response and response_file are both given", "keep one of them")
	}
	if len(c.Response) > directResponseBytesMax {
		report("response", fmt.Sprintf("response of %d bytes exceeds %d", len(c.Response), directResponseBytesMax), "shorten it")
	}
}

// directResponseBody is the text, for all loops. It is never written to.
type directResponseBody struct{ text []byte }

func shareDirectResponse(cfg *DirectResponseConfig, _ *filters.SharedEnv) (*directResponseBody, error) {
	if cfg.ResponseFile == "" {
		return &directResponseBody{[]byte(cfg.Response)}, nil
	}
	f, err := os.Open(cfg.ResponseFile)
	if err != nil {
		return nil, fmt.Errorf("response_file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, directResponseBytesMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("response_file: %w", err)
	case len(text) > directResponseBytesMax:
		return nil, fmt.Errorf("response_file: %q exceeds %d bytes", cfg.ResponseFile, directResponseBytesMax)
	}
	return &directResponseBody{text}, nil
}

// directResponse writes a fixed text and closes.
type directResponse struct {
	terminalConns
	loop  *engine.Loop
	text  []byte
	limit int
}

func newDirectResponse(_ *DirectResponseConfig, body *directResponseBody, env *filters.NetworkEnv) (any, error) {
	return &directResponse{
		terminalConns: terminalConns{gate: env.Gate}, loop: env.Loop, text: body.text, limit: env.BufferLimit,
	}, nil
}

// Accept implements filters.NetworkTerminal.
func (f *directResponse) Accept(io *engine.Conn, c *filters.Connection) engine.Handler {
	if f.limit > 0 {
		io.SetWatermarks(f.limit, f.limit/2)
	}
	if c != nil {
		c.Details = "direct_response"
	}
	dc := &directResponseConn{rest: f.text}
	f.add(&dc.terminalConn, io, c)
	f.loop.Later(dc) // a connection belongs to its handler once Accept has returned
	return dc
}

// directResponseConn implements engine.Handler and engine.Task.
type directResponseConn struct {
	terminalConn
	rest []byte // to be written
}

// RunTask begins to write.
func (dc *directResponseConn) RunTask() { dc.write() }

// write writes as much as the watermark allows, and closes behind the last byte.
func (dc *directResponseConn) write() {
	if dc.gone {
		return
	}
	for len(dc.rest) > 0 {
		if dc.io.Full() {
			return
		}
		n := min(len(dc.rest), directResponsePiece)
		dc.io.WriteRef(dc.rest[:n])
		dc.rest = dc.rest[n:]
	}
	dc.io.CloseLinger(directResponseLinger)
	dc.left()
}

func (dc *directResponseConn) OnWriteLow() { dc.write() }

// OnData drops what the peer sends: nobody asks for it.
func (dc *directResponseConn) OnData(b []byte) int { return len(b) }

func (dc *directResponseConn) OnClose(engine.CloseReason) { dc.left() }
func (dc *directResponseConn) OnEOF()                     {}
func (dc *directResponseConn) OnConnect()                 {}
func (dc *directResponseConn) OnTimeout()                 {}
func (dc *directResponseConn) OnSplice(int64, bool, bool) {}
