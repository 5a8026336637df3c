package admin

import (
	"net/http"

	"github.com/valyala/bytebufferpool"
)

// Content types.
const (
	textType       = "text/plain; charset=utf-8"
	jsonType       = "application/json"
	htmlType       = "text/html; charset=utf-8"
	prometheusType = "text/plain; version=0.0.4; charset=utf-8"
)

// pages is a pool of its own: a pool learns the sizes of what passes through it.
var pages bytebufferpool.Pool

// page is a response of any length, built in a pooled buffer and written in pieces, so that
// the page of 10,000 clusters needs no more memory than that of one. Append to b and call
// spill now and then.
type page struct {
	*bytebufferpool.ByteBuffer
	w      http.ResponseWriter
	failed bool // the peer is gone: what is built further is dropped
}

// newPage begins a response with status 200.
func newPage(w http.ResponseWriter, contentType string) *page {
	w.Header().Set("Content-Type", contentType)
	return &page{pages.Get(), w, false}
}

// spill writes out what has been built if it is enough, and reports whether the peer is
// still there.
func (p *page) spill() bool {
	if len(p.B) >= pageChunk {
		p.flush()
	}
	return !p.failed
}

func (p *page) flush() {
	if !p.failed && len(p.B) > 0 {
		_, err := p.w.Write(p.B)
		p.failed = err != nil
	}
	p.B = p.B[:0]
}

// end writes the rest. The page is not usable afterwards.
func (p *page) end() {
	p.flush()
	pages.Put(p.ByteBuffer)
	p.ByteBuffer = nil
}

func (p *page) str(s string) { p.B = append(p.B, s...) }

// line appends the strings and a newline.
func (p *page) line(parts ...string) {
	for _, s := range parts {
		p.B = append(p.B, s...)
	}
	p.B = append(p.B, '\n')
}

// writeText answers 200 with a short text.
func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", textType)
	_, _ = w.Write([]byte(text)) // a peer that is gone needs no answer
}
