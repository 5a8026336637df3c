package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// badParams answers 400 and reports true if a parameter has a value it cannot have. Unknown
// parameters are ignored by pages, which only show too much then, and refused by what
// changes something: /drain_listeners?gracefull must not drain at once.
func badParams(w http.ResponseWriter, r *http.Request, e *endpoint) bool {
	err := readParams(r, e.method == post)
	for name, values := range r.Form {
		if err == nil {
			err = e.checkParam(name, values)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err != nil
}

// readParams fills r.Form with the query and, if body is set, the fields of a form in it.
func readParams(r *http.Request, body bool) error {
	if body {
		if err := r.ParseForm(); err != nil {
			return fmt.Errorf("reading the parameters: %w", err)
		}
		return nil
	}
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("reading the query: %w", err)
	}
	r.Form = form
	return nil
}

// checkParam returns what is wrong with a parameter of e.
func (e *endpoint) checkParam(name string, values []string) error {
	i := slices.IndexFunc(e.params, func(p param) bool { return p.name == name })
	if i < 0 {
		if e.method == post {
			return fmt.Errorf("unknown parameter %q; %s", name, e.paramNames())
		}
		return nil
	}
	p := &e.params[i]
	if len(values) > 1 {
		return fmt.Errorf("parameter %q given %d times", name, len(values))
	}
	if len(p.oneOf) > 0 && !slices.ContainsFunc(p.oneOf, func(v string) bool { return strings.EqualFold(v, values[0]) }) {
		return fmt.Errorf("parameter %s: unknown value %q; use one of %s", name, values[0], strings.Trim(strings.Join(p.oneOf, ", "), ", "))
	}
	return nil
}

func (e *endpoint) paramNames() string {
	if len(e.params) == 0 {
		return e.path + " has none"
	}
	names := make([]string, len(e.params))
	for i, p := range e.params {
		names[i] = p.name
	}
	return "known are " + strings.Join(names, ", ")
}

// isSet reports whether a parameter without a value, such as usedonly, is given and not denied.
func isSet(r *http.Request, name string) bool {
	if !r.Form.Has(name) {
		return false
	}
	switch strings.ToLower(r.Form.Get(name)) {
	case "0", "false", "off", "no", "n":
		return false
	}
	return true
}

// choice returns the lower-cased value of a parameter, or def.
func choice(r *http.Request, name, def string) string {
	if v := r.Form.Get(name); v != "" {
		return strings.ToLower(v)
	}
	return def
}

// regexParam compiles a parameter, nil if it is not given. Go's expressions run in linear
// time, so only the length needs a limit.
func regexParam(r *http.Request, name string) (*regexp.Regexp, error) {
	text := r.Form.Get(name)
	if text == "" {
		return nil, nil
	}
	if len(text) > filterBytesMax {
		return nil, fmt.Errorf("parameter %s: expression of %d bytes exceeds %d", name, len(text), filterBytesMax)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("parameter %s: invalid regular expression %q: %w", name, text, err)
	}
	return re, nil
}
