package stats

import (
	"cmp"
	"slices"
	"strings"
)

// A Metric is one value as a reader sees it: the sum over all loops. It and what it points
// to are only valid during the call it is given to.
type Metric struct {
	// Scope and Name together make the full name, Scope.Prefix+Name.
	Scope *Scope
	Name  string
	// Family is Name without the status code or class at its end, and Label that code or
	// class; most metrics have Family equal to Name and no Label (its Name is empty).
	Family string
	Label  Label
	Help   string
	Kind   Kind
	Value  int64     // of a counter or gauge
	Text   string    // of a text
	Hist   *Snapshot // of a histogram, else nil
	Scale  float64   // what recorded values are divided by to be shown, 1 or more
}

// Used reports whether m has anything to tell: a counter or gauge that is not zero, a
// histogram with values, a text that is not empty.
func (m *Metric) Used() bool {
	switch m.Kind {
	case KindHistogram:
		return m.Hist.Count != 0
	case KindText:
		return m.Text != ""
	}
	return m.Value != 0
}

// visit is the working memory of one walk.
type visit struct {
	metric  Metric
	hist    Snapshot
	names   []string // dynamic names of the group at hand, with their sums
	sums    []uint64
	index   map[string]int // into names
	order   []int          // of names, sorted
	offsets *offsets       // of the member at hand
	plan    *plan          // of the group at hand
	prefix  string         // of the field at hand
	yield   func(name string, n uint64)
	full    map[[2]string]string // joined names, so that each is built once a walk
	split   map[string]split     // of dynamic names, likewise
}

// split is a name cut by family.
type split struct {
	family string
	label  Label
}

func newVisit() *visit {
	v := &visit{index: map[string]int{}, full: map[[2]string]string{}, split: map[string]split{}}
	v.yield = v.add // made once: a method value allocates
	return v
}

// Each calls f with every value, sorted by prefix and then by name, until f returns false.
// It may run while owners write and the control side adds and removes sets.
func (r *Registry) Each(f func(m *Metric) bool) {
	v := newVisit()
	for _, g := range r.list() {
		if !v.group(g, f) {
			return
		}
	}
}

// group calls f with the values of g: static and dynamic ones merged by name.
func (v *visit) group(g *group, f func(m *Metric) bool) bool {
	v.gather(g)
	v.order = v.order[:0]
	for i := range v.names {
		v.order = append(v.order, i)
	}
	slices.SortFunc(v.order, func(a, b int) int { return strings.Compare(v.names[a], v.names[b]) })
	order := v.order
	for i := range g.plan.items {
		it := &g.plan.items[i]
		if it.field.Dynamic {
			continue
		}
		for len(order) > 0 && v.names[order[0]] < it.field.Name {
			if !f(v.counter(g, v.names[order[0]], v.sums[order[0]])) {
				return false
			}
			order = order[1:]
		}
		if !f(v.item(g, it)) {
			return false
		}
	}
	for _, i := range order {
		if !f(v.counter(g, v.names[i], v.sums[i])) {
			return false
		}
	}
	return true
}

// item fills the metric from a static item of g.
func (v *visit) item(g *group, it *item) *Metric {
	m := &v.metric
	*m = Metric{Scope: &g.scope, Name: it.field.Name, Help: it.field.Help, Kind: it.field.Kind, Scale: it.field.Scale}
	m.Family, m.Label = it.family, it.label
	switch {
	case it.fn != nil && it.fn.text != nil:
		m.Text = it.fn.text()
	case it.fn != nil:
		m.Value = it.fn.value()
	case m.Kind == KindHistogram:
		v.hist.Reset()
		m.Hist = &v.hist
	}
	first := true
	for _, s := range it.sources {
		f := &s.layout.fields[s.field]
		for _, mb := range g.members {
			if mb.layout == s.layout {
				mb.addTo(m, f, s.field, first)
				first = false
			}
		}
	}
	return m
}

// addTo adds field f, number i of the layout, to m. first tells that m is still empty.
func (mb *member) addTo(m *Metric, f *Field, i int, first bool) {
	switch p := mb.field(f).(type) {
	case *Counter:
		n := p.Load()
		if o := mb.offset.Load(); o != nil {
			n -= o.static[i]
		}
		m.Value += int64(n)
	case *Gauge:
		m.addGauge(p.Load(), f.Max && !first)
	case *GaugeFunc:
		if *p != nil {
			m.addGauge((*p)(), f.Max && !first)
		}
	case *Histogram:
		m.Hist.Merge(p)
	}
}

// addGauge adds n, or keeps the larger of both.
func (m *Metric) addGauge(n int64, largest bool) {
	if largest {
		m.Value = max(m.Value, n)
		return
	}
	m.Value += n
}

// gather sums the dynamic counters of g by name.
func (v *visit) gather(g *group) {
	clear(v.index)
	v.names, v.sums = v.names[:0], v.sums[:0]
	if !g.plan.dynamic {
		return
	}
	v.plan = g.plan
	for _, m := range g.members {
		v.offsets = m.offset.Load()
		for i := range m.layout.fields {
			if f := &m.layout.fields[i]; f.Dynamic {
				v.prefix = f.Name
				m.dynamic(f).EachStat(v.yield)
			}
		}
	}
}

// add adds n to the dynamic counter v.prefix+name.
func (v *visit) add(name string, n uint64) {
	key := [2]string{v.prefix, name}
	full, ok := v.full[key]
	if !ok {
		full = v.prefix + name
		v.full[key] = full
	}
	if v.plan.static[full] {
		return // a field of its own has that name, and tells the same
	}
	if v.offsets != nil {
		n -= v.offsets.dynamic[full]
	}
	i, ok := v.index[full]
	if !ok {
		i = len(v.names)
		v.index[full] = i
		v.names, v.sums = append(v.names, full), append(v.sums, 0)
	}
	v.sums[i] += n
}

// counter fills the metric with a dynamic counter.
func (v *visit) counter(g *group, name string, n uint64) *Metric {
	s, ok := v.split[name]
	if !ok {
		s.family, s.label = family(name)
		v.split[name] = s
	}
	v.metric = Metric{Scope: &g.scope, Name: name, Family: s.family, Label: s.label, Kind: KindCounter, Value: int64(n), Scale: 1}
	return &v.metric
}

// row is one name of a root across its groups.
type row struct {
	item *item // as one of the groups has it; nil for a dynamic name
	name string
	fam  string
	at   []int32 // by number of the plan: index of the item in it, or -1
}

// cell is a dynamic value: of which row, which group.
type cell struct {
	row, group int32
	value      uint64
}

// EachFamily calls f with every value, those of one family together: sorted by Scope.Root,
// Family, Name and Scope.Prefix, until f returns false. See Each.
func (r *Registry) EachFamily(f func(m *Metric) bool) {
	groups := slices.Clone(r.list())
	slices.SortStableFunc(groups, func(a, b *group) int { return strings.Compare(a.scope.Root, b.scope.Root) })
	v := newVisit()
	for len(groups) > 0 {
		n := 1
		for n < len(groups) && groups[n].scope.Root == groups[0].scope.Root {
			n++
		}
		if !v.root(groups[:n], f) {
			return
		}
		groups = groups[n:]
	}
}

// root calls f with the values of groups, which share a root.
func (v *visit) root(groups []*group, f func(m *Metric) bool) bool {
	rows, planNo := staticRows(groups)
	rows, cells := v.cells(groups, rows)
	order := make([]int32, len(rows))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(strings.Compare(rows[a].fam, rows[b].fam), strings.Compare(rows[a].name, rows[b].name), cmp.Compare(a, b))
	})
	first := make([]int, len(rows)+1) // of a row's cells
	for _, c := range cells {
		first[c.row+1]++
	}
	for i := range rows {
		first[i+1] += first[i]
	}
	for _, i := range order {
		row := &rows[i]
		if row.item == nil {
			for _, c := range cells[first[i]:first[i+1]] {
				if !f(v.counter(groups[c.group], row.name, c.value)) {
					return false
				}
			}
			continue
		}
		for j, g := range groups {
			if at := row.at[planNo[j]]; at >= 0 && !f(v.item(g, &g.plan.items[at])) {
				return false
			}
		}
	}
	return true
}

// staticRows returns the names that groups have, and for each group the number of its plan.
func staticRows(groups []*group) (rows []row, planNo []int32) {
	var plans []*plan
	number := map[*plan]int32{}
	planNo = make([]int32, len(groups))
	for i, g := range groups {
		n, ok := number[g.plan]
		if !ok {
			n = int32(len(plans))
			number[g.plan] = n
			plans = append(plans, g.plan)
		}
		planNo[i] = n
	}
	type key struct {
		name string
		kind Kind
	}
	at := map[key]int{}
	for n, p := range plans {
		for i := range p.items {
			it := &p.items[i]
			if it.field.Dynamic {
				continue
			}
			k := key{it.field.Name, it.field.Kind}
			j, ok := at[k]
			if !ok {
				j = len(rows)
				at[k] = j
				rows = append(rows, row{item: it, name: it.field.Name, fam: it.family, at: slices.Repeat([]int32{-1}, len(plans))})
			}
			rows[j].at[n] = int32(i)
		}
	}
	return rows, planNo
}

// cells gathers the dynamic values of groups, sorted by row and group, and adds their rows.
func (v *visit) cells(groups []*group, rows []row) ([]row, []cell) {
	var cells []cell
	at := map[string]int32{}
	for j, g := range groups {
		v.gather(g)
		for k, name := range v.names {
			i, ok := at[name]
			if !ok {
				i = int32(len(rows))
				at[name] = i
				fam, _ := family(name)
				rows = append(rows, row{name: name, fam: fam})
			}
			cells = append(cells, cell{i, int32(j), v.sums[k]})
		}
	}
	slices.SortStableFunc(cells, func(a, b cell) int { return cmp.Compare(a.row, b.row) })
	return rows, cells
}
