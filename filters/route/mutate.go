package route

import (
	"millrace/codec"
)

// FormatID names a compiled header value that has operators, see [NewFormat].
type FormatID int32

const formatNone FormatID = -1

// NewFormat compiles a header value with access-log operators and returns the id by which
// [Values] renders it. Ids are chosen by the caller, usually indices.
type NewFormat func(text string) (FormatID, error)

// Values renders header values for one request: the stream implements it, so that this
// package need not know what a stream is and no context travels as any.
type Values interface {
	// Value returns the text of a format. It stays valid until the ApplyRequest or
	// ApplyResponse that asked for it returns, other calls notwithstanding: values are
	// all computed before any head is changed. Empty means absent.
	Value(id FormatID) []byte
}

// appendAction says what to do if the header is there already.
type appendAction uint8

const (
	appendOrAdd appendAction = iota
	addIfAbsent
	overwriteOrAdd
	overwriteIfExists
)

// mutation adds or overwrites one header.
type mutation struct {
	name      string // lower case
	value     string // literal; only valid if format is formatNone
	format    FormatID
	id        codec.FieldID
	action    appendAction
	keepEmpty bool
}

// headMutations are the changes of one level to one head.
type headMutations struct {
	remove []string
	add    []mutation
}

// levelMutations are the changes of one level: weighted cluster, route, virtual host or table.
type levelMutations struct {
	request, response headMutations
}

func (l *levelMutations) empty() bool {
	return len(l.request.remove)+len(l.request.add)+len(l.response.remove)+len(l.response.add) == 0
}

// levels returns the levels of a request in the order they apply. Absent ones are nil.
func (r *Route) levels(random uint64) [4]*levelMutations {
	vh := r.VirtualHost
	all := [4]*levelMutations{nil, r.mutations, &vh.mutations, &vh.table.mutations}
	if r.forward != nil && r.forward.weights != nil {
		all[0] = r.forward.pick(random).mutations
	}
	if vh.table.specificWins {
		all[0], all[1], all[2], all[3] = all[3], all[2], all[1], all[0]
	}
	return all
}

// ApplyRequest changes a request head as the route and the levels around it say.
// random is the Input's. vals may be nil if no value has operators; such values are empty then.
//
// It does not allocate while the head's buffer has room, but for a value with operators that is
// longer than 32 bytes and whose name has no FieldID, and for more than pendingMax additions at one
// level.
func (r *Route) ApplyRequest(h *codec.RequestHead, random uint64, vals Values) {
	if !r.VirtualHost.table.mutates {
		return
	}
	for _, l := range r.levels(random) {
		if l != nil {
			l.request.apply(&h.Fields, vals)
		}
	}
}

// ApplyResponse changes a response head likewise. It is for all responses of a route: from upstream,
// redirects and direct responses.
func (r *Route) ApplyResponse(h *codec.ResponseHead, random uint64, vals Values) {
	if !r.VirtualHost.table.mutates {
		return
	}
	for _, l := range r.levels(random) {
		if l != nil {
			l.response.apply(&h.Fields, vals)
		}
	}
}

// pendingMax is how many mutations of one level are staged without allocation.
const pendingMax = 16

// pending is a mutation that will be made, with its value if that was computed.
type pending struct {
	m     *mutation
	value []byte
}

// apply makes the changes of one level. All values and conditions are computed
// on the head as the level found it, less what it removes; then overwrites come
// before additions.
func (hm *headMutations) apply(f *codec.Fields, vals Values) {
	for _, name := range hm.remove {
		f.RemoveName(name)
	}
	if len(hm.add) == 0 {
		return
	}
	var space [pendingMax]pending
	list := space[:0]
	for i := range hm.add {
		if p, ok := hm.add[i].evaluate(f, vals); ok {
			list = append(list, p)
		}
	}
	for _, p := range list {
		if p.m.action >= overwriteOrAdd {
			p.set(f)
		}
	}
	for _, p := range list {
		if p.m.action < overwriteOrAdd {
			p.add(f)
		}
	}
}

// evaluate computes the value and reports whether the mutation is to be made.
func (m *mutation) evaluate(f *codec.Fields, vals Values) (pending, bool) {
	p := pending{m: m}
	size := len(m.value)
	if m.format != formatNone {
		if vals != nil {
			p.value = vals.Value(m.format)
		}
		size = len(p.value)
	}
	if size == 0 && !m.keepEmpty {
		return p, false
	}
	switch m.action {
	case addIfAbsent:
		return p, f.Lookup(m.name) == nil
	case overwriteIfExists:
		return p, f.Lookup(m.name) != nil
	default:
		return p, true
	}
}

func (p *pending) set(f *codec.Fields) {
	switch {
	case p.m.format == formatNone:
		f.SetString(p.m.name, p.m.value)
	case p.m.id != codec.FieldOther:
		f.Set(p.m.id, p.value)
	default:
		f.SetString(p.m.name, string(p.value))
	}
}

func (p *pending) add(f *codec.Fields) {
	switch {
	case p.m.format == formatNone:
		f.AddString(p.m.name, p.m.value)
	case p.m.id != codec.FieldOther:
		f.Add(p.m.id, p.value)
	default:
		f.AddString(p.m.name, string(p.value))
	}
}
