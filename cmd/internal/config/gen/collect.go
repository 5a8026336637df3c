package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"reflect"
	"strings"
)

// modulePath is the module's name in import paths.
const modulePath = "millrace"

// rooms are the directories of the module whose packages own config structs.
var rooms = []string{"cmd/internal/config", "engine", "filters", "upstream"}

// collect returns fielddocs.json for the module at root.
func collect(root string) ([]byte, error) {
	docs := map[string]string{}
	for _, room := range rooms {
		err := filepath.WalkDir(filepath.Join(root, room), func(file string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return filepath.SkipDir
			case d.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go"):
				return nil
			}
			return collectFile(root, file, docs)
		})
		if err != nil {
			return nil, err
		}
	}
	text, err := json.MarshalIndent(docs, "", " ")
	return append(text, '\n'), err
}

// collectFile adds the comments of one file.
func collectFile(root, file string, docs map[string]string) error {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("reading comments: %w", err)
	}
	dir, err := filepath.Rel(root, filepath.Dir(file))
	if err != nil {
		return err
	}
	pkg := path.Join(modulePath, filepath.ToSlash(dir))
	for _, decl := range f.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			spec := spec.(*ast.TypeSpec)
			st, ok := spec.Type.(*ast.StructType)
			if !ok || !collectStruct(pkg+"."+spec.Name.Name, st, docs) {
				continue
			}
			doc := spec.Doc
			if doc == nil {
				doc = gen.Doc
			}
			enter(docs, pkg+"."+spec.Name.Name, doc, nil)
		}
	}
	return nil
}

// collectStruct adds the comments of a struct's fields. It reports whether any
// of them is a config field.
func collectStruct(name string, st *ast.StructType, docs map[string]string) bool {
	found := false
	for _, field := range st.Fields.List {
		if field.Tag == nil {
			continue
		}
		tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json")
		if tag == "" || tag == "-" {
			continue
		}
		found = true
		for _, id := range field.Names {
			enter(docs, name+"."+id.Name, field.Doc, field.Comment)
		}
	}
	return found
}

// enter adds a comment as one line.
func enter(docs map[string]string, key string, doc, trailing *ast.CommentGroup) {
	if doc == nil {
		doc = trailing
	}
	if text := strings.Join(strings.Fields(doc.Text()), " "); text != "" {
		docs[key] = text
	}
}
