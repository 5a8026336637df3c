package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/filters"
)

// twice has the same name at two depths, which only we refuse.
type twice struct {
	common
	Again string `json:"shared"`
}

// Wrong tags are our own mistakes: they must show in the first test that meets
// the type, not as a config that reads strangely.
func TestPlanRefusesWrongTypes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		v    any
		want string
	}{
		{struct {
			F []filters.Config `json:"f"`
		}{}, "needs a tag"},
		{struct {
			F chan int `json:"f"`
		}{}, "chan int"},
		{struct {
			F map[int]string `json:"f"`
		}{}, "map keys"},
		{struct {
			F int `json:"f" default:"x"`
		}{}, `want a whole number, got "x"`},
		{struct {
			F int `json:"f" default:"5" max:"4"`
		}{}, "5 is out of range"},
		{struct {
			F string `json:"f" enum:"a,b" default:"c"`
		}{}, `unknown value "c"`},
		{struct {
			F time.Duration `json:"f" max:"5"`
		}{}, `bound "5"`},
		{struct {
			F int `json:"f" min:"x"`
		}{}, "not a number"},
		{struct {
			F string `json:"f" min:"1"`
		}{}, "means nothing for string"},
		{struct {
			F int `json:"f" enum:"1,2"`
		}{}, "means nothing for int"},
		{twice{}, "two fields"},
		{struct {
			F int `json:",omitempty"`
		}{}, "json name"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "BUG: config: ") || !strings.Contains(got, tt.want) {
					t.Errorf("plan of %T: %s; want a panic about %q", tt.v, got, tt.want)
				}
			}()
			planOf(reflect.TypeOf(tt.v))
		})
	}
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := testRegistry()
	if got := fmt.Sprint(r.Kinds(), r.Names("http"), r.Names("none")); got != "[http listener network] [buffer health_check router] []" {
		t.Errorf("registry lists %s", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("Add of a name that is there did not panic")
		}
	}()
	r.Add("http", "router", Filter{})
}

func TestPaths(t *testing.T) {
	t.Parallel()
	src := &source{clean: []byte(`{"a": [{"b.c": {"": 1}}, 2], "x": {"y": 3}}`)}
	for _, tt := range []struct {
		path string
		want string
	}{
		{"", "{"}, {"a", "["}, {"a[1]", "2"}, {`a[0]["b.c"]`, `{"": 1`}, {`a[0]["b.c"][""]`, "1"}, {"x.y", "3"},
		{"x.z", `{"y"`}, {"a[7].b", "["}, {"x.y.z", "3"}, {"a[0", `{"b.c"`}, {"[", "{"}, {"x[0]", `{"y"`},
	} {
		if got := string(src.clean[src.find(tt.path):]); !strings.HasPrefix(got, tt.want) {
			t.Errorf("find(%q) is at %q; want %q", tt.path, got, tt.want)
		}
	}
}
