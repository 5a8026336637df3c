package admin

import (
	"compress/gzip"
	"net/http"
	"strings"

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
// the page of 10,000 clusters needs no more memory than that of one. Append to B and call
// spill now and then. A page of more than one piece is compressed if the peer takes gzip.
type page struct {
	*bytebufferpool.ByteBuffer
	w      http.ResponseWriter
	r      *http.Request
	zip    *gzip.Writer // from the second piece on, or nil
	begun  bool
	failed bool // the peer is gone: what is built further is dropped
}

// newPage begins the response to r, with status 200.
func newPage(w http.ResponseWriter, r *http.Request, contentType string) *page {
	w.Header().Set("Content-Type", contentType)
	return &page{ByteBuffer: pages.Get(), w: w, r: r}
}

// spill writes out what has been built if it is enough, and reports whether the peer is
// still there.
func (p *page) spill() bool {
	if len(p.B) >= pageChunk {
		p.flush(false)
	}
	return !p.failed
}

// flush writes out what has been built.
func (p *page) flush(last bool) {
	if !p.begun && !last && takesGzip(p.r) {
		p.w.Header().Set("Content-Encoding", "gzip")
		p.w.Header().Set("Vary", "Accept-Encoding")
		p.zip, _ = gzip.NewWriterLevel(p.w, gzip.BestSpeed) // the level is valid
	}
	p.begun = true
	if !p.failed && len(p.B) > 0 {
		var err error
		if p.zip != nil {
			_, err = p.zip.Write(p.B)
		} else {
			_, err = p.w.Write(p.B)
		}
		p.failed = err != nil
	}
	p.B = p.B[:0]
}

// end writes the rest. The page is not usable afterwards.
func (p *page) end() {
	p.flush(true)
	if p.zip != nil && !p.failed {
		p.failed = p.zip.Close() != nil
	}
	pages.Put(p.ByteBuffer)
	p.ByteBuffer = nil
}

// takesGzip reports whether r accepts gzip. "gzip;q=0" is the one way to name and not accept it.
func takesGzip(r *http.Request) bool {
	for _, part := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, q, _ := strings.Cut(strings.ReplaceAll(part, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			return strings.Trim(strings.ToLower(q), "q=0.") != "" || q == ""
		}
	}
	return false
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
