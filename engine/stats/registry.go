package stats

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Registry knows every set of values of the process, by scope. The zero Registry is ready.
type Registry struct {
	mu     sync.Mutex
	groups map[string]*group // by Scope.Prefix; a group is replaced, never changed
	sorted []*group          // by prefix; nil after a change
}

// group is what is registered under one prefix. Immutable: readers walk it without a lock.
// A newer version may share the array of members behind the end that an older one sees.
type group struct {
	scope   Scope
	members []*member
	types   []*layout // of the members, in order of first appearance
	funcs   []*function
	plan    *plan
}

// member is one registered set.
type member struct {
	set    any
	loop   int
	elem   reflect.Value // the struct set points to
	layout *layout
	offset atomic.Pointer[offsets]
}

// offsets is what a set's counters held when they were last reset.
type offsets struct {
	static  []uint64          // by field of the layout
	dynamic map[string]uint64 // by name without the scope
}

// function is a value asked for when it is shown.
type function struct {
	field Field
	value func() int64
	text  func() string
}

// Add registers set, a pointer to a struct with tagged fields, under scope. Sets under one
// prefix whose fields have the same names are shown as their sum. Adding what is already
// there does nothing. It panics if the type of set is not fit for a set.
func (r *Registry) Add(scope Scope, set any) {
	m := &member{set: set, loop: scope.Loop, elem: reflect.ValueOf(set), layout: layoutOf(set)}
	m.elem = m.elem.Elem()
	r.change(scope, func(g *group) {
		if slices.ContainsFunc(g.members, func(o *member) bool { return o.set == set }) {
			return
		}
		g.members = append(g.members, m)
		if !slices.Contains(g.types, m.layout) {
			g.types, g.plan = append(slices.Clip(g.types), m.layout), nil
		}
	})
}

// Remove forgets set, which was added under scope. What it counted disappears from the sums.
func (r *Registry) Remove(scope Scope, set any) {
	r.change(scope, func(g *group) {
		g.members = slices.DeleteFunc(slices.Clone(g.members), func(m *member) bool { return m.set == set })
		g.types, g.plan = nil, nil
		for _, m := range g.members {
			if !slices.Contains(g.types, m.layout) {
				g.types = append(g.types, m.layout)
			}
		}
	})
}

// Func registers a value that is asked for when it is shown, under its full name such as
// "server.uptime". f is called by readers, at any time. A second Func of that name replaces
// the first; a nil f removes it.
func (r *Registry) Func(name string, kind Kind, f func() int64, help ...string) {
	r.function(name, f == nil, function{field: Field{Kind: kind, Help: strings.Join(help, " ")}, value: f})
}

// Text registers a text that is asked for when it is shown; see Func.
func (r *Registry) Text(name string, f func() string, help ...string) {
	r.function(name, f == nil, function{field: Field{Kind: KindText, Help: strings.Join(help, " ")}, text: f})
}

func (r *Registry) function(name string, remove bool, f function) {
	cut := strings.LastIndexByte(name, '.') + 1
	f.field.Name, f.field.Scale = name[cut:], 1
	r.change(Scope{Prefix: name[:cut]}, func(g *group) {
		g.plan = nil
		g.funcs = slices.DeleteFunc(slices.Clone(g.funcs), func(o *function) bool { return o.field.Name == f.field.Name })
		if !remove {
			g.funcs = append(g.funcs, &f)
		}
	})
}

// change replaces the group of scope with one that edit has worked on.
func (r *Registry) change(scope Scope, edit func(*group)) {
	scope = scope.derive()
	r.mu.Lock()
	defer r.mu.Unlock()
	g := group{scope: scope}
	if old := r.groups[scope.Prefix]; old != nil {
		g = *old
		if len(g.scope.Labels) == 0 && len(scope.Labels) > 0 { // a Func came before the labels were known
			g.scope = scope
		}
	}
	g.scope.Loop = 0
	edit(&g)
	r.sorted = nil
	if len(g.members)+len(g.funcs) == 0 {
		delete(r.groups, scope.Prefix)
		return
	}
	if r.groups == nil {
		r.groups = make(map[string]*group)
	}
	if g.plan == nil {
		g.plan = planOf(&g)
	}
	r.groups[scope.Prefix] = &g
}

// list returns the groups sorted by prefix. The caller must not change it.
func (r *Registry) list() []*group {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sorted == nil {
		r.sorted = slices.SortedFunc(maps.Values(r.groups), func(a, b *group) int {
			return strings.Compare(a.scope.Prefix, b.scope.Prefix)
		})
	}
	return r.sorted
}

// ResetCounters makes every counter show zero from now on. The loops' own values are not
// touched, they belong to the loops: readers subtract what was there.
func (r *Registry) ResetCounters() {
	for _, g := range r.list() {
		for _, m := range g.members {
			m.reset()
		}
	}
}

func (m *member) reset() {
	o := &offsets{dynamic: map[string]uint64{}, static: make([]uint64, len(m.layout.fields))}
	for i := range m.layout.fields {
		f := &m.layout.fields[i]
		switch {
		case f.Dynamic:
			m.dynamic(f).EachStat(func(name string, n uint64) { o.dynamic[f.Name+name] = n })
		case f.Kind == KindCounter:
			o.static[i] = m.field(f).(*Counter).Load()
		}
	}
	m.offset.Store(o)
}

func (m *member) dynamic(f *Field) Dynamic {
	if f.index == nil {
		return m.set.(Dynamic)
	}
	return m.field(f).(Dynamic)
}

// field returns a pointer to field f of the set. Pointers fit an interface without allocating.
func (m *member) field(f *Field) any {
	if len(f.index) == 1 {
		return m.elem.Field(f.index[0]).Addr().Interface()
	}
	return m.elem.FieldByIndex(f.index).Addr().Interface()
}
