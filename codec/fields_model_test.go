package codec

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// model is what Fields is meant to be, without regard to cost.
type model []struct{ name, value string }

func (m *model) add(name, value string) {
	*m = append(*m, struct{ name, value string }{name, value})
}

func (m *model) remove(name string, from int) {
	kept := (*m)[:from:from]
	for _, e := range (*m)[from:] {
		if !strings.EqualFold(e.name, name) {
			kept = append(kept, e)
		}
	}
	*m = kept
}

func (m *model) find(name string) (first, last int) {
	first, last = -1, -1
	for i, e := range *m {
		if strings.EqualFold(e.name, name) {
			if last = i; first < 0 {
				first = i
			}
		}
	}
	return first, last
}

func (m *model) set(name, value string) {
	first, _ := m.find(name)
	if first < 0 {
		m.add(name, value)
		return
	}
	(*m)[first].value = value
	m.remove(name, first+1)
}

func (m *model) appendTo(name, value string) {
	if _, last := m.find(name); last < 0 {
		m.add(name, value)
	} else if (*m)[last].value == "" {
		(*m)[last].value = value
	} else {
		(*m)[last].value += ", " + value
	}
}

// String is what dump gives but for removed entries.
func (m *model) String() string {
	var b strings.Builder
	for _, e := range *m {
		fmt.Fprintf(&b, "%s: %s|", e.name, e.value)
	}
	return b.String()
}

// TestFieldsModel makes random changes to a list and to its model.
func TestFieldsModel(t *testing.T) {
	t.Parallel()
	names := []string{"Host", "hOST", "via", "VIA", "X-One", "x-one", "X-Two", "Cookie", "x-forwarded-for"}
	values := []string{"", "a", "1.1 proxy", strings.Repeat("long", 30)}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		f, m := parsed("Host: h", "X-One: 1", "VIA: v", "x-ONE: 2"), model{}
		for i := range f.Len() {
			_, name, value := f.At(i)
			m.add(string(name), string(value))
		}
		trail := ""
		for range 30 {
			name, value := names[r.IntN(len(names))], values[r.IntN(len(values))]
			id := KnownField([]byte(name))
			op := r.IntN(7)
			switch {
			case op == 0:
				f.AddString(name, value)
				m.add(name, value)
			case op == 1:
				f.SetString(name, value)
				m.set(name, value)
			case op == 2:
				f.RemoveName(name)
				m.remove(name, 0)
			case op == 3 && id != FieldOther:
				f.AppendTo(id, []byte(value))
				m.appendTo(id.String(), value)
			case op == 4 && id != FieldOther:
				f.Set(id, []byte(value))
				m.set(id.String(), value)
			case op == 5:
				f.Own(make([]byte, 0, f.HeadBytes()+r.IntN(64)))
			case op == 6 && f.Len() > 0:
				i := r.IntN(f.Len())
				if id, _, _ := f.At(i); id == FieldRemoved {
					continue
				}
				before := 0 // entries in front of i that are there
				for j := range i {
					if id, _, _ := f.At(j); id != FieldRemoved {
						before++
					}
				}
				f.RemoveAt(i)
				m = append(m[:before:before], m[before+1:]...)
			}
			trail += fmt.Sprintf("%d %s %.5s; ", op, name, value)
			if got := strings.ReplaceAll("|"+dump(f), "|-|", "|"); compact(got) != compact("|"+m.String()) {
				t.Fatalf("seed %d: after %s\ngot  %s\nwant %s", seed, trail, got, m.String())
			}
			first, _ := m.find(name)
			if got := f.Lookup(name); (got == nil) != (first < 0) || first >= 0 && string(got) != m[first].value {
				t.Fatalf("seed %d: after %s\nLookup(%q) = %q; want entry %d of %s", seed, trail, name, got, first, m.String())
			}
		}
	}
}

// compact drops what removed entries leave in a dump.
func compact(s string) string {
	for strings.Contains(s, "|-|") {
		s = strings.ReplaceAll(s, "|-|", "|")
	}
	return s
}
