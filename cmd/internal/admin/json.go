package admin

import (
	"net/http"
	"strings"
	"time"

	jsoniter "github.com/json-iterator/go"
)

// indented and compact are how JSON answers are laid out: for people, and for programs.
var (
	indented = jsoniter.Config{IndentionStep: 1}.Froze()
	compact  = jsoniter.ConfigFastest
)

// jsonPage writes a JSON answer of any length. Members come in the order of the calls; key ""
// is an element of an array.
type jsonPage struct {
	s       *jsoniter.Stream
	page    *page
	comma   bool // a value precedes in the open object or array
	pending byte // '{' or '[' that is not written yet: an empty one is written short
	closers []byte
}

func newJSON(w http.ResponseWriter, r *http.Request, api jsoniter.API) *jsonPage {
	p := newPage(w, r, jsonType)
	s := jsoniter.NewStream(api, nil, 0)
	s.SetBuffer(p.B)
	return &jsonPage{s: s, page: p}
}

// key begins a value.
func (j *jsonPage) key(key string) {
	j.open()
	if j.comma {
		j.s.WriteMore()
	}
	if key != "" {
		j.s.WriteObjectField(strings.ToValidUTF8(key, "\uFFFD"))
	}
	j.comma = true
}

func (j *jsonPage) open() {
	switch j.pending {
	case '{':
		j.s.WriteObjectStart()
	case '[':
		j.s.WriteArrayStart()
	default:
		return
	}
	j.pending, j.comma = 0, false
}

func (j *jsonPage) object(key string) { j.key(key); j.begin('{') }
func (j *jsonPage) array(key string)  { j.key(key); j.begin('[') }

func (j *jsonPage) begin(kind byte) {
	j.pending, j.comma = kind, false
	j.closers = append(j.closers, kind)
}

// end closes the innermost open object or array.
func (j *jsonPage) end() {
	last := len(j.closers) - 1
	kind := j.closers[last]
	j.closers = j.closers[:last]
	switch {
	case j.pending == '{':
		j.s.WriteEmptyObject()
	case j.pending == '[':
		j.s.WriteEmptyArray()
	case kind == '{':
		j.s.WriteObjectEnd()
	default:
		j.s.WriteArrayEnd()
	}
	j.pending, j.comma = 0, true
}

func (j *jsonPage) str(key, v string) {
	j.key(key)
	j.s.WriteString(strings.ToValidUTF8(v, "\uFFFD")) // the stream passes invalid bytes through
}

func (j *jsonPage) int(key string, v int64)     { j.key(key); j.s.WriteInt64(v) }
func (j *jsonPage) uint(key string, v uint64)   { j.key(key); j.s.WriteUint64(v) }
func (j *jsonPage) bool(key string, v bool)     { j.key(key); j.s.WriteBool(v) }
func (j *jsonPage) float(key string, v float64) { j.key(key); writeFloat(j.s, v) }

// optional writes a string that is not empty.
func (j *jsonPage) optional(key, v string) {
	if v != "" {
		j.str(key, v)
	}
}

func (j *jsonPage) strings(key string, list []string) {
	j.array(key)
	for _, v := range list {
		j.str("", v)
	}
	j.end()
}

// time writes t in RFC 3339, or nothing for the zero time.
func (j *jsonPage) time(key string, t time.Time) {
	if !t.IsZero() {
		j.str(key, t.UTC().Format(time.RFC3339Nano))
	}
}

// spill writes out what has been built if it is enough, and reports whether the peer is there.
func (j *jsonPage) spill() bool {
	j.page.B = j.s.Buffer()
	ok := j.page.spill()
	j.s.SetBuffer(j.page.B)
	return ok
}

// done writes the rest.
func (j *jsonPage) done() {
	j.page.B = append(j.s.Buffer(), '\n')
	j.page.end()
}
