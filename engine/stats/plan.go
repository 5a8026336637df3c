package stats

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// plan says where the values of a group come from: which fields of which sets add up under
// one name. Groups with the same types of sets share one, unless they have functions.
type plan struct {
	items   []item
	dynamic bool            // one of the items is
	static  map[string]bool // names of the others, if dynamic
}

// item is one name of a group.
type item struct {
	field   Field
	family  string // see family
	label   Label
	sources []source
	fn      *function
}

// source is a field of the members of one type.
type source struct {
	layout *layout
	field  int
}

// plans caches by the layouts of the members, in order of first appearance.
var plans sync.Map

// planKey has room for what a real group holds; more types make the plan uncached.
type planKey [6]*layout

// planOf returns the plan of g.
func planOf(g *group) *plan {
	var key planKey
	cached := copy(key[:], g.types) == len(g.types) && len(g.funcs) == 0
	if cached {
		if p, ok := plans.Load(key); ok {
			return p.(*plan)
		}
	}
	p := newPlan(g.types, g.funcs)
	if cached {
		plans.Store(key, p)
	}
	return p
}

func newPlan(types []*layout, funcs []*function) *plan {
	p := &plan{}
	at := map[string]int{} // name to item
	for _, l := range types {
		for i, f := range l.fields {
			j, known := at[f.Name]
			// Two of one name but of two kinds cannot be added up: both are shown.
			if !known || p.items[j].field.Kind != f.Kind || p.items[j].field.Dynamic != f.Dynamic {
				j = len(p.items)
				at[f.Name] = j
				p.items = append(p.items, item{field: f})
			}
			p.items[j].sources = append(p.items[j].sources, source{l, i})
			p.dynamic = p.dynamic || f.Dynamic
		}
	}
	for _, f := range funcs {
		p.items = append(p.items, item{field: f.field, fn: f})
	}
	for i := range p.items {
		p.items[i].family, p.items[i].label = family(p.items[i].field.Name)
	}
	if p.dynamic {
		p.static = make(map[string]bool, len(p.items))
		for i := range p.items {
			p.static[p.items[i].field.Name] = !p.items[i].field.Dynamic
		}
	}
	slices.SortStableFunc(p.items, func(a, b item) int { return compareFields(&a.field, &b.field) })
	return p
}

func sortFields(fields []Field) {
	slices.SortStableFunc(fields, func(a, b Field) int { return compareFields(&a, &b) })
}

// compareFields orders by name, the static ones first.
func compareFields(a, b *Field) int {
	if a.Dynamic != b.Dynamic {
		if b.Dynamic {
			return -1
		}
		return 1
	}
	return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
}
