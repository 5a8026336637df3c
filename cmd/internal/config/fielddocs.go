package config

import (
	_ "embed"
	"encoding/json"
	"reflect"
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

// doc returns the comment of a field, or "".
func (f *fieldPlan) doc() string { return fieldDocs()[docKey(f.owner)+"."+f.goName] }

// typeDoc returns the comment of a struct, or "".
func typeDoc(t reflect.Type) string { return fieldDocs()[docKey(t)] }

func docKey(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }
