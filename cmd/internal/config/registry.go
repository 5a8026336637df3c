package config

import (
	"maps"
	"reflect"
	"slices"

	"millrace/filters"
)

// kindRoute is the kind of what per_filter_config says to HTTP filters.
const kindRoute = "http_route"

// A Filter is what the loader knows of one filter.
type Filter struct {
	// New returns a pointer to the filter's config struct, which the loader
	// fills with the tagged defaults and then with what the file says.
	// Nil for a filter that has no config.
	New func() any
	// Terminal filters end a chain: they must come last, and a chain of a kind
	// that knows terminal filters must end with one.
	Terminal bool
	// UDP filters are for listeners with protocol "udp", the other network filters for "tcp".
	UDP bool
	// Doc is the sentence of the reference page, or "".
	Doc string
}

// A Registry names the filters a config file may use, by kind ("http",
// "network", "listener", and "http_route" for what routes say to HTTP filters) and name. Fill it before the first use; after that it
// may be used by several goroutines at once.
type Registry struct {
	filters map[string]map[string]Filter
}

// NewRegistry returns a registry without filters.
func NewRegistry() *Registry {
	return &Registry{filters: map[string]map[string]Filter{}}
}

// Add names a filter. It panics when the kind has the name already.
func (r *Registry) Add(kind, name string, f Filter) {
	if _, dup := r.filters[kind][name]; dup {
		panic("BUG: config: " + kind + " filter " + name + " added twice")
	}
	if r.filters[kind] == nil {
		r.filters[kind] = map[string]Filter{}
	}
	r.filters[kind][name] = f
}

// Kinds returns the kinds that have filters, sorted.
func (r *Registry) Kinds() []string { return slices.Sorted(maps.Keys(r.filters)) }

// Names returns the names of the filters of a kind, sorted.
func (r *Registry) Names(kind string) []string { return slices.Sorted(maps.Keys(r.filters[kind])) }

// filter returns a filter, and whether the registry has it.
func (r *Registry) filter(kind, name string) (Filter, bool) {
	f, ok := r.filters[kind][name]
	return f, ok
}

// isTerminal reports whether a filter is known to end its chain.
func (r *Registry) isTerminal(kind, name string) bool { return r.filters[kind][name].Terminal }

// hasTerminal reports whether chains of this kind must end in a terminal filter.
func (r *Registry) hasTerminal(kind string) bool {
	for _, f := range r.filters[kind] {
		if f.Terminal {
			return true
		}
	}
	return false
}

// newConfig returns a fresh config of f as a pointer to its struct, and the
// plan of the struct. Filters without a config get one of an empty struct.
func (r *Registry) newConfig(f Filter) (reflect.Value, *typePlan) {
	if f.New == nil {
		return reflect.ValueOf(&struct{}{}), planOf(reflect.TypeFor[struct{}]())
	}
	v := reflect.ValueOf(f.New())
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		panic("BUG: config: Filter.New must return a pointer to a struct, have " + v.Type().String())
	}
	return v, planOf(v.Type().Elem())
}

// listenerFilter returns a listener filter as a file that gives its name only has it.
func (r *Registry) listenerFilter(name string) filters.Config {
	f, _ := r.filter("listener", name)
	cfg, plan := r.newConfig(f)
	if !r.decodeFast([]byte("{}"), plan, &rules{}, cfg.Elem()) {
		panic("BUG: config: listener filter " + name + " needs a config")
	}
	c := filters.Config{Name: name}
	setFilter(reflect.ValueOf(&c).Elem(), name, f, cfg)
	return c
}
