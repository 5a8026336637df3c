package stats

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Kind is the type of a value.
type Kind uint8

const (
	KindCounter   Kind = iota // only grows
	KindGauge                 // goes up and down
	KindHistogram             // a distribution
	KindText                  // a string
)

var kindNames = [...]string{"counter", "gauge", "histogram", "text"}

func (k Kind) String() string { return kindNames[k] }

// Dynamic is implemented by a field of a set (or by a set without tagged fields) whose
// names are only known when it counts. EachStat yields counters; it is called from reader
// goroutines while the owner writes, and should yield constant strings.
type Dynamic interface {
	EachStat(yield func(name string, n uint64))
}

// A Field describes one value of a set type, as its tags do.
type Field struct {
	Name string // without the scope
	Help string
	Kind Kind
	// Scale divides recorded histogram values for display: 1000 with the tag `unit:"us"`,
	// which records microseconds and shows milliseconds; else 1.
	Scale float64
	// Max makes the value shown the largest of what several sets hold, not the sum: the tag
	// `agg:"max"`, for gauges such as the longest turn of a loop.
	Max bool
	// Dynamic marks a group of counters, whose names start with Name.
	Dynamic bool

	index []int // path through embedded structs
}

// layout is what the registry knows about a set type.
type layout struct {
	fields []Field // the static ones sorted by name, then the dynamic ones
	static int
}

// layouts caches by reflect.Type: 10,000 clusters share a few types.
var layouts sync.Map

var (
	counterType   = reflect.TypeFor[Counter]()
	gaugeType     = reflect.TypeFor[Gauge]()
	gaugeFuncType = reflect.TypeFor[GaugeFunc]()
	histogramType = reflect.TypeFor[Histogram]()
	dynamicType   = reflect.TypeFor[Dynamic]()
)

// Fields returns what a set is made of, for documentation and tests. set is a pointer to a
// struct, as for [Registry.Add].
func Fields(set any) []Field { return layoutOf(set).fields }

// layoutOf returns the layout of the type of set. It panics if that type cannot be a set:
// a mistake in the program that any test which registers the set finds.
func layoutOf(set any) *layout {
	t := reflect.TypeOf(set)
	if l, ok := layouts.Load(t); ok {
		return l.(*layout)
	}
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("stats: set of type %v is not a pointer to a struct", t))
	}
	l := &layout{}
	l.collect(t.Elem(), nil)
	if len(l.fields) == 0 && t.Implements(dynamicType) {
		l.fields = append(l.fields, Field{Dynamic: true, Scale: 1})
	}
	l.sort(t)
	layouts.Store(t, l)
	return l
}

// collect appends the tagged fields of t and of the structs it embeds.
func (l *layout) collect(t reflect.Type, path []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(path[:len(path):len(path)], i)
		name, tagged := sf.Tag.Lookup("stat")
		if !tagged {
			if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
				l.collect(sf.Type, index)
			}
			continue
		}
		if !sf.IsExported() {
			panic(fmt.Sprintf("stats: field %s of %v has a stat tag but is not exported", sf.Name, t))
		}
		f := Field{Name: name, Help: sf.Tag.Get("help"), Scale: 1, index: index}
		f.Max = sf.Tag.Get("agg") == "max"
		if sf.Tag.Get("unit") == "us" {
			f.Scale = 1000
		}
		switch {
		case sf.Type == counterType:
			f.Kind = KindCounter
		case sf.Type == gaugeType, sf.Type == gaugeFuncType:
			f.Kind = KindGauge
		case sf.Type == histogramType:
			f.Kind = KindHistogram
		case reflect.PointerTo(sf.Type).Implements(dynamicType):
			f.Dynamic = true
		default:
			panic(fmt.Sprintf("stats: field %s of %v has a stat tag and type %v", sf.Name, t, sf.Type))
		}
		l.fields = append(l.fields, f)
	}
}

// sort orders the fields and refuses names given twice.
func (l *layout) sort(t reflect.Type) {
	sortFields(l.fields)
	for i := range l.fields {
		if !l.fields[i].Dynamic {
			l.static++
		}
		if i > 0 && l.fields[i].Name == l.fields[i-1].Name && !l.fields[i].Dynamic {
			panic(fmt.Sprintf("stats: two fields of %v are named %q", t, l.fields[i].Name))
		}
	}
}

// family returns the name that Prometheus knows a counter by and the label cut from its end:
// upstream_rq_200 is upstream_rq with the code 200, upstream_rq_2xx is upstream_rq_xx with
// the class 2.
func family(name string) (base string, label Label) {
	at := strings.LastIndex(name, "_rq_")
	if at < 0 || len(name) != at+7 || name[at+4] < '1' || name[at+4] > '5' {
		return name, Label{}
	}
	code := name[at+4:]
	if code[1:] == "xx" {
		return name[:at+4] + "xx", Label{"envoy_response_code_class", code[:1]}
	}
	if isDigit(code[1]) && isDigit(code[2]) {
		return name[:at+3], Label{"envoy_response_code", code}
	}
	return name, Label{}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
