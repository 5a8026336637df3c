package stats

import (
	"slices"
	"testing"
)

type colour uint8

func (c colour) String() string { return [...]string{"red", "green", "blue"}[c] }

func TestEnum(t *testing.T) {
	t.Parallel()
	type set struct {
		Total   Counter      `stat:"seen"`
		Colours Enum[colour] `stat:"seen."`
	}
	var r Registry
	a, b := &set{}, &set{}
	r.Add(Root("x"), a)
	r.Add(Root("x").OnLoop(1), b)
	if got, want := lines(r.Each), []string{"x.seen: 0"}; !slices.Equal(got, want) {
		t.Errorf("nothing counted: %q, want %q", got, want)
	}
	a.Colours.Inc(2)
	a.Colours.Inc(2)
	b.Colours.Inc(2)
	b.Colours.Inc(0)
	if got, want := lines(r.Each), []string{"x.seen: 0", "x.seen.blue: 3", "x.seen.red: 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	r.ResetCounters()
	a.Colours.Inc(1)
	if n := a.Colours.Load(1) + a.Colours.Load(2) + b.Colours.Load(1); n != 3 {
		t.Errorf("Load gives %d, want 3", n)
	}
}

func TestEnumAllocs(t *testing.T) { // not parallel: allocations of others would count
	var e Enum[colour]
	if n := testing.AllocsPerRun(100, func() { e.Inc(1) }); n != 0 {
		t.Errorf("Inc allocates %v times", n)
	}
}
