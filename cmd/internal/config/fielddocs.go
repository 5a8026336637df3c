package config

import (
	_ "embed"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// The descriptions of fields are their Go comments, which a program cannot see
// when it runs. The first command collects them from the source, the second
// writes the reference page; tests fail when either is stale.
//
//go:generate go run ./gen fields
//go:generate go run ./gen page

// fieldDocsText maps "package.Type.Field" and "package.Type" to comments.
//
//go:embed fielddocs.json
var fieldDocsText []byte

// fieldDocs returns the comments of all config structs.
var fieldDocs = sync.OnceValue(func() map[string]string {
	docs := map[string]string{}
	if err := json.Unmarshal(fieldDocsText, &docs); err != nil {
		panic("BUG: config: fielddocs.json: " + err.Error())
	}
	return docs
})

// doc returns what is said of a field, or "".
func (f *fieldPlan) doc() string {
	return plainDoc(fieldDocs()[docKey(f.owner)+"."+f.goName], f.goName, f.name)
}

// typeDoc returns what is said of a struct, or "".
func typeDoc(t reflect.Type) string {
	return plainDoc(fieldDocs()[docKey(t)], t.Name(), "this")
}

func docKey(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// plainDoc takes the Go name out of the start of a comment, for readers who
// know only the name in the file: "DrainTime is how long" becomes "How long",
// "StripPort removes" becomes "strip_port removes".
func plainDoc(doc, goName, name string) string {
	rest, ok := strings.CutPrefix(doc, goName+" ")
	if !ok {
		return doc
	}
	for _, is := range []string{"is ", "are "} {
		if what, ok := strings.CutPrefix(rest, is); ok && what != "" {
			return strings.ToUpper(what[:1]) + what[1:]
		}
	}
	if verb, _, _ := strings.Cut(rest, " "); !isVerb(verb, goName) {
		return doc // "Name of the listener" is a sentence without a verb
	}
	if name == "this" {
		return "This " + rest
	}
	return name + " " + rest
}

// isVerb reports whether the word after a name is probably its verb: "bounds"
// after a singular name, anything but a preposition after a plural one.
func isVerb(word, name string) bool {
	if strings.HasSuffix(name, "s") {
		return !slices.Contains([]string{"of", "in", "such", "for", "to", "from", "as"}, word)
	}
	return strings.HasSuffix(word, "s") && word != "as"
}
