package accesslog

import (
	"fmt"
	"strings"
)

// metadata prints one value of the connection's metadata.
func metadata(o *operator, r *Record) string { return r.Metadata[o.space][o.text] }

// parseMetadata reads NAMESPACE:KEY. Values are texts, so there is no key inside of one.
func parseMetadata(o *operator, arg string) error {
	space, key, _ := strings.Cut(arg, ":")
	if space == "" || key == "" {
		return fmt.Errorf("%q is not a namespace and a key", arg)
	}
	o.space, o.text = space, key
	return nil
}

// parseTypedMetadata reads DYNAMIC:NAMESPACE:KEY.
func parseTypedMetadata(o *operator, arg string) error {
	kind, rest, _ := strings.Cut(arg, ":")
	if kind != "DYNAMIC" {
		return fmt.Errorf("no metadata of type %q here, only DYNAMIC", kind)
	}
	return parseMetadata(o, rest)
}
