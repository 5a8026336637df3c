package accesslog

import (
	"bytes"
	"fmt"
	"strings"

	"millrace/codec"
	"millrace/codec/ascii"
)

// A field is one named part of a head: a field of its list, or a part of its start line.
type field struct {
	pseudo pseudo
	id     codec.FieldID // a known field
	name   string        // any other field, in lower case; empty: none
}

type pseudo uint8

const (
	pseudoNone pseudo = iota
	pseudoMethod
	pseudoPath
	pseudoAuthority
	pseudoScheme
)

// none reports whether f names nothing.
func (f *field) none() bool { return f.pseudo == pseudoNone && f.name == "" }

// newField reads the name of a field.
func newField(name string, pseudos map[string]pseudo) (field, error) {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, ":") {
		p, ok := pseudos[name]
		if !ok {
			return field{}, fmt.Errorf("there is no %q", name)
		}
		return field{pseudo: p}, nil
	}
	if name == "" || !ascii.All([]byte(name), ascii.Token) {
		return field{}, fmt.Errorf("%q is not the name of a field", name)
	}
	return field{id: codec.KnownField([]byte(name)), name: name}, nil
}

// in returns the value of the field in a list.
func (f *field) in(list *codec.Fields) []byte {
	if f.id != codec.FieldOther {
		return list.Get(f.id)
	}
	return list.Lookup(f.name)
}

// ofRequest returns the value of the field in a request, nil if it is absent.
func (f *field) ofRequest(h *codec.RequestHead) []byte {
	switch f.pseudo {
	case pseudoMethod:
		return h.MethodBytes()
	case pseudoPath:
		return h.Path()
	case pseudoAuthority:
		return h.Authority()
	case pseudoScheme:
		return h.Scheme()
	}
	return f.in(&h.Fields)
}

var requestPseudos = map[string]pseudo{
	":method": pseudoMethod, ":path": pseudoPath, ":authority": pseudoAuthority, ":scheme": pseudoScheme,
}

// parseField reads NAME or NAME?OTHER for a request.
func parseField(o *operator, arg string) error { return o.parseFields(arg, requestPseudos) }

// parseResponseField is parseField for a response.
func parseResponseField(o *operator, arg string) error {
	if strings.EqualFold(arg, ":status") {
		return fmt.Errorf("the status is %%RESPONSE_CODE%%")
	}
	return o.parseFields(arg, nil)
}

// parseTrailerField is parseField for trailers.
func parseTrailerField(o *operator, arg string) error { return o.parseFields(arg, nil) }

func (o *operator) parseFields(arg string, pseudos map[string]pseudo) (err error) {
	name, other, both := strings.Cut(arg, "?")
	if o.field, err = newField(name, pseudos); err != nil || !both {
		return err
	}
	o.other, err = newField(other, pseudos)
	return err
}

// parsePath reads the two parts of PATH's argument.
func parsePath(o *operator, arg string) error {
	query, which, _ := strings.Cut(arg, ":")
	switch query {
	case "", "WQ":
	case "NQ":
		o.noQuery = true
	default:
		return fmt.Errorf("unknown argument %q", query)
	}
	path, original := field{pseudo: pseudoPath}, field{id: codec.FieldXEnvoyOriginalPath, name: "x-envoy-original-path"}
	switch which {
	case "", "ORIG_OR_PATH":
		o.field, o.other = original, path
	case "ORIG":
		o.field = original
	case "PATH":
		o.field = path
	default:
		return fmt.Errorf("unknown argument %q", which)
	}
	return nil
}

// parseQueryParam reads the name of a parameter, which is compared as it was sent.
func parseQueryParam(o *operator, arg string) error {
	if strings.ContainsAny(arg, "&=#") || !ascii.All([]byte(arg), ascii.Target) {
		return fmt.Errorf("no query parameter can be called %q", arg)
	}
	o.text = arg
	return nil
}

// queryParam returns the value of the first parameter of that name, as it was sent.
func queryParam(o *operator, r *Record) []byte {
	if r.Request == nil {
		return nil
	}
	_, query, _ := bytes.Cut(r.Request.Path(), []byte("?"))
	for len(query) > 0 {
		var param []byte
		param, query, _ = bytes.Cut(query, []byte("&"))
		if name, value, _ := bytes.Cut(param, []byte("=")); string(name) == o.text {
			return value
		}
	}
	return nil
}

// parseQueryParams reads the only form there is: as sent.
func parseQueryParams(_ *operator, arg string) error {
	if arg != "" && arg != "ORIG" {
		return fmt.Errorf("unknown argument %q", arg)
	}
	return nil
}

// queryParams returns the whole query, as it was sent.
func queryParams(_ *operator, r *Record) []byte {
	if r.Request == nil {
		return nil
	}
	path := r.Request.Path()
	if i := bytes.IndexByte(path, '?'); i >= 0 && i < len(path)-1 {
		return path[i+1:]
	}
	return nil
}

func requestField(o *operator, r *Record) []byte {
	if r.Request == nil {
		return nil
	}
	v := o.field.ofRequest(r.Request)
	if v == nil && !o.other.none() {
		v = o.other.ofRequest(r.Request)
	}
	if o.noQuery {
		if i := bytes.IndexByte(v, '?'); i >= 0 {
			v = v[:i]
		}
	}
	return v
}

func responseField(o *operator, r *Record) []byte {
	if r.Response == nil {
		return nil
	}
	return o.inList(&r.Response.Fields)
}

func trailerField(o *operator, r *Record) []byte {
	if r.ResponseTrailers == nil {
		return nil
	}
	return o.inList(r.ResponseTrailers)
}

func (o *operator) inList(list *codec.Fields) []byte {
	v := o.field.in(list)
	if v == nil && !o.other.none() {
		v = o.other.in(list)
	}
	return v
}
