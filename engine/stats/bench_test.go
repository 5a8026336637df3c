package stats

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// bigSet has as many values as a busy cluster.
type bigSet struct {
	A, B, C, D, E twenty
}

type twenty struct {
	V00, V01, V02, V03, V04, V05, V06, V07, V08, V09 Counter
	V10, V11, V12, V13, V14, V15, V16, V17           Counter
	G                                                Gauge
	H                                                Histogram
}

// tagged returns a set type of five times twenty tagged values; writing them out would be 100 lines.
func tagged() reflect.Type {
	var fields []reflect.StructField
	t := reflect.TypeFor[twenty]()
	for g := range reflect.TypeFor[bigSet]().NumField() {
		for i := range t.NumField() {
			f := t.Field(i)
			fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d%s", g, f.Name), Type: f.Type,
				Tag: reflect.StructTag(fmt.Sprintf(`stat:"upstream_rq_value_%d_%d" help:"a value"`, g, i))})
		}
	}
	return reflect.StructOf(append(fields, reflect.StructField{Name: "Codes", Type: reflect.TypeFor[Codes](), Tag: `stat:"upstream_rq_"`}))
}

// bigRegistry has clusters of 100 values each, on loops loops.
func bigRegistry(clusters, loops int) *Registry {
	reg, t := new(Registry), tagged()
	for i := range clusters {
		scope := ClusterScope(fmt.Sprintf("cluster_%05d", i))
		for l := range loops {
			set := reflect.New(t)
			set.Elem().FieldByName("Codes").Addr().Interface().(*Codes).Inc(200)
			reg.Add(scope.OnLoop(l), set.Interface())
		}
	}
	return reg
}

func BenchmarkVisit(b *testing.B) {
	reg := bigRegistry(10_000, 2)
	for name, visit := range map[string]func(func(*Metric) bool){"each": reg.Each, "family": reg.EachFamily} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				visit(func(m *Metric) bool { n++; return true })
				if n < 1_000_000 {
					b.Fatalf("%d values", n)
				}
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	for b.Loop() {
		bigRegistry(1000, 1)
	}
}

// TestVisitAllocs: a walk over more clusters allocates no more.
func TestVisitAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	few, many := bigRegistry(10, 2), bigRegistry(500, 2)
	walk := func(reg *Registry) float64 {
		return testing.AllocsPerRun(5, func() { reg.Each(func(*Metric) bool { return true }) })
	}
	if a, b := walk(few), walk(many); b > a+10 {
		t.Errorf("a walk of 500 clusters allocates %v times, of 10 %v", b, a)
	}
}

// TestBigVisit is a loose guard against quadratic behaviour; BenchmarkVisit has the figures.
func TestBigVisit(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("a measurement")
	}
	reg := bigRegistry(10_000, 1)
	start := time.Now()
	for _, visit := range []func(func(*Metric) bool){reg.Each, reg.EachFamily} {
		visit(func(*Metric) bool { return true })
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("two walks over a million values took %v", took)
	}
}
